"""Shows the figures that scenarios have left: ``python tests/faults/figures.py REPORT [TABLE]``, for ``make faults``.

With TABLE they are written to that file too, as CSV: ``docs/faults.csv`` is what docs/reliability.rst shows.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

COUNTED = {
    "sent": "events sent",
    "acknowledged": "acknowledged",
    "handled": "handled",
    "lost": "lost",
    "twice": "twice",
    "calls": "calls",
    "answered": "answered",
    "failed": "failed",
    "called_twice": "run twice",
}
"""The figures that have a column of their own, with its title; the last column has the others."""


def listing(lines: Iterable[str]) -> str:
    """Give the figures of each scenario, which are a line of JSON each, below its name."""
    return "\n".join(_entry(*_scenario(line)) for line in lines)


def table(lines: Iterable[str]) -> str:
    """Give the figures as CSV, a row for each scenario."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["scenario", *COUNTED.values(), "further figures"])
    for line in lines:
        name, figures = _scenario(line)
        counted = [figures.pop(key, "") for key in COUNTED]
        further = "; ".join(_named(key, value) for key, value in figures.items() if value not in ({}, []))
        writer.writerow([name.replace("_", " "), *counted, further])
    return file.getvalue()


def _scenario(line: str) -> tuple[str, dict[str, Any]]:
    figures = json.loads(line)
    return figures.pop("scenario").removeprefix("test_"), figures


def _entry(name: str, figures: dict[str, Any]) -> str:
    width = max(map(len, figures), default=0)
    return "\n".join([name, *(f"    {key:<{width}}  {_text(value)}" for key, value in figures.items())])


def _named(key: str, value: Any) -> str:
    # Why calls failed is named by the errors themselves.
    return _text(value) if key == "why" else f"{key.replace('_', ' ')}: {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    report = Path(sys.argv[1])
    if report.exists():
        found = report.read_text().splitlines()
        print(listing(found))
        for name in sys.argv[2:]:
            Path(name).write_text(table(found))
