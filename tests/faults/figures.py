"""Shows the figures that the scenarios have left: ``python tests/faults/figures.py FILE``, for ``make faults``."""

import json
import sys
from pathlib import Path
from typing import Any


def table(lines: list[str]) -> str:
    """Give the figures of each scenario, which are a line of JSON each, below its name."""
    return "\n".join(_entry(json.loads(line)) for line in lines)


def _entry(figures: dict[str, Any]) -> str:
    name = figures.pop("scenario").removeprefix("test_")
    width = max(map(len, figures), default=0)
    return "\n".join([name, *(f"    {key:<{width}}  {_text(value)}" for key, value in figures.items())])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items()) or "-"
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    report = Path(sys.argv[1])
    if report.exists():
        print(table(report.read_text().splitlines()))
