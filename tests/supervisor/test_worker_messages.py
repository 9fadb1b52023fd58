"""Worker: what follows where a process cannot be told what it should be."""

import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from rpcservice.supervisor.channel import Channel
from rpcservice.supervisor.worker import Worker


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    own, other = socket.socketpair()
    own.setblocking(False)
    with own, other:
        yield own, other


@pytest.fixture
def worker(pair: tuple[socket.socket, socket.socket]) -> Iterator[Worker]:
    """A process that is up, and reads nothing."""
    with subprocess.Popen(["sleep", "60"]) as process:
        worker = Worker(1, 0, 5, process, Channel(pair[0]))
        worker.note_ready([], [], 5)
        yield worker
        process.kill()


def deafen(how: str, pair: tuple[socket.socket, socket.socket]) -> None:
    if how == "closed":
        pair[1].close()
        return
    try:
        while True:
            pair[0].send(b"x" * 65_536)
    except BlockingIOError:
        return  # as much as there is room for


HOW = pytest.mark.parametrize("how", ["closed", "full"])


@HOW
def test_one_that_cannot_be_told_to_stop_gets_a_signal(
    how: str, worker: Worker, pair: tuple[socket.socket, socket.socket]
) -> None:
    deafen(how, pair)
    worker.stop(others_serve_on=False)
    assert worker._process.wait(10) == -signal.SIGTERM


@HOW
def test_one_that_cannot_be_told_to_end_is_killed(
    how: str, worker: Worker, pair: tuple[socket.socket, socket.socket]
) -> None:
    deafen(how, pair)
    worker.kill()
    assert worker._process.wait(10) == -signal.SIGKILL


@HOW
def test_one_that_cannot_be_told_to_lead_does_not(
    how: str, worker: Worker, pair: tuple[socket.socket, socket.socket]
) -> None:
    deafen(how, pair)
    assert not worker.lead()
    assert not worker.leads


def test_one_that_is_told_to_stop_gets_no_signal(worker: Worker, pair: tuple[socket.socket, socket.socket]) -> None:
    """For it that would be the second time."""
    worker.stop(others_serve_on=True)
    assert Channel(pair[1]).receive() == [("stop", True, None)]
    assert not worker.look()
