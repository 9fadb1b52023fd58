"""``rpcservice run --workers``: real processes on a real broker, from the first start to the last signal."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from command_process import Result, Running
from waiting import wait_until
from worker_process import HERE, UP, get, is_alive, pids, said, url_of, workers_of

from rpcservice import ClusterRpcClient

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
Cli = Callable[..., Result]

TEAM = """
import os, threading
from rpcservice import http, rpc, timer

class Team:
    name = "team"

    @rpc
    def pid(self):
        return os.getpid()

    @rpc
    def number(self):
        return os.environ["RPCSERVICE_WORKER"]

    @rpc
    def die(self):
        os._exit(3)

    @rpc
    def take(self, seconds):
        print("at work", flush=True)
        threading.Event().wait(seconds)
        return os.getpid()

    @http("GET", "/pid")
    def web_pid(self, request):
        return str(os.getpid())
"""


@pytest.fixture
def folder(folder: Path) -> Path:
    """The folder that commands run in, with team.py."""
    (folder / "team.py").write_text(TEAM)
    return folder


@pytest.fixture
def team(start_workers: Start) -> Start:
    """Start workers of team.py and wait until they are up: ``team(3, "-d", "shutdown_timeout=1")``."""

    return partial(start_workers, "team.py")


def answerers(url: str) -> set[int]:
    """The process ids that answer many requests at a time."""
    with ThreadPoolExecutor(20) as pool:
        return set(map(int, pool.map(get, [url] * 200)))


def errors_of(running: Running) -> list[str]:
    return [line for line in running.err if line.startswith("Error: ")]


# The start


def test_workers_share_the_load_of_http_and_of_rpc(team: Callable[..., Running], rabbitmq_uri: str) -> None:
    running = team(2)
    assert answerers(f"{url_of(running)}/pid") == set(workers_of(running).values())
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        calls = [rpc.team.pid.call_async() for _ in range(60)]
        assert {call.result() for call in calls} == set(workers_of(running).values())


def test_what_is_up_is_told_once(team: Callable[..., Running]) -> None:
    running = team(2)
    running.wait_for("Ctrl-C stops.")
    assert sum(line.startswith("Web server: ") for line in running.out) == 1
    assert running.out[-2:] == [
        f"Workers: 2; kill -HUP {running.process.pid} restarts them in turn",
        "Ctrl-C stops.",
    ]


def test_workers_know_their_numbers(team: Callable[..., Running], rabbitmq_uri: str) -> None:
    team(2)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        assert {call.result() for call in [rpc.team.number.call_async() for _ in range(40)]} == {"1", "2"}


def test_lines_of_the_log_name_their_worker(team: Callable[..., Running]) -> None:
    running = team(2)
    for number in (1, 2):
        assert [line for line in running.err if f"[worker {number}] rpcservice.core.runner: services are up" in line]


def test_json_lines_name_their_worker(start: Start, rabbitmq_uri: str) -> None:
    running = start("run", "team.py", "--workers", "2", "--broker", rabbitmq_uri, *HERE, "-d", "log_format=json")
    running.wait_for(UP)
    lines = [json.loads(line) for line in running.err]
    ready = [line for line in lines if line["message"].startswith("services are up")]
    assert sorted(line["worker"] for line in ready) == ["1", "2"]
    assert next(line["worker"] for line in lines if line["logger"] == "rpcservice.supervisor") == "-"


def test_the_supervisor_imports_no_services(team: Callable[..., Running], folder: Path) -> None:
    (folder / "team.py").write_text("import os\nos.write(1, b'imported by %d\\n' % os.getpid())\n" + TEAM)
    running = team(2)
    importers = {int(line.split()[-1]) for line in running.out if line.startswith("imported by")}
    assert importers == set(workers_of(running).values())


def test_the_configuration_says_how_many(start: Start, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "config.yaml").write_text("workers: 2\nservices: [team.py]\nWEB_SERVER_ADDRESS: 127.0.0.1:0\n")
    running = start("run", "-c", "config.yaml", "--broker", rabbitmq_uri)
    running.wait_for("Workers: 2; ")


def test_the_option_wins_over_the_configuration(start: Start, rabbitmq_uri: str) -> None:
    running = start("run", "team.py", "--workers", "1", "-d", "workers=3", "--broker", rabbitmq_uri, *HERE)
    running.wait_for("Workers: 1; ")


def test_auto_is_one_for_each_processor(start: Start, rabbitmq_uri: str) -> None:
    running = start("run", "team.py", "--workers", "auto", "--broker", rabbitmq_uri, *HERE)
    running.wait_for(f"Workers: {len(os.sched_getaffinity(0))}; ")


def test_without_workers_there_is_no_supervisor(start: Start) -> None:
    running = start("run", "team.py", "--broker", "memory://", *HERE)
    running.wait_for("Ctrl-C stops.")
    assert get(f"{url_of(running)}/pid") == str(running.process.pid)
    assert not [line for line in running.out + running.err if "orker" in line]


def test_one_worker_may_use_the_embedded_broker(start: Start) -> None:
    running = start("run", "team.py", "--workers", "1", "--broker", "memory://", *HERE)
    running.wait_for(UP)
    running.wait_for("worker 1 is up")
    assert int(get(f"{url_of(running)}/pid")) == workers_of(running)[1]


def test_no_port_is_bound_for_services_without_http(start: Start, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "quiet.py").write_text(
        "from rpcservice import rpc\nclass Quiet:\n    name = 'quiet'\n    @rpc\n    def ping(self): ...\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = ("run", "quiet.py", "--workers", "2", "--broker", rabbitmq_uri)
        running = start(*command, "-d", f"WEB_SERVER_ADDRESS={address}")
        running.wait_for("Workers: 2; ")


def test_the_health_has_an_address_that_workers_share(start: Start, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "quiet.py").write_text(
        "from rpcservice import rpc\nclass Quiet:\n    name = 'quiet'\n    @rpc\n    def ping(self): ...\n"
    )
    command = ("run", "quiet.py", "--workers", "2", "--broker", rabbitmq_uri)
    running = start(*command, "-d", "health_address=127.0.0.1:0")
    running.wait_for("Workers: 2; ")
    assert json.loads(get(f"{url_of(running)}/health")) == {"status": "ok"}


def test_each_worker_has_a_backdoor_of_its_own(team: Callable[..., Running], cli: Cli) -> None:
    running = team(2, "--backdoor-port", "0")
    ports = {line.rpartition(":")[2] for line in running.err if "Backdoor: " in line}
    assert len(ports) == 2
    outputs = {cli("backdoor", port, input="import os; print('pid', os.getpid())\n").stdout for port in ports}
    found = {int(pid) for text in outputs for pid in re.findall(r"pid (\d+)", text)}
    assert found == set(workers_of(running).values())


# Mistakes


@pytest.mark.parametrize("count", ["0", "-1", "1000", "x", "", "1.5", "٣"])
def test_a_number_of_workers_that_is_none_is_refused(count: str, cli: Cli) -> None:
    result = cli("run", "team.py", f"--workers={count}", "--broker", "amqp://nowhere")
    assert result.returncode == 2
    error, hint = result.stderr.splitlines()
    assert error == (
        f"Error: --workers is {count!r}; give a whole number from 1 to 512, or auto for one on each processor"
    )
    assert hint == "Try: python -m rpcservice run --help"


def test_several_workers_cannot_share_the_embedded_broker(cli: Cli) -> None:
    result = cli("run", "team.py", "--workers", "2", "--broker", "memory://")
    assert (result.returncode, result.stderr) == (
        2,
        "Error: 2 workers cannot share memory://, for the embedded broker is within one process; give RabbitMQ's URI "
        "as AMQP_URI or --broker, or leave workers out\n",
    )


def test_several_workers_cannot_share_the_port_of_a_backdoor(cli: Cli) -> None:
    result = cli("run", "team.py", "--workers", "2", "--broker", "amqp://nowhere", "--backdoor-port", "3000")
    assert result.returncode == 2
    assert "workers cannot share the backdoor's port, localhost:3000; give --backdoor-port 0" in result.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nx / 0\n", "broken cannot be imported: ZeroDivisionError: division by zero"),
        ("class Nothing: ...\n", "broken.py has no service; a service is a class"),
    ],
)
def test_a_mistake_ends_the_program_as_without_workers(
    source: str, message: str, cli: Cli, folder: Path, rabbitmq_uri: str
) -> None:
    """It is told once, and nothing is started again."""
    (folder / "broken.py").write_text(source)
    result = cli("run", "broken.py", "--workers", "3", "--broker", rabbitmq_uri)
    alone = cli("run", "broken.py", "--broker", rabbitmq_uri)
    assert message in result.stderr
    assert (result.returncode, result.stderr) == (alone.returncode, alone.stderr)


@pytest.mark.parametrize(
    ("source", "code", "end"),
    [
        ("import sys\nsys.exit(7)\n", 7, "ended with exit code 7"),
        ("import os\nos.kill(os.getpid(), 9)\n", 1, "was ended by SIGKILL"),
        ("import sys\nsys.exit(0)\n", 1, "ended with exit code 0"),
    ],
)
def test_workers_that_all_end_before_any_is_up_end_the_program(
    source: str, code: int, end: str, cli: Cli, folder: Path, rabbitmq_uri: str
) -> None:
    (folder / "broken.py").write_text(source)
    result = cli("run", "broken.py", "--workers", "2", "--broker", rabbitmq_uri)
    assert result.returncode == code
    first, last = result.stderr.splitlines()
    assert f"{end}; the others are about to start" in first
    assert last.startswith("Error: worker ")
    assert last.endswith(f" {end} before it was up")


def test_a_port_that_is_taken_is_a_failure_of_one_line_for_workers_too(start: Start, rabbitmq_uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = ("run", "team.py", "--workers", "2", "--broker", rabbitmq_uri)
        running = start(*command, "-d", f"WEB_SERVER_ADDRESS={address}")
        assert running.wait() == 1
    (error,) = errors_of(running)
    assert "Traceback" not in "".join(running.err)
    assert error.startswith(f"Error: WEB_SERVER_ADDRESS is '{address}': the port is in use; ")


def test_a_broker_that_stays_away_is_one_failure(start: Start) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"amqp://127.0.0.1:{closed.getsockname()[1]}/"
        running = start("run", "team.py", "--workers", "2", "--broker", uri, "-d", "startup_timeout=1", *HERE)
        assert running.wait() == 1
    (error,) = errors_of(running)
    assert "no connection to the broker" in error


def test_a_handover_of_somebody_else_is_refused(cli: Cli) -> None:
    result = cli("run", "team.py", "--broker", "memory://", RPCSERVICE_SUPERVISED='{"number": 1, "channel": 999}')
    assert result.returncode == 2
    assert "RPCSERVICE_SUPERVISED is" in result.stderr


def test_a_program_that_a_worker_starts_is_no_worker(team: Callable[..., Running], folder: Path) -> None:
    (folder / "child.py").write_text(
        "import os\nfrom rpcservice import timer\n"
        "class Child:\n"
        "    name = 'child'\n"
        "    @timer(interval=60, eager=True)\n"
        "    def tick(self):\n"
        "        print('child has number', os.environ.get('RPCSERVICE_WORKER'), flush=True)\n"
    )
    (folder / "team.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'rpcservice', 'run', 'child.py', '--broker', 'memory://'])\n"
        "import atexit; atexit.register(child.kill)\n" + TEAM
    )
    running = team(1)
    assert running.wait_for("child has number") == "child has number None"


def test_closed_standard_streams_are_no_hindrance(folder: Path, environment: dict[str, str], rabbitmq_uri: str) -> None:
    command = [sys.executable, "-m", "rpcservice", "run", "team.py", "--workers", "2", "--broker", rabbitmq_uri, *HERE]
    running = Running(["sh", "-c", 'exec "$@" <&-', "sh", *command], cwd=folder, env=environment)
    try:
        running.wait_for(UP)
        assert get(f"{url_of(running)}/pid").isdigit()
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
    finally:
        running.close()


def test_a_worker_that_does_not_come_up_is_told_of(
    folder: Path, environment: dict[str, str], rabbitmq_uri: str
) -> None:
    (folder / "slow.py").write_text("import threading\nthreading.Event().wait()\n")
    program = "import rpcservice.supervisor.worker as worker; worker.LATE = 1; from rpcservice.cli import main; main()"
    command = [sys.executable, "-c", program, "run", "slow.py", "--workers", "1", "--broker", rabbitmq_uri]
    running = Running(command, cwd=folder, env=environment)
    try:
        line = running.wait_for("is not up yet; what does its start wait for?")
        assert re.search(r"worker 1 \(pid \d+\)", line)
    finally:
        running.process.send_signal(signal.SIGTERM)
        running.wait()
        running.close()


def test_workers_stop_in_order_when_the_supervisor_fails(
    folder: Path, environment: dict[str, str], rabbitmq_uri: str
) -> None:
    """Here for nobody reads what it prints."""
    command = [sys.executable, "-m", "rpcservice", "run", "team.py", "--workers", "2", "--broker", rabbitmq_uri, *HERE]
    running = Running(["sh", "-c", '"$@" | true', "sh", *command], cwd=folder, env=environment)
    try:
        running.wait_for("Error: BrokenPipeError: ")
        wait_until(lambda: sum("services have stopped" in line for line in running.err) == 2, "the end of both")
    finally:
        running.close()


# A worker that dies


def test_a_worker_that_is_killed_is_started_again_after_growing_pauses(team: Callable[..., Running]) -> None:
    running = team(2)
    for number, pause in enumerate(("1 s", "2 s", "4 s"), start=3):
        killed = workers_of(running)[2]
        os.kill(killed, signal.SIGKILL)
        running.wait_for(f"worker 2 (pid {killed}) was ended by SIGKILL; another is started in {pause}")
        wait_until(lambda number=number: len(pids(running)) == number, "another worker")  # type: ignore[misc]
    assert workers_of(running)[2] != killed
    assert set(workers_of(running)) == {1, 2}


def test_requests_go_on_while_a_worker_is_away(team: Callable[..., Running], rabbitmq_uri: str) -> None:
    running = team(2)
    url = url_of(running)
    os.kill(workers_of(running)[1], signal.SIGKILL)
    running.wait_for("was ended by SIGKILL")
    left = workers_of(running)[2]
    assert {int(get(f"{url}/pid")) for _ in range(20)} == {left}


def test_a_request_waits_while_all_workers_are_away(team: Callable[..., Running]) -> None:
    """The listening socket is the supervisor's: nothing is refused."""
    running = team(1)
    url = url_of(running)
    os.kill(workers_of(running)[1], signal.SIGKILL)
    running.wait_for("was ended by SIGKILL")
    answerer = int(get(f"{url}/pid"))
    wait_until(lambda: len(pids(running)) == 2, "another worker")
    assert answerer == workers_of(running)[1]


