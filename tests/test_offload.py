"""Offload: work beside the event loop, in real threads and in processes."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import offloaded
import pytest
from waiting import wait_until

from rpcservice import Entrypoint, Offload, ServiceContainer, rpc
from rpcservice.concurrency import green
from rpcservice.concurrency.native import native
from rpcservice.errors import ContainerBeingKilled, OffloadError, OffloadFull, WorkerTimeout
from rpcservice.testing import FakeHost, entrypoint_hook, worker_factory

Start = Callable[..., ServiceContainer]
Call = Callable[..., Any]

KINDS: list[dict[str, Any]] = [{"max_threads": 2}, {"processes": 2}]
again = Entrypoint.decorator
colour: ContextVar[str] = ContextVar("colour", default="none")


class NativeEvent:
    """An event for real threads; greenlets look at it again and again."""

    def __init__(self) -> None:
        self._event = native("threading").Event()
        self.set = self._event.set

    def block(self) -> bool:
        """Wait in a real thread."""
        return bool(self._event.wait(20))

    def wait(self) -> None:
        """Wait in a greenlet."""
        wait_until(self._event.is_set)


@pytest.fixture
def offloading(host: FakeHost) -> Iterator[Callable[..., Any]]:
    """Give the dependency without a service: ``offloading(max_threads=2)``."""
    made: list[Offload] = []

    def make(**options: Any) -> Any:
        provider = host.bind(Offload(**options), "offload")
        provider.setup()
        provider.start()
        made.append(provider)
        return provider.get_dependency(host.context())

    yield make
    for provider in made:
        provider.stop()
        assert wait_until(lambda: not real_threads(), "the end of the threads")


def real_threads() -> list[Any]:
    return [one for one in native("threading").enumerate() if one.name == "rpcservice-offload"]


@pytest.fixture(params=KINDS, ids=["threads", "processes"])
def offload(request: pytest.FixtureRequest, offloading: Call) -> Any:
    """The dependency of either kind."""
    return offloading(**request.param)


def test_it_gives_the_result(offload: Call) -> None:
    assert offload(offloaded.add, 1, b=2) == 3


def test_it_raises_what_the_function_raises(offload: Call) -> None:
    with pytest.raises(offloaded.Refused) as caught:
        offload(offloaded.refuse, 7)
    assert str(caught.value) == "no 7"
    assert caught.value.number == 7


def test_other_greenlets_go_on_meanwhile(offload: Call) -> None:
    turns = []

    def turn() -> None:
        while True:
            turns.append(True)
            green().sleep(0.01)

    task = green().spawn(turn)
    offload(offloaded.block, 0.5)
    task.kill()
    assert len(turns) > 10


def test_calls_run_side_by_side(offload: Call, tmp_path: Path) -> None:
    """Each of the two waits for the other."""
    outcomes: list[Any] = []
    tasks = [
        green().spawn(lambda pair=pair: outcomes.append(offload(offloaded.meet, tmp_path, *pair)))
        for pair in (("one", "other"), ("other", "one"))
    ]
    assert all(task.wait(30) for task in tasks)
    assert outcomes == ["met", "met"]


def test_no_more_than_so_many_run_at_a_time_and_the_rest_waits_in_order(offloading: Call) -> None:
    offload = offloading(max_threads=1)
    gate, order = NativeEvent(), []
    tasks = [green().spawn(offload, lambda number=number: (gate.block(), order.append(number))) for number in range(5)]
    green().sleep(0)
    assert len(real_threads()) == 1
    gate.set()
    assert all(task.wait(10) for task in tasks)
    assert order == [0, 1, 2, 3, 4]


def test_what_is_too_much_is_refused_at_once(offloading: Call) -> None:
    offload = offloading(max_threads=1, max_waiting=1)
    gate = NativeEvent()
    tasks = [green().spawn(offload, gate.block) for _ in range(2)]
    green().sleep(0)
    with pytest.raises(OffloadFull, match=r"service\.offload: all 1 threads or processes are busy and 1 calls wait"):
        offload(gate.block)
    gate.set()
    assert all(task.wait(10) for task in tasks)


def test_a_thread_has_the_context_variables_of_the_caller(offloading: Call) -> None:
    offload = offloading()
    token = colour.set("red")
    assert offload(colour.get) == "red"
    offload(colour.set, "green")
    assert colour.get() == "red"
    colour.reset(token)


def test_threads_are_kept_for_the_next_call(offloading: Call) -> None:
    offload = offloading(max_threads=4)
    idents = {offload(native("threading").get_ident) for _ in range(5)}
    assert len(idents) == 1
    assert idents != {native("threading").get_ident()}


def test_processes_are_kept_for_the_next_call(offloading: Call) -> None:
    offload = offloading(processes=2)
    assert len({offload(os.getpid) for _ in range(3)}) == 1


def test_large_values_go_through_the_pipe(offloading: Call) -> None:
    data = os.urandom(5_000_000)
    assert offloading(processes=1)(offloaded.add, data, data) == data + data


def test_a_function_that_cannot_be_sent_is_named(offloading: Call) -> None:
    offload = offloading(processes=1)
    with pytest.raises(OffloadError, match=r"lambda> cannot be sent to a process: .*; give a function of a module"):
        offload(lambda: 1)


def test_an_error_that_cannot_be_sent_comes_as_text(offloading: Call) -> None:
    with pytest.raises(OffloadError, match=r"^Unsendable: it holds a lock"):
        offloading(processes=1)(offloaded.raise_unsendable)


def test_an_error_without_a_text_either_comes_by_its_name(offloading: Call) -> None:
    with pytest.raises(OffloadError, match=r"^Unprintable, whose text cannot be had"):
        offloading(processes=1)(offloaded.raise_unprintable)


def test_a_result_that_cannot_be_sent_is_an_error(offloading: Call) -> None:
    with pytest.raises((TypeError, OffloadError), match="cannot pickle"):
        offloading(processes=1)(offloaded.give_unsendable)


def test_a_result_that_cannot_be_read_is_an_error(offloading: Call) -> None:
    with pytest.raises(OffloadError, match=r"^what Unreadable gave in its process cannot be read here: not here"):
        offloading(processes=1)(offloaded.Unreadable)


def test_the_traceback_in_the_process_is_told(offloading: Call) -> None:
    with pytest.raises(offloaded.Refused) as caught:
        offloading(processes=1)(offloaded.refuse, 7)
    assert "in refuse" in "".join(caught.value.__notes__)


def test_a_process_that_dies_is_told_of_and_replaced(offloading: Call) -> None:
    offload = offloading(processes=1)
    first = offload(os.getpid)
    with pytest.raises(OffloadError, match=r"^the process that ran kill_me ended with exit code -9$"):
        offload(offloaded.kill_me)
    second = offload(os.getpid)
    assert second != first
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: is_dead(second), "the end of the process")
    assert offload(os.getpid) not in (first, second)


def test_who_waits_for_a_process_that_dies_gets_the_next_one(offloading: Call) -> None:
    offload = offloading(processes=1)
    outcomes: list[Any] = []

    def die() -> None:
        with pytest.raises(OffloadError):
            offload(offloaded.kill_me)
        outcomes.append("died")

    tasks = [green().spawn(die), green().spawn(lambda: outcomes.append(offload(offloaded.add, 1, 2)))]
    assert all(task.wait(30) for task in tasks)
    assert sorted(map(str, outcomes)) == ["3", "died"]


def test_a_process_that_cannot_be_started_fails_the_call(offloading: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> int:
        raise BlockingIOError("no more processes")

    offload = offloading(processes=1)
    with monkeypatch.context() as patch:
        patch.setattr(native("os"), "posix_spawn", refuse)
        with pytest.raises(BlockingIOError, match="no more processes"):
            offload(offloaded.add, 1, 2)
    assert offload(offloaded.add, 1, 2) == 3


def test_a_process_whose_end_somebody_else_took_is_replaced(offloading: Call) -> None:
    """Programs that wait for any child do so."""
    offload = offloading(processes=1)
    first = offload(os.getpid)
    os.kill(first, signal.SIGKILL)
    native("os").waitpid(first, 0)
    assert offload(os.getpid) != first


def is_dead(pid: int) -> bool:
    """Say whether a process and all its threads have ended, although nobody may have asked for its exit code."""
    state = Path(f"/proc/{pid}/status").read_text().split("State:")[1].split()[0]
    return state == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1


def test_a_process_bears_the_signals_that_stop_services(offloading: Call) -> None:
    """A terminal sends Ctrl-C to all, and systemd SIGTERM: what was begun may be finished."""
    offload = offloading(processes=1)
    pid = offload(os.getpid)
    task_done: list[Any] = []
    task = green().spawn(lambda: task_done.append(offload(offloaded.block, 0.5)))
    green().sleep(0.1)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert task.wait(10)
    assert task_done == [0.5]


def test_inside_a_thread_it_says_what_to_do_instead(offloading: Call) -> None:
    offload = offloading()
    with pytest.raises(RuntimeError, match="call the function itself there"):
        offload(offload, offloaded.add, 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_threads": 0}, r"Offload\(max_threads=0\): give a whole number from 1 on"),
        ({"max_threads": True}, r"Offload\(max_threads=True\): give"),
        ({"processes": 0}, r"Offload\(processes=0\): give a whole number from 1 on"),
        ({"max_waiting": -1}, r"Offload\(max_waiting=-1\): give a whole number from 0 on"),
        ({"max_threads": 1, "processes": 1}, "give one of the two"),
    ],
)
def test_wrong_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Offload(**options)


def test_the_size_follows_the_processors() -> None:
    cpus = len(os.sched_getaffinity(0))
    assert Offload().size == min(32, cpus + 4)
    assert Offload(processes=True).size == cpus


class Worker:
    """A service that offloads what it is told, within a time limit or without."""

    name = "worker"
    offload = Offload(max_threads=2)
    compute = Offload(processes=1)

    @again
    def in_thread(self, *args: Any) -> Any:
        return self.offload(*args)

    @again(time_limit=0.3)
    def in_thread_within(self, *args: Any) -> Any:
        return self.offload(*args)

    @again(time_limit=2)
    def in_process_within(self, *args: Any) -> Any:
        return self.compute(*args)

    @again
    def in_process(self, *args: Any) -> Any:
        return self.compute(*args)

    @rpc
    def add(self, a: int, b: int) -> Any:
        return self.offload(offloaded.add, a, b)


@pytest.fixture
def start(container_factory: Callable[..., ServiceContainer]) -> Start:
    def make(**settings: Any) -> ServiceContainer:
        container = container_factory(Worker, settings)
        container.start()
        return container

    return make


def test_a_service_answers_with_what_it_offloaded(start: Start, rpc: Any) -> None:
    start()
    assert rpc.worker.add(1, 2) == 3


@pytest.mark.broker
def test_a_service_on_rabbitmq_does_too(start: Start, rpc: Any) -> None:
    start()
    assert rpc.worker.add(1, 2) == 3


def test_a_worker_is_ended_at_its_time_limit_and_the_thread_goes_on(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    gate, ended = NativeEvent(), NativeEvent()
    container = start()

    def work() -> None:
        gate.block()
        ended.set()
        raise OSError("nobody listens")

    with entrypoint_hook(container, "in_thread_within") as call, pytest.raises(WorkerTimeout):
        call(work)
    assert "work any more; it goes on in its thread until it ends by itself" in caplog.text
    gate.set()
    ended.wait()
    wait_until(lambda: "for which nobody waited any more, failed: nobody listens" in caplog.text, "the error")
    with entrypoint_hook(container, "in_thread") as call:
        assert call(offloaded.add, 1, 2) == 3


def test_a_process_is_killed_at_the_time_limit(start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    container = start()
    with entrypoint_hook(container, "in_process_within") as call, pytest.raises(WorkerTimeout):
        call(offloaded.write_pid_and_block, tmp_path / "pid", 60)
    assert "nobody waits for write_pid_and_block any more; its process is killed" in caplog.text
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")
    with entrypoint_hook(container, "in_process") as call:
        assert call(offloaded.add, 1, 2) == 3


def test_a_call_that_waits_is_not_begun_when_its_time_is_over(start: Start) -> None:
    gate, begun = NativeEvent(), []
    container = start()
    with entrypoint_hook(container, "in_thread") as call, entrypoint_hook(container, "in_thread_within") as call_within:
        tasks = [green().spawn(call, gate.block) for _ in range(2)]
        green().sleep(0.05)
        with pytest.raises(WorkerTimeout):
            call_within(begun.append, 1)
        gate.set()
        assert all(task.wait(10) for task in tasks)
        call(lambda: None)
    assert begun == []


def test_a_stop_waits_for_what_runs(start: Start) -> None:
    gate, container = NativeEvent(), start(shutdown_timeout=20)
    (entrypoint,) = [one for one in container.entrypoints if one.method_name == "in_thread"]
    ctx = container.spawn_worker(entrypoint, (gate.block,))
    wait_until(real_threads, "the thread")
    stopping = green().spawn(container.stop)
    green().sleep(0.1)
    assert stopping.is_alive()
    gate.set()
    assert stopping.wait(10)
    assert ctx.result is True
    assert wait_until(lambda: not real_threads(), "the end of the threads")


def test_a_stop_does_not_wait_for_ever(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    gate, container = NativeEvent(), start(shutdown_timeout=0.2)
    (entrypoint,) = [one for one in container.entrypoints if one.method_name == "in_thread"]
    ctx = container.spawn_worker(entrypoint, (gate.block,))
    wait_until(real_threads, "the thread")
    begin = time.monotonic()
    container.stop()
    assert time.monotonic() - begin < 5
    assert isinstance(ctx.error, ContainerBeingKilled)
    assert caplog.text.count("block any more; it goes on in its thread") == 1
    gate.set()
    assert wait_until(lambda: not real_threads(), "the end of the threads")


def test_a_stop_leaves_no_process(start: Start) -> None:
    container = start()
    with entrypoint_hook(container, "in_process") as call:
        pid = call(os.getpid)
    container.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_a_kill_leaves_no_process(start: Start, tmp_path: Path) -> None:
    container = start()
    (entrypoint,) = [one for one in container.entrypoints if one.method_name == "in_process"]
    container.spawn_worker(entrypoint, (offloaded.write_pid_and_block, tmp_path / "pid", 60))
    pid = int(wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the process"))
    container.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")


def test_after_the_stop_nothing_is_taken(start: Start) -> None:
    container = start()
    provider = next(one for one in container.dependencies if one.attr_name == "offload")
    container.stop()
    with pytest.raises(ContainerBeingKilled, match=r"worker\.offload takes no more work"):
        provider.call(offloaded.add, 1, 2)  # type: ignore[attr-defined]


def test_a_unit_test_gives_a_plain_call_instead() -> None:
    service = worker_factory(Worker, offload=lambda function, *args: function(*args))
    assert service.add(1, 2) == 3


def test_what_threads_log_comes_out_whole(offloading: Call, caplog: pytest.LogCaptureFixture) -> None:
    """With logging's own locks, which are greenlets', a thread would hang, or break the loop."""
    offload = offloading(max_threads=4)
    log = logging.getLogger("offloaded")
    slow = SlowHandler()
    log.addHandler(slow)
    caplog.set_level(logging.INFO, "offloaded")

    def write(name: str) -> None:
        for number in range(50):
            log.info("%s %s", name, number)

    try:
        tasks = [green().spawn(offload, write, f"thread {number}") for number in range(4)]
        for number in range(50):
            log.info("loop %s", number)
            green().sleep(0)
        assert all(task.wait(20) for task in tasks)
        wait_until(lambda: len(slow.lines) == 250, "all lines")
    finally:
        log.removeHandler(slow)
    for name in ("thread 0", "thread 1", "thread 2", "thread 3", "loop"):
        assert [line for line in slow.lines if line.startswith(name)] == [f"{name} {number}" for number in range(50)]


class SlowHandler(logging.Handler):
    """Lets other real threads run while it has its lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        native("time").sleep(0.0002)
        self.lines.append(record.getMessage())


