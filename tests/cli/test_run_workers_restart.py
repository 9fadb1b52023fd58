"""``rpcservice run --workers``: restarts in turn, of which no request and no call fails, and timers of one worker."""

import http.client
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from command_process import Running, Terminal
from waiting import wait_until
from worker_process import HERE, UP, get, is_alive, pids, said, url_of, workers_of

from rpcservice import ClusterRpcClient
from rpcservice.supervisor.terminal import ECHO, LOOK_EVERY
from rpcservice.testing.ports import free_ports

pytestmark = pytest.mark.broker

RELEASE = """
import os, threading
from rpcservice import http, rpc, timer

class Shop:
    name = "shop"

    @rpc
    def release(self, seconds=0):
        if seconds:
            print("at work", flush=True)
            threading.Event().wait(seconds)
        return {release!r}

    @http("GET", "/release")
    def web_release(self, request):
        return {release!r}

    @timer(interval=0.2, per_host=True)
    def tick(self):
        os.write(1, b"tick of %d\\n" % os.getpid())
"""

DONE = "all workers are restarted"


@pytest.fixture
def write(folder: Path) -> Callable[[str], None]:
    """Write a release of shop.py."""

    def write(release: str) -> None:
        (folder / "shop.py").write_text(RELEASE.format(release=release))

    return write


@pytest.fixture
def shop(start_workers: Callable[..., Running], write: Callable[[str], None]) -> Callable[..., Running]:
    """Start two workers of shop.py and wait until they are up: ``shop("-d", "shutdown_timeout=1")``."""
    write("first")

    return partial(start_workers, "shop.py", 2)


def count(running: Running, text: str) -> int:
    return sum(text in line for line in running.err)


@contextmanager
def asked_without_end(*askers: Callable[[], object]) -> Iterator[list[object]]:
    """Have threads ask again and again; gives what they were told, an exception where that failed."""
    outcomes: list[object] = []
    stopped = threading.Event()

    def run(ask: Callable[[], object]) -> None:
        while not stopped.is_set():
            try:
                outcomes.append(ask())
            except Exception as exc:
                outcomes.append(exc)

    threads = [threading.Thread(target=run, args=(ask,)) for ask in askers]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stopped.set()
        for thread in threads:
            thread.join(30)


