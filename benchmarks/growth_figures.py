"""The file of what was measured, and what follows from it: medians, slopes, changes, and whether limits are kept."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.growth_curves import Curve, Limit, Measure

FACTS = ("date", "commit", "machine", "cores", "broker", "python", "versions", "seconds")
FIGURES = ("calls", "p50", "p99", "service_cpu", "client_cpu", "broker_cpu", "others")
QUIET = 0.2
"""A machine on which other programs use fewer cores is quiet: what is measured on it can be compared."""
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
    """How a measure has changed between two points, as a share: the median over so many rounds, and the extremes."""

    median: float
    lowest: float
    highest: float
    rounds: int


def is_quiet(row: Row) -> bool:
    """Say whether other programs left the machine alone; so it is taken to be where that is not known."""
    return float(row.get("others") or 0) < QUIET


def _figures(rows: Iterable[Row], measure: Measure) -> dict[str, float]:
    return {row["round"]: measure.of(sum(float(row[name]) for name in measure.fields)) for row in rows}


def _shares(before: Mapping[str, float], after: Mapping[str, float]) -> list[float]:
    return [after[number] / before[number] - 1 for number in before if number in after]


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

    @property
    def quiet_share(self) -> str:
        """How many of the measurements had the machine to themselves."""
        return f"{sum(map(is_quiet, self._rows))} of {len(self._rows)}"

    def points(self, curve: Curve) -> list[int]:
        """Give the values of the points that were measured, in their order."""
        return sorted({int(row["point"]) for row in self._rows if row["curve"] == curve.name})

    def rounds(self, curve: Curve, point: int, measure: Measure) -> dict[str, float]:
        """Give what was measured at a point, by round: in the quiet ones, or in all where none was quiet."""
        rows = self._rows_at(curve, point, measure)
        return _figures([row for row in rows if is_quiet(row)] or rows, measure)

    def _rows_at(self, curve: Curve, point: int, measure: Measure) -> list[Row]:
        """Give the rows of a point that hold all fields of a measure."""
        rows = [row for row in self._rows if row["curve"] == curve.name and int(row["point"]) == point]
        return [row for row in rows if all(row[name] for name in measure.fields)]

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
        """Give how a measure changes from one point to another within the same round; None where one is missing.

        Where there are rounds that were quiet at both points, they alone count.
        """
        before, after = self._rows_at(curve, first, measure), self._rows_at(curve, last, measure)
        quiet = ([row for row in rows if is_quiet(row)] for rows in (before, after))
        shares = _shares(*(_figures(rows, measure) for rows in quiet))
        shares = shares or _shares(_figures(before, measure), _figures(after, measure))
        return Change(statistics.median(shares), min(shares), max(shares), len(shares)) if shares else None

    def verdict(self, curve: Curve, limit: Limit) -> bool | None:
        """Say whether a limit is kept; None where it was not measured."""
        change = self.change(curve, limit.measure, limit.first, limit.last)
        return None if change is None else limit.is_kept(change.median)
