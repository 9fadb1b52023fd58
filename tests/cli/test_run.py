import json
import signal
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from command_process import Result, Running

Start = Callable[..., Running]
Cli = Callable[..., Result]

HERE = ("-d", "WEB_SERVER_ADDRESS=127.0.0.1:0")
EMBEDDED = ("--broker", "memory://", *HERE)
UP = "services are up"

STUBBORN = """
import threading
from rpcservice import timer

class Stubborn:
    name = "stubborn"

    @timer(interval=60, eager=True)
    def work(self):
        print("at work", flush=True)
        {work}
"""


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        text: str = response.read().decode()
    return text


def errors_of(running: Running) -> list[str]:
    return [line for line in running.err if line.startswith("Error: ")]


# What is printed


def test_it_tells_what_is_up_and_what_to_try(start: Start) -> None:
    running = start("run", "hello.py", *EMBEDDED)
    running.wait_for("Ctrl-C stops.")
    *lines, web, example, _ = running.out
    assert lines[0].startswith("The embedded broker (memory://) is used: nothing leaves this process.")
    assert lines[1:] == [
        "Service greeter",
        "  rpc greeter.fail",
        "  rpc greeter.hello",
        "Service web",
        "  http GET /hello/<name> -> hello",
    ]
    url = web.removeprefix("Web server: ")
    assert example == f"Try: curl {url}/hello/world"
    assert get(f"{url}/hello/world") == "Hello, world!"


def test_without_a_get_route_there_is_nothing_to_try(start: Start) -> None:
    running = start("run", "hello.py:Greeter", *EMBEDDED)
    running.wait_for("Ctrl-C stops.")
    assert not [line for line in running.out if "curl" in line or "Web server" in line]


def test_websockets_are_named_with_their_url(start: Start, folder: Path) -> None:
    (folder / "rooms.py").write_text(
        "from rpcservice import on_connect, websocket_rpc\n\n"
        "class Rooms:\n"
        "    name = 'rooms'\n\n"
        "    @on_connect\n"
        "    def enter(self, socket_id, request): ...\n\n"
        "    @websocket_rpc\n"
        "    def join(self, socket_id, room): ...\n"
    )
    running = start("run", "rooms.py", *EMBEDDED)
    running.wait_for("Ctrl-C stops.")
    _, *lines, web, sockets, _ = running.out
    assert lines == ["Service rooms", "  websocket connect -> enter", "  websocket rpc join"]
    assert sockets == f"Websockets: {web.removeprefix('Web server: ').replace('http', 'ws')}/ws"


def test_a_slip_in_the_configuration_warns_in_the_log(start: Start) -> None:
    running = start("run", "hello.py:Greeter", *EMBEDDED, "-d", "max_worker=3")
    running.wait_for(UP)
    warnings = [line for line in running.err if "max_worker is no known key; is max_workers meant?" in line]
    assert len(warnings) == 1
    assert " WARNING rpcservice.config: " in warnings[0]


def test_json_logs_are_json_throughout(start: Start) -> None:
    running = start("run", "hello.py", *EMBEDDED, "-d", "log_format=json", "-d", "max_worker=3")
    running.wait_for("Try: curl")
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert running.out == []
    messages = [json.loads(line)["message"] for line in running.err]
    assert "http GET /hello/<name> -> hello" in messages
    assert any("max_worker is no known key" in message for message in messages)


def test_logging_decides_alone_what_is_written(start: Start, folder: Path) -> None:
    (folder / "config.yaml").write_text(
        "LOGGING: {version: 1, formatters: {x: {format: 'my %(message)s'}}, "
        "handlers: {h: {class: logging.StreamHandler, formatter: x}}, root: {handlers: [h], level: INFO}}"
    )
    running = start("run", "hello.py:Greeter", "-c", "config.yaml", *EMBEDDED)
    running.wait_for(UP)
    running.process.send_signal(signal.SIGTERM)
    running.wait()
    assert running.out == []
    assert all(line.startswith("my ") for line in running.err)


# What is run


def test_without_modules_the_services_of_the_configuration_run(start: Start, folder: Path) -> None:
    """Their files are beside the configuration, wherever the command runs."""
    (folder / "conf").mkdir()
    (folder / "hello.py").rename(folder / "conf" / "hello.py")
    (folder / "conf" / "my.yaml").write_text("AMQP_URI: memory://\nservices: [hello.py:Greeter]\n")
    running = start("run", "-c", "conf/my.yaml")
    running.wait_for("Ctrl-C stops.")
    assert [line for line in running.out if line.startswith("Service")] == ["Service greeter"]