def kept_connection(url: str) -> Callable[[], object]:
    """Give what asks for the release over one connection, or the next one when the server says that it closes it."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)

    def ask() -> object:
        connection.request("GET", "/release")
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()

    return ask


def test_a_restart_in_turn_fails_no_request_and_no_call(
    shop: Callable[..., Running], write: Callable[[str], None], rabbitmq_uri: str
) -> None:
    """No balancer tries again: the listening socket stays open all the time."""
    running = shop()
    url = url_of(running)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=30) as rpc:
        askers = [lambda: get(f"{url}/release"), kept_connection(url), lambda: rpc.shop.release()]
        with asked_without_end(*askers) as outcomes:
            for number, release in enumerate(("second", "third"), start=1):
                wait_until(lambda: len(outcomes) > 50, "some answers")
                write(release)
                running.process.send_signal(signal.SIGHUP)
                wait_until(lambda number=number: count(running, DONE) == number, DONE, timeout=40)  # type: ignore[misc]
            so_far = len(outcomes)
            wait_until(lambda: len(outcomes) > so_far + 50, "more answers")
    assert set(outcomes) == {"first", "second", "third"}
    assert set(outcomes[so_far + 10 :]) == {"third"}


def test_a_new_worker_is_up_before_the_old_one_stops(shop: Callable[..., Running]) -> None:
    running = shop()
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(DONE, timeout=40)
    lines = [line for line in running.err if "rpcservice.supervisor" in line]
    steps = [match[0] for line in lines if (match := re.search(r"worker \d is up|worker \d \(pid \d+\) has", line))]
    numbers = [re.sub(r" \(pid \d+\)", "", step) for step in steps]
    assert sorted(numbers[:2]) == ["worker 1 is up", "worker 2 is up"]
    assert numbers[2:] == ["worker 1 is up", "worker 1 has", "worker 2 is up", "worker 2 has"]
    assert not [pid for pid in pids(running)[:2] if is_alive(pid)]


def test_work_of_an_old_worker_is_finished(shop: Callable[..., Running], rabbitmq_uri: str) -> None:
    running = shop()
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=30) as rpc:
        calls = [rpc.shop.release.call_async(2) for _ in range(4)]
        wait_until(lambda: said(running, "at work") == 4, "work")
        running.process.send_signal(signal.SIGHUP)
        assert [call.result() for call in calls] == ["first"] * 4


def test_a_restart_that_fails_leaves_the_old_workers(
    shop: Callable[..., Running], write: Callable[[str], None], folder: Path
) -> None:
    running = shop()
    (folder / "shop.py").write_text("raise ValueError('half written')")
    running.process.send_signal(signal.SIGHUP)
    line = running.wait_for("the restart is broken off, and old workers go on: the new worker 1 failed: ")
    assert "ValueError: half written" in line
    assert get(f"{url_of(running)}/release") == "first"
    write("second")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(DONE, timeout=40)
    assert get(f"{url_of(running)}/release") == "second"


def test_a_hang_up_during_a_restart_is_another_restart(shop: Callable[..., Running]) -> None:
    """It may be for code that changed meanwhile."""
    running = shop()
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("restarting all workers in turn")
    running.process.send_signal(signal.SIGHUP)
    wait_until(lambda: count(running, "restarting all workers in turn") == 2, "another restart")
    running.wait_for(DONE, timeout=60)
    assert count(running, DONE) == 1
    assert not [pid for pid in pids(running)[:-2] if is_alive(pid)]


def test_a_storm_of_hang_ups_holds_up_no_restart(
    shop: Callable[..., Running], write: Callable[[str], None], rabbitmq_uri: str
) -> None:
    """They come faster than a worker starts: all are replaced meanwhile, and once more after the last one."""
    running = shop("-d", "shutdown_timeout=5")
    url = url_of(running)
    first = pids(running)

    def hang_up() -> None:
        running.process.send_signal(signal.SIGHUP)
        threading.Event().wait(0.05)

    with ClusterRpcClient(uri=rabbitmq_uri, timeout=30) as rpc:
        askers = [lambda: get(f"{url}/release"), kept_connection(url), lambda: rpc.shop.release()]
        with asked_without_end(*askers) as outcomes:
            with asked_without_end(hang_up):
                wait_until(lambda: not [pid for pid in first if is_alive(pid)], "the end of the first", timeout=60)
                write("second")
            running.process.send_signal(signal.SIGHUP)
            running.wait_for(DONE, timeout=60)
            so_far = len(outcomes)
            wait_until(lambda: len(outcomes) > so_far + 50, "more answers")
    assert {outcome for outcome in outcomes if outcome not in ("first", "second")} == set()
    assert set(outcomes[so_far + 10 :]) == {"second"}
    assert count(running, DONE) == 1


HANGING = "import threading\nprint('importing', flush=True)\nthreading.Event().wait()\n"


def test_a_hang_up_frees_a_restart_whose_new_worker_hangs(
    shop: Callable[..., Running], write: Callable[[str], None], folder: Path
) -> None:
    running = shop()
    (folder / "shop.py").write_text(HANGING)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("importing")
    write("second")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(DONE, timeout=40)
    assert get(f"{url_of(running)}/release") == "second"
    assert len(pids(running)) == 4


def test_a_place_whose_old_worker_dies_during_a_restart_is_filled(
    shop: Callable[..., Running], write: Callable[[str], None], folder: Path
) -> None:
    """However long the one that was to follow takes."""
    running = shop()
    (folder / "shop.py").write_text(HANGING)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("importing")
    write("second")
    os.kill(workers_of(running)[1], signal.SIGKILL)
    running.wait_for("was ended by SIGKILL; another is started in 1 s")
    wait_until(lambda: len(pids(running)) == 3, "another worker")
    assert count(running, "the restart is broken off") == 0
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(DONE, timeout=40)


def test_a_new_worker_that_hangs_ends_the_restart_at_a_limit(
    folder: Path, write: Callable[[str], None], environment: dict[str, str], rabbitmq_uri: str
) -> None:
    write("first")
    program = (
        "import rpcservice.cli.workers as workers; workers.START_MARGIN = 1; from rpcservice.cli import main; main()"
    )
    options = ("--workers", "2", "--broker", rabbitmq_uri, *HERE, "-d", "startup_timeout=2")
    running = Running([sys.executable, "-c", program, "run", "shop.py", *options], cwd=folder, env=environment)
    try:
        running.wait_for(UP)
        (folder / "shop.py").write_text(HANGING.replace("print(", "import os\nprint('new is', os.getpid());print("))
        running.process.send_signal(signal.SIGHUP)
        hanging = int(running.wait_for("new is ").split()[-1])
        line = running.wait_for("the restart is broken off, and old workers go on: the new worker 1 (pid ")
        assert f"(pid {hanging}) was not up within 3 s, and is stopped" in line
        wait_until(lambda: not is_alive(hanging), "its end")
        assert get(f"{url_of(running)}/release") == "first"
    finally:
        running.close()


def test_the_time_to_stop_is_that_of_the_changed_configuration(
    start: Callable[..., Running], write: Callable[[str], None], folder: Path, rabbitmq_uri: str
) -> None:
    write("first")
    with (folder / "shop.py").open("a") as source:
        source.write(
            "\n    @rpc\n    def hang(self):\n        print('hanging', flush=True)\n        while True: pass\n"
        )
    (folder / "config.yaml").write_text("shutdown_timeout: 300")
    running = start("run", "shop.py", "--workers", "1", "-c", "config.yaml", "--broker", rabbitmq_uri, *HERE)
    running.wait_for(UP)
    (folder / "config.yaml").write_text("shutdown_timeout: 0")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(DONE, timeout=40)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=60) as rpc:
        rpc.shop.hang.call_async()
        running.wait_for("hanging")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait(40) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_the_embedded_broker_is_refused_at_a_restart_as_at_the_start(
    count: int, start: Callable[..., Running], write: Callable[[str], None], folder: Path, rabbitmq_uri: str
) -> None:
    """One worker may have it."""
    write("first")
    (folder / "config.yaml").write_text(f"AMQP_URI: {rabbitmq_uri}")
    running = start("run", "shop.py", "--workers", str(count), "-c", "config.yaml", *HERE)
    running.wait_for(UP)
    (folder / "config.yaml").write_text("AMQP_URI: memory://")
    write("second")
    running.process.send_signal(signal.SIGHUP)
    if count == 1:
        running.wait_for(DONE, timeout=40)
    else:
        line = running.wait_for("the restart is broken off, and old workers go on: the new worker 1 failed: ")
        assert "2 workers cannot share memory://" in line
    assert get(f"{url_of(running)}/release") == ("second" if count == 1 else "first")


def test_a_restart_that_fails_while_nobody_is_up_keeps_the_port(
    start_workers: Callable[..., Running], write: Callable[[str], None], folder: Path
) -> None:
    write("first")
    running = start_workers("shop.py", 1)
    (folder / "shop.py").write_text("raise ValueError('half written')")
    os.kill(workers_of(running)[1], signal.SIGKILL)
    running.wait_for("was ended by SIGKILL")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("the restart is broken off")
    write("second")
    assert get(f"{url_of(running)}/release") == "second"


def test_a_worker_that_dies_as_soon_as_it_is_up_ends_the_restart(shop: Callable[..., Running], folder: Path) -> None:
    running = shop()
    with (folder / "shop.py").open("a") as source:
        source.write(
            "\nfrom rpcservice.supervisor.member import Member\nreport_ready = Member.report_ready\n"
            "def report(*args):\n    report_ready(*args)\n    os._exit(9)\nMember.report_ready = report\n"
        )
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("ended with exit code 9")
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0


@pytest.mark.parametrize("moment", ["restarting all workers in turn", "worker 1 is up"])
def test_a_signal_during_a_restart_stops_all(moment: str, shop: Callable[..., Running]) -> None:
    running = shop()
    before = len(running.err)
    running.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [line for line in running.err[before:] if moment in line], moment)
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert not [pid for pid in pids(running) if is_alive(pid)]


def test_a_worker_that_does_not_stop_is_killed_for_its_successor(
    shop: Callable[..., Running], folder: Path, rabbitmq_uri: str
) -> None:
    (folder / "shop.py").write_text(
        RELEASE.format(release="first")
        + "\n    @rpc\n    def hang(self):\n        print('hanging', flush=True)\n        while True: pass\n"
    )
    running = shop("-d", "shutdown_timeout=1")
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=60) as rpc:
        rpc.shop.hang.call_async()
        running.wait_for("hanging")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("does not stop, and is killed", timeout=60)
        running.wait_for(DONE, timeout=60)
    assert not [pid for pid in pids(running)[:2] if is_alive(pid)]
    # The call has been given to another worker, which hangs in its turn.
    running.process.send_signal(signal.SIGTERM)
    running.wait_for("stopping all workers")
    running.process.send_signal(signal.SIGTERM)
    assert running.wait(15) == 1


def test_a_restart_listens_on_an_address_that_was_changed(
    start: Callable[..., Running], write: Callable[[str], None], folder: Path, rabbitmq_uri: str
) -> None:
    """And no more on the one before."""
    before, after = free_ports(2)
    write("first")
    (folder / "config.yaml").write_text(f"WEB_SERVER_ADDRESS: 127.0.0.1:{before}")
    running = start("run", "shop.py", "--workers", "2", "-c", "config.yaml", "--broker", rabbitmq_uri)
    running.wait_for("restarts them in turn")
    assert get(f"http://127.0.0.1:{before}/release") == "first"
    (folder / "config.yaml").write_text(f"WEB_SERVER_ADDRESS: 127.0.0.1:{after}")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(DONE, timeout=40)
    assert get(f"http://127.0.0.1:{after}/release") == "first"
    with socket.create_server(("127.0.0.1", before)):
        pass  # nobody listens there


def test_services_of_nameko_run_in_workers_too(start: Callable[..., Running], folder: Path, rabbitmq_uri: str) -> None:
    (folder / "old.py").write_text(
        "import os\nfrom nameko.web.handlers import http\nfrom nameko.timer import timer\n"
        "class Old:\n    name = 'old'\n"
        "    @http('GET', '/pid')\n    def pid(self, request):\n        return str(os.getpid())\n"
        "    @timer(0.2, per_host=True)\n    def tick(self):\n        print('tick of', os.getpid(), flush=True)\n"
    )
    address = ("-d", "WEB_SERVER_ADDRESS=127.0.0.1:0")
    running = start("run", "old.py", "--nameko", "--workers", "2", "--broker", rabbitmq_uri, *address)
    running.wait_for("restarts them in turn")
    wait_until(lambda: len(pids(running)) == 2, "the lines that tell who is up")
    assert int(get(f"{url_of(running)}/pid")) in pids(running)
    wait_until(lambda: sum(line.startswith("tick of") for line in running.out) > 4, "some ticks")
    assert len(ticks(running)) == 1


# Terminals

EMBEDDED = ("run", "shop.py", "--workers", "1", "--broker", "memory://", "-d", "WEB_SERVER_ADDRESS=127.0.0.1:0")


def test_a_hang_up_that_somebody_sends_in_a_terminal_restarts(
    open_terminal: Callable[..., Terminal], write: Callable[[str], None]
) -> None:
    write("first")
    terminal = open_terminal(*EMBEDDED)
    terminal.screen.expect("Ctrl-C stops")
    terminal.process.send_signal(signal.SIGHUP)
    terminal.screen.expect(DONE)


def test_a_terminal_that_is_closed_stops_all(
    open_terminal: Callable[..., Terminal], write: Callable[[str], None]
) -> None:
    write("first")
    terminal = open_terminal(*EMBEDDED)
    terminal.screen.expect(r"worker 1 is up \(pid (\d+)\)")
    worker = int(terminal.screen.match[1])
    terminal.screen.expect("Ctrl-C stops")
    terminal.screen.close()
    assert terminal.process.wait(30) == 0
    assert not is_alive(worker)


STARTS = """
import os, threading
with open("starts", "a") as starts:
    print("start", os.getpid(), file=starts)
