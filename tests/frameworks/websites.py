"""Runs a web server as a process of its own, and sends it many requests at a time."""

import http.client
import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from command_process import Running

from rpcservice.concurrency import green

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "docs" / "examples" / "websites"
CLIENTS = 32
LIMIT = 30.0

Answer = tuple[int, Any]
"""The status, and what the JSON of the body says."""


def python(*args: str, uri: str, **variables: str) -> Running:
    """Start a Python module beside the examples."""
    environment = {
        **os.environ,
        "AMQP_URI": uri,
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(HERE)]),
        "PYTHONUNBUFFERED": "1",
        **variables,
    }
    return Running([sys.executable, "-m", *args], env=environment, cwd=HERE)


class Website:
    """A web server that runs; usable as a context manager, at whose end it must stop in order.

    Args:
        running: Its process.
        announcement: What it says in the line with its address.
        is_ready: What it says when it listens.
    """

    def __init__(self, running: Running, announcement: str, is_ready: str) -> None:
        self._running = running
        line = running.wait_for(announcement)
        running.wait_for(is_ready)
        address = re.search(r"http://([\d.]+):(\d+)", line)
        assert address is not None, line
        self._address = address[1], int(address[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            if exc_info[0] is None:
                self.stop()
        finally:
            self._running.close()

    def stop(self) -> None:
        """Tell the server to stop, as a supervisor does, and see it end by itself."""
        self._running.process.send_signal(signal.SIGTERM)
        # uvicorn ends by the signal that it was sent, when all is done.
        assert self._running.wait(LIMIT) in (0, -signal.SIGTERM), self.log

    def wait_for(self, text: str) -> None:
        """Wait for a line of its log."""
        self._running.wait_for(text)

    @property
    def log(self) -> str:
        return "\n".join([*self._running.out, *self._running.err])

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send one request; a body is sent as JSON."""
        connection = http.client.HTTPConnection(*self._address, timeout=LIMIT)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def ask_all(self, requests: Iterable[tuple[Any, ...]]) -> list[Answer]:
        """Send requests, so many at a time as there are clients; gives the answers in the order of the requests."""
        backend = green()
        waiting = list(enumerate(requests))[::-1]
        answers: dict[int, Answer] = {}

        def work() -> None:
            while waiting:
                number, request = waiting.pop()
                answers[number] = self.ask(*request)

        tasks = [backend.spawn(work) for _ in range(CLIENTS)]
        assert all(task.wait(LIMIT) for task in tasks), self.log
        return [answers[number] for number in sorted(answers)]