def test_a_worker_that_is_started_later_has_the_listening_socket_through_exec(team: Callable[..., Running]) -> None:
    running = team(1)
    os.kill(workers_of(running)[1], signal.SIGKILL)
    wait_until(lambda: len(pids(running)) == 2, "another worker")
    pid = workers_of(running)[1]
    variables = dict(part.partition("=")[::2] for part in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    inherited = json.loads(variables["RPCSERVICE_SUPERVISED"])["listeners"]["WEB_SERVER_ADDRESS=127.0.0.1:0"]
    assert os.readlink(f"/proc/{pid}/fd/{inherited}").startswith("socket:")


def test_workers_are_told_from_each_other_in_lists_of_processes(team: Callable[..., Running]) -> None:
    running = team(2)
    names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in workers_of(running).values()}
    assert names == {"rpcservice 1", "rpcservice 2"}


def test_a_worker_that_fails_while_others_come_up_is_tried_again(start: Start, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "team.py").write_text(
        "import os, pathlib\nplace = pathlib.Path('failed')\n"
        "if os.environ['RPCSERVICE_WORKER'] == '1' and not place.exists():\n"
        "    place.touch()\n    os._exit(5)\n" + TEAM
    )
    running = start("run", "team.py", "--workers", "2", "--broker", rabbitmq_uri, *HERE)
    running.wait_for(UP)
    running.wait_for("ended with exit code 5; another is started in 1 s")


