"""The watchdog: whatever blocks the loop is logged, with its stack, while it does so."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import Entrypoint, ServiceContainer
from rpcservice.concurrency import green, threads
from rpcservice.concurrency.native import native
from rpcservice.testing import entrypoint_hook

Start = Callable[..., ServiceContainer]

LIMIT = 0.3
LOGGER = "rpcservice.concurrency.watchdog"
BLOCKED = "the event loop has not turned for"
again = Entrypoint.decorator


def block(seconds: float) -> None:
    """Do what C code does that waits: let no greenlet run."""
    native("time").sleep(seconds)


def block_until(holds: Callable[[], Any], seconds: float = 10) -> None:
    """Block until something holds, so that no test waits longer than it must."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        block(0.02)


class Blocker:
    """A service whose method does what it is told."""

    name = "blocker"

    @again
    def run(self, function: Callable[[], Any]) -> Any:
        return function()


@pytest.fixture
def start(container_factory: Callable[..., ServiceContainer]) -> Start:
    def make(**settings: Any) -> ServiceContainer:
        container = container_factory(Blocker, {"blocked_loop_warning": LIMIT, **settings})
        container.start()
        return container

    return make


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """The file of a handler, as programs have it."""
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    yield tmp_path / "log"
    logging.getLogger().removeHandler(handler)
    handler.close()


def run(container: ServiceContainer, function: Callable[[], Any]) -> Any:
    with entrypoint_hook(container, "run") as call:
        return call(function)


def test_the_stack_is_logged_while_the_loop_is_blocked(start: Start, log_file: Path) -> None:
    """Not afterwards: the loop may never turn again."""

    def wait_for_the_report() -> tuple[float, str]:
        begin = time.monotonic()
        block_until(lambda: BLOCKED in log_file.read_text())
        return time.monotonic() - begin, log_file.read_text()

    seconds, text = run(start(blocked_loop_warning=1), wait_for_the_report)
    assert 1 <= seconds < 2
    assert f"WARNING {LOGGER} {BLOCKED} 1.0 s: the worker of blocker.run." in text
    assert "in wait_for_the_report" in text
    assert "block_until(lambda: BLOCKED" in text


def test_one_line_says_when_it_is_over(start: Start, log_file: Path) -> None:
    run(start(), lambda: block(2))
    text = wait_until(lambda: "turns again" in log_file.read_text() and log_file.read_text(), "the last line")
    assert len(re.findall(r"WARNING \S+ the event loop turns again, after at least [12]\.\d s\n", text)) == 1


def test_reports_of_one_blockade_have_growing_distances(start: Start, log_file: Path) -> None:
    """0.3, 1.2 and 4.8 s after the first look; the last one does not come any more."""
    run(start(), lambda: block(2.5))
    assert log_file.read_text().count(BLOCKED) == 2


class Collector(logging.Handler):
    """A handler without a file, as Sentry's is."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """The only handler that there is."""
    collector, logger = Collector(), logging.getLogger(LOGGER)
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(collector)
    yield collector
    logger.removeHandler(collector)


@contextmanager
def standard_error_in(path: Path) -> Iterator[None]:
    """Have standard error go to a file: what another thread writes while capfd reads is lost."""
    kept = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_handlers_without_a_file_get_the_record_afterwards(start: Start, collector: Collector, tmp_path: Path) -> None:
    """Until then it stands on standard error, for there may be no afterwards."""
    container, path = start(), tmp_path / "standard-error"

    def wait_for_the_report() -> int:
        block_until(lambda: BLOCKED in path.read_text())
        return len(collector.records)

    with standard_error_in(path):
        assert run(container, wait_for_the_report) == 0
    assert f"WARNING {LOGGER}: {BLOCKED} 0.3 s: the worker of blocker.run." in path.read_text()
    record = wait_until(lambda: collector.records, "the record")[0]
    assert BLOCKED in record.getMessage()
    assert record.levelname == "WARNING"
    assert abs(time.time() - record.created) < 5


def test_a_handler_whose_formatter_fails_gets_the_record_afterwards(
    start: Start, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may need something of the loop's thread."""
    (handler,) = [one for one in logging.getLogger().handlers if type(one) is logging.FileHandler]
    plain, home = handler.format, native("threading").get_ident()

    def format_at_home(record: logging.LogRecord) -> str:
        if native("threading").get_ident() != home:
            raise RuntimeError("not in this thread")
        return plain(record)

    monkeypatch.setattr(handler, "format", format_at_home)
    run(start(), lambda: block(1.2))
    text = wait_until(lambda: "turns again" in log_file.read_text() and log_file.read_text(), "the last line")
    assert text.count(BLOCKED) == 1