def test_modules_on_the_command_line_win_over_the_configuration(start: Start, folder: Path) -> None:
    (folder / "my.yaml").write_text("AMQP_URI: memory://\nservices: [nowhere.py]\n")
    running = start("run", "hello:Greeter", "-c", "my.yaml")
    running.wait_for("Service greeter")


def test_the_process_is_patched_before_services_are_imported(start: Start, folder: Path) -> None:
    (folder / "hello.py").write_text(
        "import sys\nfrom eventlet.patcher import is_monkey_patched\n"
        "print('patched', is_monkey_patched('socket'), is_monkey_patched('thread'), flush=True)\n"
        + (folder / "hello.py").read_text()
    )
    running = start("run", "hello.py:Greeter", *EMBEDDED)
    assert running.wait_for("patched") == "patched True True"


# Mistakes


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to run; name a module or a file, or give -c FILE with a list under services"),
        (["nowhere"], "there is no module 'nowhere' here"),
        (["hello:Nobody"], "module 'hello' has no 'Nobody'; its services are: Greeter, Web"),
        (["command_line_nothing.py"], "there is no file"),
    ],
)
def test_a_mistake_is_two_lines_and_exit_code_2(args: list[str], message: str, cli: Cli) -> None:
    result = cli("run", *args, *EMBEDDED)
    assert result.returncode == 2
    error, hint = result.stderr.splitlines()
    assert message in error
    assert hint == "Try: python -m rpcservice run --help"


def test_two_services_of_one_name_are_a_clear_error(cli: Cli, folder: Path) -> None:
    (folder / "other.py").write_text((folder / "hello.py").read_text())
    result = cli("run", "hello.py", "other.py", *EMBEDDED)
    assert (result.returncode, result.stderr) == (
        2,
        "Error: two services are named 'greeter': hello.Greeter and other.Greeter; rename one\n",
    )


def test_a_strict_configuration_refuses_slips(cli: Cli, folder: Path) -> None:
    (folder / "config.yaml").write_text("strict_config: true\nAMQP_URL: memory://\n")
    result = cli("run", "hello.py", "-c", "config.yaml")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: config.yaml: AMQP_URL is no known key; is AMQP_URI meant?")
    assert len(result.stderr.splitlines()) == 1


def test_a_module_that_raises_is_one_line(cli: Cli, folder: Path) -> None:
    (folder / "broken.py").write_text("x = 1\nx / 0\n")
    result = cli("run", "broken.py", *EMBEDDED)
    assert result.returncode == 2
    assert result.stderr == (
        f"Error: broken cannot be imported: ZeroDivisionError: division by zero ({folder}/broken.py, line 2); "
        "--debug shows the traceback\n"
    )


def test_debug_shows_where_a_module_raises(cli: Cli, folder: Path) -> None:
    (folder / "broken.py").write_text("x = 1\nx / 0\n")
    result = cli("run", "broken.py", *EMBEDDED, "--debug")
    assert "Traceback" in result.stderr
    assert f'{folder}/broken.py", line 2' in result.stderr


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order(number: signal.Signals, start: Start) -> None:
    running = start("run", "hello.py", *EMBEDDED)
    running.wait_for("Ctrl-C stops.")
    running.process.send_signal(number)
    assert running.wait() == 0
    assert [line for line in running.err if "services have stopped" in line]
    assert errors_of(running) == []
    assert "Traceback" not in "".join(running.err)


def test_a_signal_lets_running_work_finish(start: Start, folder: Path) -> None:
    work = 'import time; time.sleep(1); print("finished", flush=True)'
    (folder / "stubborn.py").write_text(STUBBORN.format(work=work))
    running = start("run", "stubborn.py", *EMBEDDED)
    running.wait_for("at work")
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert running.out[-1] == "finished"


def test_a_second_signal_kills(start: Start, folder: Path) -> None:
    (folder / "stubborn.py").write_text(STUBBORN.format(work="threading.Event().wait()"))
    running = start("run", "stubborn.py", *EMBEDDED)
    running.wait_for("at work")
    running.process.send_signal(signal.SIGINT)
    running.wait_for("stopping services")
    running.process.send_signal(signal.SIGINT)
    assert running.wait(10) == 1
    assert errors_of(running) == ["Error: killed by a second signal; unfinished work went back to its queues"]


def test_a_second_signal_ends_a_service_that_never_gives_control_back(start: Start, folder: Path) -> None:
    (folder / "stubborn.py").write_text(STUBBORN.format(work="while True: pass"))
    running = start("run", "stubborn.py", *EMBEDDED)
    running.wait_for("at work")
    running.process.send_signal(signal.SIGTERM)
    # Two signals at once may be taken for one; the next goes out while the service still runs.
    code = None
    while code is None:
        running.process.send_signal(signal.SIGINT)
        code = running.process.wait(10)
    assert code == -signal.SIGALRM


