"""Medians, ratios, the table and the CSV file."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.catalogue import GOAL_PEER, Metric, Scenario

OURS = "rpcservice"
CSV_FIELDS = (
    "date",
    "commit",
    "machine",
    "cores",
    "broker",
    "python",
    "versions",
    "peer",
    "scenario",
    "metric",
    "unit",
    "value",
    "repetitions",
    "seconds",
)


@dataclass
class Results:
    """Every value that was measured, by scenario, peer and metric, and why some are missing."""

    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, scenario: str, peer: str, figures: Mapping[str, float]) -> None:
        """Add the figures of one repetition."""
        for metric, value in figures.items():
            self.values.setdefault((scenario, peer, metric), []).append(value)

    def note(self, text: str) -> None:
        """Add a remark for below the table, once."""
        if text not in self.notes:
            self.notes.append(text)

    def median(self, scenario: str, peer: str, metric: str) -> float | None:
        """Give the median over the repetitions, or None where nothing was measured."""
        values = self.values.get((scenario, peer, metric))
        return statistics.median(values) if values else None

    def ratio(self, scenario: str, peer: str, metric: str) -> float | None:
        """Give rpcservice's median divided by a peer's, or None where one is missing or zero."""
        ours, theirs = self.median(scenario, OURS, metric), self.median(scenario, peer, metric)
        return ours / theirs if ours is not None and theirs else None


def render_table(results: Results, scenarios: Sequence[Scenario], peers: Sequence[str]) -> str:
    """Give the table as text: medians of every peer, then rpcservice's ratio to each other peer, then the goal."""
    others = [peer for peer in peers if peer != OURS] if OURS in peers else []
    header = ["", "unit", *peers, *(f"/ {peer}" for peer in others), "goal"]
    rows: list[list[str]] = []
    for scenario in scenarios:
        rows.append([scenario.title])
        for metric in scenario.metrics:
            medians = [results.median(scenario.name, peer, metric.name) for peer in peers]
            if any(median is not None for median in medians):
                ratios = [results.ratio(scenario.name, peer, metric.name) for peer in others]
                goal = describe_goal(results, scenario, metric)
                cells = [*map(format_value, medians), *map(format_ratio, ratios), goal]
                rows.append([f"  {metric.name}", metric.unit, *cells])
        if len(rows[-1]) == 1:
            rows[-1] = [f"{scenario.title}: not measured"]
    lines = _align([header, *rows])
    lines += ["", f"Ratios are {OURS}'s median divided by the peer's.", *(f"! {note}" for note in results.notes)]
    return "\n".join(lines)


def format_value(value: float | None) -> str:
    """Give a value with three significant digits or all of its whole digits; "-" for none."""
    if value is None:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def format_ratio(ratio: float | None) -> str:
    """Give a ratio as "6.1x"; "-" for none."""
    if ratio is None:
        return "-"
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def describe_goal(results: Results, scenario: Scenario, metric: Metric) -> str:
    """Give a metric's goal, against nameko or on its own, and whether it is reached; "" where there is none."""
    if metric.goal is not None:
        wanted, what = metric.goal, f"{metric.goal:g}x {GOAL_PEER}"
        value = results.ratio(scenario.name, GOAL_PEER, metric.name)
    elif metric.bound is not None:
        wanted, what = metric.bound, f"{metric.bound:g} {metric.unit}".rstrip()
        value = results.median(scenario.name, OURS, metric.name)
    else:
        return ""
    text = f"{'>=' if metric.higher_is_better else '<='} {what}"
    if value is None:
        return text
    return f"{text}: {'reached' if metric.is_reached(value, wanted) else 'MISSED'}"


def csv_rows(
    results: Results, scenarios: Sequence[Scenario], peers: Sequence[str], facts: Mapping[str, Mapping[str, str]]
) -> list[dict[str, str]]:
    """Give a row for each median.

    Args:
        results: What was measured.
        scenarios: The scenarios, in order.
        peers: The peers, in order.
        facts: By peer, the fields that say when, where and with what: date, machine, versions ...
    """
    rows = []
    for scenario in scenarios:
        for metric in scenario.metrics:
            for peer in peers:
                median = results.median(scenario.name, peer, metric.name)
                if median is None:
                    continue
                count = len(results.values[scenario.name, peer, metric.name])
                figure = {"metric": metric.name, "unit": metric.unit, "value": f"{median:.6g}"}
                where = {"peer": peer, "scenario": scenario.name, "repetitions": str(count)}
                rows.append({**facts[peer], **where, **figure})
    return rows


def append_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Append rows to a CSV file, with the field names first where the file is new."""
    is_new = not path.exists()
    with open(path, "a", newline="") as target:
        writer = csv.DictWriter(target, CSV_FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad the columns; rows of one cell are headings and count for no width."""
    full = [row for row in rows if len(row) > 1]
    widths = [max(len(row[column]) for row in full) for column in range(len(full[0]))]
    lines = []
    for row in rows:
        if len(row) == 1:
            lines += ["", row[0]]
            continue
        # Names to the left, figures to the right, the goal to the left again.
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(row[2:-1], widths[2:-1], strict=True)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines
