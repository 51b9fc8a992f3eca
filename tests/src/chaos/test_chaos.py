"""Writers keep a ledger while a cluster of three machines is broken in every way; then what they saw is judged.

Each test stands on those before it. What is promised depends on the number of copies (`sizes.FACTOR`).
"""
import time

from faults import schedule
from field import NAME, SPACE, resource
from harness import kubernetes as k
from harness.node import wait_until
from judge import Judge
from sizes import FACTOR, FAULTS, HANDOVER_SECONDS, OUTAGE_SECONDS, RETRY_SECONDS, SHARDS, WRITES_PER_SECOND_MIN


def test_fleet_writes_fast_enough(field):
    field.wait_settled(time.monotonic_ns())
    before, start = field.fleet.counts["writes acknowledged"], time.monotonic()
    field.hold(10)
    rate = (field.fleet.counts["writes acknowledged"] - before) / (time.monotonic() - start)
    print(f"\n  {rate:.0f} acknowledged writes a second")
    assert rate >= WRITES_PER_SECOND_MIN


def test_every_write_succeeds_while_the_api_server_is_down(field):
    began = time.monotonic_ns()
    field.api.kill()
    try:
        field.hold(OUTAGE_SECONDS)
        failed = field.failed(began)
    finally:
        field.api.start()
        wait_until(field.api.answers, 60, "the API server answers again", 0.5)
    assert not failed, f"{len(failed)} of the writes of {OUTAGE_SECONDS} s: {failed[:3]}"
    field.wait_settled(time.monotonic_ns())


def test_rolling_restart_stops_no_writer_for_long(field):
    before, began = {p.uid for p in field.pods()}, time.monotonic_ns()
    k.apply(resource(settings=[{"name": "QUIVER__LOG_LEVEL", "value": "INFO"}]))
    wait_until(lambda: not before & {p.uid for p in field.pods()}, 240, "every pod is another one", 0.5)
    field.wait_settled(time.monotonic_ns())
    gaps = [field.gap(s, began, time.monotonic_ns()) for s in range(SHARDS)]
    print(f"\n  longest gap between writes of each shard in a rolling restart: {', '.join(f'{g:.1f}' for g in gaps)} s")
    # With several copies the leader hands over before it stops.
    assert max(gaps) <= (RETRY_SECONDS if FACTOR == 1 else HANDOVER_SECONDS)


def test_it_comes_back_after_every_fault(field, seed):
    print()
    for fault in schedule(field, seed, FAULTS, FACTOR):
        field.run(fault)


def test_nodes_come_and_go_under_load(field):
    """With one copy nodes can only be added: what a node holds doesn't move yet."""
    began = time.monotonic_ns()
    for nodes in (4,) if FACTOR == 1 else (4, 2):
        k.kubectl("scale", f"vc/{NAME}", "-n", SPACE, f"--replicas={nodes}")
        field.wait_settled(time.monotonic_ns(), 300, nodes)
    gaps = [field.gap(s, began, time.monotonic_ns()) for s in range(SHARDS)]
    print(f"\n  longest gap between writes of each shard while nodes came and went: {', '.join(f'{g:.1f}' for g in gaps)} s")
    assert max(gaps) <= RETRY_SECONDS


def test_nothing_acknowledged_is_lost_and_nothing_else_is_there(field):
    judge = Judge(field)
    print("\n" + judge.figures())
    judge.read_everything()
    found = judge.contradictions()
    assert not found, f"{len(found)} registers:\n" + "\n".join(found[:10])
