"""Fixtures of the tests of security."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack_target import BODY_LIMIT, BODY_TIMEOUT, HEADER_LIMIT, HEADER_TIMEOUT, MOST_CONNECTIONS, Target
from command_process import Running


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server with small limits, in a process of its own; the tests of a module share it."""
    settings = {
        "WEB_SERVER_ADDRESS": "127.0.0.1:0",
        "http_max_header_size": HEADER_LIMIT,
        "http_max_body_size": BODY_LIMIT,
        "http_header_timeout": HEADER_TIMEOUT,
        "http_body_timeout": BODY_TIMEOUT,
        "http_max_connections": MOST_CONNECTIONS,
        "websocket_max_message_size": BODY_LIMIT,
    }
    options = [part for name, value in settings.items() for part in ("-d", f"{name}={value}")]
    command = [sys.executable, "-m", "rpcservice", "run", "attacked", "--broker", "memory://attacked/", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("AMQP_URI", None)
    running = Running(command, cwd=Path(__file__).parent, env=environment)
    try:
        url = running.wait_for("Web server: ").removeprefix("Web server: ")
        host, port = url.removeprefix("http://").split(":")
        yield Target(running, (host, int(port)))
        assert running.process.poll() is None, "the server died"
    finally:
        running.close()
