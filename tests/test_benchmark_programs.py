"""The benchmark's own programs do what they are timed at; those that live in environments of their own are left out."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import measure  # noqa: E402
from benchmarks.catalogue import SCENARIOS, choose_scenarios  # noqa: E402
from benchmarks.measure import Bench  # noqa: E402
from benchmarks.peers import OURS, PEERS, Peer  # noqa: E402
from benchmarks.probe import Probe, ProbeFailed  # noqa: E402

# rpcservice's own in the environment of the tests, beside the libraries that are here already.
HERE = [replace(peer, requirements=()) for peer in PEERS if not peer.requirements or peer.name == OURS]
# Start and stop of many services and the web server have claims of their own; wrk may be missing.
SHORT = [scenario for scenario in SCENARIOS if scenario.name not in ("startup", "many-services", "http")]


@pytest.fixture
def bench(rabbitmq_uri: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(rabbitmq_uri, 0.05, tmp_path)
    yield bench
    bench.close()


@pytest.mark.broker
@pytest.mark.parametrize("peer", [peer for peer in HERE if peer.name != "wsgi"], ids=lambda peer: peer.name)
def test_a_peer_gives_every_figure_of_its_scenarios(bench: Bench, peer: Peer) -> None:
    for scenario in SHORT:
        if peer.takes_part_in(scenario):
            figures = measure.measure(bench, scenario, peer)
            # The broker's own time is known only to the benchmark, which has started it.
            expected = {metric.name for metric in scenario.metrics} - {"broker CPU"}
            assert set(figures) == expected, scenario.name
            assert all(value >= 0 for value in figures.values()), figures


@pytest.mark.parametrize("name", ["rpcservice", "wsgi"])
@pytest.mark.broker
def test_who_answers_http_greets(bench: Bench, name: str) -> None:
    (peer,) = [peer for peer in HERE if peer.name == name]
    service = bench.service(peer, "http")
    measure.wait_for_greeting(f"http://127.0.0.1:{service.web_port}/hello/world", 20, service.child)
    assert service.child.is_running


@pytest.mark.broker
def test_an_idle_service_is_looked_at_after_its_first_answer(bench: Bench) -> None:
    (scenario,), peer = choose_scenarios(["startup"]), HERE[0]
    figures = measure.measure(bench, scenario, peer)
    assert figures["start"] > 0
    assert figures["RSS"] > 10


@pytest.mark.broker
def test_a_queue_without_consumers_is_named(rabbitmq_uri: str) -> None:
    """Whether it is there or not: the channel that asked is closed by the broker, the next one is not."""
    with Probe(rabbitmq_uri) as probe, pytest.raises(ProbeFailed, match=r"nowhere has 0 of 2 consumers after 0\.1 s"):
        probe.wait_for_consumers("nowhere", 2, 0.1)
