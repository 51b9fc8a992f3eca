"""Curves of queries per second over recall: measured in turns, compared at one recall."""
import math
from dataclasses import dataclass

from .data import K, Set
from .process import Process

EFS = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024)
EFS_QUICK = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
# A curve ends here: what lies beyond costs the most and compares nothing.
ENOUGH = 0.996


@dataclass
class Side:
    """One curve in the making. `shard` is what the program calls it."""

    process: Process
    shard: str
    filters: list | None = None
    filter_of: list[int] | None = None

    def __post_init__(self):
        self.points: dict[int | None, tuple[float, float]] = {}

    def measure(self, data: Set, ef: int | None, passes: int = 3) -> None:
        """Queries per second of CPU time at one ef; None leaves the choice to the program. The best of all calls counts."""
        answer = self.process.ask(
            "search", name=self.shard, queries=str(data.queries), ef=ef, k=K, filters=self.filters, filter_of=self.filter_of, passes=passes, exact=False, oversampling=None,
        )
        per_second = len(data.asked) / answer["cpu_s"]
        if ef in self.points:
            recall, before = self.points[ef]
            self.points[ef] = recall, max(before, per_second)
        else:
            self.points[ef] = data.recall(answer["ids"], self.filters, self.filter_of), per_second

    def at(self, data: Set, ef: int | None) -> float:
        """Recall at one ef."""
        if ef not in self.points:
            self.measure(data, ef, passes=1)
        return self.points[ef][0]

    @property
    def curve(self) -> list[tuple[float, float]]:
        return sorted(self.points.values())

    @property
    def enough(self) -> bool:
        return any(recall >= ENOUGH for recall, _ in self.points.values())


def in_turns(data: Set, sides: list[Side], quick: bool, efs: tuple | None = None) -> None:
    """Every side at the first ef, every side at the second and so on, for some rounds. The first decides where a curve ends."""
    efs = efs or (EFS_QUICK if quick else EFS)
    for ef in efs:
        for side in sides:
            if not side.enough:
                side.measure(data, ef)
    for _ in range(1 if quick else 2):
        for ef in efs:
            for side in sides:
                if ef in side.points:
                    side.measure(data, ef)


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both, by rising recall."""
    kept: list[tuple[float, float]] = []
    for recall, speed in sorted(points, reverse=True):
        if not kept or speed > kept[-1][1]:
            kept.append((recall, speed))
    return kept[::-1]


def at(points: list[tuple[float, float]], recall: float) -> float | None:
    """Speed at a recall: log speed is interpolated along the front. A front that starts above it gives its first point, one that
    ends below it nothing."""
    line = front(points)
    above = next((i for i, point in enumerate(line) if point[0] >= recall), None)
    if above is None:
        return None
    if above == 0:
        return line[0][1]
    (r0, s0), (r1, s1) = line[above - 1], line[above]
    return math.exp(math.log(s0) + (math.log(s1) - math.log(s0)) * (recall - r0) / (r1 - r0))


def best(points: list[tuple[float, float]]) -> float:
    return max(recall for recall, _ in points)
