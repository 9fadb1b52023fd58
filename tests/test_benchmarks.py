"""The benchmark's own sums: a speed claim is worth no more than they are."""

import csv
import importlib.util
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import measure, run, summary  # noqa: E402
from benchmarks.catalogue import SCENARIOS, Metric, Scenario, choose_scenarios  # noqa: E402
from benchmarks.peers import PEERS, Peer, choose_peers  # noqa: E402
from benchmarks.processes import Child, ChildFailed, connections_to, cpu_seconds, rss_megabytes  # noqa: E402
from benchmarks.report import (  # noqa: E402
    CSV_FIELDS,
    Results,
    append_csv,
    csv_rows,
    format_ratio,
    format_value,
    render_table,
)

CALLS = Metric("calls", "1/s", higher_is_better=True)
LATENCY = Metric("p50", "ms")
SCENARIO = Scenario("rpc", "RPC, some calls", (CALLS, LATENCY))
WRK = """Running 1s test @ http://127.0.0.1:8000/hello/world
  1 threads and 16 connections
  Latency Distribution
     50%    1.51ms
     99%  {p99}
  9054 requests in 1.50s, 1.29MB read
Requests/sec:   6036.00
"""


@pytest.fixture
def results() -> Results:
    """Three rounds; nameko's last one was disturbed."""
    results = Results()
    for ours, theirs in ((9000, 1000), (9100, 990), (8900, 10)):
        results.add("rpc", "rpcservice", {"calls": ours, "p50": 0.4})
        results.add("rpc", "nameko", {"calls": theirs, "p50": 1.0})
    return results


