"""What `make run` starts, in a process of its own, as a newcomer meets it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT

from rpcservice.testing import free_ports

LIMIT = 30.0


class Process:
    """``rpcservice run --config config.yaml``, once it is up."""

    def __init__(self, folder: Path, port: int) -> None:
        self._port = port
        environment = {**os.environ, "WEB_SERVER_ADDRESS": f"127.0.0.1:{port}", "PYTHONUNBUFFERED": "1"}
        environment.pop("AMQP_URI", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rpcservice", "run", "--config", str(ROOT / "config.yaml")],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        while "curl" not in self.output:
            line = self._read_line()
            assert line, f"it ended before it was up:\n{self.output}"
            self.output += line

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LIMIT)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read().decode()
            is_json = (response.getheader("Content-Type") or "").startswith("application/json")
            return response.status, json.loads(text) if is_json else text
        finally:
            connection.close()

    def interrupt(self) -> tuple[int, str]:
        """Send what Ctrl-C sends; give the exit code and all that was printed."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, self.output + rest


@contextmanager
def started(folder: Path) -> Iterator[Process]:
    process = Process(folder, free_ports(1)[0])
    try:
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with started(tmp_path) as process:
        yield process


def test_the_greeting_goes_through_two_services(process: Process) -> None:
    assert process.request("GET", "/hello/world") == (200, "Hello, world!")


def test_it_says_what_is_up_and_what_to_try(process: Process) -> None:
    """Services, entrypoints, the broker, and a line for curl that works as it stands."""
    for part in ("memory://", "greeter", "orders", "products", "notifications", "GET /hello/<name>", "POST /orders"):
        assert part in process.output
    url = re.search(r"curl (http://127\.0\.0\.1:\d+)(/\S*)", process.output)
    assert url is not None
    assert process.request("GET", url[2]) == (200, "Hello, world!")


def test_ctrl_c_stops_it_cleanly(process: Process) -> None:
    exit_code, output = process.interrupt()
    assert exit_code == 0
    assert "Traceback" not in output


def test_orders_are_still_there_after_a_restart(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        status, order = process.request("POST", "/orders", {"sku": "tea", "quantity": 2})
        assert status == 201
        process.interrupt()
    with started(tmp_path) as process:
        assert process.request("GET", f"/orders/{order['id']}") == (200, order)


def test_orders_survive_a_kill(tmp_path: Path) -> None:
    """What a client was told is on disk."""
    with started(tmp_path) as process:
        _, order = process.request("POST", "/orders", {"sku": "pot", "quantity": 1})
    with started(tmp_path) as process:
        assert process.request("GET", "/orders") == (200, [order])
