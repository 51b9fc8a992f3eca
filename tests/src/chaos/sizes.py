"""How large a run is, and what may be expected of it."""
import os

from harness.limits import pick

# Copies of each shard. Everything that depends on it looks here.
FACTOR = int(os.environ.get("QUIVER_CHAOS_FACTOR", "2"))
NODES, SHARDS = 3, 6
# How old an ordinary read may be while something is wrong, in nanoseconds. With one copy every read is its leader's, and as good as strong.
STALENESS = 3_000_000_000 if FACTOR > 1 else 0
FAULTS = pick(6, 100)
OUTAGE_SECONDS = pick(30, 600)
VOLUME_MIB = 384
# A shard has to take writes again so soon after a fault was healed.
RECOVERY_SECONDS = 120
WRITES_PER_SECOND_MIN = 200
# So long a client tries again before it gives up, and so long a planned hand-over may stop writers.
RETRY_SECONDS, HANDOVER_SECONDS = 30, 2
