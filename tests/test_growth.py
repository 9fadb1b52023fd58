"""How the growth of cost is measured and reported: the sums, the tables, and one measurement of each kind."""

import csv
import re
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import growth  # noqa: E402
from benchmarks.growth_curves import (  # noqa: E402
    BROKER_CPU,
    CALLS,
    CPU,
    CURVES,
    P99,
    TIME,
    Curve,
    Limit,
    Point,
    choose_curves,
)
from benchmarks.growth_figures import FACTS, FIELDS, NothingMeasured, Run, append_rows, read_latest  # noqa: E402
from benchmarks.growth_fleet import Costs, CostsUnknown, fleet_block, read_costs  # noqa: E402
from benchmarks.growth_measure import Figures, Ground, machine_cpu, measure_round  # noqa: E402
from benchmarks.growth_plots import draw_all, plot_name  # noqa: E402
from benchmarks.growth_render import describe_others, fill_page, limits_table, page_blocks, points_table  # noqa: E402

FILE = ROOT / "benchmarks" / "growth.csv"
RESULTS = ROOT / "benchmarks" / "results.csv"
SERVICES = choose_curves(["services"])[0]
IN_FLIGHT = choose_curves(["in-flight"])[0]


def row(
    point: int, number: int = 1, curve: Curve = SERVICES, date: str = "2026-01-01T00:00Z", **figures: str
) -> dict[str, str]:
    facts = dict.fromkeys(FACTS, "1") | {"date": date}
    shown = {
        "calls": "10000",
        "p50": "0.005",
        "p99": "0.01",
        "service_cpu": "4e-05",
        "client_cpu": "5e-05",
        "broker_cpu": "",
    }
    return facts | {"curve": curve.name, "point": str(point), "round": str(number)} | shown | figures


def cpu_run(*rounds: tuple[float, float]) -> Run:
    """A run whose client takes so many microseconds a call at 1 and at 100 services, and whose service takes 40."""
    rows = []
    for number, (first, last) in enumerate(rounds, 1):
        rows += [row(1, number, client_cpu=f"{first}e-06"), row(100, number, client_cpu=f"{last}e-06")]
    return Run(rows)


# What is measured


def test_the_limits_are_those_that_were_set() -> None:
    assert [(curve.name, limit) for curve in CURVES for limit in curve.limits] == [
        ("in-flight", Limit(CALLS, 50, 1000, -0.15)),
        ("services", Limit(CPU, 1, 100, 0.1)),
        ("hosted", Limit(CPU, 1, 100, 0.1)),
        ("pending", Limit(CPU, 10, 10_000, 0.1)),
    ]


def test_every_curve_goes_from_end_to_end() -> None:
    ends = {curve.name: (curve.points[0].value, curve.points[-1].value) for curve in CURVES}
    assert ends == {
        "in-flight": (1, 1000),
        "payload": (100, 1_000_000),
        "services": (1, 100),
        "hosted": (1, 100),
        "pending": (10, 10_000),
    }


def test_both_points_of_every_limit_are_measured() -> None:
    for curve in CURVES:
        assert {value for limit in curve.limits for value in (limit.first, limit.last)} <= {
            p.value for p in curve.points
        }


def test_there_is_a_worker_for_every_call_that_is_under_way() -> None:
    assert Point(1000, in_flight=1000).max_workers == 1000
    assert Point(10_000, pending=10_000).max_workers == 10_050


def test_a_wrong_curve_is_a_usage_error_that_lists_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert growth.main(["--curves=servces"]) == 2
    assert "in-flight, payload, services, hosted, pending" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--quick", "--curves=payload", "--points=1,100", "--no-save"])
def test_only_whole_runs_are_saved(option: str) -> None:
    assert growth.parse([option]).no_save
    assert not growth.parse([]).no_save


# Sums


def test_a_median_is_of_the_rounds_and_cpu_of_both_sides() -> None:
    assert cpu_run((50, 55), (51, 90), (52, 56)).median(SERVICES, 100, CPU) == pytest.approx(96)


def test_time_a_call_is_one_second_divided_by_the_calls() -> None:
    assert cpu_run((50, 55)).median(SERVICES, 1, TIME) == pytest.approx(100)


def test_a_figure_that_is_missing_is_not_taken_for_zero() -> None:
    assert cpu_run((50, 55)).median(SERVICES, 1, BROKER_CPU) is None


def test_a_change_is_that_within_a_round() -> None:
    """The machine was half as fast in the second round; the median of the rounds would still hide what grows."""
    change = cpu_run((60, 70), (160, 180), (60, 71)).change(SERVICES, CPU, 1, 100)
    assert change is not None
    assert (change.lowest, change.median, change.highest) == pytest.approx((0.1, 0.1, 0.11))


@pytest.mark.parametrize(("last", "is_kept"), [(58.9, True), (59.1, False)])
def test_cpu_may_grow_by_a_tenth(last: float, is_kept: bool) -> None:
    assert cpu_run((50, last)).verdict(SERVICES, SERVICES.limits[0]) is is_kept