def test_without_any_handler_it_stands_on_standard_error(start: Start, collector: Collector, tmp_path: Path) -> None:
    logging.getLogger(LOGGER).removeHandler(collector)
    container, path = start(), tmp_path / "standard-error"
    with standard_error_in(path):
        run(container, lambda: block(1.2))
        text = wait_until(lambda: "turns again" in path.read_text() and path.read_text(), "the last line")
    assert text.count(BLOCKED) == 1


def test_each_handler_gets_each_record_once(
    start: Start, log_file: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    run(start(), lambda: block(0.3 + 0.5 + 0.3))
    wait_until(lambda: "turns again" in caplog.text, "the last record")
    assert log_file.read_text().count(BLOCKED) == 1
    assert caplog.text.count(BLOCKED) == 1
    assert BLOCKED not in capfd.readouterr().err


@pytest.mark.parametrize("silence", ["level", "filter"])
def test_levels_and_filters_of_handlers_count(
    start: Start, log_file: Path, caplog: pytest.LogCaptureFixture, silence: str
) -> None:
    (handler,) = [one for one in logging.getLogger().handlers if type(one) is logging.FileHandler]
    if silence == "level":
        handler.setLevel(logging.ERROR)
    else:
        handler.addFilter(lambda record: record.name != LOGGER)
    run(start(), lambda: block(1.2))
    wait_until(lambda: "turns again" in caplog.text, "the other handler's records")
    assert log_file.read_text() == ""


def test_the_level_of_the_logger_counts(start: Start, log_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    container = start()
    with caplog.at_level(logging.ERROR, LOGGER):
        run(container, lambda: block(1.2))
        container.stop()
    assert log_file.read_text() == ""


def test_the_report_is_a_line_of_the_worker_that_blocks(start: Start, log_file: Path) -> None:
    """Its call id is where the other lines of the call have it."""
    from rpcservice.core.logs import WorkerFilter

    (handler,) = [one for one in logging.getLogger().handlers if type(one) is logging.FileHandler]
    handler.addFilter(WorkerFilter())
    handler.setFormatter(logging.Formatter("%(service)s %(method)s %(message)s"))
    run(start(), lambda: block_until(lambda: BLOCKED in log_file.read_text()))
    assert f"blocker run {BLOCKED}" in log_file.read_text()


def test_a_busy_loop_that_turns_is_no_blockade(start: Start, log_file: Path) -> None:
    def compute_in_pieces() -> None:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            block(0.05)
            green().sleep(0)

    run(start(), compute_in_pieces)
    assert log_file.read_text() == ""


def test_an_idle_loop_is_not_woken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    container = start()
    monkeypatch.setattr(container.backend._watchdog, "_post", asked.append)  # type: ignore[attr-defined]
    green().sleep(1.2)
    assert asked == []


def test_code_in_c_that_lets_no_thread_run_is_told_of_afterwards(start: Start, log_file: Path) -> None:
    container = start()
    size, seconds = 10_000_000, 0.0
    while seconds < 1.5:
        size *= 2
        begin = time.monotonic()
        # A single call, within which no other thread runs.
        run(container, lambda size=size: sum(range(size)))
        seconds = time.monotonic() - begin
    wait_until(lambda: BLOCKED in log_file.read_text(), "the report")


def test_such_code_is_found_at_any_moment(start: Start, log_file: Path) -> None:
    """Also while the watchdog has not yet asked for a sign of life: it has only been kept from looking."""
    watchdog = start().backend._watchdog  # type: ignore[attr-defined]
    watchdog._late = 1.5
    watchdog._report_late(watchdog._stack())
    text = log_file.read_text()
    assert f"{BLOCKED} 1.5 s, nor did any other thread run" in text
    assert "By now code outside of workers is at:" in text
    assert "in test_such_code_is_found_at_any_moment" in text


def test_zero_turns_it_off(start: Start, log_file: Path) -> None:
    run(start(blocked_loop_warning=0), lambda: block(1.2))
    assert watchdogs() == []
    assert log_file.read_text() == ""


def watchdogs() -> list[Any]:
    return [one for one in native("threading").enumerate() if one.name == "rpcservice-watchdog"]


def test_there_is_one_for_all_containers_and_none_after_the_last(
    container_factory: Callable[..., ServiceContainer],
) -> None:
    first, second = (container_factory(Blocker) for _ in range(2))
    assert watchdogs() == []
    first.start()
    second.start()
    (watchdog,) = watchdogs()
    first.stop()
    assert watchdogs() == [watchdog]
    second.kill()
    assert watchdogs() == []
    third = container_factory(Blocker)
    third.start()
    assert len(watchdogs()) == 1
    third.stop()
    assert watchdogs() == []


def test_threads_are_not_watched() -> None:
    """None waits for the other."""
    leave = threads().watch_loop(0.1, lambda stack: pytest.fail("nothing to look at"))
    assert watchdogs() == []
    leave()


PROGRAM = """
import json, sys, time, warnings, logging
warnings.simplefilter("ignore")
logging.basicConfig()
from rpcservice import Entrypoint, run_services
from rpcservice.concurrency import green

class Service:
    name = "service"

    @Entrypoint.decorator
    def run(self): exec(BODY)

BODY = sys.argv[1]
with run_services(Service, config={"AMQP_URI": "memory://", "blocked_loop_warning": 0.5}) as runner:
    container = runner.containers["service"]
    print("up", flush=True)
    container.run_worker(container.entrypoints[0])
    green().sleep(1)
print("end", flush=True)
"""


def program(body: str) -> "subprocess.Popen[str]":
    """Run a service in a process that is not patched; its method runs some code."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: "subprocess.Popen[str]", said: str = "") -> str:
    """Give what a program wrote to its standard error."""
    out, err = process.communicate(said, timeout=60)
    assert out.endswith("end\n"), err
    return err


def test_it_works_in_a_process_that_is_not_patched() -> None:
    err = outcome(program("time.sleep(1.7)"))
    assert err.count(f"WARNING:{LOGGER}:{BLOCKED} 0.5 s: the worker of service.run.") == 1
    assert err.count("turns again") == 1


def test_a_process_that_was_stopped_has_blocked_nothing() -> None:
    """Nor has a laptop that slept, or a debugger that was attached."""
    process = program("deadline = time.monotonic() + 1\nwhile time.monotonic() < deadline: green().sleep(0)")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    for _ in range(3):
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: "T (stopped)" in Path(f"/proc/{process.pid}/status").read_text(), "the stop")
        block(1.2)
        process.send_signal(signal.SIGCONT)
    assert BLOCKED not in outcome(process)


def test_a_program_that_is_stepped_through_has_blocked_nothing() -> None:
    process = program("import pdb; pdb.Pdb(stdout=sys.stderr).set_trace(); print('after')")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    block(1.7)
    err = outcome(process, "continue\n")
    assert "(Pdb)" in err
    assert BLOCKED not in err


def test_a_report_is_a_json_object_where_lines_are(tmp_path: Path) -> None:
    service = tmp_path / "blocking.py"
    service.write_text(
        "import time\nfrom eventlet.patcher import original\nfrom rpcservice import timer\n\n"
        "class Blocking:\n    name = 'blocking'\n\n    @timer(60, eager=True)\n    def block(self):\n"
        "        original('time').sleep(2)\n"
    )
    command = [
        sys.executable,
        "-m",
        "rpcservice",
        "run",
        str(service),
        "--broker",
        "memory://",
        "-d",
        "log_format=json",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ.copy()) as process:
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr if line.startswith(b"{"))
        report = next(line for line in lines if BLOCKED in line["message"])
        process.send_signal(signal.SIGTERM)
    assert (report["level"], report["service"], report["method"]) == ("WARNING", "blocking", "block")
    assert "in block" in report["message"]
