"""What ``make faults`` shows in the end, and what the documentation has of it."""

import csv
import json
import re
from pathlib import Path

from figures import listing, table

HERE = Path(__file__).parent
DOCUMENTED = HERE.parents[1] / "docs" / "faults.csv"

LINES = [
    json.dumps({"scenario": "test_nothing_is_lost[cut]", "sent": 3, "why": {"Timeout": 2}, "in_work": [1, 2]}),
    json.dumps({"scenario": "test_more", "why": {}, "longest_call": 0.12345}),
]


def test_each_scenario_has_its_figures_below_its_name() -> None:
    assert listing(LINES).splitlines() == [
        "nothing_is_lost[cut]",
        "    sent     3",
        "    why      Timeout: 2",
        "    in_work  1, 2",
        "more",
        "    why           -",
        "    longest_call  0.123",
    ]


def test_each_scenario_is_a_row_of_the_table() -> None:
    title, first, second = csv.reader(table(LINES).splitlines())
    assert title[:2] == ["scenario", "events sent"]
    assert first == ["nothing is lost[cut]", "3", *[""] * 8, "Timeout: 2; in work: 1, 2"]
    assert second == ["more", *[""] * 9, "longest call: 0.123"]


def test_the_documentation_has_a_row_for_each_scenario_that_reports_figures() -> None:
    reported = set()
    for path in HERE.glob("test_*.py"):
        for function in re.split(r"\n(?=def )", path.read_text()):
            if (name := re.match(r"def test_(\w+)", function)) and re.search(r"\breport\(", function):
                reported.add(name[1].replace("_", " "))
    with DOCUMENTED.open(newline="") as file:
        rows = {row["scenario"].partition("[")[0]: row for row in csv.DictReader(file)}
    assert rows.keys() == reported
    assert {row["lost"] for row in rows.values()} <= {"", "0"}
