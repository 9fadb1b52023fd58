"""What runs the command line: as a process that ends, or as one that stays."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_process import Result, Running, Terminal
from security_canary import refuse_secret
from waiting import wait_until
from worker_process import HERE, UP, pids

from rpcservice.cli import main

HELLO = """
from rpcservice import ServiceRpc, http, rpc

class Greeter:
    name = "greeter"

    @rpc
    def hello(self, name: str) -> str:
        return f"Hello, {name}!"

    @rpc
    def fail(self) -> None:
        raise ValueError("no luck")

class Web:
    name = "web"
    greeter = ServiceRpc("greeter", timeout=5)

    @http("GET", "/hello/<name>")
    def hello(self, request, name: str) -> str:
        return self.greeter.hello(name)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that commands run in, with the services of hello.py."""
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of commands; warnings are errors, as in the tests themselves.

    But for one: where coverage is measured, it is coverage that imports eventlet first.
    """
    given = {**os.environ, "PYTHONWARNINGS": "error,ignore:::coverage.collector", "PYTHONUNBUFFERED": "1"}
    for name in ("AMQP_URI", "WEB_SERVER_ADDRESS", "PYTHONPATH"):
        given.pop(name, None)
    return given


@pytest.fixture
def cli(folder: Path, environment: dict[str, str]) -> Callable[..., Result]:
    """Run a command to its end: ``cli("show-config", "-d", "max_workers=3")``; ``input`` is what it reads."""

    def run(*args: str, input: str = "", **variables: str) -> Result:
        return subprocess.run(
            [sys.executable, "-m", "rpcservice", *args],
            cwd=folder,
            env={**environment, **variables},
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def own_modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in the folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Logging is the process's own; what a test does to it is undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    # Not the attribute: loggers remember what is enabled until a level is set.
    root.setLevel(level)


@pytest.fixture
def here(own_modules: None, own_logging: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command to its end in this process, unpatched: for what needs the embedded broker alone, and no waiting."""
    for module in ("call", "emit"):
        monkeypatch.setattr(f"rpcservice.cli.{module}.patch", lambda: None)

    def run(*args: str) -> Result:
        result = CliRunner().invoke(main, args, prog_name="rpcservice")
        refuse_secret(result.output, "the output of a command")
        return Result(args, result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def start(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., Running]]:
    """Start a command that stays: ``start("run", "hello.py")``."""
    started: list[Running] = []

    def run(*args: str, **variables: str) -> Running:
        command = [sys.executable, "-m", "rpcservice", *args]
        started.append(Running(command, cwd=folder, env={**environment, **variables}))
        return started[-1]

    yield run
    for running in started:
        running.close()


@pytest.fixture
def start_workers(start: Callable[..., Running], rabbitmq_uri: str) -> Callable[..., Running]:
    """Start workers and wait until they are up: ``start_workers("team.py", 3, "-d", "shutdown_timeout=1")``."""

    def run(target: str, count: int, *args: str, **variables: str) -> Running:
        command = ("run", target, "--workers", str(count), "--broker", rabbitmq_uri, *HERE, *args)
        running = start(*command, **variables)
        running.wait_for(UP)
        # Which comes by the other stream.
        wait_until(lambda: len(pids(running)) == count, "the lines that tell who is up")
        return running

    return run


@pytest.fixture
def open_terminal(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Start a command on a terminal: ``open_terminal("backdoor", "3000")``; it may find signals ignored."""
    opened: list[Terminal] = []

    def run(*args: str, ignores: str = "", **variables: str) -> Terminal:
        command = [sys.executable, "-m", "rpcservice", *args]
        options = {"cwd": folder, "env": {**environment, "TERM": "dumb", **variables}}
        opened.append(Terminal(command, ignores=ignores, **options))
        return opened[-1]

    yield run
    for terminal in opened:
        terminal.close()
