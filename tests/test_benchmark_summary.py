"""The table of targets, and its place in the documentation: made from the results file, never typed."""

import csv
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.catalogue import SCENARIOS, choose_scenarios  # noqa: E402
from benchmarks.pages import MarksMissing, fill, render_table  # noqa: E402
from benchmarks.peers import PEERS  # noqa: E402
from benchmarks.report import CSV_FIELDS, count_reached, render_targets, target_rows  # noqa: E402
from benchmarks.summary import (  # noqa: E402
    PAGE,
    RESULTS,
    NothingMeasured,
    Run,
    choose_run,
    read_runs,
    render,
    write_summary,
)
from benchmarks.targets import TARGETS, Target, peers_by_column  # noqa: E402

RATE = Target("calls", "rpc-50", "calls", {"nameko": 6, "pyamqp": 1.4}, bound=5000)
LATENCY = Target("p50", "rpc-sequential", "p50", {"nameko": 0.5}, bound=0.2)


def row(date: str, metric: str = "calls", value: float = 9000, repetitions: int = 5, peer: str = "rpcservice") -> dict:
    facts = {"date": date, "commit": "abc", "machine": "a computer", "cores": "2", "broker": "RabbitMQ 3"}
    more = {"python": "3.11", "versions": f"{peer} 1; kombu 2", "unit": "1/s", "seconds": "1.5", "peer": peer}
    return {**facts, **more, "scenario": "rpc-50", "metric": metric, "value": value, "repetitions": repetitions}


