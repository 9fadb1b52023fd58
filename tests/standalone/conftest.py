"""A running service, and programs that call it from processes of their own, which nothing has patched."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from json_process import JsonProcess
from standalone_desk import Desk, answer_of

from rpcservice import ServiceContainer
from rpcservice.concurrency import green

PROGRAM = Path(__file__).parent / "standalone_program.py"


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def broker(request: pytest.FixtureRequest) -> Any:
    """Run a test on the embedded broker and on RabbitMQ; the marker of the second one chooses the URI."""
    return request.param


@pytest.fixture
def desk(broker: str, container_factory: Callable[..., ServiceContainer]) -> Iterator[type[Desk]]:
    """The service, running; its calls of ``hold`` wait for its gate."""
    Desk.entered, Desk.heard, Desk.gate = [], [], green().event()
    container_factory(Desk, config={"max_workers": 50, "ACCEPT": ["json", "yaml"]}).start()
    yield Desk
    Desk.gate.set()


@pytest.fixture
def start_program(tmp_path: Path) -> Iterator[Callable[..., JsonProcess]]:
    """Run a function of standalone_program.py: ``start_program("answers", uri)``; what it prints are lines of JSON."""
    started: list[JsonProcess] = []

    def start(function: str, *args: Any) -> JsonProcess:
        command = [sys.executable, "-X", "dev", str(PROGRAM), function, *map(str, args)]
        # Without coverage, which holds a lock for a moment in which weak references that die call back, and then waits
        # for it itself.
        environment = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
        started.append(JsonProcess(command, tmp_path / f"log{len(started)}", environment))
        return started[-1]

    yield start
    for program in started:
        program.end()


@pytest.fixture
def run_program(start_program: Callable[..., JsonProcess]) -> Callable[..., Any]:
    """Run a function of standalone_program.py to its end; gives its answer."""

    def run(function: str, *args: Any, timeout: float = 60) -> Any:
        program = start_program(function, *args)
        answer = answer_of(program, timeout)
        assert program.wait(timeout) == 0, program.log_tail()
        return answer

    return run
