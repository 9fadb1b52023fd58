"""Extensions written for nameko have attributes of their own, whatever those of rpcservice's extensions are called."""

from collections.abc import Callable
from functools import partial
from typing import Any

import kombu
import pytest
from under_nameko import standing_in
from wire import Inbox, Wire

with standing_in():
    from nameko.events import EventDispatcher, EventHandler
    from nameko.extensions import DependencyProvider, Entrypoint, SharedExtension
    from nameko.messaging import Consumer, Publisher
    from nameko.rpc import Rpc, ServiceRpc
    from nameko.timer import Timer
    from nameko.web.handlers import HttpRequestHandler
    from nameko.web.websocket import WebSocketHubProvider, WebSocketRpc

NAMES = (
    "call_id_prefix",
    "deadline",
    "failures",
    "host",
    "positional",
    "refusal",
    "running_workers",
    "seconds_allowed",
    "signature",
    "worker_limit",
)
"""What extensions of rpcservice have or had, and nameko's do not."""

Serve = Callable[..., Any]
Own = Callable[[type, str], type]


def in_constructor(base: type, name: str) -> type:
    """Give a subclass whose instances have the attribute."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *args, **kwargs)  # type: ignore[misc]  # of the instance
        setattr(self, name, "own")

    return type(f"With{name.title()}", (base,), {"__init__": __init__})


def in_class(base: type, name: str) -> type:
    """Give a subclass that has the attribute itself."""
    return type(f"With{name.title()}", (base,), {name: "own"})


def as_method(base: type, name: str) -> type:
    """Give a subclass that has a method of that name."""
    return type(f"With{name.title()}", (base,), {name: lambda self: "own"})


def own_value(extension: Any, name: str) -> Any:
    """Give what an extension has under the name."""
    value = getattr(extension, name)
    return value() if callable(value) else value


class Part(SharedExtension):
    """What other extensions are made with."""


class Fired(Entrypoint):
    """Fires once, and keeps the outcome."""

    def start(self) -> None:
        self.container.spawn_worker(self, ("red",), {}, handle_result=self.handle_result)

    def handle_result(self, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
        self.outcome = result
        return result, exc_info


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("own", [in_constructor, in_class, as_method])
def test_an_extension_has_what_it_calls_so(serve: Serve, inbox: Inbox, own: Own, name: str) -> None:
    """Providers, entrypoints and what they are made with, in the constructor, in the class, and as a method."""
    firing = own(Fired, name)
    provider_cls = own(DependencyProvider, name)
    provider_cls.part = own(Part, name)()  # type: ignore[attr-defined]  # a class that is made

    class Service:
        name = "service"
        provider = provider_cls()

        @firing.decorator  # type: ignore[attr-defined]  # a class that is made
        def method(self, colour: str, size: int = 1) -> str:
            inbox((colour, size))
            return colour

    container = serve(Service).service_map["service"]
    assert inbox.take() == ("red", 1)
    assert [own_value(extension, name) for extension in container.extensions] == ["own"] * 3
    (entrypoint,) = container.entrypoints
    entrypoint.check_signature(("red",), {"size": 2})
    assert entrypoint.outcome == "red"


@pytest.mark.parametrize("own", [in_constructor, in_class, as_method])
def test_an_entrypoint_may_call_something_else_attr_name(serve: Serve, inbox: Inbox, own: Own) -> None:
    """nameko's providers alone have that."""

    class Service:
        name = "service"

        @own(Fired, "attr_name").decorator  # type: ignore[attr-defined]  # a class that is made
        def method(self, colour: str) -> None:
            inbox(colour)

    (entrypoint,) = serve(Service).service_map["service"].entrypoints
    assert inbox.take() == "red"
    assert (own_value(entrypoint, "attr_name"), entrypoint.method_name) == ("own", "method")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("own", [in_constructor, in_class, as_method])
def test_a_kind_of_namekos_own_has_what_it_calls_so(
    serve: Serve, wire: Wire, inbox: Inbox, own: Own, name: str
) -> None:
    """All that nameko has are classes to derive from."""
    made = partial(own, name=name)

    class Service:
        name = "service"
        caller = made(ServiceRpc)("service")
        dispatch = made(EventDispatcher)()
        publish = made(Publisher)()
        hub = made(WebSocketHubProvider)()

        @made(Rpc).decorator  # type: ignore[attr-defined]  # a class that is made
        def work(self) -> str:
            inbox((self.caller.answer(), self.hub is not None))
            self.dispatch("done", "event")
            self.publish("message", routing_key="words")
            return "worked"

        @made(Rpc).decorator  # type: ignore[attr-defined]  # a class that is made
        def answer(self) -> str:
            return "answer"

        @made(EventHandler).decorator("service", "done")  # type: ignore[attr-defined]  # a class that is made
        def on_event(self, payload: Any) -> None:
            inbox(payload)

        @made(Consumer).decorator(kombu.Queue("words"))  # type: ignore[attr-defined]  # a class that is made
        def on_message(self, body: Any) -> None:
            inbox(body)

        @made(Timer).decorator(60, eager=True)  # type: ignore[attr-defined]  # a class that is made
        def on_time(self) -> None:
            inbox("time")

        @made(HttpRequestHandler).decorator("GET", "/")  # type: ignore[attr-defined]  # a class that is made
        def on_request(self, request: Any) -> str:
            return "page"

        @made(WebSocketRpc).decorator  # type: ignore[attr-defined]  # a class that is made
        def on_call(self, socket_id: str) -> None: ...

    container = serve(Service, WEB_SERVER_ADDRESS="127.0.0.1:0").service_map["service"]
    assert inbox.take() == "time"
    assert b"worked" in wire.request("service.work").body
    assert {inbox.take() for _ in range(3)} == {("answer", True), "event", "message"}
    found = [own_value(extension, name) for extension in (*container.dependencies, *container.entrypoints)]
    assert found == ["own"] * 11
