"""Websockets: nameko's frames, methods, hooks and what a socket's calls share."""

import json
import logging
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until
from werkzeug.exceptions import Unauthorized

from rpcservice import (
    DependencyProvider,
    ServiceRunner,
    WebSocketHubProvider,
    WebSocketRefused,
    http,
    on_connect,
    on_disconnect,
    websocket_rpc,
)
from rpcservice.concurrency import green
from rpcservice.errors import (
    BadRequest,
    ConnectionLost,
    DeclarationError,
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    RpcServiceError,
    UnserializableValueError,
)
from rpcservice.testing import FakeHost, VirtualSocket, entrypoint_hook
from rpcservice.testing.websocket import HandshakeRefused
from rpcservice.web.websocket import WebSocketRpc
from rpcservice.web.websocket_server import WebSocketServer

Serve = Callable[..., Any]
Connect = Callable[..., VirtualSocket]


class Notebook(DependencyProvider):
    """Notes in the context data how often a socket has called."""

    def get_dependency(self, ctx: Any) -> list[Any]:
        ctx.context_data["calls"] = ctx.context_data.get("calls", 0) + 1
        return [ctx.context_data["calls"], ctx.message, ctx.call_id_stack]


class Expected(Exception):
    pass


class Echo:
    name = "echo"
    notebook = Notebook()

    @websocket_rpc
    def say(self, socket_id: str, text: str = "nothing") -> str:
        return text

    @websocket_rpc
    def whoami(self, socket_id: str) -> str:
        return socket_id

    @websocket_rpc
    def calls(self, socket_id: str) -> Any:
        return self.notebook[0]

    @websocket_rpc
    def stack(self, socket_id: str) -> Any:
        return self.notebook[2]

    @websocket_rpc
    def cookie(self, socket_id: str, key: str) -> Any:
        return self.notebook[1].request.cookies.get(key)

    @websocket_rpc
    def unsendable(self, socket_id: str) -> Any:
        return object()

    @websocket_rpc(expected_exceptions=Expected)
    def fail(self, socket_id: str, how: str) -> None:
        raise {"expected": Expected, "value": ValueError}[how]("no luck")

    @http("GET", "/plain")
    def plain(self, request: Any) -> str:
        return "plain"


@pytest.fixture
def site(serve: Serve) -> Any:
    return serve(Echo)


