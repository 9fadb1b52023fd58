"""What ``make faults`` shows in the end."""

import json

from figures import table


def test_each_scenario_has_its_figures_below_its_name() -> None:
    lines = [
        json.dumps({"scenario": "test_nothing_is_lost[cut]", "sent": 3, "why": {"Timeout": 2}, "in_work": [1, 2]}),
        json.dumps({"scenario": "test_more", "why": {}}),
    ]
    assert table(lines).splitlines() == [
        "nothing_is_lost[cut]",
        "    sent     3",
        "    why      Timeout: 2",
        "    in_work  1, 2",
        "more",
        "    why  -",
    ]