def test_a_worker_that_exits_is_started_again_with_its_number(team: Callable[..., Running], rabbitmq_uri: str) -> None:
    running = team(2)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        rpc.team.die.call_async()
        running.wait_for("ended with exit code 3; another is started in ")
        wait_until(lambda: len(pids(running)) >= 4, "another worker")


def test_a_worker_that_fails_later_is_told_and_tried_again(team: Callable[..., Running], folder: Path) -> None:
    running = team(2)
    (folder / "team.py").write_text("raise ValueError('half written')")
    os.kill(workers_of(running)[1], signal.SIGKILL)
    line = running.wait_for("failed: team cannot be imported: ValueError: half written")
    assert "another is started in 2 s" in line
    (folder / "team.py").write_text(TEAM)
    wait_until(lambda: len(pids(running)) == 3, "another worker")


def test_a_worker_that_is_told_to_stop_finishes_and_is_replaced(
    team: Callable[..., Running], rabbitmq_uri: str
) -> None:
    running = team(1)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        call = rpc.team.take.call_async(1)
        running.wait_for("at work")
        worker = workers_of(running)[1]
        os.kill(worker, signal.SIGTERM)
        assert call.result() == worker
    running.wait_for(f"worker 1 (pid {worker}) has stopped")
    wait_until(lambda: len(pids(running)) == 2, "another worker")


def test_a_worker_that_is_told_to_stop_is_replaced_before_it_has(
    team: Callable[..., Running], rabbitmq_uri: str
) -> None:
    """That is no failure: the next pause is the first one."""
    running = team(1)
    busy = workers_of(running)[1]
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=30) as rpc:
        rpc.team.take.call_async(8)
        running.wait_for("at work")
        for number in (2, 3):
            worker = workers_of(running)[1]
            os.kill(worker, signal.SIGTERM)
            running.wait_for(f"worker 1 (pid {worker}) was told to stop; another is started at once")
            wait_until(lambda number=number: len(pids(running)) == number, "another worker")  # type: ignore[misc]
        assert is_alive(busy)
    os.kill(workers_of(running)[1], signal.SIGKILL)
    running.wait_for("was ended by SIGKILL; another is started in 1 s")


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_signals_that_were_ignored_at_the_start_are_heard_all_the_same(
    name: str, folder: Path, environment: dict[str, str]
) -> None:
    """A shell ignores SIGINT for what it has in the background, and nohup SIGHUP; nginx and gunicorn hear them too."""
    command = [sys.executable, "-m", "rpcservice", "run", "team.py", "--workers", "1", "--broker", "memory://", *HERE]
    shell = ["sh", "-c", f"trap '' {name[3:]}; exec \"$@\"", "sh", *command]
    running = Running(shell, cwd=folder, env=environment, start_new_session=True)
    try:
        running.wait_for(UP)
        running.process.send_signal(signal.Signals[name])
        if name == "SIGHUP":
            running.wait_for("all workers are restarted", timeout=40)
        else:
            assert running.wait() == 0
    finally:
        running.close()


