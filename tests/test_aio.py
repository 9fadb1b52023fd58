"""The clients for asyncio: in a process of their own, which nothing has patched, against services in this one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from json_process import JsonProcess
from waiting import wait_until

from rpcservice import DependencyProvider, RpcServiceError, ServiceContainer, WorkerContext, event_handler, rpc
from rpcservice.concurrency import Event, green
from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = pytest.mark.broker

PROGRAM = Path(__file__).parent / "aio_program.py"
SOON = 3.0
"""Seconds within which something has happened at once, on a machine that is busy with other tests."""
LONGEST_TURN = 0.5
"""Seconds for which a loop may be busy; whoever waits in it for the broker takes longer."""


class NoLuck(RpcServiceError):
    """What a method of the service raises."""


class Language(DependencyProvider):
    """Gives the language that came with the call."""

    def get_dependency(self, ctx: WorkerContext) -> Any:
        return ctx.data.get("language")


class Desk:
    name = "desk"
    spoken = Language()
    entered: list[Any] = []
    heard: list[Any] = []
    gate: Event

    @rpc
    def say(self, text: str) -> str:
        return text

    @rpc
    def language(self) -> Any:
        return self.spoken

    @rpc
    def fail(self, text: str) -> None:
        raise NoLuck(text)

    @rpc
    def hold(self, text: str) -> str:
        self.entered.append(text)
        self.gate.wait(30)
        return text

    @rpc
    def meet(self, number: int, count: int) -> int:
        """Answer when so many are here."""
        self.entered.append(number)
        if len(self.entered) == count:
            self.gate.set()
        self.gate.wait(30)
        return number

    @event_handler("office", "opened")
    def hear(self, payload: Any) -> None:
        self.heard.append(payload)

    @event_handler("office", "greeted")
    def greet(self, payload: Any) -> None:
        self.heard.append([payload, self.spoken])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JsonProcess]:
    """The program on asyncio; its warnings are errors too."""
    log = tmp_path_factory.mktemp("aio") / "log"
    with JsonProcess([sys.executable, "-X", "dev", "-W", "error", str(PROGRAM)], log) as program:
        yield program
        assert program.finish() == 0, program.log_tail()


@pytest.fixture
def gate() -> Iterator[Event]:
    """What held calls wait for; open at the end."""
    Desk.entered, Desk.heard, Desk.gate = [], [], green().event()
    yield Desk.gate
    Desk.gate.set()


@pytest.fixture
def desk(container_factory: Callable[..., ServiceContainer], gate: Event) -> ServiceContainer:
    container = container_factory(Desk, config={"max_workers": 250})
    container.start()
    return container


@pytest.fixture
def do(program: JsonProcess, desk: ServiceContainer, rabbitmq_uri: str) -> Callable[..., Any]:
    """Have the program do something to its end; gives what it found."""
    return lambda name, **arguments: program.ask(do=name, uri=rabbitmq_uri, **arguments)["answer"]


class Doing:
    """Something that the program does in steps."""

    def __init__(self, program: JsonProcess, **request: Any) -> None:
        self._program = program
        self._seen = len(program.lines)
        self._id = program.send(**request)

    def wait_for(self, note: str) -> None:
        what = f"the note {note!r}"
        self._program.wait_until(lambda: {"note": note} in self._program.lines[self._seen :], what)

    def go_on(self) -> None:
        self._program.ask()

    def answer(self) -> Any:
        return self._program.wait_for(40, id=self._id)["answer"]


@pytest.fixture
def begin(program: JsonProcess, desk: ServiceContainer, rabbitmq_uri: str) -> Callable[..., Doing]:
    """Have the program begin something."""
    return lambda name, **arguments: Doing(program, do=name, uri=rabbitmq_uri, **arguments)


@pytest.fixture
def no_trace(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> Callable[[], None]:
    """See the broker without reply queues and with the service's connection alone."""

    def check() -> None:
        queues = rabbitmq.queues(rabbitmq_uri)
        assert [name for name in queues if name.startswith("rpc.reply")] == []
        wait_until(lambda: len(rabbitmq.connections(rabbitmq_uri)) == 1, "the end of the client's connections")

    return check


