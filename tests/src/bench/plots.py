"""Draws what a run measured: recall against queries per second, cost against size."""
import math
from pathlib import Path

OURS = "#c2410c"
REFERENCE = "#64748b"
PEERS = ("#1d4ed8", "#0f766e", "#7c3aed", "#64748b", "#b45309", "#be185d", "#15803d")
# Recall is drawn by what is missing from 1, on a logarithmic scale, where curves are told apart.
TICKS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
LOWEST, HIGHEST = 0.8, 0.9995


def draw(curves: dict[str, dict], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    # The same curves give the same files.
    matplotlib.rcParams["svg.hashsalt"] = "quiver"
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in curves.items():
        count = len(plot["panels"])
        columns = math.ceil(math.sqrt(count))
        lines = math.ceil(count / columns)
        size = (7.5, 4.8) if count == 1 else (3.6 * columns, 2.8 * lines)
        figure, grid = pyplot.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
        for axes in grid.flat[count:]:
            axes.set_visible(False)
        for axes, (title, series) in zip(grid.flat, plot["panels"].items()):
            panel(axes, title, series, plot["kind"])
        figure.supxlabel(plot["x"], fontsize=9)
        figure.supylabel(plot["y"], fontsize=9)
        grid.flat[0].legend(fontsize=8, framealpha=0.9)
        figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)


def panel(axes, title: str, series: dict[str, list[tuple]], kind: str) -> None:
    # What is drawn for comparison has the dashes of what it is compared with, but no points.
    colours, dashes, last = iter(PEERS * 2), iter(("-", "--") * 2), "-"
    for name, points in series.items():
        if not points:
            continue
        if name.endswith("log n"):
            style = {"color": REFERENCE, "lw": 1.4, "ls": last, "marker": ""}
        elif name.startswith("quiver") or kind == "size":
            last = next(dashes)
            style = {"color": OURS, "lw": 2.2, "ls": last, "marker": "o", "ms": 4, "zorder": 3}
        else:
            style = {"color": next(colours), "lw": 1.2, "marker": "o", "ms": 3}
        x, y = zip(*points)
        axes.plot([missing(r) for r in x] if kind == "recall" else x, y, label=name, **style)
    axes.set_yscale("log")
    if kind == "recall":
        axes.set_xticks([missing(r) for r in TICKS], [f"{r:g}" for r in TICKS], fontsize=7)
        axes.set_xlim(missing(LOWEST), missing(HIGHEST) + 0.05)
    else:
        axes.set_xscale("log")
    axes.tick_params(labelsize=7, which="both")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3, which="both", lw=0.5)


def missing(recall: float) -> float:
    return -math.log10(1 - min(recall, HIGHEST))
