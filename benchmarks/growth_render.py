"""Writes the figures of a run as tables into the documentation, between marks, so that none is typed."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

from benchmarks.growth_curves import CURVES, SHOWN, SLOPES, Curve, Limit, Measure
from benchmarks.growth_figures import Change, Run
from benchmarks.pages import fill, render_table

COMMAND = "make bench-growth"
"""What the marks of a block say that it is written by."""
WIDTH = 118


def page_blocks(run: Run) -> dict[str, str]:
    """Give all blocks of the page on growth, by name."""
    blocks = {"run": describe(run), "limits": limits_table(run), "slopes": slopes_table(run)}
    return blocks | {curve.name: points_table(run, curve) for curve in CURVES}


def describe(run: Run) -> str:
    """Say when, where and with what was measured."""
    facts = run.facts
    text = (
        f"Measured on {facts['date'][:10]} at commit ``{facts['commit']}``: {facts['machine']}, {facts['cores']} cores "
        f"for service, client and broker together; {facts['broker']}, Python {facts['python']}, {facts['versions']}; "
        f"{facts['seconds']} s a measurement; rounds: {run.round_count}. "
        f"{describe_others(run)}"
    )
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def describe_others(run: Run) -> str:
    """Say how much else the machine had to do."""
    if run.others is None:
        return "What else the machine did is not known."
    return (
        f"Other programs used {run.others:.2g} cores meanwhile; {run.quiet_share} measurements had the machine to "
        "themselves."
    )


def limits_table(run: Run) -> str:
    """Give each limit, what was measured, and whether it is kept."""
    rows = []
    for curve in CURVES:
        for limit in curve.limits:
            change = run.change(curve, limit.measure, limit.first, limit.last)
            where = f"{limit.measure.name}, from {limit.first:,} to {limit.last:,} {curve.axis}"
            rows.append([where, f"{limit.change:+.0%}", *_outcome(limit, change)])
    return render_table(["", "limit", "measured", "in the rounds", "rounds", ""], rows)


def _outcome(limit: Limit, change: Change | None) -> list[str]:
    if change is None:
        return ["not measured", "", "", ""]
    extremes = f"{change.lowest:+.0%} to {change.highest:+.0%}"
    return [
        f"{change.median:+.1%}",
        extremes,
        str(change.rounds),
        "kept" if limit.is_kept(change.median) else "**missed**",
    ]


def slopes_table(run: Run) -> str:
    """Give how much each measure changes with each step of each curve."""
    rows = [
        [f"{curve.step:,} {curve.axis}", *(format_slope(run.slope(curve, measure)) for measure in SLOPES)]
        for curve in CURVES
    ]
    return render_table(["for each", *map(_heading, SLOPES)], rows)


def points_table(run: Run, curve: Curve) -> str:
    """Give what was measured at each point of a curve."""
    rows = [
        [f"{point:,}", *(format_value(run.median(curve, point, measure)) for measure in SHOWN)]
        for point in run.points(curve)
    ]
    return render_table([curve.axis, *map(_heading, SHOWN)], rows) if rows else "Not measured."


def _heading(measure: Measure) -> str:
    return f"{measure.name}, {measure.unit}"


def format_value(value: float | None) -> str:
    """Give a value with three significant digits or all of its whole digits; "-" for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def format_slope(value: float | None) -> str:
    """Give a slope with its sign and two significant digits; "-" for none."""
    if value is None:
        return "-"
    return f"{value:+,.0f}" if abs(value) >= 100 else f"{value:+.2g}"


def fill_page(page: str, blocks: Mapping[str, str]) -> str:
    """Give a page with what is between the marks of each block replaced.

    Raises:
        MarksMissing: The page has no marks for a block.
    """
    for name, text in blocks.items():
        page = fill(page, name, COMMAND, text)
    return page


def write_page(path: Path, blocks: Mapping[str, str]) -> None:
    """Write blocks into a page.

    Raises:
        MarksMissing: The page has no marks for one.
    """
    path.write_text(fill_page(path.read_text(encoding="utf-8"), blocks), encoding="utf-8")