def test_calls_are_answered_in_every_notation(do: Callable[..., Any], no_trace: Callable[[], None]) -> None:
    notations = ("attributes", "items", "keywords", "started", "options", "service")
    assert do("answers") == dict(zip(notations, "abcdef", strict=True))
    no_trace()


def test_a_client_stands_for_its_proxy(do: Callable[..., Any], no_trace: Callable[[], None]) -> None:
    """It connects with the first call. Other context data needs no other client."""
    assert do("use_as_proxies") == {
        "attributes": "en",
        "items": "en",
        "context": "nl",
        "service attributes": "a",
        "service items": "b",
        "service context": "fr",
    }
    no_trace()


def test_the_same_client_works_on_another_kind_of_loop(do: Callable[..., Any]) -> None:
    """Nothing depends on the standard library's own loops."""
    assert do("answers", uvloop=True)["attributes"] == "a"


def test_errors_are_those_of_every_client(do: Callable[..., Any]) -> None:
    names = ["UnknownService", "RemoteError", "MethodNotFound", "IncorrectSignature", "UnserializableValueError"]
    assert [one["error"] for one in do("errors")] == names


def test_a_request_that_cannot_be_sent_leaves_nothing(do: Callable[..., Any]) -> None:
    answer = do("too_large")
    assert (answer["error"], answer["pending"]) == ("MessageTooLarge", 0)


def test_the_embedded_broker_can_be_called(program: JsonProcess) -> None:
    """It is empty here, for it reaches no other process."""
    assert program.ask(do="call_embedded")["answer"]["error"] == "UnknownService"


def test_200_calls_are_in_flight_on_one_connection(
    begin: Callable[..., Doing], rabbitmq: Any, rabbitmq_uri: str
) -> None:
    meeting = begin("meet", count=200)
    meeting.wait_for("met")
    # The service's own, and the client's.
    assert len(rabbitmq.connections(rabbitmq_uri)) == 2
    assert len([name for name in rabbitmq.queues(rabbitmq_uri) if name.startswith("rpc.reply")]) == 1
    meeting.go_on()
    assert meeting.answer() == {"results": list(range(200)), "pending": 0}


def test_a_call_that_takes_too_long_times_out(begin: Callable[..., Doing], gate: Event) -> None:
    """Its late reply disturbs nobody."""
    doing = begin("time_out")
    doing.wait_for("late")
    gate.set()
    doing.go_on()
    answer = doing.answer()
    assert answer["late"]["error"] == "RpcTimeout"
    assert 0.2 <= answer["late"]["seconds"] < SOON
    assert (answer["next"], answer["pending"]) == ("next", 0)


def test_a_cancelled_call_is_dropped(begin: Callable[..., Doing], gate: Event) -> None:
    """Nothing of it is kept, and its late reply disturbs nobody."""
    doing = begin("cancel")
    doing.wait_for("in flight")
    wait_until(lambda: len(Desk.entered) == 11, "the calls in the service")
    doing.go_on()
    doing.wait_for("cancelled")
    gate.set()
    doing.go_on()
    assert doing.answer() == {"cancelled": 11, "pending": 0, "next": "next"}