@pytest.fixture
def frames(site: Any, background: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Send texts on a websocket of its own; give as many frames as there were texts, after the first one."""
    from raw_websocket import RawWebSocket
    from wsproto.events import TextMessage

    def exchange(*texts: str) -> list[Any]:
        def run() -> list[Any]:
            with RawWebSocket(site.address) as client:
                for text in texts:
                    client.send_event(TextMessage(data=text))
                return [client.next_frame() for _ in range(len(texts) + 1)]

        answer: list[Any] = background(run).result()
        return answer

    return exchange


def test_the_first_frame_says_the_id_of_the_socket(frames: Callable[..., list[Any]]) -> None:
    (first,) = frames()
    socket_id = first["data"].pop("socket_id")
    assert first == {"type": "event", "event": "connected", "data": {}}
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", socket_id)


def test_a_result_carries_the_correlation_id(frames: Callable[..., list[Any]]) -> None:
    _, result = frames('{"method": "say", "data": {"text": "hé"}, "correlation_id": "1"}')
    assert result == {"type": "result", "success": True, "data": "hé", "correlation_id": "1"}


@pytest.mark.parametrize("correlation_id", ["0", "[1, 2]", "null", '{"a": 1}'])
def test_a_correlation_id_may_be_anything(frames: Callable[..., list[Any]], correlation_id: str) -> None:
    _, result = frames(f'{{"method": "say", "correlation_id": {correlation_id}}}')
    assert result["correlation_id"] == json.loads(correlation_id)


@pytest.mark.parametrize("data", ["", ', "data": null', ', "data": {}'])
def test_data_and_correlation_id_may_be_left_out(frames: Callable[..., list[Any]], data: str) -> None:
    _, result = frames(f'{{"method": "say"{data}}}')
    assert result == {"type": "result", "success": True, "data": "nothing", "correlation_id": None}


@pytest.mark.parametrize(
    "text",
    [
        *("{", "", "[]", '"say"', "7", '{"data": {}, "correlation_id": 1}', "[" * 100_000),
        '{"method": "nope", "correlation_id": NaN}',
        '{"method": "say", "correlation_id": [-Infinity]}',
        '{"method": "say", "correlation_id": 1e999}',
        '{"method": "nope", "correlation_id": "\\udfff"}',
        '{"method": "say", "data": {"text": Infinity}, "correlation_id": 1}',
    ],
    ids=lambda text: text[:50],
)
def test_what_is_no_request_gets_an_error_frame(frames: Callable[..., list[Any]], text: str) -> None:
    _, result, after = frames(text, '{"method": "say"}')
    assert result == {
        "type": "result",
        "success": False,
        "error": {
            "exc_type": "MalformedRequest",
            "exc_path": "nameko.exceptions.MalformedRequest",
            "exc_args": ["Invalid JSON data"],
            "value": "Invalid JSON data",
        },
        "correlation_id": None,
    }
    assert after["success"] is True


@pytest.mark.parametrize("method", ['"nope"', '"plain"', '"__init__"', "7", "[]", "null"])
def test_an_unknown_method_gets_an_error_frame(frames: Callable[..., list[Any]], method: str) -> None:
    """Methods of other entrypoints are not reached."""
    _, result = frames(f'{{"method": {method}, "correlation_id": 3}}')
    assert (result["success"], result["correlation_id"]) == (False, 3)
    assert result["error"]["exc_path"] == "nameko.exceptions.MethodNotFound"
    assert set(result["error"]) == {"exc_type", "exc_path", "exc_args", "value"}


def test_an_unknown_method_is_told_as_what_is_missing(frames: Callable[..., list[Any]]) -> None:
    _, result = frames('{"method": "nope"}')
    assert result["error"]["exc_args"] == ["nope"]
    assert result["error"]["value"] == "the service has no @websocket_rpc method 'nope'"


@pytest.mark.parametrize(
    ("request_", "exc_type", "exc_args"),
    [
        ('"method": "\\udfff"', "MethodNotFound", ["\\udfff"]),
        ('"method": "fail", "data": {"how": "\\udfff"}', "KeyError", ["\\udfff"]),
        ('"method": "say", "data": {"text": "\\udfff"}', "UnserializableValueError", []),
        ('"method": "say", "data": {"text": [1e999]}', "UnserializableValueError", []),
    ],
)
def test_an_answer_that_cannot_be_encoded_is_an_error_frame(
    frames: Callable[..., list[Any]], request_: str, exc_type: str, exc_args: list[str]
) -> None:
    """Half of a surrogate pair is no text that can be sent, and infinity no number."""
    _, result, after = frames(f'{{{request_}, "correlation_id": 3}}', '{"method": "say"}')
    assert (result["success"], result["correlation_id"]) == (False, 3)
    assert (result["error"]["exc_type"], result["error"]["exc_args"]) == (exc_type, exc_args)
    assert after["success"] is True


@pytest.mark.parametrize("data", ['{"wrong": 1}', '{"socket_id": "x"}', "[1]", '"text"', "7"])
def test_data_that_does_not_fit_gets_an_error_frame(frames: Callable[..., list[Any]], data: str) -> None:
    _, result = frames(f'{{"method": "say", "data": {data}, "correlation_id": 3}}')
    assert (result["success"], result["correlation_id"]) == (False, 3)
    assert result["error"]["exc_path"] == "nameko.exceptions.IncorrectSignature"


def test_a_method_gets_the_id_of_its_socket(site: Any, connect: Connect) -> None:
    socket = connect(site)
    assert socket.rpc("whoami") == socket.socket_id


def test_each_socket_has_an_id_of_its_own(site: Any, connect: Connect) -> None:
    assert connect(site).socket_id != connect(site).socket_id


def test_calls_of_one_socket_share_their_context_data(site: Any, connect: Connect) -> None:
    one, other = connect(site), connect(site)
    assert [one.rpc("calls"), one.rpc("calls"), other.rpc("calls"), one.rpc("calls")] == [1, 2, 1, 3]


def test_a_request_id_of_the_handshake_is_the_parent_of_every_call(site: Any, connect: Connect) -> None:
    socket = connect(site, headers={"X-Request-ID": "from-outside"})
    for _ in range(2):
        first, own = socket.rpc("stack")
        assert first == "from-outside"
        assert own.startswith("echo.stack.")


def test_a_call_without_a_request_id_has_no_parent(site: Any, connect: Connect) -> None:
    socket = connect(site)
    assert [len(socket.rpc("stack")) for _ in range(2)] == [1, 1]


def test_dependencies_see_the_request_of_the_handshake(site: Any, connect: Connect) -> None:
    assert connect(site, headers={"Cookie": "session=s3"}).rpc("cookie", key="session") == "s3"


def test_a_result_that_json_does_not_know_is_an_error(site: Any, connect: Connect) -> None:
    socket = connect(site)
    with pytest.raises(UnserializableValueError, match="Unserializable value"):
        socket.rpc("unsendable")
    assert socket.rpc("say", text="after") == "after"


def test_what_a_method_raises_is_told_by_name_and_text(site: Any, connect: Connect) -> None:
    with pytest.raises(RemoteError, match="ValueError no luck"):
        connect(site).rpc("fail", how="value")


def test_an_expected_exception_is_a_warning(site: Any, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RemoteError):
        connect(site).rpc("fail", how="expected")
    levels = {record.levelno for record in caplog.records if "no luck" in record.getMessage()}
    assert levels == {logging.WARNING}


def test_http_goes_on_beside_websockets(site: Any, connect: Connect) -> None:
    socket = connect(site)
    assert site.get("/plain").text == "plain"
    assert socket.rpc("say", text="still here") == "still here"


def test_a_method_can_be_fired_by_a_test(site: Any) -> None:
    with entrypoint_hook(site.container, "say") as say:
        assert say("a socket", text="hook") == "hook"


def test_requests_of_one_socket_are_handled_one_after_another(serve: Serve, background: Callable[..., Any]) -> None:
    """In their order, although there are workers enough for all."""
    from raw_websocket import RawWebSocket

    trace: list[str] = []

    class Slow:
        name = "slow"

        @websocket_rpc
        def step(self, socket_id: str, number: int) -> int:
            trace.append(f"begin {number}")
            green().sleep(0.01)
            trace.append(f"end {number}")
            return number

    site = serve(Slow)

    def run() -> list[int]:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            for number in range(3):
                client.call("step", number=number)
            return [client.next_frame()["data"] for _ in range(3)]

    assert background(run).result() == [0, 1, 2]
    assert trace == [f"{what} {number}" for number in range(3) for what in ("begin", "end")]


def test_requests_of_several_sockets_are_handled_side_by_side(
    serve: Serve, connect: Connect, background: Callable[..., Any]
) -> None:
    met = green().event()
    inside: list[str] = []

    class Meeting:
        name = "meeting"

        @websocket_rpc
        def meet(self, socket_id: str) -> bool:
            inside.append(socket_id)
            if len(inside) == 2:
                met.set()
            return met.wait(10)

    site = serve(Meeting)
    one, other = connect(site), connect(site)
    waiting = green().spawn(one.rpc, "meet")
    assert other.rpc("meet") is True
    assert waiting.wait(5)


def test_services_of_one_process_share_the_endpoint(runner_factory: Callable[..., ServiceRunner]) -> None:
    class Other:
        name = "other"

        @websocket_rpc
        def other(self, socket_id: str) -> str:
            return socket_id

    runner = runner_factory(Echo, Other)
    runner.start()
    with VirtualSocket(*runner.resources.get(WebSocketServer).web_server.address) as socket:
        assert socket.rpc("other") == socket.rpc("whoami") == socket.socket_id


def test_two_methods_of_one_name_are_refused(runner_factory: Callable[..., ServiceRunner]) -> None:
    class Again:
        name = "again"

        @websocket_rpc
        def say(self, socket_id: str) -> None: ...

    with pytest.raises(DeclarationError, match=r"echo\.say and again\.say are both called as 'say'; rename one"):
        runner_factory(Echo, Again).start()


def test_the_path_is_a_setting(serve: Serve, connect: Connect) -> None:
    site = serve(Echo, websocket_path="/live/socket")
    assert connect(site, "/live/socket").rpc("say", text="here") == "here"
    assert site.get("/ws").status == 404


def test_an_endpoint_of_ones_own_that_fails_does_not_hold_up_the_next_request(
    serve: Serve, background: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An id that it cannot send is answered with none; with frames that it cannot make at all, the log has to do."""
    from raw_websocket import RawWebSocket
    from werkzeug.routing import Rule
    from wsproto.events import TextMessage

    class Careless(WebSocketServer):
        def get_url_rule(self) -> Rule:
            return Rule("/careless", methods=["GET"])

        def deserialize_ws_frame(self, payload: str) -> tuple[Any, Any, Any]:
            request = json.loads(payload)
            return request["method"], {}, request["id"]

        def serialize_for_ws(self, payload: Any) -> str:
            if payload.get("correlation_id") == "never" or "never" in str(payload.get("error")):
                raise LookupError("never")
            return super().serialize_for_ws(payload)

    class CarelessRpc(WebSocketRpc):
        server_cls = Careless

    class Shop:
        name = "shop"

        @CarelessRpc.decorator
        def restock(self, socket_id: str) -> str:
            return "restocked"

    site = serve(Shop)

    def run() -> list[Any]:
        with RawWebSocket(site.address, path="/careless") as client:
            client.next_frame()
            for method, correlation_id in (("nope", float("nan")), ("restock", "never"), ("restock", 3)):
                client.send_event(TextMessage(data=json.dumps({"method": method, "id": correlation_id})))
            return [client.next_frame() for _ in range(2)]

    first, last = background(run).result()
    assert (first["error"]["exc_type"], first["correlation_id"]) == ("UnserializableValueError", None)
    assert (last["data"], last["correlation_id"]) == ("restocked", 3)
    assert "a request could not be answered" in caplog.text


def test_an_endpoint_of_ones_own_has_methods_of_its_own(serve: Serve, connect: Connect) -> None:
    from werkzeug.routing import Rule

    class AdminServer(WebSocketServer):
        def get_url_rule(self) -> Rule:
            return Rule("/admin", methods=["GET"], websocket=True)

    class AdminRpc(WebSocketRpc):
        server_cls = AdminServer

    class Both(Echo):
        name = "both"

        @AdminRpc.decorator
        def restock(self, socket_id: str) -> str:
            return "restocked"

    site = serve(Both)
    admin, public = connect(site, "/admin"), connect(site)
    assert admin.rpc("restock") == "restocked"
    for socket, method in ((admin, "say"), (public, "restock")):
        with pytest.raises(MethodNotFound):
            socket.rpc(method)


class Gate:
    """Lets in by name, and remembers who came and went."""

    name = "gate"
    hub = WebSocketHubProvider()
    notebook = Notebook()
    seen: list[Any] = []

    @on_connect
    def enter(self, socket_id: str, request: Any) -> None:
        self.seen.append(("enter", socket_id))
        reasons = {
            "refused": WebSocketRefused(4001, "not you"),
            "unauthorized": Unauthorized("who are you?"),
            "bad": BadRequest("no such room"),
            "broken": ValueError("secret"),
        }
        reason = reasons.get(request.args.get("name"))
        if reason is not None:
            raise reason
        self.hub.subscribe(socket_id, request.cookies.get("room", "lobby"))

    @on_disconnect
    def leave(self, socket_id: str, code: int) -> None:
        self.seen.append(("leave", socket_id, code, self.hub.get_subscriptions(socket_id)))

    @websocket_rpc
    def rooms(self, socket_id: str) -> Any:
        return self.hub.get_subscriptions(socket_id)

    @websocket_rpc
    def calls(self, socket_id: str) -> Any:
        return self.notebook[0]


@pytest.fixture
def gate(serve: Serve) -> Any:
    Gate.seen = []
    return serve(Gate)


def test_on_connect_sees_cookies_and_can_subscribe(gate: Any, connect: Connect) -> None:
    assert connect(gate, headers={"Cookie": "room=attic"}).rpc("rooms") == ["attic"]


def test_the_first_call_finds_what_on_connect_noted(gate: Any, connect: Connect) -> None:
    assert connect(gate).rpc("calls") == 2


def test_on_connect_can_refuse_with_a_close_code(gate: Any) -> None:
    with pytest.raises(WebSocketRefused) as caught:
        VirtualSocket(*gate.address, "/ws?name=refused").connect()
    assert (caught.value.code, caught.value.reason) == (4001, "not you")


def test_on_connect_can_refuse_with_a_status(gate: Any) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        VirtualSocket(*gate.address, "/ws?name=unauthorized").connect()
    assert caught.value.status == 401


def test_a_bad_request_of_on_connect_closes_with_its_text(gate: Any) -> None:
    with pytest.raises(WebSocketRefused, match="1008: no such room"):
        VirtualSocket(*gate.address, "/ws?name=bad").connect()


def test_an_error_of_on_connect_closes_without_its_text(gate: Any) -> None:
    socket = VirtualSocket(*gate.address, "/ws?name=broken")
    with pytest.raises(ConnectionLost, match="the service failed"):
        socket.connect()
    assert (socket.close_code, "secret" in socket.close_reason) == (1011, False)


def test_a_refusal_is_a_warning_and_a_fault_is_an_error(gate: Any, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("refused", "unauthorized", "bad", "broken"):
        with pytest.raises(RpcServiceError):
            VirtualSocket(*gate.address, f"/ws?name={name}").connect()
    levels = [record.levelname for record in caplog.records if "gate.enter." in record.getMessage()]
    assert levels == ["WARNING", "WARNING", "WARNING", "ERROR"]


@pytest.mark.parametrize("name", ["refused", "unauthorized"])
def test_who_was_refused_does_not_leave(gate: Any, name: str) -> None:
    with pytest.raises(RpcServiceError):
        VirtualSocket(*gate.address, f"/ws?name={name}").connect()
    server = gate.container.resource(WebSocketServer)
    wait_until(lambda: not server.sockets)
    assert [what for what, *_ in Gate.seen] == ["enter"]


def test_on_disconnect_learns_the_code_and_still_knows_the_subscriptions(gate: Any, connect: Connect) -> None:
    socket = connect(gate)
    socket.close()
    wait_until(lambda: len(Gate.seen) == 2)
    assert Gate.seen[1] == ("leave", socket.socket_id, 1000, ["lobby"])


def test_who_goes_without_a_word_leaves_with_1006(gate: Any, background: Callable[..., Any]) -> None:
    from raw_websocket import RawWebSocket

    def run() -> None:
        client = RawWebSocket(gate.address)
        client.next_frame()
        client.end()

    background(run).result()
    wait_until(lambda: len(Gate.seen) == 2)
    assert Gate.seen[1][2] == 1006


def test_on_disconnect_comes_after_the_call_that_was_under_way(serve: Serve, background: Callable[..., Any]) -> None:
    from raw_websocket import RawWebSocket

    entered, opened, seen = green().event(), green().event(), []

    class Late:
        name = "late"

        @websocket_rpc
        def wait(self, socket_id: str) -> None:
            entered.set()
            assert opened.wait(10)
            seen.append("call")

        @on_disconnect
        def leave(self, socket_id: str, code: int) -> None:
            seen.append("leave")

    site = serve(Late)

    def run() -> None:
        client = RawWebSocket(site.address)
        client.call("wait")
        client.next_frame()
        assert called_in.wait(10)
        client.end()

    called_in = threading.Event()
    leaving = background(run)
    assert entered.wait(5)
    called_in.set()
    leaving.result()
    server = site.container.resource(WebSocketServer)
    wait_until(lambda: not any(socket.is_open for socket in server.sockets.values()))
    opened.set()
    wait_until(lambda: len(seen) == 2)
    assert seen == ["call", "leave"]


def test_hooks_of_all_services_are_asked(runner_factory: Callable[..., ServiceRunner]) -> None:
    """A service that let a websocket in learns that it has gone, although another one refused it."""
    Gate.seen = []

    class Strict:
        name = "strict"

        @on_connect
        def check(self, socket_id: str, request: Any) -> None:
            raise WebSocketRefused(4002)

        @on_disconnect
        def leave(self, socket_id: str, code: int) -> None:
            Gate.seen.append("strict")

    runner = runner_factory(Gate, Strict)
    runner.start()
    server = runner.resources.get(WebSocketServer)
    with pytest.raises(WebSocketRefused, match="4002"):
        VirtualSocket(*server.web_server.address).connect()
    wait_until(lambda: not server.sockets)
    assert [entry if isinstance(entry, str) else entry[0] for entry in Gate.seen] == ["enter", "leave"]


@pytest.mark.parametrize("decorator", [on_connect, on_disconnect])
def test_hooks_that_take_other_arguments_are_refused(serve: Serve, decorator: Any) -> None:
    class Wrong:
        name = "wrong"

        @decorator
        def hook(self, socket_id: str) -> None: ...

    with pytest.raises(DeclarationError, match=r"wrong\.hook is called with socket_id and \w+: write def hook\(self, "):
        serve(Wrong)


def test_close_codes_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(ValueError, match="1006 cannot be sent"):
        WebSocketRefused(1006)


def test_a_full_pool_answers_with_an_error_frame(serve: Serve, connect: Connect) -> None:
    entered, opened = green().event(), green().event()

    class Busy:
        name = "busy"

        @websocket_rpc
        def wait(self, socket_id: str) -> str:
            entered.set()
            assert opened.wait(10)
            return "waited"

    site = serve(Busy, max_workers=1, http_queue_timeout=0.05)
    one, other = connect(site), connect(site)
    outcome: list[Any] = []
    green().spawn(lambda: outcome.append(one.rpc("wait")))
    assert entered.wait(5)
    with pytest.raises(RemoteError, match="WorkerPoolFull"):
        other.rpc("wait")
    opened.set()
    wait_until(lambda: outcome == ["waited"])


def test_a_full_pool_refuses_with_503(serve: Serve) -> None:
    entered, opened = green().event(), green().event()

    class Busy:
        name = "busy"

        @on_connect
        def enter(self, socket_id: str, request: Any) -> None:
            entered.set()
            assert opened.wait(10)

    site = serve(Busy, max_workers=1, http_queue_timeout=0.05)
    one = VirtualSocket(*site.address)
    opening = green().spawn(one.connect)
    assert entered.wait(5)
    with pytest.raises(HandshakeRefused) as caught:
        VirtualSocket(*site.address).connect()
    assert caught.value.status == 503
    opened.set()
    assert opening.wait(5)
    one.close()


def test_an_exception_may_name_the_status(serve: Serve) -> None:
    class Full(Exception):
        http_status = 409

    class Small:
        name = "small"

        @on_connect
        def enter(self, socket_id: str, request: Any) -> None:
            raise Full("two are in already")

    with pytest.raises(HandshakeRefused) as caught:
        VirtualSocket(*serve(Small).address).connect()
    assert caught.value.status == 409


def test_entrypoints_say_what_they_are() -> None:
    texts = [entry.describe() for entry in sorted(_bound(Gate), key=lambda entry: entry.method_name)]
    assert texts == [
        "websocket rpc calls",
        "websocket connect -> enter",
        "websocket disconnect -> leave",
        "websocket rpc rooms",
    ]


def _bound(service: type) -> list[Any]:
    from rpcservice.core.service import read_service

    host = FakeHost()
    return [declaration.bind(host, name) for name, declaration in read_service(service).entrypoints]


def test_the_class_of_a_wrong_signature_comes_back(site: Any, connect: Connect) -> None:
    with pytest.raises(IncorrectSignature):
        connect(site).rpc("say", wrong=1)
