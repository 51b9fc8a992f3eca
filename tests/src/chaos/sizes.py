"""How large a run is, and what may be expected of it."""
import os

from harness.limits import full, pick

# Copies of each shard. Everything that depends on it looks here.
FACTOR = int(os.environ.get("QUIVER_CHAOS_FACTOR", "2"))
NODES, SHARDS = 3, 10  # so many that copies can be spread evenly over four and five nodes
# How old an ordinary read may be while something is wrong, in nanoseconds. With one copy every read is its leader's, and as good as strong.
STALENESS = 3_000_000_000 if FACTOR > 1 else 0
FAULTS = pick(10, 100)
OUTAGE_SECONDS = pick(30, 600)
# Twice what all ten shards of a node take, most of it WAL files of 16 MiB made beforehand: copies that are made anew come beside the old ones.
VOLUME_MIB = 768
# A shard has to take writes again so soon after a fault was healed.
RECOVERY_SECONDS = 120
# Until Kubernetes has seen that all pods are ready: after an outage of its API server it takes machines for lost, and needs its time to see them again.
READY_SECONDS = 300
WRITES_PER_SECOND_MIN = 200
# So long a client tries again before it gives up, and so long a planned hand-over may stop writers. The latter is judged in a full run, on a
# machine that does nothing else.
RETRY_SECONDS, HANDOVER_SECONDS = 30, 2
HANDOVER_MAX = HANDOVER_SECONDS if FACTOR > 1 and full() else RETRY_SECONDS
ROLLINGS = pick(1, 3)
# How many nodes there are, one after the other. With one copy nodes can only be added: what a node holds doesn't move yet.
SCALES = (4,) if FACTOR == 1 else pick((4, 2), (5, 2))
# While that goes on searches may be so many times slower than before, at the 99th percentile (judged in a full run); the most that a node's bytes may differ from
# the mean in the end.
QUIET_SECONDS, SEARCH_TIMES, IMBALANCE = pick(20, 60), 3, 0.2
# From when a node died until a shard that it led takes writes: half of them, and 99 of 100; judged in a full run, of so many or more.
FAILOVER_P50, FAILOVER_P99, FAILOVERS_MIN = 13, 20, 20