def test_a_hang_up_of_a_worker_changes_nothing(team: Callable[..., Running]) -> None:
    running = team(1)
    worker = workers_of(running)[1]
    os.kill(worker, signal.SIGHUP)
    assert int(get(f"{url_of(running)}/pid")) == worker


def test_a_worker_that_cannot_be_started_is_tried_again(
    folder: Path, environment: dict[str, str], rabbitmq_uri: str
) -> None:
    """As while the interpreter is being replaced; a restart in turn is broken off then."""
    python = folder / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (folder / "env" / "lib").symlink_to(Path(sys.prefix) / "lib")
    (folder / "env" / "pyvenv.cfg").write_text((Path(sys.prefix) / "pyvenv.cfg").read_text())
    command = [str(python), "-m", "rpcservice", "run", "team.py", "--workers", "2", "--broker", rabbitmq_uri, *HERE]
    running = Running(command, cwd=folder, env=environment)
    try:
        running.wait_for(UP)
        wait_until(lambda: len(pids(running)) == 2, "the lines that tell who is up")
        python.rename(folder / "python")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("the restart is broken off, for another worker 1 cannot be started: ")
        os.kill(workers_of(running)[2], signal.SIGKILL)
        running.wait_for("worker 2 cannot be started: ")
        (folder / "python").rename(python)
        wait_until(lambda: len(pids(running)) == 3, "another worker")
    finally:
        running.close()


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_workers_in_order(
    number: signal.Signals, team: Callable[..., Running], rabbitmq_uri: str
) -> None:
    running = team(2)
    workers = workers_of(running)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        calls = [rpc.team.take.call_async(1.5) for _ in range(4)]
        wait_until(lambda: said(running, "at work") == 4, "work")
        running.process.send_signal(number)
        assert {call.result() for call in calls} <= set(workers.values())
    assert running.wait() == 0
    assert errors_of(running) == []
    assert not [pid for pid in workers.values() if is_alive(pid)]


