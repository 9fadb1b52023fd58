"""The same frames go to nameko's websockets and to ours, and the same come back."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from json_process import JsonProcess
from nameko_environment import nameko_testing_path
from websocket_rooms import make_rooms

from rpcservice import WebSocketHubProvider, websocket_rpc
from rpcservice.testing import free_ports
from rpcservice.web.server import WebServer

Ask = Callable[[str], list[Any]]

ROOMS = Path(__file__).with_name("websocket_rooms.py")

REQUESTS = [
    '{"method": "say", "data": {"text": "h\u00e9"}, "correlation_id": 1}',
    '{"method": "say", "data": {"text": {"a": [1, null, true]}}, "correlation_id": {"a": [1]}}',
    '{"method": "say"}',
    '{"method": "say", "data": null, "correlation_id": null}',
    '{"method": "say", "data": [], "correlation_id": 2}',
    "{",
    "[]",
    "7",
    '"say"',
    '{"data": {}, "correlation_id": 5}',
    '{"method": "fail", "correlation_id": "x"}',
    '{"method": "join", "data": {"room": "tea"}, "correlation_id": 6}',
    '{"method": "join", "data": {"room": "pot"}, "correlation_id": 7}',
    '{"method": "part", "data": {"room": "tea"}, "correlation_id": 8}',
    '{"method": "part", "data": {"room": "never"}, "correlation_id": 9}',
    '{"method": "tell", "correlation_id": 10}',
    '{"method": "tell", "data": {"to": "nobody"}, "correlation_id": 11}',
    '{"method": "lose", "correlation_id": 12}',
]
OTHER_WORDS = [
    '{"method": "nope", "correlation_id": 2}',
    '{"method": ["say"], "correlation_id": 2}',
    '{"method": "say", "data": {"wrong": 1}, "correlation_id": 3}',
    '{"method": "say", "data": {"socket_id": 1}, "correlation_id": 3}',
    '{"method": "say", "data": [1], "correlation_id": 3}',
    '{"method": "say", "data": "text", "correlation_id": 3}',
]


def connection(port: int) -> Iterator[Ask]:
    """Give a function that sends a text, and gives what comes back up to the result."""
    client = websocket.create_connection(f"ws://127.0.0.1:{port}/ws", timeout=10)
    first = json.loads(client.recv())

    def ask(text: str) -> list[Any]:
        if not text:
            return [first]
        client.send(text)
        frames = [json.loads(client.recv())]
        while frames[-1]["type"] != "result":
            frames.append(json.loads(client.recv()))
        return frames

    yield ask
    client.close()


@pytest.fixture(scope="module")
def nameko_port(nameko_version: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    (port,) = free_ports(1)
    python, folders = nameko_testing_path(nameko_version)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    log = tmp_path_factory.mktemp("nameko") / "log"
    with JsonProcess([python, str(ROOMS), str(port)], log, environment) as process:
        process.wait_for(ready=True)
        yield port


@pytest.fixture
def nameko(nameko_port: int) -> Iterator[Ask]:
    yield from connection(nameko_port)


@pytest.fixture
def ours(container_factory: Callable[..., Any]) -> Iterator[Ask]:
    container = container_factory(make_rooms(websocket_rpc, WebSocketHubProvider), {"AMQP_URI": "memory://frames/"})
    container.start()
    yield from connection(container.resource(WebServer).address[1])


def test_the_first_frame_is_the_same(nameko: Ask, ours: Ask) -> None:
    """But for the id, which is of the same form."""
    theirs, own = nameko("")[0], ours("")[0]
    for frame in (theirs, own):
        assert len(frame["data"].pop("socket_id")) == 36
    assert own == theirs


@pytest.mark.parametrize("text", REQUESTS)
def test_the_answer_is_the_same(nameko: Ask, ours: Ask, text: str) -> None:
    theirs = nameko(text)
    own = ours(text)
    assert own == theirs
    assert [list(frame) for frame in own] == [list(frame) for frame in theirs]


@pytest.mark.parametrize("text", OTHER_WORDS)
def test_the_error_is_the_same_in_other_words(nameko: Ask, ours: Ask, text: str) -> None:
    """Ours names what is missing where nameko names nothing, and does not name the function."""
    (theirs,), (own,) = nameko(text), ours(text)
    for frame in (theirs, own):
        assert set(frame["error"]) == {"exc_type", "exc_path", "exc_args", "value"}
        del frame["error"]["exc_args"], frame["error"]["value"]
    assert own == theirs