def test_records_of_threads_say_where_they_are_from(offloading: Call, caplog: pytest.LogCaptureFixture) -> None:
    offload = offloading()

    def fail() -> None:
        try:
            raise OSError("gone")
        except OSError:
            logging.getLogger("offloaded").exception("failed", extra={"number": 7})
        logging.getLogger("offloaded").debug("not enabled")

    caplog.set_level(logging.INFO, "offloaded")
    offload(fail)
    (record,) = wait_until(lambda: caplog.records, "the record")
    assert (record.funcName, record.threadName, record.filename) == ("fail", "rpcservice-offload", "test_offload.py")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)
    assert record.number == 7  # type: ignore[attr-defined]


def test_records_of_the_loop_are_as_before(offloading: Call, caplog: pytest.LogCaptureFixture) -> None:
    offloading()(offloaded.add, 1, 2)
    logging.getLogger("offloaded").warning("from here", stacklevel=1)
    record = caplog.records[-1]
    assert (record.funcName, record.filename) == ("test_records_of_the_loop_are_as_before", "test_offload.py")


PROGRAM = """
import sys
import offloaded
from rpcservice import Offload, Entrypoint, run_services

class Service:
    name = "service"
    threads = Offload()
    processes = Offload(processes=1)

    @Entrypoint.decorator
    def run(self): print(self.threads(offloaded.add, 1, 2), self.processes(offloaded.add, 3, 4), flush=True)

if __name__ == "__main__":
    with run_services(Service, config={"AMQP_URI": "memory://"}) as runner:
        container = runner.containers["service"]
        container.run_worker(container.entrypoints[0])
        if "leave" in sys.argv:
            sys.stdout.flush()
            raise SystemExit(0)
"""