def test_an_outage_fails_calls_at_once_and_the_next_call_reconnects(
    program: JsonProcess,
    container_factory: Callable[..., ServiceContainer],
    rabbitmq_node: RabbitMQNode,
    gate: Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that begins while the broker is away waits for it, as long as it may take."""
    for pause in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(f"rpcservice.amqp.connection.{pause}", 0.2)
    container_factory(Desk, config={"AMQP_URI": rabbitmq_node.uri, "max_workers": 30}).start()
    doing = Doing(program, do="outage", uri=rabbitmq_node.uri)
    doing.wait_for("in flight")
    wait_until(lambda: len(Desk.entered) == 20, "the calls in the service")
    rabbitmq_node.sync()
    rabbitmq_node.kill()
    doing.wait_for("lost")
    doing.wait_for("waiting")
    gate.set()
    rabbitmq_node.start()
    answer = doing.answer()
    assert {(one["error"], one["maybe_executed"]) for one in answer["lost"]} == {("ConnectionLost", True)}
    assert (answer["impatient"]["error"], answer["impatient"]["maybe_executed"]) == ("ConnectionLost", False)
    assert 0.2 <= answer["impatient"]["seconds"] < SOON
    assert answer["after"]["result"] == "waits"
    assert answer["turn"] < LONGEST_TURN
    assert answer["pending"] == 0


def test_a_silent_broker_does_not_block_the_loop(program: JsonProcess, rabbitmq_uri: str) -> None:
    answer = _meet_a_silent_broker(program, rabbitmq_uri, "connect_slowly")
    assert answer["error"] == "BrokerUnavailable"
    assert answer["seconds"] < 1 + SOON
    assert answer["turn"] < LONGEST_TURN
    assert answer["threads"] == []


def test_what_cannot_be_sent_in_time_ends_in_time(program: JsonProcess, rabbitmq_uri: str) -> None:
    """Its own time, or that of the start."""
    answer = _meet_a_silent_broker(program, rabbitmq_uri, "lose_patience")
    impatient, patient, event = answer["outcomes"]
    for one in (impatient, event):
        assert (one["error"], one["maybe_executed"]) == ("ConnectionLost", False)
        assert 0.2 <= one["seconds"] < SOON
    assert patient["error"] == "BrokerUnavailable"
    assert 0.5 <= patient["seconds"] < SOON
    assert answer["threads"] == []


def test_a_cancelled_start_leaves_nothing_behind(program: JsonProcess, rabbitmq_uri: str) -> None:
    answer = _meet_a_silent_broker(program, rabbitmq_uri, "cancel_start")
    assert answer["error"] == "CancelledError"
    assert answer["threads"] == []


def test_a_client_is_started_again_right_after_a_start_that_was_cancelled(
    program: JsonProcess, desk: ServiceContainer, rabbitmq_uri: str
) -> None:
    """What is left of the first start does not stop the second one."""
    with TcpProxy(rabbitmq_uri) as proxy:
        proxy.black_hole()
        doing = Doing(program, do="start_again", uri=proxy.uri)
        doing.wait_for("given up")
        proxy.resume()
        answer = doing.answer()
    assert (answer["error"], answer["answer"]) == ("CancelledError", "again")


def _meet_a_silent_broker(program: JsonProcess, uri: str, what: str) -> Any:
    with TcpProxy(uri) as proxy:
        proxy.black_hole()
        doing = Doing(program, do=what, uri=proxy.uri)
        doing.wait_for("given up")
    # A thread that waits for the broker's first word has to be let go.
    return doing.answer()


def test_a_full_socket_does_not_block_the_loop(program: JsonProcess, desk: ServiceContainer, rabbitmq_uri: str) -> None:
    """As with a broker that has an alarm, and reads nothing from those who publish."""
    with TcpProxy(rabbitmq_uri) as proxy:
        doing = Doing(program, do="flood", uri=proxy.uri, size=1 << 20, count=20)
        doing.wait_for("up")
        proxy.black_hole()
        doing.go_on()
        doing.wait_for("blocked")
        proxy.resume()
        doing.go_on()
        answer = doing.answer()
    # Where the network has taken nothing for a second, py-amqp's settings may have the socket give up too.
    assert set(answer["errors"]) <= {"RpcTimeout", "ConnectionLost"}
    assert answer["turn"] < LONGEST_TURN
    assert (answer["after"], answer["pending"]) == ("after", 0)


def test_a_stop_fails_what_is_in_flight_and_leaves_nothing(
    do: Callable[..., Any], no_trace: Callable[[], None]
) -> None:
    answer = do("stop")
    assert [one["error"] for one in answer["held"]] == ["ConnectionLost"] * 3
    assert answer["before"] == "before"
    assert (answer["after"]["error"], answer["after"]["maybe_executed"]) == ("ConnectionLost", False)
    assert "has been stopped" in answer["after"]["text"]
    assert answer["threads"] == []
    no_trace()


def test_a_client_is_used_in_one_loop_after_another(do: Callable[..., Any], no_trace: Callable[[], None]) -> None:
    assert [do("call_kept"), do("call_kept")] == ["kept", "kept"]
    no_trace()


def test_a_client_outlives_the_loop_that_it_was_started_in(
    do: Callable[..., Any], gate: Event, no_trace: Callable[[], None]
) -> None:
    """A reply for a loop that is closed is dropped."""
    assert do("leave_open") == "left open"
    wait_until(lambda: Desk.entered == ["left"], "the call in the service")
    gate.set()
    assert do("close_left") == {"answer": "still there", "threads": []}
    no_trace()


def test_a_call_whose_loop_is_closed_is_dropped_when_its_time_is_up(do: Callable[..., Any], gate: Event) -> None:
    """Its reply never comes, and the loop's timer died with the loop."""
    assert do("leave_open", seconds=0.5) == "left open"
    assert do("close_left") == {"answer": "still there", "threads": []}


def test_a_client_serves_several_loops_at_once(do: Callable[..., Any]) -> None:
    assert do("call_from_loops", count=3) == [[f"{loop}.{number}" for number in range(20)] for loop in range(3)]


def test_a_dispatch_ends_when_the_broker_has_the_event(do: Callable[..., Any]) -> None:
    """More events than may wait for a confirm wait for their turn."""
    answer = do("dispatch", count=300, buffer=10)
    assert answer["turn"] < LONGEST_TURN
    assert answer["wrong"]["error"] == "TypeError"
    wait_until(lambda: sorted(Desk.heard) == list(range(300)), "the events")


def test_an_event_may_have_options_of_its_own(do: Callable[..., Any]) -> None:
    """What would hold up the loop, or would not be waited for, is none; nor is what does not exist."""
    refused = do("dispatch_with_options")
    for name, answer in refused.items():
        assert answer["error"] == "TypeError"
        assert answer["text"].startswith(f"'{name}' is no option of an EventDispatcher for asyncio")
    wait_until(lambda: len(Desk.heard) == 2, "the events")
    assert sorted(Desk.heard) == [["hello", None], ["hoi", "nl"]]


def test_an_event_may_declare_what_it_needs(do: Callable[..., Any], rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> None:
    """What cannot be declared fails that event alone."""
    answer = do("dispatch_with_declarations")
    assert answer["refused"]["error"] == "ChannelClosed"
    assert answer["turn"] < 1
    wait_until(
        lambda: rabbitmq.queues(rabbitmq_uri)["declared with an event"]["messages"] == 2, "two events in the queue"
    )


def test_an_exchange_that_others_have_not_declared_fails_its_own_events_alone(do: Callable[..., Any]) -> None:
    answer = do("dispatch_undeclared")
    assert {one.get("result", "missing") for one in answer["office"]} == {None}
    assert {one["error"] for one in answer["nobody"]} == {"ChannelClosed"}
    assert answer["is_same"]
    wait_until(lambda: len(Desk.heard) >= 21, "the events")
    assert len(Desk.heard) == 21


def test_a_dispatch_waits_for_the_broker_to_come_back(
    program: JsonProcess, desk: ServiceContainer, rabbitmq_uri: str
) -> None:
    """One that was given up, by its time-out or by its task, is not sent later."""
    with TcpProxy(rabbitmq_uri) as proxy:
        doing = Doing(program, do="dispatch_through_outage", uri=proxy.uri)
        doing.wait_for("up")
        proxy.refuse()
        doing.go_on()
        doing.wait_for("waiting")
        proxy.resume()
        answer = doing.answer()
    for one in ("timed_out", "hurried"):
        assert answer[one]["error"] == "ConnectionLost"
        assert answer[one]["text"].startswith("nothing was sent: ")
        assert "0.2 s" in answer[one]["text"]
    assert answer["waited"]["result"] is None
    wait_until(lambda: "waited" in Desk.heard, "the event")
    assert Desk.heard == ["before", "before", "waited"]


def test_nothing_is_patched_and_eventlet_is_not_imported(program: JsonProcess) -> None:
    assert program.ask(do="modules")["answer"] == {"eventlet": False, "socket": "socket"}
