"""Processes that are told to stop while they work: nothing is lost, nothing runs twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from security_canary import refuse_secret
from waiting import wait_until

from rpcservice import ServiceContainer
from rpcservice import rpc as rpc_method
from rpcservice.concurrency import Event, green
from rpcservice.errors import RpcTimeout
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker

CALLS = 50
SERVICES = Path(__file__).with_name("stop_services.py")
STOPPING = "stopping services: "


class Judge:
    """Hosted by the test; lets calls of the processes under test go on when the test says so."""

    name = "judge"
    waiting: list[tuple[int, int]] = []
    gate: Event

    @rpc_method
    def wait(self, number: int, pid: int) -> None:
        self.waiting.append((number, pid))
        self.gate.wait(60)


@pytest.fixture(autouse=True)
def judge(container_factory: Callable[..., ServiceContainer], gate: Event) -> None:
    Judge.waiting, Judge.gate = [], gate
    container_factory(Judge, {"max_workers": 2 * CALLS}).start()


class Program:
    """One ``rpcservice run``."""

    def __init__(self, log: Path, journal: Path, uri: str, *settings: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "rpcservice", "run", str(SERVICES), "--broker", uri]
        for setting in settings:
            command += ["-d", setting]
        environment = {**os.environ, "JOURNAL": str(journal)}
        with open(log, "wb") as output:
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.pid = self._process.pid

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self._log.read_text() or self._process.poll() is not None, text, 30)
        assert text in self._log.read_text()

    def tell(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def exit_code(self, timeout: float = 20) -> int:
        """Wait for the end."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {timeout:g} s; its log:\n{self._log.read_text()}") from None

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        refuse_secret(self._log.read_bytes(), "the log of a process")


Start = Callable[..., Program]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def start(tmp_path: Path, journal: Path, rabbitmq_uri: str) -> Iterator[Start]:
    """Start ``rpcservice run`` on this test's broker, with settings, and wait until its services are up."""
    programs: list[Program] = []

    def launch(*settings: str) -> Program:
        programs.append(Program(tmp_path / f"{len(programs)}.log", journal, rabbitmq_uri, *settings))
        programs[-1].wait_for_log("services are up")
        return programs[-1]

    yield launch
    for program in programs:
        program.end()


def _runs(journal: Path) -> Counter[str]:
    """Give how often each call ran, in whichever process."""
    return Counter(line.rpartition(" in ")[0] for line in journal.read_text().splitlines())


def _each_once() -> Counter[str]:
    return Counter(f"{service} {number}" for service in ("front", "back") for number in range(CALLS))


def _place_all(rpc: Any) -> list[Any]:
    return [rpc["front"].place.with_options(timeout=60).call_async(number) for number in range(CALLS)]


def _wait_for_waiting(count: int) -> None:
    wait_until(lambda: len(Judge.waiting) >= count, f"{count} calls in flight", 30)


def test_nested_calls_in_flight_are_answered_after_sigterm(start: Start, rpc: Any, gate: Event, journal: Path) -> None:
    """Their second half, a call to the service next door, begins when the runner is stopping already."""
    program = start("max_workers=50")
    calls = _place_all(rpc)
    _wait_for_waiting(CALLS)
    program.tell()
    program.wait_for_log(STOPPING)
    gate.set()
    assert [call.result() for call in calls] == [2 * number for number in range(CALLS)]
    assert program.exit_code() == 0
    assert _runs(journal) == _each_once()


@pytest.mark.parametrize("prefetch", [10, 40])
def test_another_instance_takes_what_a_stopping_one_leaves(
    prefetch: int, start: Start, rpc: Any, gate: Event, journal: Path
) -> None:
    """With a prefetch of 40, most of what the first one has taken waits for a worker when the signal comes."""
    first, second = (start("max_workers=10", f"PREFETCH_COUNT={prefetch}") for _ in range(2))
    calls = _place_all(rpc)
    wait_until(lambda: {pid for _, pid in Judge.waiting} == {first.pid, second.pid}, "calls in both")
    first.tell()
    first.wait_for_log(STOPPING)
    gate.set()
    assert [call.result() for call in calls] == [2 * number for number in range(CALLS)]
    assert first.exit_code() == 0
    assert _runs(journal) == _each_once()