ON_THREADS = """
import offloaded
from rpcservice import Offload
from rpcservice.concurrency import threads
from rpcservice.testing import FakeHost

if __name__ == "__main__":
    for options in ({"max_threads": 1}, {"processes": 1}):
        provider = FakeHost(backend=threads()).bind(Offload(**options), "offload")
        provider.setup()
        print(provider.call(offloaded.add, 1, 2), flush=True)
        provider.stop()
"""


ORPHAN = """
import sys
from pathlib import Path
import offloaded
from rpcservice import Offload
from rpcservice.concurrency import threads
from rpcservice.testing import FakeHost

if __name__ == "__main__":
    provider = FakeHost(backend=threads()).bind(Offload(processes=1), "offload")
    provider.setup()
    provider.call(offloaded.write_pid_and_block, Path(sys.argv[1]), 60)
"""


def start_program(path: Path, text: str, *args: str) -> "subprocess.Popen[str]":
    """Run a program in a process that is not patched."""
    path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(Path(offloaded.__file__).parent)}
    command = [sys.executable, "-W", "ignore::Warning", str(path), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def outcome(program: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Give a program's exit code and what it wrote."""
    with program:
        out, err = program.communicate(timeout=60)
    return program.returncode, out, err


def test_a_process_goes_with_the_one_that_it_works_for(tmp_path: Path) -> None:
    """Nobody could tell it to end, and it would compute for ever."""
    path = tmp_path / "pid"
    program = start_program(tmp_path / "program.py", ORPHAN, str(path))
    pid = int(wait_until(lambda: path.exists() and path.read_text(), "the process"))
    program.kill()
    assert outcome(program)[0] == -signal.SIGKILL
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")


def test_it_works_where_the_backend_is_threads(tmp_path: Path) -> None:
    assert outcome(start_program(tmp_path / "program.py", ON_THREADS)) == (0, "3\n3\n", "")


@pytest.mark.parametrize("end", ["stop", "leave"])
def test_it_works_in_a_process_that_is_not_patched_and_lets_it_end(tmp_path: Path, end: str) -> None:
    assert outcome(start_program(tmp_path / "program.py", PROGRAM, end)) == (0, "3 7\n", "")