while not os.path.exists("go"):
    threading.Event().wait(0.02)
"""


def starts(folder: Path) -> list[int]:
    """The process ids of all workers that have been started."""
    place = folder / "starts"
    return [int(line.split()[1]) for line in place.read_text().splitlines()] if place.exists() else []


@pytest.mark.parametrize("moment", ["before it is up", "while it is up"])
def test_what_ignores_hang_ups_outlives_its_terminal(
    moment: str, open_terminal: Callable[..., Terminal], folder: Path, write: Callable[[str], None]
) -> None:
    """As by ``nohup``; all that is written goes nowhere then, and is nothing to end for, nor to lose a stop."""
    write("first")
    source = (folder / "shop.py").read_text().replace('os.write(1, b"tick', 'os.write(log, b"tick')
    log = 'log = os.open("ticks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n'
    (folder / "shop.py").write_text(STARTS + log + source)
    terminal = open_terminal(*EMBEDDED, ignores="HUP")
    (first,) = wait_until(lambda: starts(folder), "the start")
    if moment == "while it is up":
        (folder / "go").touch()
        terminal.screen.expect("Ctrl-C stops")
    terminal.screen.close()
    (folder / "go").touch()
    ticked = folder / "ticks"
    wait_until(lambda: ticked.exists() and f"tick of {first}" in ticked.read_text(), "a tick")
    # The supervisor has seen the end at the latest when it looks for it; a hang-up is that of the terminal for a while.
    threading.Event().wait(LOOK_EVERY + ECHO)
    assert len(starts(folder)) == 1
    terminal.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(starts(folder)) == 2, "a restart")
    wait_until(lambda: not is_alive(first), "the end of the old one")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(30) == 0
    assert not [pid for pid in starts(folder) if is_alive(pid)]


def test_ctrl_c_in_a_terminal_lets_work_finish(
    open_terminal: Callable[..., Terminal], folder: Path, write: Callable[[str], None]
) -> None:
    """It is the supervisor alone that hears of it: for a worker that heard it too it would be the second time."""
    write("first")
    with (folder / "shop.py").open("a") as source:
        source.write(
            "\n    @timer(interval=60, eager=True)\n    def work(self):\n"
            "        print('at work', flush=True)\n        threading.Event().wait(1)\n"
            "        print('finished', flush=True)\n"
        )
    terminal = open_terminal(*EMBEDDED)
    terminal.screen.expect("(?s)at work.*Ctrl-C stops|Ctrl-C stops.*at work")
    terminal.screen.send("\x03")
    terminal.screen.expect("finished")
    assert terminal.process.wait(30) == 0


# Timers of one worker


def ticks(running: Running, since: int = 0) -> set[int]:
    return {int(line.split()[-1]) for line in running.out[since:] if line.startswith("tick of ")}


def test_a_timer_per_host_fires_in_one_worker_alone(shop: Callable[..., Running]) -> None:
    running = shop()
    wait_until(lambda: sum(line.startswith("tick of") for line in running.out) > 8, "some ticks")
    assert len(ticks(running)) == 1


def test_a_timer_per_host_goes_on_in_another_worker(shop: Callable[..., Running]) -> None:
    running = shop()
    wait_until(lambda: ticks(running), "a tick")
    (leader,) = ticks(running)
    os.kill(leader, signal.SIGKILL)
    running.wait_for("was ended by SIGKILL")
    so_far = len(running.out)
    wait_until(lambda: ticks(running, so_far), "a tick elsewhere")
    assert ticks(running, so_far) == set(pids(running)[:2]) - {leader}


def test_a_timer_per_host_moves_once_in_a_restart(shop: Callable[..., Running]) -> None:
    running = shop()
    wait_until(lambda: ticks(running), "a tick")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(DONE, timeout=40)
    so_far = len(running.out)
    wait_until(lambda: ticks(running, so_far), "a tick of a new worker")
    assert len(ticks(running)) == 2
    assert ticks(running, so_far) <= set(pids(running)[2:])