@pytest.mark.parametrize("prefetch", [10, 40])
def test_events_go_to_another_instance_too(
    prefetch: int,
    start: Start,
    dispatch: Any,
    gate: Event,
    journal: Path,
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
) -> None:
    first, second = (start("max_workers=10", f"PREFETCH_COUNT={prefetch}") for _ in range(2))
    for number in range(CALLS):
        dispatch("source", "placed", number)
    wait_until(lambda: {pid for _, pid in Judge.waiting} == {first.pid, second.pid}, "events in both")
    first.tell()
    first.wait_for_log(STOPPING)
    gate.set()
    assert first.exit_code() == 0
    wait_until(lambda: len(_runs(journal)) == CALLS, "the last event", 30)
    queue = "evt-source-placed--front.handle"
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)[queue]["messages"] == 0, "the last acknowledgement", 30)
    assert _runs(journal) == Counter(f"event {number}" for number in range(CALLS))


def test_what_is_unfinished_after_shutdown_timeout_is_given_back(
    start: Start, rpc: Any, gate: Event, journal: Path
) -> None:
    first = start("shutdown_timeout=0.5")
    call = rpc["front"].place.with_options(timeout=60).call_async(7)
    _wait_for_waiting(1)
    second = start()
    first.tell()
    assert first.exit_code() == 0
    _wait_for_waiting(2)
    gate.set()
    assert call.result() == 14
    assert [pid for _, pid in Judge.waiting] == [first.pid, second.pid]
    assert _runs(journal) == Counter({"front 7": 2, "back 7": 1})


def test_a_second_signal_kills(start: Start, rpc: Any, gate: Event) -> None:
    """What it was at goes to another instance."""
    first = start()
    call = rpc["front"].place.with_options(timeout=60).call_async(7)
    _wait_for_waiting(1)
    first.tell()
    first.wait_for_log(STOPPING)
    first.tell()
    assert first.exit_code(5) == 1
    start()
    _wait_for_waiting(2)
    gate.set()
    assert call.result() == 14


def test_a_second_signal_ends_even_what_never_gives_control_back(start: Start, rpc: Any) -> None:
    program = start()
    rpc["stubborn"].spin.call_async()
    wait_until(lambda: not _answers(rpc), "the end of all answers")
    program.tell()
    program.tell(signal.SIGINT)
    assert program.exit_code(10) not in (0, None)


def _answers(rpc: Any) -> bool:
    try:
        return bool(rpc["back"].work.with_options(timeout=0.5)(1))
    except RpcTimeout:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_process_ends_with_0(
    number: signal.Signals, start: Start, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    program = start()
    begin = monotonic()
    program.tell(number)
    assert program.exit_code() == 0
    assert monotonic() - begin < 5
    assert not [name for name in rabbitmq.queues(rabbitmq_uri) if name.startswith("rpc.reply-")]


def test_a_process_that_is_killed_outright_leaves_its_calls_to_others(
    start: Start, rpc: Any, gate: Event, journal: Path
) -> None:
    first = start()
    call = rpc["front"].place.with_options(timeout=60).call_async(7)
    _wait_for_waiting(1)
    first.tell(signal.SIGKILL)
    assert first.exit_code() == -signal.SIGKILL
    start()
    _wait_for_waiting(2)
    gate.set()
    assert call.result() == 14


def test_a_process_that_was_frozen_works_again(
    start: Start, rpc: Any, gate: Event, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    """As a virtual machine that is moved: the broker gives it up meanwhile, and what it was at goes round again."""
    gate.set()
    program = start("HEARTBEAT=1")
    assert rpc["front"].place(1) == 2
    connections = len(rabbitmq.connections(rabbitmq_uri))
    program.tell(signal.SIGSTOP)
    wait_until(lambda: len(rabbitmq.connections(rabbitmq_uri)) < connections, "the end of its connection")
    call = rpc["front"].place.call_async(2)
    program.tell(signal.SIGCONT)
    assert call.result(10) == 4


def test_no_caller_notices_a_rolling_restart(start: Start, rpc: Any, journal: Path) -> None:
    """Instances are replaced one after the other under load: no call fails, and none runs twice."""
    is_over = green().event()
    done: list[int] = []
    failures: list[Exception] = []

    def keep_calling(first: int) -> None:
        number = first
        while not is_over.is_set() and not failures:
            try:
                assert rpc["front"].pass_on(number) == 2 * number
            except Exception as exc:
                failures.append(exc)
            done.append(number)
            number += CALLS

    programs = [start(), start()]
    callers = [green().spawn(keep_calling, first) for first in range(20)]
    for _ in range(2):
        programs.append(start())
        goal = len(done) + 100
        wait_until(lambda goal=goal: failures or len(done) > goal, "progress")
        oldest = programs.pop(0)
        oldest.tell()
        assert oldest.exit_code() == 0
    is_over.set()
    assert all(caller.wait(10) for caller in callers)
    assert failures == []
    runs = _runs(journal)
    assert all(runs[f"front {number}"] == runs[f"back {number}"] == 1 for number in done)
