"""Bodies that would run code, or block the process, where they are decoded: refused, wherever they come in.

Each body that would run code makes a file when it does; the tests look for the file.
"""

import gzip
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from wire import Inbox, Wire

from rpcservice import ServiceRpc, consume, event_handler, rpc
from rpcservice.amqp.compression import unpack
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import MalformedRequest
from rpcservice.testing import dummy, entrypoint_hook

PICKLE = "application/x-python-serialize"
EVERYWHERE = pytest.mark.parametrize("way", ["rpc", "event", "consume", "reply"])


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


class Careful:
    name = "careful"
    other = ServiceRpc("elsewhere", timeout=5)

    handled: Inbox

    @rpc
    def call(self, *args: Any) -> str:
        self.handled(args)
        return "called"

    @event_handler("shop", "placed")
    def hear(self, payload: Any) -> None:
        self.handled(payload)

    @consume(queue="parcels")
    def take(self, payload: Any) -> None:
        self.handled(payload)

    @dummy
    def ask(self) -> Any:
        return self.other.question()


class Victim:
    """A service, and the ways into it."""

    def __init__(self, runner: ServiceRunner, wire: Wire) -> None:
        self.runner = runner
        self.wire = wire

    def send(self, way: str, body: bytes, **properties: Any) -> Any:
        """Have a body come in; gives what a caller gets for it, if there is one."""
        if way == "rpc":
            reply = self.wire.request("careful.call", body, **properties)
            packed = reply.headers.get("compression")
            answer = unpack(reply.body, packed, len(body) + 10_000) if packed else reply.body
            # The answer to a pickle is one, of the service's making.
            is_pickle = reply.properties["content_type"] == PICKLE
            return json.dumps(pickle.loads(answer)) if is_pickle else answer.decode(errors="replace")
        if way == "event":
            self.wire.publish("shop.events", "placed", body, **properties)
        elif way == "consume":
            self.wire.publish("", "parcels", body, **properties)
        else:
            return self._answer(body, properties)
        return None

    def _answer(self, body: bytes, properties: dict[str, Any]) -> Any:
        """Answer a call of the service with a body, as the service that it calls might; gives what comes of it."""
        requests = self.wire.tap("nameko-rpc", "elsewhere.question")
        outcome = Inbox(green())

        def ask() -> None:
            with entrypoint_hook(self.runner.service_map["careful"], "ask") as ask:
                try:
                    outcome(ask())
                except Exception as exc:
                    outcome(exc)

        green().spawn(ask)
        request = requests.take()
        given = {**properties, "correlation_id": request.properties["correlation_id"]}
        self.wire.publish("nameko-rpc", request.properties["reply_to"], body, **given)
        return outcome.take()

    def is_well(self, way: str) -> bool:
        """Whether a good body comes through, and is the first that does."""
        good = {"rpc": b'{"args": ["good"], "kwargs": {}}', "reply": b'{"result": "good", "error": null}'}
        answer = self.send(way, good.get(way, b'["good"]'), content_type="application/json")
        return answer == "good" if way == "reply" else list(Careful.handled.take()) == ["good"]


