"""Draws the curves of a run; needs matplotlib, which only this module imports."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.growth_curves import CALLS, CPU, CURVES, P99, Curve, Measure
from benchmarks.growth_figures import Run

DRAWN = (CALLS, P99, CPU)


def plot_name(curve: Curve) -> str:
    """Give the file name of a curve's plot."""
    return f"growth-{curve.name}.png"


def draw_all(run: Run, folder: Path) -> list[Path]:
    """Draw every curve that was measured; gives the files."""
    return [draw(run, curve, folder) for curve in CURVES if run.points(curve)]


def draw(run: Run, curve: Curve, folder: Path) -> Path:
    """Draw one curve: the median of each point, and from the lowest to the highest of the rounds behind it."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    figure.suptitle(curve.title)
    for axis, measure in zip(figure.subplots(1, len(DRAWN)), DRAWN, strict=True):
        _draw_measure(axis, run, curve, measure)
    path = folder / plot_name(curve)
    # What tells that a plot and a table are of the same run.
    comment = {"Comment": f"{run.facts['date']} {run.facts['commit']}"}
    FigureCanvasAgg(figure).print_figure(path, dpi=100, format="png", metadata=comment)
    return path


def _draw_measure(axis: Any, run: Run, curve: Curve, measure: Measure) -> None:
    points = [point for point in run.points(curve) if run.rounds(curve, point, measure)]
    rounds = [run.rounds(curve, point, measure).values() for point in points]
    axis.fill_between(points, [min(values) for values in rounds], [max(values) for values in rounds], alpha=0.2)
    axis.plot(points, [run.median(curve, point, measure) for point in points], marker="o")
    axis.set_xscale("log")
    if curve.name == "payload":
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.set_xlabel(curve.axis)
    axis.set_title(f"{measure.name}, {measure.unit}", fontsize="medium")
    axis.grid(alpha=0.3)