def test_a_signal_to_all_processes_at_once_is_one(team: Callable[..., Running], rabbitmq_uri: str) -> None:
    """As service managers send it: a worker that is told twice still finishes its work."""
    running = team(2)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        call = rpc.team.take.call_async(1)
        running.wait_for("at work")
        for pid in (running.process.pid, *workers_of(running).values()):
            os.kill(pid, signal.SIGTERM)
        assert call.result() in workers_of(running).values()
    assert running.wait() == 0


def test_a_second_signal_kills_all_workers(team: Callable[..., Running], rabbitmq_uri: str) -> None:
    running = team(2)
    workers = workers_of(running)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        rpc.team.take.call_async(60)
        running.wait_for("at work")
        running.process.send_signal(signal.SIGTERM)
        running.wait_for("stopping services")
        running.process.send_signal(signal.SIGINT)
        assert running.wait(10) == 1
    assert errors_of(running) == ["Error: killed by a second signal; unfinished work went back to its queues"]
    assert not [pid for pid in workers.values() if is_alive(pid)]


@pytest.mark.parametrize(
    ("end", "words"), [("os.kill(os.getpid(), 9)", "was ended by SIGKILL"), ("os._exit(4)", "ended with exit code 4")]
)
def test_a_worker_that_dies_while_it_stops_is_a_failure(
    end: str, words: str, team: Callable[..., Running], folder: Path, rabbitmq_uri: str
) -> None:
    (folder / "team.py").write_text(
        TEAM + f"\n    @rpc\n    def die_late(self):\n        self.take(1)\n        {end}\n"
    )
    running = team(1)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=60) as rpc:
        rpc.team.die_late.call_async()
        running.wait_for("at work")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 1
    assert errors_of(running) == [f"Error: worker 1 {words} before it had stopped"]
    assert [line for line in running.err if "ERROR" in line and f"{words} before it had stopped" in line]


def test_a_worker_that_does_not_stop_is_killed_at_the_limit(
    team: Callable[..., Running], folder: Path, rabbitmq_uri: str
) -> None:
    (folder / "team.py").write_text(
        TEAM + "\n    @rpc\n    def hang(self):\n        print('hanging', flush=True)\n        while True: pass\n"
    )
    running = team(1, "-d", "shutdown_timeout=1")
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=60) as rpc:
        rpc.team.hang.call_async()
        running.wait_for("hanging")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait(60) == 1
    assert errors_of(running) == ["Error: worker 1 did not stop within 16 s, and was killed"]


def test_a_signal_ends_workers_that_are_about_to_start(start: Start, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "slow.py").write_text("import threading\nprint('importing', flush=True)\nthreading.Event().wait()\n")
    running = start("run", "slow.py", "--workers", "2", "--broker", rabbitmq_uri)
    wait_until(lambda: said(running, "importing") == 2, "both workers")
    running.process.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0


@pytest.mark.parametrize("work", ["threading.Event().wait()", "while True: pass"])
def test_workers_end_with_a_supervisor_that_is_killed(
    work: str, team: Callable[..., Running], folder: Path, rabbitmq_uri: str
) -> None:
    """In order where they can, and in the end in any case."""
    (folder / "team.py").write_text(
        TEAM + f"\n    @rpc\n    def hang(self):\n        print('hanging', flush=True)\n        {work}\n"
    )
    running = team(2, "-d", "shutdown_timeout=1")
    workers = workers_of(running)
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        rpc.team.hang.call_async()
        running.wait_for("hanging")
        running.process.kill()
        wait_until(lambda: not [pid for pid in workers.values() if is_alive(pid)], "the end", timeout=40)


def test_work_is_finished_when_the_supervisor_is_killed(team: Callable[..., Running], rabbitmq_uri: str) -> None:
    running = team(1)
    worker = workers_of(running)[1]
    with ClusterRpcClient(uri=rabbitmq_uri, timeout=20) as rpc:
        call = rpc.team.take.call_async(1)
        running.wait_for("at work")
        running.process.kill()
        assert call.result() == worker
    port = int(url_of(running).rpartition(":")[2])
    wait_until(lambda: not is_alive(worker), "the end")
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again