def test_one_signal_ends_a_service_that_never_gives_control_back_too(start: Start, folder: Path) -> None:
    """When it has not stopped by itself within ``shutdown_timeout`` and a moment."""
    (folder / "stubborn.py").write_text(STUBBORN.format(work="while True: pass"))
    running = start("run", "stubborn.py", *EMBEDDED, "-d", "shutdown_timeout=1")
    running.wait_for("at work")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == -signal.SIGALRM


def test_work_that_waits_may_take_its_time_to_end(start: Start, folder: Path) -> None:
    """The loop turns, and so is nothing but the stop itself waited for."""
    work = 'import time; time.sleep(5); print("finished", flush=True)'
    (folder / "stubborn.py").write_text(STUBBORN.format(work=work))
    running = start("run", "stubborn.py", *EMBEDDED, "-d", "shutdown_timeout=20")
    running.wait_for("at work")
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert running.out[-1] == "finished"


def test_a_broker_that_stays_away_is_a_failure(start: Start, closed_port: int) -> None:
    uri = f"amqp://me:secret@127.0.0.1:{closed_port}/"
    running = start("run", "hello.py", "--broker", uri, "-d", "startup_timeout=1", *HERE)
    assert running.wait() == 1
    (error,) = errors_of(running)
    assert "no connection to the broker" in error and f"127.0.0.1:{closed_port}" in error
    assert "secret" not in "".join([*running.err, *running.out])
    assert "Traceback" not in "".join(running.err)


def test_a_signal_ends_the_wait_for_the_broker(start: Start, closed_port: int) -> None:
    running = start("run", "hello.py", "--broker", f"amqp://127.0.0.1:{closed_port}/", *HERE)
    running.wait_for("trying again in")
    running.process.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    assert "Traceback" not in "".join(running.err)


def test_a_port_that_is_taken_is_a_failure_of_one_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        running = start("run", "hello.py", "--broker", "memory://", "-d", f"WEB_SERVER_ADDRESS={address}")
        assert running.wait() == 1
    (error,) = errors_of(running)
    assert address in error
    assert "Traceback" not in "".join(running.err)


def test_a_service_that_dies_is_a_failure(start: Start, folder: Path) -> None:
    (folder / "dying.py").write_text(
        "from rpcservice import DependencyProvider, rpc\n"
        "class Bomb(DependencyProvider):\n"
        "    def start(self):\n"
        "        self.host.spawn_managed_thread(self.explode)\n"
        "    def explode(self):\n"
        "        raise RuntimeError('boom')\n"
        "class Dying:\n"
        "    name = 'dying'\n"
        "    bomb = Bomb()\n"
        "    @rpc\n"
        "    def ping(self): ...\n"
    )
    running = start("run", "dying.py", "hello.py:Greeter", *EMBEDDED)
    assert running.wait() == 1
    (error,) = errors_of(running)
    assert error.startswith("Error: RuntimeError: boom (") and error.endswith("; --debug shows the traceback")


def test_a_service_that_leaves_while_it_starts_ends_the_process(start: Start, folder: Path) -> None:
    (folder / "leaving.py").write_text(
        "import sys\nfrom rpcservice import DependencyProvider, rpc\n"
        "class Leave(DependencyProvider):\n"
        "    def start(self):\n"
        "        sys.exit(7)\n"
        "class Leaving:\n"
        "    name = 'leaving'\n"
        "    leave = Leave()\n"
        "    @rpc\n"
        "    def ping(self): ...\n"
    )
    assert start("run", "leaving.py", *EMBEDDED).wait() == 7


# RabbitMQ


@pytest.mark.broker
def test_services_on_rabbitmq_are_called_and_sent_to(start: Start, cli: Cli, folder: Path, rabbitmq_uri: str) -> None:
    (folder / "listener.py").write_text(
        "from rpcservice import event_handler\n"
        "class Listener:\n"
        "    name = 'listener'\n"
        "    @event_handler('orders', 'placed')\n"
        "    def hear(self, payload):\n"
        "        print('heard', payload, flush=True)\n"
    )
    running = start("run", "hello.py:Greeter", "listener.py", "--broker", rabbitmq_uri)
    running.wait_for("Ctrl-C stops.")
    assert running.out[0].startswith("Broker: amqp://")
    called = cli("call", "greeter.hello", '["world"]', "--broker", rabbitmq_uri)
    assert (called.returncode, called.stdout, called.stderr) == (0, '"Hello, world!"\n', "")
    sent = cli("emit", "orders", "placed", '{"sku": 1}', "--broker", rabbitmq_uri)
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, "sent: orders placed\n", "")
    assert running.wait_for("heard") == "heard {'sku': 1}"
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