def write_results(path: Path, rows: list[dict]) -> Path:
    with open(path, "w", newline="") as target:
        writer = csv.DictWriter(target, CSV_FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_targets_are_those_that_were_set() -> None:
    ratios = {(target.scenario, target.name): dict(target.ratios) for target in TARGETS if target.ratios}
    bounds = {(target.scenario, target.name): target.bound for target in TARGETS if target.bound is not None}
    assert ratios == {
        ("rpc-50", "calls"): {"nameko": 9, "faststream": 12, "aiopika": 4.5, "pyamqp": 1.4},
        ("rpc-50-10kb", "calls"): {"nameko": 7, "faststream": 8, "aiopika": 3, "pyamqp": 1.2},
        ("rpc-sequential", "p50"): {"nameko": 0.45, "faststream": 0.45, "aiopika": 0.7, "pyamqp": 1.2},
        ("rpc-50", "service + client CPU"): {"nameko": 0.15, "faststream": 0.12, "aiopika": 0.25, "pyamqp": 0.9},
        ("rpc-50", "broker CPU"): {"nameko": 0.12},
        ("events-handled", "events"): {"nameko": 3, "faststream": 4, "aiopika": 2, "pyamqp": 1.2},
        ("publish-50", "events"): {"nameko": 15, "faststream": 4, "aiopika": 3},
        ("http", "requests"): {"nameko": 1.8, "wsgi": 0.6},
        ("http", "p99"): {"nameko": 1},
        ("startup", "RSS"): {"nameko": 1},
        ("startup", "start"): {"nameko": 1},
    }
    assert bounds == {
        ("many-services", "AMQP connections"): 1,
        ("many-services", "stop"): 1000,
        ("memory", "p50"): 0.12,
        ("memory", "calls"): 12_000,
    }


def test_every_target_is_measured_against_peers_that_take_part() -> None:
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    peers = {peer.name: peer for peer in PEERS}
    for target in TARGETS:
        assert target.name in [metric.name for metric in scenarios[target.scenario].metrics]
        assert all(peers[name].takes_part_in(scenarios[target.scenario]) for name in target.ratios)


def test_no_column_holds_two_limits_of_one_row() -> None:
    for target in TARGETS:
        for peers in peers_by_column().values():
            assert len([peer for peer in peers if peer in target.ratios]) <= 1


@pytest.mark.parametrize(
    ("target", "ours", "reached"),
    [(RATE, 6000, True), (RATE, 5900, False), (LATENCY, 500, True), (LATENCY, 510, False)],
)
def test_a_ratio_is_a_lower_limit_for_rates_and_an_upper_one_for_times(
    target: Target, ours: float, reached: bool
) -> None:
    medians = {(target.scenario, "rpcservice", target.name): ours, (target.scenario, "nameko", target.name): 1000.0}
    assert target.against(medians, "nameko").is_reached is reached


@pytest.mark.parametrize(("value", "reached"), [(0.2, True), (0.21, False)])
def test_a_bound_holds_for_rpcservice_alone(value: float, reached: bool) -> None:
    assert LATENCY.own({("rpc-sequential", "rpcservice", "p50"): value}).is_reached is reached


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    assert [limit.is_reached for limit in RATE.limits({})] == [None, None, None]


def test_rows_show_ratios_with_their_targets_and_what_falls_short() -> None:
    medians = {("rpc-50", peer, "calls"): rate for peer, rate in (("rpcservice", 9000.0), ("nameko", 900.0))}
    medians["rpc-50", "aiopika", "calls"] = 3000.0
    assert target_rows(medians)[0] == [
        "RPC, 50 in flight",
        "9,000 1/s",
        "10.0x (>= 9x)",
        "- (>= 12x)",
        "3.00x (>= 4.5x) MISSED",
        "- (>= 1.4x)",
    ]


def test_http_is_compared_with_the_floor_of_http() -> None:
    medians = {("http", "rpcservice", "requests"): 10_000.0, ("http", "wsgi", "requests"): 20_000.0}
    cells = next(cells for cells in target_rows(medians) if cells[0] == "HTTP requests")
    assert cells[-1] == "0.500x (>= 0.6x) MISSED"


def test_a_ratio_without_a_target_is_shown_without_a_verdict() -> None:
    medians = {("http", "rpcservice", "requests"): 10_000.0, ("http", "faststream", "requests"): 20_000.0}
    cells = next(cells for cells in target_rows(medians) if cells[0] == "HTTP requests")
    assert cells[3] == "0.500x"


def test_verdicts_are_counted() -> None:
    medians = {("memory", "rpcservice", "p50"): 0.1, ("memory", "rpcservice", "calls"): 11_000.0}
    count = len([limit for target in TARGETS for limit in target.limits({})])
    expected = f"Of {count} limits: 1 reached, 1 missed, {count - 2} not measured."
    assert count_reached(medians) == expected
    assert render_targets(medians, SCENARIOS).endswith(expected)


def test_rows_of_what_was_not_asked_for_are_left_out() -> None:
    text = render_targets({("memory", "rpcservice", "p50"): 0.1}, choose_scenarios(["memory"]))
    assert [line.split(":")[0] for line in text.splitlines()[1:3]] == ["embedded broker"] * 2
    assert text.endswith("Of 2 limits: 1 reached, 1 not measured.")


def test_a_run_is_what_was_written_at_once(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.csv", [row("2026-01-01"), row("2026-01-01", "p99"), row("2026-01-02")])
    assert [len(run.rows) for run in read_runs(path)] == [2, 1]


def test_a_run_has_as_many_rounds_as_its_poorest_figure() -> None:
    assert Run([row("2026-01-01"), row("2026-01-01", "p99", repetitions=2)]).rounds == 2


def test_the_last_of_the_fullest_runs_is_shown() -> None:
    """A run of a single scenario does not take the place of a whole one, a later whole one does."""
    whole = [[row(date), row(date, peer="nameko")] for date in ("2026-01-01", "2026-01-02")]
    runs = [*map(Run, whole), Run([row("2026-01-03")])]
    assert choose_run(runs) is runs[1]


def test_a_run_of_too_few_rounds_is_shown_only_where_there_is_no_other() -> None:
    thorough, hasty = (
        Run([row("2026-01-01")]),
        Run([row("2026-01-02", repetitions=3), row("2026-01-02", peer="nameko")]),
    )
    assert choose_run([thorough, hasty]) is thorough
    assert choose_run([hasty]) is hasty


def test_where_nothing_was_measured_the_command_is_named() -> None:
    with pytest.raises(NothingMeasured, match="make bench makes one"):
        choose_run([Run([row("2026-01-01", "something else")])])


def test_the_block_says_when_and_with_what_was_measured() -> None:
    text = render(Run([row("2026-01-01T10:00Z"), row("2026-01-01T10:00Z", value=1000, peer="nameko")]))
    assert "Measured on 2026-01-01 at commit ``abc``: a computer, 2 cores" in text
    assert "medians of 5 rounds" in text
    assert "9.00x (>= 9x)" in text
    assert "* nameko: Python 3.11; nameko 1; kombu 2" in text


def test_what_falls_short_stands_out_on_the_page() -> None:
    text = render(Run([row("2026-01-01"), row("2026-01-01", value=3000, peer="nameko")]))
    assert "3.00x (>= 9x) **missed**" in text


def test_a_table_keeps_rows_without_a_name_apart() -> None:
    """An empty first cell would continue the row above."""
    assert render_table(["", "a"], [["row", "1"]]).splitlines() == ["===  =", "\\    a", "===  =", "row  1", "===  ="]


def test_a_block_takes_the_place_of_the_one_before() -> None:
    page = "Title\n\n.. begin figures, by make bench\n\nold\n\n.. end figures\n\nText\n"
    filled = fill(page, "figures", "make bench", "new")
    assert filled == page.replace("old", "new")
    assert fill(filled, "figures", "make bench", "new") == filled


def test_a_page_without_marks_is_left_alone_and_the_marks_are_named() -> None:
    with pytest.raises(MarksMissing, match=r"\.\. begin figures, by make bench"):
        fill("Title\n", "figures", "make bench", "new")


def test_the_page_shows_what_the_results_file_holds(tmp_path: Path) -> None:
    """Who adds rows renews the page: python -m benchmarks.summary."""
    copy = tmp_path / "performance.rst"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_summary(RESULTS, copy)
    assert PAGE.read_text(encoding="utf-8") == copy.read_text(encoding="utf-8")
