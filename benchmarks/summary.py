"""Writes the figures of a run from ``results.csv`` into ``docs/performance.rst``: ``python -m benchmarks.summary``."""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pages import fill, render_table
from benchmarks.peers import HERE, OURS, PEERS, ROOT, title_of
from benchmarks.report import MISSED, count_reached, format_value, target_header, target_rows
from benchmarks.targets import TARGETS, Medians, peers_by_column

RESULTS = HERE / "results.csv"
PAGE = ROOT / "docs" / "performance.rst"
BLOCK = "figures"
COMMAND = "make bench"
ROUNDS = 5
"""Of how many rounds a median has to be before a target is judged by it."""

Row = Mapping[str, str]


class NothingMeasured(Exception):
    """Raised when a results file holds nothing that a target is about."""


@dataclass(frozen=True)
class Run:
    """The rows that one run of the benchmark has written."""

    rows: Sequence[Row]

    @property
    def medians(self) -> Medians:
        """What it measured."""
        return {(row["scenario"], row["peer"], row["metric"]): float(row["value"]) for row in self.rows}

    @property
    def rounds(self) -> int:
        """The fewest rounds of any of its medians."""
        return min(int(row["repetitions"]) for row in self.rows)

    @property
    def coverage(self) -> int:
        """How many figures of the table of targets it has."""
        known = self.medians
        return sum((target.scenario, peer.name, target.name) in known for target in TARGETS for peer in PEERS)

    def facts(self, peer: str) -> Row:
        """Give a row of a peer: it says when, where and with what it was measured; empty where it was not."""
        return next((row for row in self.rows if row["peer"] == peer), {})


def read_runs(path: Path) -> list[Run]:
    """Give the runs of a results file in their order."""
    runs: dict[tuple[str, ...], list[Row]] = {}
    with open(path, newline="") as source:
        for row in csv.DictReader(source):
            runs.setdefault((row["date"], row["commit"], row["machine"]), []).append(row)
    return [Run(rows) for rows in runs.values()]


def choose_run(runs: Sequence[Run]) -> Run:
    """Give the run to show: of enough rounds, then the one with most of the figures, then the last.

    Raises:
        NothingMeasured: No run has any figure.
    """
    known = [run for run in runs if run.coverage]
    if not known:
        raise NothingMeasured(f"there is no run to show; {COMMAND} makes one")
    return max(reversed(known), key=lambda run: (run.rounds >= ROUNDS, run.coverage))


def render(run: Run) -> str:
    """Give the block of the page: what was measured on what, ratios next to targets, and the figures themselves."""
    medians = run.medians
    against = [[cell.replace(MISSED, f"**{MISSED.lower()}**") for cell in row] for row in target_rows(medians)]
    return "\n\n".join(
        [
            _where(run),
            render_table(target_header(), against),
            count_reached(medians),
            "The figures themselves:",
            render_table(["", "unit", OURS, *peers_by_column()], _figure_rows(medians)),
            "\n".join(_versions(run)),
        ]
    )


def _where(run: Run) -> str:
    facts = run.rows[0]
    return (
        f"Measured on {facts['date'][:10]} at commit ``{facts['commit']}``: {facts['machine']}, {facts['cores']} cores "
        f"for services,\nclients and broker together; {facts['broker']}; medians of {run.rounds} rounds, "
        f"{facts['seconds']} s a measurement."
    )


def _figure_rows(medians: Medians) -> list[list[str]]:
    rows = []
    for target in TARGETS:
        cells = [_first_known([target.value(medians, target.ours)])]
        cells += [_first_known(target.value(medians, peer) for peer in peers) for peers in peers_by_column().values()]
        rows.append([target.title, target.metric.unit, *cells])
    return rows


def _first_known(values: Iterable[float | None]) -> str:
    return next((format_value(value) for value in values if value is not None), "")


def _versions(run: Run) -> list[str]:
    measured = [(peer.name, run.facts(peer.name)) for peer in PEERS]
    return [f"* {title_of(name)}: Python {facts['python']}; {facts['versions']}" for name, facts in measured if facts]


def write_summary(results: Path = RESULTS, page: Path = PAGE) -> None:
    """Write the block of the page from a results file.

    Raises:
        MarksMissing: The page has no place for it.
        NothingMeasured: The results file has no run to show.
    """
    block = render(choose_run(read_runs(results)))
    page.write_text(fill(page.read_text(encoding="utf-8"), BLOCK, COMMAND, block), encoding="utf-8")


if __name__ == "__main__":
    write_summary()
    print(f"wrote {PAGE}", file=sys.stderr)
