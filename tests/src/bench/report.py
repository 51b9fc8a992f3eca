"""The lines of a run: what was compared, the ratio, whether its goal is reached; and the curves for the plots."""
import json
import math
from pathlib import Path

COLUMNS = ("suite", "case", "peer", "ours", "theirs", "unit", "recall", "ratio", "goal")


class Report:
    def __init__(self):
        self.suite = ""
        self.lines: list[dict] = []
        # Plot -> {"kind", "x", "y", "panels": {title: {series: [(x, y), ...]}}}
        self.curves: dict[str, dict] = {}

    def line(self, case, ours=None, theirs=None, *, peer=None, unit="", recall=None, goal=None, less=False, note="") -> None:
        """One comparison. `less`: the smaller figure is the better one. A figure that is missing has no ratio; `note` says why."""
        ratio = None
        if ours and theirs and math.isfinite(ours) and math.isfinite(theirs):
            ratio = theirs / ours if less else ours / theirs
        line = {"suite": self.suite, "case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "recall": recall, "ratio": ratio, "goal": goal}
        self.lines.append({**line, **({"note": note} if note else {})})
        print(shown(self.lines[-1]), flush=True)

    def limit(self, case, ours, limit, *, unit="", recall=None, less=False, note="") -> None:
        """A figure with a goal of its own, whatever peers do."""
        self.line(case, ours, limit, peer="goal", unit=unit, recall=recall, goal=1.0, less=less, note=note)

    def curve(self, plot: str, series: str, points: list[tuple], x: str, y: str, kind: str = "recall", panel: str = "") -> None:
        drawn = self.curves.setdefault(plot, {"kind": kind, "x": x, "y": y, "panels": {}})
        drawn["panels"].setdefault(panel or plot, {})[series] = points

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(self.lines, indent=1) + "\n")
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


def figure(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
