"""Writers keep a ledger while a cluster of three machines is broken in every way; then what they saw is judged.

Each test stands on those before it. What is promised depends on the number of copies (`sizes.FACTOR`).
"""
import time

from faults import schedule
from field import NAME, SPACE, resource
from figures import imbalance, quantile
from harness import kubernetes as k
from harness.node import wait_until
from harness.limits import full
from judge import Judge
from sizes import FACTOR, FAILOVER_P50, FAILOVER_P99, FAILOVERS_MIN, FAULTS, HANDOVER_MAX, HANDOVER_SECONDS, IMBALANCE, OUTAGE_SECONDS, QUIET_SECONDS, RETRY_SECONDS, ROLLINGS, SCALES, SEARCH_TIMES, WRITES_PER_SECOND_MIN


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


def check_handed_over(field, began: int, when: str) -> None:
    """With several copies the leader hands over before it stops, and every client is served."""
    gaps, lost = field.handed_over(began, time.monotonic_ns()), field.uncured(began, RETRY_SECONDS)
    print(f"\n  longest gap between writes of each shard {when}: {', '.join(f'{g:.1f}' for g in gaps)} s")
    if max(gaps) > HANDOVER_MAX:
        print(field.story([s for s, gap in enumerate(gaps) if gap > HANDOVER_MAX], began), flush=True)
    assert max(gaps) <= HANDOVER_MAX
    assert not lost, f"clients that retries didn't help: {lost}"


def test_rolling_restart_stops_no_writer_for_long(field):
    for i in range(ROLLINGS):
        before, began = {p.uid for p in field.pods()}, time.monotonic_ns()
        k.apply(resource(settings=[{"name": "QUIVER__LOG_LEVEL", "value": ("INFO", "WARN")[i % 2]}]))
        wait_until(lambda: not before & {p.uid for p in field.pods()}, 240, "every pod is another one", 0.5)
        field.wait_settled(time.monotonic_ns())
        check_handed_over(field, began, "in a rolling restart")


def test_a_drained_machine_stops_no_writer_for_long(field):
    """What `kubectl drain` evicts hands over before it goes; when the machine is back, its copies catch up."""
    pod, began = field.pod(0), time.monotonic_ns()
    try:
        k.kubectl("drain", pod.machine, f"--pod-selector=quiver.dev/collection={NAME}", "--delete-emptydir-data", "--timeout=120s", seconds=150)
        field.hold(10)
    finally:
        k.kubectl("uncordon", pod.machine)
    field.wait_settled(time.monotonic_ns())
    check_handed_over(field, began, "while a machine was drained")
    wait_until(field.apart, 120, "the copies of each shard are on different machines", 0.5)


def test_it_comes_back_after_every_fault(field, seed):
    print()
    wrong = []
    for fault in schedule(field, seed, FAULTS, FACTOR):
        try:
            field.run(fault)
        except AssertionError as error:  # what comes after is worth seeing too
            wrong.append(f"{fault.kind}: {error}")
            print(f"  {wrong[-1]}", flush=True)
    assert not wrong, wrong


def test_nodes_come_and_go_under_load(field):
    """Every client is served when it tries again, searches don't get much slower, and in the end nodes hold as much as each other."""
    wait_until(field.calm, 120, "writes succeed, and every copy is in sync", 0.5)
    quiet = time.monotonic_ns()
    field.hold(QUIET_SECONDS)
    began, worst = time.monotonic_ns(), 0.0
    print()
    for nodes in SCALES:
        start = time.monotonic_ns()
        k.kubectl("scale", f"vc/{NAME}", "-n", SPACE, f"--replicas={nodes}")
        field.wait_settled(start, 300, nodes)
        if FACTOR > 1:
            wait_until(lambda: imbalance(list(field.bytes_by_pod().values())) <= IMBALANCE and field.calm(), 300, "nodes hold as much as each other, and all copies are in sync", 0.5)
        end = time.monotonic_ns()
        gaps, held = field.handed_over(start, end), field.bytes_by_pod()
        print(f"  {nodes} nodes after {(end - start) / 1e9:.0f} s: longest gap between writes of each shard {', '.join(f'{g:.1f}' for g in gaps)} s; bytes {held}", flush=True)
        worst = max(worst, *gaps)
    before, meanwhile, lost = field.search_p99(quiet, began), field.search_p99(began, time.monotonic_ns()), field.uncured(began, RETRY_SECONDS)
    print(f"  search p99 {before * 1e3:.0f} ms before, {meanwhile * 1e3:.0f} ms while nodes came and went; clients that retries didn't help: {len(lost)}", flush=True)
    assert not lost and worst <= RETRY_SECONDS, lost
    assert meanwhile <= SEARCH_TIMES * before or not full()


def test_failover_and_hand_over_take_no_longer_than_promised(field):
    """Of all that came before. The counts of a full run are needed to say what 99 of 100 take."""
    for what, took, limits in (("failover", field.failovers(), (FAILOVER_P50, FAILOVER_P99)), ("hand-over", field.handovers, (HANDOVER_SECONDS, HANDOVER_SECONDS))):
        found = quantile(took, 0.5), quantile(took, 0.99)
        print(f"\n  {len(took)} times {what}: p50 {found[0]:.1f} s, p99 {found[1]:.1f} s")
        if full() and FACTOR > 1:
            assert len(took) >= FAILOVERS_MIN, f"too few to judge: {len(took)} times {what}"
            assert found[0] <= limits[0] and found[1] <= limits[1], what


def test_nothing_acknowledged_is_lost_and_nothing_else_is_there(field):
    judge = Judge(field)
    print("\n" + judge.figures())
    judge.read_everything()
    found = judge.contradictions()
    assert not found, f"{len(found)} registers:\n" + "\n".join(found[:10])