@pytest.mark.parametrize(("last", "is_kept"), [("8510", True), ("8490", False), ("20000", True)])
def test_throughput_may_fall_by_fifteen_percent(last: str, is_kept: bool) -> None:
    run = Run([row(50, curve=IN_FLIGHT), row(1000, curve=IN_FLIGHT, calls=last)])
    assert run.verdict(IN_FLIGHT, IN_FLIGHT.limits[0]) is is_kept


def test_what_was_not_measured_has_no_verdict() -> None:
    assert Run([row(1)]).verdict(SERVICES, SERVICES.limits[0]) is None


def test_a_slope_is_given_for_the_step_of_its_curve() -> None:
    rows = [row(point, service_cpu=f"{40 + point * 0.02}e-06") for point in (1, 10, 100)]
    assert Run(rows).slope(SERVICES, CPU) == pytest.approx(2)


def test_a_slope_begins_at_the_base_of_its_curve() -> None:
    p99s = {1: "9", 50: "0.005", 100: "0.01", 1000: "0.1"}
    run = Run([row(point, curve=IN_FLIGHT, p99=p99) for point, p99 in p99s.items()])
    assert run.slope(IN_FLIGHT, P99) == pytest.approx(100)


def test_one_point_has_no_slope() -> None:
    assert Run([row(1)]).slope(SERVICES, CPU) is None


def test_a_run_says_how_busy_the_machine_was_with_other_things() -> None:
    run = Run([row(1, others="0.1"), row(100, others="1.5")])
    expected = "Other programs used 0.8 cores meanwhile; 1 of 2 measurements had the machine to themselves."
    assert describe_others(run) == expected
    assert "not known" in describe_others(Run([row(1)]))


def test_rounds_on_a_busy_machine_do_not_count_beside_quiet_ones() -> None:
    rows = [row(1), row(100, client_cpu="59e-06")]
    rows += [row(1, 2, others="0.9"), row(100, 2, client_cpu="99e-06", others="1.1")]
    change = Run(rows).change(SERVICES, CPU, 1, 100)
    assert change is not None
    assert (change.median, change.rounds) == (pytest.approx(0.1), 1)
    assert Run(rows).median(SERVICES, 100, CPU) == pytest.approx(99)


def test_rounds_on_a_busy_machine_count_where_there_are_no_others() -> None:
    """Each point had a quiet round, but not the same one."""
    rows = [row(1), row(100, client_cpu="68e-06", others="1")]
    rows += [row(1, 2, others="1"), row(100, 2, client_cpu="68e-06")]
    change = Run(rows).change(SERVICES, CPU, 1, 100)
    assert change is not None
    assert (change.median, change.rounds) == (pytest.approx(0.2), 2)


# The file


def test_the_last_run_of_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "growth.csv"
    append_rows(path, [row(1, calls="1")])
    append_rows(path, [row(1, date="2026-02-02T00:00Z", calls="2"), row(100, date="2026-02-02T00:00Z")])
    run = read_latest(path)
    assert (run.facts["date"], run.points(SERVICES)) == ("2026-02-02T00:00Z", [1, 100])
    assert run.median(SERVICES, 1, CALLS) == 2


def test_a_file_without_measurements_names_what_makes_some(tmp_path: Path) -> None:
    with pytest.raises(NothingMeasured, match="make bench-growth"):
        read_latest(tmp_path / "growth.csv")


def test_the_committed_file_has_the_fields_that_are_written() -> None:
    with open(FILE, newline="") as source:
        assert next(csv.reader(source)) == list(FIELDS)


# The documentation


def test_the_page_on_growth_is_what_its_file_gives() -> None:
    page = growth.PAGE.read_text()
    assert fill_page(page, page_blocks(read_latest(FILE))) == page


def test_the_plots_are_of_the_run_in_the_tables() -> None:
    facts = read_latest(FILE).facts
    comments = {curve.name: png_comment(growth.DOCS / plot_name(curve)) for curve in CURVES}
    assert comments == dict.fromkeys(comments, f"{facts['date']} {facts['commit']}")


def test_the_fleet_is_counted_from_the_run_that_it_names() -> None:
    page = growth.SCALING.read_text()
    dates = re.findall(r"``benchmarks/results.csv`` of (\S+), commit", page)
    assert fill_page(page, {"fleet": fleet_block(read_costs(RESULTS, dates[0]))}) == page


def png_comment(path: Path) -> str:
    """Give the comment that a PNG file carries."""
    data, begin = path.read_bytes(), 8
    while begin < len(data):
        (length,) = struct.unpack(">I", data[begin : begin + 4])
        kind, content = data[begin + 4 : begin + 8], data[begin + 8 : begin + 8 + length]
        if kind == b"tEXt" and content.startswith(b"Comment\0"):
            return content[8:].decode()
        begin += length + 12
    raise AssertionError(f"{path} carries no comment")


