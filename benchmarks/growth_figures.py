"""The file of what was measured, and what follows from it: medians, slopes, changes, and whether limits are kept."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.growth_curves import Curve, Limit, Measure

FACTS = ("date", "commit", "machine", "cores", "broker", "python", "versions", "seconds")
FIGURES = ("calls", "p50", "p99", "service_cpu", "client_cpu", "broker_cpu", "others")
FIELDS = (*FACTS, "curve", "point", "round", *FIGURES)

Row = Mapping[str, str]


class NothingMeasured(Exception):
    """Raised when a file holds no measurement; the message names the command that makes some."""


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows to a CSV file, with the field names first where the file is new."""
    is_new = not path.exists()
    with open(path, "a", newline="") as target:
        writer = csv.DictWriter(target, FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def read_latest(path: Path) -> "Run":
    """Give the last run of a CSV file.

    Raises:
        NothingMeasured: There is none.
    """
    rows: list[Row] = []
    if path.exists():
        with open(path, newline="") as source:
            rows = list(csv.DictReader(source))
    if not rows:
        raise NothingMeasured(f"{path} holds no measurement; make bench-growth makes one")
    return Run([row for row in rows if row["date"] == rows[-1]["date"]])


@dataclass(frozen=True)
class Change:
    """How a measure has changed between two points, as a share: the median over the rounds, and the extremes."""

    median: float
    lowest: float
    highest: float


class Run:
    """One run: a row for each round of each point.

    Attributes:
        facts: When, where and with what it was measured, by the names of the CSV fields.
        round_count: Its rounds.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.facts = {name: rows[0][name] for name in FACTS}
        self.round_count = len({row["round"] for row in rows})
        self._rows = rows

    @property
    def others(self) -> float | None:
        """The cores that other programs have used meanwhile, on average; None where that is not known."""
        known = [float(row["others"]) for row in self._rows if row.get("others")]
        return statistics.mean(known) if known else None

    def points(self, curve: Curve) -> list[int]:
        """Give the values of the points that were measured, in their order."""
        return sorted({int(row["point"]) for row in self._rows if row["curve"] == curve.name})

    def rounds(self, curve: Curve, point: int, measure: Measure) -> dict[str, float]:
        """Give what was measured at a point, by round; nothing where a figure is missing."""
        found = {}
        for row in self._rows:
            if row["curve"] == curve.name and int(row["point"]) == point and all(row[name] for name in measure.fields):
                found[row["round"]] = measure.of(sum(float(row[name]) for name in measure.fields))
        return found

    def median(self, curve: Curve, point: int, measure: Measure) -> float | None:
        """Give the median over the rounds, or None where nothing was measured."""
        values = self.rounds(curve, point, measure).values()
        return statistics.median(values) if values else None

    def slope(self, curve: Curve, measure: Measure) -> float | None:
        """Give how much a measure changes with each step of the curve, by least squares; None for too few points."""
        medians = {point: self.median(curve, point, measure) for point in self.points(curve) if point >= curve.base}
        known = {point: median for point, median in medians.items() if median is not None}
        if len(known) < 2:
            return None
        return statistics.linear_regression(list(known), list(known.values())).slope * curve.step

    def change(self, curve: Curve, measure: Measure, first: int, last: int) -> Change | None:
        """Give how a measure changes from one point to another within the same round; None where one is missing."""
        before, after = self.rounds(curve, first, measure), self.rounds(curve, last, measure)
        shares = [after[number] / before[number] - 1 for number in before if number in after]
        return Change(statistics.median(shares), min(shares), max(shares)) if shares else None

    def verdict(self, curve: Curve, limit: Limit) -> bool | None:
        """Say whether a limit is kept; None where it was not measured."""
        change = self.change(curve, limit.measure, limit.first, limit.last)
        return None if change is None else limit.is_kept(change.median)