@pytest.fixture
def attack(runner_factory: Callable[..., ServiceRunner], broker_uri: str) -> Iterator[Callable[..., Victim]]:
    """Start the service with some settings, and give the ways into it."""
    wires: list[Wire] = []

    def start(**settings: Any) -> Victim:
        Careful.handled = Inbox(green())
        runner = runner_factory(Careful, config=settings)
        runner.start()
        wires.append(Wire(broker_uri, green()))
        return Victim(runner, wires[-1])

    yield start
    for wire in wires:
        wire.link.close()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The file that is there when code has run."""
    return tmp_path / "code-has-run"


def body_for(way: str, value: Any) -> Any:
    """Put a value where the way in expects one."""
    return {"rpc": {"args": [value], "kwargs": {}}, "reply": {"result": value, "error": None}}.get(way, value)


LABELS = {
    "pickle": {"content_type": PICKLE, "content_encoding": "binary"},
    "pickle without an encoding": {"content_type": PICKLE},
    "pickle as text": {"content_type": PICKLE, "content_encoding": "utf-8"},
    "pickle in capitals": {"content_type": PICKLE.upper(), "content_encoding": "binary"},
    "pickle with a parameter": {"content_type": f"{PICKLE}; charset=binary"},
    "kombu's name of pickle": {"content_type": "pickle", "content_encoding": "binary"},
    "another name of pickle": {"content_type": "application/x-pickle"},
    "json": {"content_type": "application/json", "content_encoding": "binary"},
    "yaml": {"content_type": "application/x-yaml"},
    "msgpack": {"content_type": "application/x-msgpack", "content_encoding": "binary"},
    "raw": {"content_type": "application/data", "content_encoding": "binary"},
    "nothing": {},
    "an encoding alone": {"content_encoding": "pickle"},
    "a codec that unpacks": {"content_encoding": "zlib_codec"},
}


@EVERYWHERE
@pytest.mark.parametrize("properties", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("is_packed", [False, True], ids=["", "packed"])
def test_a_pickle_is_not_loaded_however_it_is_labelled(
    attack: Callable[..., Victim], made: Path, way: str, properties: dict[str, Any], is_packed: bool
) -> None:
    victim = attack()
    body = pickle.dumps(body_for(way, Bomb(made)))
    headers = {"compression": "gzip"} if is_packed else {}
    victim.send(way, gzip.compress(body) if is_packed else body, **properties, headers=headers)
    # Raw bodies are handed on as they are: bytes that nobody has looked into.
    if way in ("event", "consume") and properties in (LABELS["raw"],):
        assert Careful.handled.take() == body
    assert victim.is_well(way)
    assert not made.exists()


@EVERYWHERE
def test_a_pickle_runs_what_it_says_where_it_is_accepted(attack: Callable[..., Victim], made: Path, way: str) -> None:
    """So that the tests above try what would do harm."""
    attack(ACCEPT=["json", "pickle"]).send(
        way, pickle.dumps(body_for(way, Bomb(made))), content_type=PICKLE, content_encoding="binary"
    )
    if way in ("event", "consume"):
        Careful.handled.take()
    assert made.exists()


@EVERYWHERE
@pytest.mark.parametrize("tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/object/new:pathlib.Path"])
def test_yaml_makes_plain_values_only(attack: Callable[..., Victim], made: Path, way: str, tag: str) -> None:
    victim = attack(ACCEPT=["json", "yaml"])
    value = f'{tag} [!!python/object/apply:pathlib.Path ["{made}"]]'
    body = {"rpc": f"{{args: [{value}], kwargs: {{}}}}", "reply": f"{{result: {value}, error: null}}"}.get(way, value)
    victim.send(way, body.encode(), content_type="application/x-yaml", content_encoding="utf-8")
    assert victim.is_well(way)
    assert not made.exists()


def test_the_caller_is_told_what_to_set(attack: Callable[..., Victim]) -> None:
    answer = attack().send("rpc", pickle.dumps(1), content_type=PICKLE)
    assert 'only: application/json; name \\"pickle\\" in ACCEPT' in answer
    assert "whoever may publish can then run code here" in answer


def test_the_caller_of_a_service_that_answers_with_a_pickle_is_told_too(attack: Callable[..., Victim]) -> None:
    outcome = attack().send("reply", pickle.dumps(1), content_type=PICKLE)
    assert isinstance(outcome, MalformedRequest)
    assert 'name "pickle" in ACCEPT' in str(outcome)


@pytest.mark.parametrize("way", ["event", "consume"])
def test_the_log_tells_what_to_set(attack: Callable[..., Victim], caplog: pytest.LogCaptureFixture, way: str) -> None:
    victim = attack()
    victim.send(way, pickle.dumps(1), content_type=PICKLE)
    assert victim.is_well(way)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert 'name "pickle" in ACCEPT' in record.getMessage()


@pytest.mark.parametrize("way", ["event", "consume"])
@pytest.mark.parametrize("encoding", ["punycode", "PUNYCODE", "idna", "undefined", "os", "../encodings/ascii"])
def test_an_encoding_that_would_block_the_process_is_refused(
    attack: Callable[..., Victim], way: str, encoding: str
) -> None:
    """Python's punycode takes minutes for a megabyte."""
    victim = attack()
    began = monotonic()
    victim.send(way, b"a-" + b"a" * 1_000_000, content_encoding=encoding)
    assert victim.is_well(way)
    assert monotonic() - began < 5
