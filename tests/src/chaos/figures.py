"""Figures of a run, of plain numbers."""
from collections import Counter


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def bytes_by_pod(shards: list[tuple[int, list[str]]], pods: list[str]) -> dict[str, int]:
    """Of each pod: what its copies take, given each shard's bytes and where its copies are. A pod without any holds nothing."""
    held = Counter(dict.fromkeys(pods, 0))
    for size, places in shards:
        for pod in places:
            held[pod] += size
    return dict(held)


def imbalance(values: list[int]) -> float:
    """How far the one that is farthest from the mean is from it, as a share of the mean."""
    mean = sum(values) / len(values)
    assert mean > 0, "nothing is there that could be balanced"
    return max(abs(v - mean) for v in values) / mean


class Streak:
    """How long one client was refused or not answered, one attempt after the other. Times in nanoseconds."""

    def __init__(self):
        self.since, self.over = None, []  # when the first of the failed attempts began; those that ended with an answer

    def failed(self, began: int) -> None:
        self.since = began if self.since is None else self.since

    def served(self, ended: int) -> None:
        if self.since is not None:
            self.over.append((self.since, ended))
        self.since = None

    def longer(self, seconds: float, since: int, now: int) -> list[float]:
        """Those that a client would have given up after so many seconds, if they didn't end before `since`; in seconds."""
        open_ = [(self.since, now)] if self.since is not None else []
        return [took for began, ended in [*self.over, *open_] if ended > since and (took := (ended - began) / 1e9) > seconds]