def test_a_limit_that_is_missed_is_marked() -> None:
    table = limits_table(cpu_run((50, 60)))
    assert re.search(r"CPU a call, from 1 to 100 services that are called +\+10% +\+11.1% .*\*\*missed\*\*", table)
    assert table.count("not measured") == 3


def test_a_table_of_points_shows_medians() -> None:
    table = points_table(cpu_run((50, 55)), SERVICES).splitlines()
    assert table[3].split() == ["1", "10,000", "10", "90", "-"]


def test_every_curve_that_was_measured_is_drawn(tmp_path: Path) -> None:
    assert draw_all(cpu_run((50, 55), (51, 56)), tmp_path) == [tmp_path / "growth-services.png"]
    assert png_comment(tmp_path / "growth-services.png") == "2026-01-01T00:00Z 1"


# A fleet


def test_cores_of_a_fleet_are_the_cost_of_its_calls_with_room_to_spare() -> None:
    costs = Costs("2026-01-01T00:00Z", "abc", "a host", {"service CPU": 30, "client CPU": 60, "broker CPU": 96})
    lines = fleet_block(costs).splitlines()
    assert lines[5].split() == ["1,000,000", "50", "100", "160"]
    assert "20 nodes of 8 cores" in fleet_block(costs)


def test_costs_that_were_not_measured_are_named(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("date,peer,scenario,metric\n")
    with pytest.raises(CostsUnknown, match="make bench"):
        read_costs(path)


# The command


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What the command is to measure; where it is a single row, the measurement fails after it."""
    found: list[dict[str, str]] = []

    def measure_all(options: object, curves: object, rows: list[dict[str, str]]) -> str:
        rows += found
        return "pending: no answer" if len(found) == 1 else ""

    monkeypatch.setattr(growth, "measure_all", measure_all)
    return found


@pytest.mark.parametrize(("last", "code"), [("54e-06", 0), ("64e-06", 1)])
def test_a_limit_that_is_missed_is_the_exit_code(
    measured: list[dict[str, str]], last: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    measured += [row(1), row(100, client_cpu=last)]
    assert growth.main(["--no-save"]) == code
    assert ("MISSED" in capsys.readouterr().out) is bool(code)


def test_a_run_that_failed_is_told_of_and_not_saved(
    measured: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured.append(row(1))
    assert growth.main([f"--results={tmp_path / 'growth.csv'}"]) == 1
    assert "! pending: no answer" in capsys.readouterr().err
    assert not (tmp_path / "growth.csv").exists()


def test_a_whole_run_is_saved_and_shown(
    measured: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured += [row(1), row(100)]
    for name in ("PAGE", "SCALING"):
        page = tmp_path / getattr(growth, name).name
        page.write_text(getattr(growth, name).read_text())
        monkeypatch.setattr(growth, name, page)
    monkeypatch.setattr(growth, "DOCS", tmp_path)
    assert growth.main([f"--results={tmp_path / 'growth.csv'}"]) == 0
    assert len(read_latest(tmp_path / "growth.csv").rounds(SERVICES, 1, CPU)) == 1
    assert "Measured on 2026-01-01" in growth.PAGE.read_text()
    assert (tmp_path / "growth-services.png").exists()


def test_nothing_can_be_rendered_from_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert growth.main(["--render", f"--results={tmp_path / 'growth.csv'}"]) == 1
    assert "make bench-growth makes one" in capsys.readouterr().err


# Measurements


def test_the_machine_is_busy_for_as_long_as_we_are() -> None:
    machine, ours = machine_cpu(), time.process_time()
    while time.process_time() - ours < 0.2:
        pass
    assert machine_cpu() - machine > 0.1


@pytest.fixture
def ground(rabbitmq_uri: str, tmp_path: Path) -> Iterator[Ground]:
    yield Ground(rabbitmq_uri, tmp_path, seconds=0.2, warmup=0.05)


@pytest.mark.broker
def test_points_are_measured_in_turn_and_backward(ground: Ground) -> None:
    curve = Curve("services", "services", "", (Point(1, in_flight=2), Point(3, in_flight=2, services=3)), 1)
    found: list[tuple[int, Mapping[str, float]]] = []

    def add(point: Point, figures: Figures) -> None:
        found.append((point.value, figures))

    measure_round(ground, curve, curve.points, True, add)
    assert [value for value, _ in found] == [3, 1]
    for _, figures in found:
        assert figures["calls"] > 10
        assert 0 < figures["service_cpu"] < 0.2 and 0 < figures["client_cpu"] < 0.2
        assert figures["p50"] <= figures["p99"]


@pytest.mark.broker
def test_calls_that_wait_payloads_and_hosted_services_are_measured(ground: Ground) -> None:
    points = (
        Point(20, in_flight=2, pending=20),
        Point(1000, in_flight=2, payload=1000),
        Point(3, in_flight=2, services=3, called=1),
    )
    curve = Curve("mixed", "", "", points, 1)
    found: list[int] = []
    measure_round(ground, curve, points, False, lambda point, figures: found.append(point.value))
    assert found == [20, 1000, 3]
