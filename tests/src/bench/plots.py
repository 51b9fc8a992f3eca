"""Draws what a run measured: recall against queries per second, cost against size."""
from pathlib import Path

OURS = "#c2410c"
PEERS = ("#1d4ed8", "#0f766e", "#7c3aed", "#64748b", "#b45309", "#be185d", "#15803d")


def draw(curves: dict[str, dict], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    # The same curves give the same files.
    matplotlib.rcParams["svg.hashsalt"] = "quiver"
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in curves.items():
        figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
        colours = iter(PEERS * 2)
        for number, (series, points) in enumerate(plot["series"].items()):
            ours = series.startswith("quiver") or plot["kind"] == "loglog"
            style = {"color": OURS, "lw": 2.2, "ls": "--" if number and ours else "-"} if ours else {"color": next(colours), "lw": 1.2}
            axes.plot(*zip(*points), marker="o", ms=4 if ours else 3, label=series, zorder=3 if ours else 2, **style)
        axes.set_yscale("log")
        if plot["kind"] == "loglog":
            axes.set_xscale("log")
        else:
            lowest = max(0.8, min(x for points in plot["series"].values() for x, _ in points))
            axes.set_xlim(lowest, 1.001)
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(title=name, xlabel=plot["x"], ylabel=plot["y"])
        axes.grid(alpha=0.3, which="both", lw=0.5)
        axes.legend(fontsize=8, framealpha=0.9)
        figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)
