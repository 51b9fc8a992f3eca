"""The figures that a run is judged by."""
from figures import Streak, bytes_by_pod, imbalance, quantile


def check_imbalance(values: list[int], expected: float):
    assert abs(imbalance(values) - expected) < 1e-9, values


def test_imbalance_is_the_farthest_share_of_the_mean():
    check_imbalance([5, 5, 5], 0)
    check_imbalance([12, 9, 9], 0.2)
    check_imbalance([11, 11, 8], 0.2)
    check_imbalance([10, 0], 1)


def test_every_copy_counts_where_it_is_and_a_pod_without_any_counts_too():
    assert bytes_by_pod([(10, ["a", "b"]), (5, ["b"])], ["a", "b", "c"]) == {"a": 10, "b": 15, "c": 0}


def test_quantile_is_one_of_the_values():
    values = [float(v) for v in range(100)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([3.0], 0.99), quantile([], 0.99)) == (50, 99, 3, 0)


def check_streak(attempts: list[tuple[int, int, bool]], since: int, now: int, expected: list[float]):
    """What a client that gives up after 10 s would have given up; attempts are (began, ended, served) in seconds."""
    streak = Streak()
    for began, ended, served in attempts:
        if served:
            streak.served(ended * 10**9)
        else:
            streak.failed(began * 10**9)
    assert streak.longer(10, since * 10**9, now * 10**9) == expected


def test_only_what_retries_do_not_cure_counts_as_an_error():
    check_streak([(0, 1, True), (1, 2, False), (2, 3, False), (3, 11, True)], 0, 20, [])
    check_streak([(1, 2, False), (2, 3, False), (3, 12, True)], 0, 20, [11])
    check_streak([(1, 2, False), (2, 3, False), (3, 12, True)], 12, 20, [])
    check_streak([(0, 1, True), (1, 2, False)], 0, 12, [11])
    check_streak([(0, 1, True), (1, 2, False)], 0, 11, [])
    check_streak([(1, 2, False), (2, 3, True), (3, 4, False), (4, 5, True), (12, 13, False)], 0, 20, [])
