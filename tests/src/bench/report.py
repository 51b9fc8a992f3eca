"""The lines of a run: what was compared, the ratio, whether its goal is reached; and the curves for the plots."""
import json
import math
import traceback
from contextlib import contextmanager
from pathlib import Path

from .process import PeerFailed

COLUMNS = ("suite", "case", "peer", "ours", "theirs", "unit", "recall", "ratio", "goal")


class Report:
    def __init__(self, path: Path | None = None):
        """`path`: where the lines are kept, each as soon as it is there."""
        self.suite, self.path = "", path
        self.lines: list[dict] = []
        # Cases that an error of ours ended.
        self.failed: list[str] = []
        # Plot -> {"kind", "x", "y", "panels": {title: {series: [(x, y), ...]}}}
        self.curves: dict[str, dict] = {}

    def line(self, case, ours=None, theirs=None, *, peer=None, unit="", recall=None, goal=None, less=False, note="", curves=None) -> None:
        """One comparison. `less`: the smaller figure is the better one. A figure that is missing has no ratio; `note` says why.
        `curves`: {series: [(x, y), ...]} that the figures were read from."""
        ratio = None
        if ours and theirs and math.isfinite(ours) and math.isfinite(theirs):
            ratio = theirs / ours if less else ours / theirs
        line = {"suite": self.suite, "case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "recall": recall, "ratio": ratio, "goal": goal}
        if note:
            line["note"] = note
        if curves:
            line["curves"] = {series: [[rounded(x), rounded(y)] for x, y in points] for series, points in curves.items()}
        self.lines.append(line)
        print(shown(line), flush=True)
        if self.path:
            self.save(self.path)

    def limit(self, case, ours, limit, *, unit="", recall=None, less=False, note="", curves=None) -> None:
        """A figure with a goal of its own, whatever peers do."""
        self.line(case, ours, limit, peer="goal", unit=unit, recall=recall, goal=1.0, less=less, note=note, curves=curves)

    @contextmanager
    def case(self, case: str, peer: str | None = None):
        """What fails inside is said in a line, and the run goes on. Only what a peer can't do is no failure of the run."""
        try:
            yield
        except PeerFailed as failure:
            self.line(case, peer=peer, note=f"{peer} can't run here: {failure}")
        except Exception as error:
            traceback.print_exc()
            self.failed.append(f"{self.suite}: {case}")
            self.line(case, peer=peer, note=f"failed: {error}")

    def curve(self, plot: str, series: str, points: list[tuple], x: str, y: str, kind: str = "recall", panel: str = "") -> None:
        drawn = self.curves.setdefault(plot, {"kind": kind, "x": x, "y": y, "panels": {}})
        drawn["panels"].setdefault(panel or plot, {})[series] = points

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text("[\n" + ",\n".join(map(json.dumps, self.lines)) + "\n]\n")
        part.rename(path)

    def print_table(self) -> None:
        print("\n" + shown(dict(zip(COLUMNS, COLUMNS))))
        print("\n".join(map(shown, self.lines)))
        goals = [line for line in self.lines if line["goal"] is not None]
        print(f"\n{sum(map(reached, goals))} of {len(goals)} goals reached", flush=True)


def reached(line: dict) -> bool:
    return line["ratio"] is not None and line["ratio"] >= line["goal"]


def shown(line: dict) -> str:
    values = [figure(line[column]) for column in COLUMNS]
    mark = "" if line["goal"] is None or line["goal"] == "goal" else "reached" if reached(line) else "MISSED"
    suite, case, peer, ours, theirs, unit, recall, ratio, goal = values
    text = f"{suite:12}{case:44}{peer:20}{ours:>10}{theirs:>10} {unit:10}{recall:>7}{ratio:>8}{goal:>7} {mark:8}{line.get('note', '')}"
    return text.rstrip()


def rounded(value: float) -> float:
    """To what was measured: six digits."""
    return float(f"{value:.6g}")


def figure(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
