import json
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
from command_process import Result, Running

Cli = Callable[..., Result]
Start = Callable[..., Running]

ECHO = """
import threading
from datetime import date
from decimal import Decimal
from rpcservice import http, rpc

class Echo:
    name = "echo"

    @rpc
    def show(self, *args, **kwargs):
        return {"args": args, "kwargs": kwargs, "text": "é"}

    @rpc
    def odd(self):
        return [date(2026, 1, 2), Decimal("1.50")]

    @rpc
    def attack(self, how):
        text = "\\x1b]0;owned\\x07 \\x9b2J \\x7f"
        if how == "return":
            return text
        raise ValueError(text)

    @rpc
    def wait(self):
        print("waiting", flush=True)
        threading.Event().wait()

    @http("GET", "/")
    def index(self, request):
        return "ok"
"""


@pytest.fixture(autouse=True)
def echo(folder: Path) -> None:
    (folder / "echoing.py").write_text(ECHO)


@pytest.mark.parametrize(
    ("arguments", "args", "kwargs"),
    [
        ((), [], {}),
        (("[1, null]",), [1, None], {}),
        (('{"a": [2]}',), [], {"a": [2]}),
        (("[1]", '{"a": 2}'), [1], {"a": 2}),
        (('{"a": 2}', "[1]"), [1], {"a": 2}),
    ],
)
def test_arguments_are_json(arguments: tuple[str, ...], args: object, kwargs: object, here: Cli) -> None:
    result = here("call", "echo.show", *arguments, "--run", "echoing.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"args": args, "kwargs": kwargs, "text": "é"}


def test_the_result_is_one_line_of_readable_json(here: Cli) -> None:
    assert here("call", "greeter.hello", '["Zoë"]', "--run", "hello.py").stdout == '"Hello, Zoë!"\n'


def test_dates_and_decimals_are_texts(here: Cli) -> None:
    assert here("call", "echo.odd", "--run", "echoing").stdout == '["2026-01-02", "1.50"]\n'


def test_a_result_does_nothing_to_a_terminal_and_is_what_was_returned(here: Cli) -> None:
    line = here("call", "echo.attack", '["return"]', "--run", "echoing").stdout
    assert json.loads(line) == "\x1b]0;owned\x07 \x9b2J \x7f"
    assert line.removesuffix("\n").isprintable()


def test_an_error_does_nothing_to_a_terminal(here: Cli) -> None:
    result = here("call", "echo.attack", '["raise"]', "--run", "echoing")
    assert result.stderr == "Error: echo.attack raised ValueError: \\x1b]0;owned\\x07 \\x9b2J \\x7f\n"


def test_nor_does_its_traceback(here: Cli) -> None:
    text = here("call", "echo.attack", '["raise"]', "--run", "echoing", "--debug").stderr
    assert "Traceback" in text
    assert text.replace("\n", "").replace("\t", "").isprintable()


def test_several_services_can_be_hosted(here: Cli) -> None:
    result = here("call", "greeter.hello", '["you"]', "--run", "echoing", "--run", "hello.py:Greeter")
    assert (result.returncode, result.stdout) == (0, '"Hello, you!"\n')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("greeter.fail",), "greeter.fail raised ValueError: no luck"),
        (("greeter.helo",), "service 'greeter' has no @rpc method 'helo'; it has: fail, hello"),
        (("greeter.hello", "[]"), "greeter.hello: hello(name: str): missing a required argument: 'name'"),
        (("greter.hello", "[]"), "the broker knows no service named 'greter'; is it running, and is this its name?"),
    ],
)
def test_a_failed_call_is_one_line_and_exit_code_1(arguments: tuple[str, ...], message: str, here: Cli) -> None:
    result = here("call", *arguments, "--run", "hello.py")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"Error: {message}\n")


def test_debug_shows_the_traceback_and_the_log(here: Cli) -> None:
    result = here("call", "greeter.fail", "--run", "hello.py", "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "rpcservice.core.runner: services are up" in result.stderr


def test_the_time_out_ends_the_wait(cli: Cli) -> None:
    result = cli("call", "echo.wait", "--run", "echoing.py", "--timeout", "0.5")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: echo.wait did not answer within 0.5 s;")
    assert len(result.stderr.splitlines()) == 1


def test_an_interrupted_call_ends_at_once(start: Start) -> None:
    running = start("call", "echo.wait", "--run", "echoing.py")
    running.wait_for("waiting")
    running.process.send_signal(signal.SIGINT)
    assert running.wait(10) == 1
    assert [line for line in running.err if line] == ["Stopped."]


def test_a_broker_that_is_away_is_one_line_within_the_time_out(cli: Cli) -> None:
    began = monotonic()
    result = cli("call", "echo.show", "--broker", "amqp://me:secret@127.0.0.1:1/", "--timeout", "1")
    assert monotonic() - began < 15
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: no connection to the broker at amqp://me:")
    assert "secret" not in line


def test_the_embedded_broker_reaches_nobody_without_run(here: Cli, folder: Path) -> None:
    (folder / "config.yaml").write_text("AMQP_URI: memory://\n")
    result = here("call", "echo.show", "-c", "config.yaml")
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == (
        "Error: the embedded broker (memory://) reaches no other process; "
        "give --run MODULE to host the service here, or --broker"
    )


def test_run_hosts_on_the_embedded_broker_whatever_the_configuration_says(here: Cli, folder: Path) -> None:
    (folder / "config.yaml").write_text("AMQP_URI: amqp://127.0.0.1:1/\n")
    result = here("call", "greeter.hello", '["you"]', "--run", "hello.py", "-c", "config.yaml")
    assert (result.returncode, result.stdout) == (0, '"Hello, you!"\n')


def test_a_hosted_module_that_is_missing_is_a_mistake(here: Cli) -> None:
    result = here("call", "echo.show", "--run", "nowhere")
    assert result.returncode == 2
    assert "there is no module 'nowhere' here" in result.stderr.splitlines()[0]
