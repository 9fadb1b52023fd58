"""Medians, ratios, the tables and the CSV file."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.catalogue import Scenario
from benchmarks.peers import OURS, title_of
from benchmarks.targets import TARGETS, Limit, Medians, Target, peers_by_column

MISSED = "MISSED"
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

    def medians(self) -> Medians:
        """Give all medians."""
        return {key: statistics.median(values) for key, values in self.values.items()}

    def ratio(self, scenario: str, peer: str, metric: str) -> float | None:
        """Give rpcservice's median divided by a peer's, or None where one is missing or zero."""
        ours, theirs = self.median(scenario, OURS, metric), self.median(scenario, peer, metric)
        return ours / theirs if ours is not None and theirs else None


def render_table(results: Results, scenarios: Sequence[Scenario], peers: Sequence[str]) -> str:
    """Give all medians as text, with rpcservice's ratio to each other peer in brackets."""
    header = ["", "unit", *map(title_of, peers)]
    rows: list[list[str]] = []
    for scenario in scenarios:
        rows.append([scenario.title])
        for metric in scenario.metrics:
            cells = [_median_cell(results, scenario.name, peer, metric.name, OURS in peers) for peer in peers]
            if any(cells):
                rows.append([f"  {metric.name}", metric.unit, *cells])
        if len(rows[-1]) == 1:
            rows[-1] = [f"{scenario.title}: not measured"]
    lines = _align([header, *rows])
    lines += ["", f"In brackets: {OURS}'s median divided by the peer's.", *(f"! {note}" for note in results.notes)]
    return "\n".join(lines)


def _median_cell(results: Results, scenario: str, peer: str, metric: str, with_ratio: bool) -> str:
    median, ratio = results.median(scenario, peer, metric), results.ratio(scenario, peer, metric)
    if median is None:
        return ""
    shown = format_value(median)
    return shown if peer == OURS or ratio is None or not with_ratio else f"{shown} ({format_ratio(ratio)})"


def render_targets(medians: Medians, scenarios: Sequence[Scenario]) -> str:
    """Give the table of targets as text: rpcservice's figures, its ratio to every peer, and what falls short.

    Args:
        medians: What was measured.
        scenarios: What was to be measured: the rows of others are left out.
    """
    names = [scenario.name for scenario in scenarios]
    targets = [target for target in TARGETS if target.scenario in names]
    lines = _align([target_header(), *target_rows(medians, targets)])
    return "\n".join([*lines, "", count_reached(medians, targets)])


def target_header() -> list[str]:
    """Give the heads of the columns of the table of targets."""
    return ["", OURS, *(f"/ {column}" for column in peers_by_column())]


def target_rows(medians: Medians, targets: Sequence[Target] = TARGETS) -> list[list[str]]:
    """Give the cells of the table of targets, a row for each target."""
    rows = []
    for target in targets:
        cells = [_own_cell(target, medians)]
        cells += [_ratio_cell(target, medians, peers) for peers in peers_by_column().values()]
        rows.append([target.title, *cells])
    return rows


def count_reached(medians: Medians, targets: Sequence[Target] = TARGETS) -> str:
    """Say how many limits are reached, how many are missed, and how many could not be judged."""
    verdicts = [limit.is_reached for target in targets for limit in target.limits(medians)]
    if not verdicts:
        return "No limits."
    counts = {"reached": True, "missed": False, "not measured": None}
    named = [f"{verdicts.count(verdict)} {name}" for name, verdict in counts.items() if verdict in verdicts]
    return f"Of {len(verdicts)} limits: {', '.join(named)}."


def _own_cell(target: Target, medians: Medians) -> str:
    limit = target.own(medians)
    shown = format_value(limit.value) + (f" {target.metric.unit}".rstrip() if limit.value is not None else "")
    return _with_limit(limit, shown, format_value(limit.wanted), target)


def _ratio_cell(target: Target, medians: Medians, peers: Sequence[str]) -> str:
    for peer in peers:
        limit = target.against(medians, peer)
        if limit.value is not None or limit.wanted is not None:
            return _with_limit(limit, format_ratio(limit.value), f"{limit.wanted or 0:g}x", target)
    return ""


def _with_limit(limit: Limit, shown: str, wanted: str, target: Target) -> str:
    if limit.wanted is None:
        return shown
    sign = ">=" if target.metric.higher_is_better else "<="
    return f"{shown} ({sign} {wanted})" + (f" {MISSED}" if limit.is_reached is False else "")


def format_value(value: float | None) -> str:
    """Give a value with three significant digits or all of its whole digits; "-" for none."""
    if value is None:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def format_ratio(ratio: float | None) -> str:
    """Give a ratio as "6.12x", with the digits that a limit may turn on; "-" for none."""
    if ratio is None:
        return "-"
    digits = 3 if ratio < 1 else 2 if ratio < 10 else 1
    return f"{ratio:.{digits}f}x"


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
        # Names to the left, figures to the right.
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return lines