def load_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("load", ROOT / "benchmarks" / "clients" / "load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while the class is made.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_median_passes_over_a_disturbed_round(results: Results) -> None:
    assert results.median("rpc", "nameko", "calls") == 990


def test_ratio_is_ours_divided_by_the_peers(results: Results) -> None:
    assert results.ratio("rpc", "nameko", "calls") == pytest.approx(9000 / 990)


def test_ratio_of_something_not_measured_is_none(results: Results) -> None:
    assert results.ratio("rpc", "faststream", "calls") is None


def test_table_shows_medians_and_ratios(results: Results) -> None:
    lines = render_table(results, [SCENARIO], ["rpcservice", "nameko"]).splitlines()
    calls = next(line for line in lines if line.startswith("  calls"))
    assert calls.split() == ["calls", "1/s", "9,000", "990", "(9.09x)"]


def test_table_names_what_was_not_measured_and_why(results: Results) -> None:
    results.note("HTTP is left out, for wrk is not installed")
    table = render_table(results, [Scenario("http", "HTTP", (CALLS,))], ["rpcservice", "nameko"])
    assert "HTTP: not measured" in table
    assert "! HTTP is left out, for wrk is not installed" in table


def test_table_of_one_peer_has_no_ratios(results: Results) -> None:
    assert "(9.09x)" not in render_table(results, [SCENARIO], ["nameko"])


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (12345.6, "12,346"), (0.04567, "0.0457"), (31.0, "31")])
def test_values_are_shown_with_the_digits_that_matter(value: float | None, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(("ratio", "text"), [(None, "-"), (20.31, "20.3x"), (9.09, "9.09x"), (0.404, "0.404x")])
def test_ratios_are_shown_as_multiples(ratio: float | None, text: str) -> None:
    assert format_ratio(ratio) == text


def test_csv_holds_one_row_a_median_and_grows(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    facts = {peer: {"date": "2026-01-01T00:00Z", "versions": f"{peer} 1; kombu 2"} for peer in ("rpcservice", "nameko")}
    rows = csv_rows(results, [SCENARIO], ["rpcservice", "nameko"], facts)
    append_csv(path, rows)
    append_csv(path, rows)
    with open(path, newline="") as source:
        read = list(csv.DictReader(source))
    assert len(read) == 8
    assert [read[1][name] for name in ("peer", "scenario", "metric", "value", "repetitions", "versions")] == [
        "nameko",
        "rpc",
        "calls",
        "990",
        "3",
        "nameko 1; kombu 2",
    ]


def test_results_file_has_the_fields_that_are_written() -> None:
    with open(ROOT / "benchmarks" / "results.csv", newline="") as source:
        assert next(csv.reader(source)) == list(CSV_FIELDS)


def test_all_that_is_to_be_measured_is_in_the_catalogue() -> None:
    assert [scenario.name for scenario in SCENARIOS] == [
        "startup",
        "rpc-sequential",
        "rpc-50",
        "rpc-50-10kb",
        "events-handled",
        "publish-sequential",
        "publish-50",
        "publish-50-stored",
        "http",
        "many-services",
        "memory",
        "local",
        "workers",
    ]


def test_every_scenario_has_a_way_to_measure_it() -> None:
    assert set(measure._MEASURES) == {scenario.name for scenario in SCENARIOS}


def test_peers_are_frameworks_first_and_then_the_floor() -> None:
    assert [(peer.name, peer.is_floor) for peer in PEERS] == [
        ("rpcservice", False),
        ("rpcservice-fast", False),
        ("nameko", False),
        ("faststream", False),
        ("aiopika", False),
        ("pyamqp", True),
        ("wsgi", True),
    ]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_the_programs_of_its_scenarios(peer: Peer) -> None:
    folder = ROOT / "benchmarks"
    expected = {f"services/{peer.stem}_service.py"}
    for scenario in SCENARIOS:
        if peer.takes_part_in(scenario):
            expected |= {f"clients/{peer.stem}_{scenario.script}.py"} if scenario.task else set()
            expected |= {f"services/{peer.stem}_many.py"} if scenario.name == "many-services" else set()
    assert [name for name in expected if not (folder / name).is_file()] == []


def test_every_scenario_that_a_peer_names_exists() -> None:
    assert {name for peer in PEERS for name in peer.scenarios} <= {scenario.name for scenario in SCENARIOS}


@pytest.mark.parametrize(
    ("scenario", "peers"),
    [
        ("rpc-50", ["rpcservice", "rpcservice-fast", "nameko", "faststream", "aiopika", "pyamqp"]),
        ("events-handled", ["rpcservice", "nameko", "faststream", "aiopika", "pyamqp"]),
        ("publish-50", ["rpcservice", "nameko", "faststream", "aiopika"]),
        ("http", ["rpcservice", "nameko", "faststream", "wsgi"]),
        ("many-services", ["rpcservice", "nameko", "faststream"]),
        ("memory", ["rpcservice"]),
        ("local", ["rpcservice"]),
        ("workers", ["rpcservice"]),
    ],
)
def test_peers_take_part_where_they_have_something_to_show(scenario: str, peers: list[str]) -> None:
    (chosen,) = choose_scenarios([scenario])
    assert [peer.name for peer in PEERS if peer.takes_part_in(chosen)] == peers


def test_nothing_named_means_everything() -> None:
    assert (choose_peers([]), choose_scenarios([])) == (list(PEERS), list(SCENARIOS))


def test_chosen_scenarios_keep_the_order_of_the_catalogue() -> None:
    assert [scenario.name for scenario in choose_scenarios(["http", "rpc-50"])] == ["rpc-50", "http"]


@pytest.mark.parametrize("option", ["--peers=namek", "--scenarios=htp"])
def test_a_wrong_name_is_a_usage_error_that_lists_the_right_ones(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([option]) == 2
    error = capsys.readouterr().err
    assert "rpcservice, rpcservice-fast, nameko" in error or "rpc-sequential, rpc-50" in error


@pytest.mark.parametrize(("p99", "milliseconds"), [("4.12ms", 4.12), ("950.00us", 0.95), ("1.20s", 1200)])
def test_figures_of_wrk_are_read_in_any_unit(p99: str, milliseconds: float) -> None:
    figures = measure.parse_wrk(WRK.format(p99=p99))
    assert figures == {"requests": 9054, "seconds": 1.5, "p99": pytest.approx(milliseconds)}


def test_answers_that_are_errors_are_not_counted_as_speed() -> None:
    with pytest.raises(ChildFailed, match="Non-2xx"):
        measure.parse_wrk(WRK.format(p99="1.00ms") + "  Non-2xx or 3xx responses: 9054\n")


def test_percentiles_of_a_client_are_those_of_the_ordered_values() -> None:
    load = load_module()
    ordered = [float(number) for number in range(100)]
    assert (load.percentile(ordered, 0.5), load.percentile(ordered, 0.99), load.percentile([7.0], 0.99)) == (50, 99, 7)


def test_a_window_keeps_its_calls_in_flight_until_all_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    load = load_module()
    plan = load.Plan("", "bench", "rpc", 3, 0, seconds=0.01, warmup=0.0, max_workers=50)
    under_way: list[str] = []
    widest = 0

    def send() -> str:
        nonlocal widest
        under_way.append(str(len(under_way)) + str(time.perf_counter()))
        widest = max(widest, len(under_way))
        return under_way[-1]

    def receive() -> list[str]:
        return [under_way.pop(0)]

    load.run_window(plan, send, receive)
    begin, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (begin["mark"], end["mark"], under_way, widest) == ("begin", "end", [], 3)
    assert end["count"] > 3


def make_child(script: str, folder: Path) -> Child:
    return Child([sys.executable, "-c", script], log=folder / "child.log", env={}, cwd=folder)


def test_a_child_reports_by_json_lines_among_other_output(tmp_path: Path) -> None:
    child = make_child('print(\'hello\'); print(\'{"mark": "end", "count": 3}\')', tmp_path)
    assert child.report("end", 20)["count"] == 3
    child.stop()


def test_a_child_that_ends_early_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = make_child("raise ValueError('no broker')", tmp_path)
    with pytest.raises(ChildFailed, match=r"ended with 1 before 'end'[\s\S]*ValueError: no broker"):
        child.report("end", 20)
    child.stop()


def test_a_child_that_keeps_silent_is_given_up_and_killed(tmp_path: Path) -> None:
    script = 'import signal; signal.signal(15, signal.SIG_IGN); print(\'{"mark": "up"}\', flush=True); signal.pause()'
    child = make_child(script, tmp_path)
    child.report("up", 20)
    with pytest.raises(ChildFailed, match=r"no 'end' within 0\.1 s"):
        child.report("end", 0.1)
    assert child.stop(0.1) is None
    assert not child.is_running


def test_a_process_is_measured_by_what_the_system_knows(tmp_path: Path) -> None:
    script = 'sum(range(20_000_000)); print(\'{"mark": "up"}\', flush=True); input()'
    child = make_child("import signal\n" + script.replace("input()", "signal.pause()"), tmp_path)
    child.report("up", 60)
    assert cpu_seconds(child.pid) > 0.05
    assert rss_megabytes(child.pid) > 3
    assert connections_to(child.pid, 5672) == 0
    child.stop()


def test_connections_to_a_port_are_counted_by_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = f"""
import signal, socket
held = [socket.create_connection(("127.0.0.1", {port})) for _ in range(3)]
held.pop().close()
print('{{"mark": "up"}}', flush=True)
signal.pause()
"""
        child = make_child(script, tmp_path)
        child.report("up", 20)
        assert connections_to(child.pid, port) == 2
        child.stop()


def test_http_is_left_out_with_a_note_where_wrk_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Results
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bench = measure.Bench("amqp://127.0.0.1:1//", 1, tmp_path)
    run.measure_all(bench, choose_scenarios(["http"]), list(PEERS), 2, results)
    assert results.notes == ["HTTP is left out, for wrk is not installed; as root, run: apt-get install -y wrk"]


def test_a_peer_that_fails_is_named_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def fail_for_nameko(bench: measure.Bench, scenario: Scenario, peer: Peer) -> dict[str, float]:
        tried.append(peer.name)
        if peer.name == "nameko":
            raise ChildFailed("no answer")
        return {"calls": 1.0}

    monkeypatch.setattr(run, "measure", fail_for_nameko)
    results = Results()
    bench = measure.Bench("amqp://127.0.0.1:1//", 1, tmp_path)
    run.measure_all(bench, choose_scenarios(["rpc-50"]), choose_peers(["rpcservice", "nameko"]), 2, results)
    assert tried == ["rpcservice", "nameko", "rpcservice"]
    assert results.notes == ["rpc-50: nameko failed: no answer"]


def test_a_quick_run_saves_nothing() -> None:
    options = run.parse(["--quick"])
    assert (options.repetitions, options.no_save) == (1, True)


def test_a_run_has_the_rounds_that_targets_ask_for() -> None:
    assert run.parse([]).repetitions >= summary.ROUNDS >= 5


def test_rows_of_the_kept_file_renew_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table in the documentation follows the file without a second command."""
    renewed: list[str] = []
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.csv")
    monkeypatch.setattr(run, "write_summary", lambda: renewed.append("page"))
    run.save(tmp_path / "other.csv", [])
    assert renewed == []
    run.save(tmp_path / "results.csv", [])
    assert renewed == ["page"]


class FakeProbe:
    broker = "3.13"

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> "FakeProbe":
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


@contextmanager
def no_broker(uri: str | None) -> Iterator[tuple[str, None]]:
    yield "amqp://127.0.0.1:1//", None


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the floor of HTTP and rpcservice reach in a run without a broker; a peer that is not named fails."""
    rates: dict[str, float] = {}

    def fake(bench: measure.Bench, scenario: Scenario, peer: Peer) -> dict[str, float]:
        if peer.name not in rates:
            raise ChildFailed("no answer")
        return {"requests": rates[peer.name]}

    monkeypatch.setattr(run, "measure", fake)
    monkeypatch.setattr(run, "open_broker", no_broker)
    monkeypatch.setattr(run, "Probe", FakeProbe)
    return rates


HTTP_ONLY = ["--peers=rpcservice,wsgi", "--scenarios=http", "--repetitions=2"]


def test_a_missed_target_is_shown_and_is_no_failure(
    measured: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    measured.update(rpcservice=5000, wsgi=10_000)
    assert run.main([*HTTP_ONLY, "--no-save"]) == 0
    assert "0.500x (>= 0.6x) MISSED" in capsys.readouterr().out


def test_a_measurement_that_failed_is_a_failure(measured: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    measured.update(rpcservice=5000)
    assert run.main([*HTTP_ONLY, "--no-save"]) == 1
    assert "! http: wsgi failed: no answer" in capsys.readouterr().out


def test_all_rows_of_a_run_bear_one_stamp(measured: dict[str, float], tmp_path: Path) -> None:
    """The summary knows a run by them."""
    measured.update(rpcservice=5000, wsgi=10_000)
    assert run.main([*HTTP_ONLY, f"--results={tmp_path / 'results.csv'}"]) == 0
    (found,) = summary.read_runs(tmp_path / "results.csv")
    assert [(row["peer"], row["value"], row["repetitions"]) for row in found.rows] == [
        ("rpcservice", "5000", "2"),
        ("wsgi", "10000", "2"),
    ]
