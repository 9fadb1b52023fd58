"""Events and messages that are to arrive later wait in the broker, on both brokers."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from kombu import Exchange
from waiting import wait_until

from rpcservice import ChannelClosed, EventDispatcher, Publisher, PublishRejected, event_handler
from rpcservice.amqp import waiting
from rpcservice.amqp.deadletters import origin
from rpcservice.amqp.link import Message
from rpcservice.amqp.pending import Pending
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.amqp.waiting import WAIT_HEADER, Wait, check_delay, rounded
from rpcservice.core.context import WorkerContext
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import dummy, entrypoint_hook, entrypoint_waiter

pytestmark = pytest.mark.usefixtures("grown_queues")

Start = Callable[..., ServiceRunner]


class Sender:
    name = "orders"
    dispatch = EventDispatcher()
    late = EventDispatcher(delay=0.3)
    publish = Publisher(Exchange("work", "topic"))

    @dummy
    def run(self, function: Callable[[Any], Any]) -> Any:
        return function(self)


class Reminders:
    name = "reminders"
    seen: list[tuple[Any, float]] = []

    @event_handler("orders", "placed")
    def remind(self, payload: Any) -> None:
        self.seen.append((payload, monotonic()))


class Others:
    name = "others"
    seen: list[Any] = []

    @event_handler("orders", "placed")
    def note(self, payload: Any) -> None:
        self.seen.append(payload)


class Passing:
    name = "passing"
    publish = Publisher(Exchange("passing", "topic", durable=False, auto_delete=True))

    @dummy
    def send(self, payload: Any) -> None:
        self.publish(payload, routing_key="jobs.print", delay=0.2)


@pytest.fixture
def send(start: Start) -> Callable[[Callable[[Any], Any]], Any]:
    Reminders.seen = []
    runner = start(Sender, Reminders)

    def run(function: Callable[[Any], Any]) -> Any:
        with entrypoint_hook(runner.service_map["orders"], "run") as hook:
            return hook(function)

    return run


Send = Callable[[Callable[[Any], Any]], Any]


def test_an_event_arrives_after_its_delay(send: Send, link_kind: str) -> None:
    begin = monotonic()
    send(lambda service: service.dispatch("placed", 1, delay=0.5))
    assert monotonic() - begin < 0.5 or not Reminders.seen
    wait_until(lambda: Reminders.seen)
    payload, arrived = Reminders.seen[0]
    assert payload == 1
    assert 0.5 <= arrived - begin < 3


def test_a_dispatcher_may_delay_all_of_its_events(send: Send, broker: str) -> None:
    begin = monotonic()
    send(lambda service: service.late("placed", 1))
    wait_until(lambda: Reminders.seen)
    assert Reminders.seen[0][1] - begin >= 0.3


def test_a_call_may_do_without_the_delay(send: Send, broker: str) -> None:
    send(lambda service: service.late("placed", 1, delay=None))
    wait_until(lambda: Reminders.seen)


def test_a_short_delay_is_not_kept_up_by_a_long_one(send: Send, broker: str) -> None:
    def both(service: Any) -> None:
        service.dispatch("placed", "long", delay=60)
        service.dispatch("placed", "short", delay=0.2)

    send(both)
    wait_until(lambda: Reminders.seen)
    assert [payload for payload, _ in Reminders.seen] == ["short"]


def test_a_message_reaches_its_exchange_under_its_own_key(send: Send, wire: Any, broker: str) -> None:
    messages = wire.tap("work", "jobs.*")
    send(lambda service: service.publish("job", routing_key="jobs.print", delay=0.2, headers={"own": 1}))
    arrived = messages.take()
    # On RabbitMQ it has come by a relay.
    assert (origin(arrived), arrived.routing_key, arrived.body) == (("work", "jobs.print"), "jobs.print", b'"job"')
    assert arrived.headers["own"] == 1


def test_a_message_for_one_queue_waits_too(send: Send, wire: Any, broker: str) -> None:
    wire.channel.declare_queue("jobs")
    send(lambda service: service.publish("job", exchange="", routing_key="jobs", delay=0.2))
    assert wait_until(lambda: wire.channel.get("jobs", no_ack=True)).body == b'"job"'


def test_what_waiting_adds_never_becomes_context_data(send: Send, wire: Any, broker: str) -> None:
    from rpcservice.amqp.message import context_from_headers

    events = wire.tap("orders.events", "placed")
    send(lambda service: service.dispatch("placed", 1, delay=0.1))
    context = context_from_headers(events.take().headers)
    assert list(context) == ["call_id_stack"]


def test_each_subscriber_gets_a_delayed_event_once(send: Send, start: Start, broker: str) -> None:
    Others.seen = []
    start(Others)
    for number in range(20):
        send(lambda service, number=number: service.dispatch("placed", number, delay=0.1))
    send(lambda service: service.dispatch("placed", "last", delay=0.5))
    wait_until(lambda: len(Reminders.seen) >= 21 and len(Others.seen) >= 21)
    assert [payload for payload, _ in Reminders.seen] == Others.seen == [*range(20), "last"]


def test_a_handler_sees_where_a_delayed_event_was_published(send: Send, start: Start, broker: str) -> None:
    Others.seen, routes = [], []
    service = start(Others).service_map["others"]

    def note(worker_ctx: WorkerContext, result: Any, exc_info: Any) -> bool:
        routes.append((worker_ctx.message.exchange, worker_ctx.message.routing_key))
        return True

    with entrypoint_waiter(service, "note", callback=note):
        send(lambda service: service.dispatch("placed", 1, delay=0.1))
    assert routes == [("orders.events", "placed")]


def test_what_waits_for_an_exchange_that_comes_and_goes_arrives_when_it_is_back(
    start: Start, wire: Any, broker: str
) -> None:
    runner = start(Passing)
    with entrypoint_hook(runner.service_map["passing"], "send") as hook:
        hook("job")
    wire.channel.delete_exchange("passing")
    wire.channel.declare_exchange("passing", "topic", durable=False, auto_delete=True)
    wire.channel.declare_queue("jobs")
    wire.channel.bind_queue("jobs", "passing", "jobs.*")
    assert wait_until(lambda: wire.channel.get("jobs", no_ack=True)).body == b'"job"'


def test_an_exchange_that_is_declared_anew_gets_what_is_delayed_from_then_on(
    send: Send, wire: Any, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(lambda service: service.publish("job", routing_key="jobs.print", delay=0.1))
    wire.channel.delete_exchange("work")
    wire.channel.declare_exchange("work", "topic")
    messages = wire.tap("work", "jobs.*")
    monkeypatch.setattr(waiting, "RENEWAL", 0)
    send(lambda service: service.publish("job", routing_key="jobs.print", delay=0.1))
    assert messages.take().body == b'"job"'


def test_a_wait_queue_that_was_deleted_is_declared_again(send: Send, wire: Any, broker: str) -> None:
    send(lambda service: service.dispatch("placed", 1, delay=0.1))
    wait_until(lambda: len(Reminders.seen) == 1)
    for wait in (Wait(100, "orders.events"), Wait(100, "orders.events", is_relayed=True)):
        wire.channel.delete_queue(wait.queue)
    send(lambda service: service.dispatch("placed", 2, delay=0.1))
    wait_until(lambda: len(Reminders.seen) == 2)


def waiting_in(wire: Any, wait: Wait) -> int:
    messages: int = wire.channel.declare_queue(wait.queue, passive=True).messages
    return messages


@pytest.mark.broker
def test_a_quorum_queue_is_used_when_it_has_been_there_for_some_seconds(
    start: Start, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is killed while it is new loses all that is in it."""
    monkeypatch.setattr(waiting, "YOUTH", 0.5)
    runner = start(Sender)
    classic, quorum = (Wait(60_000, "orders.events", is_relayed=is_relayed) for is_relayed in (False, True))
    with entrypoint_hook(runner.service_map["orders"], "run") as run:
        begin = monotonic()
        while monotonic() < begin + 0.6:
            run(lambda service: service.dispatch("placed", 1, delay=60))
        run(lambda service: service.dispatch("placed", 1, delay=60))
    assert waiting_in(wire, classic) >= 1
    assert waiting_in(wire, quorum) >= 1


@pytest.mark.broker
def test_a_queue_that_refuses_a_message_is_not_used_for_a_while(
    start: Start, wire: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quorum = Wait(60_000, "orders.events", is_quorum=True, is_relayed=True)
    publish, refused = ConfirmedSender.send, []

    def refuse(self: ConfirmedSender, message: Message, *args: Any, **options: Any) -> Pending:
        if message.properties["headers"][WAIT_HEADER] == quorum.queue:
            refused.append(message)
            raise PublishRejected("no")
        return publish(self, message, *args, **options)

    monkeypatch.setattr(ConfirmedSender, "send", refuse)
    runner = start(Sender)
    with entrypoint_hook(runner.service_map["orders"], "run") as run:
        for _ in range(3):
            run(lambda service: service.dispatch("placed", 1, delay=60))
    assert waiting_in(wire, Wait(60_000, "orders.events")) == 3
    assert len(refused) == 1
    assert f"rabbitmqctl delete_queue {quorum.queue}" in caplog.text
    assert waiting_in(wire, quorum) == 0


def test_what_nobody_wants_keeps_nothing_that_somebody_wants(send: Send, broker: str) -> None:
    """A quorum queue that hands on at least once keeps what no queue takes, and stands still at 32 of these."""
    for number in range(40):
        send(lambda service, number=number: service.dispatch("unheard", number, delay=0.1))
    send(lambda service: service.dispatch("placed", "wanted", delay=0.1))
    wait_until(lambda: [payload for payload, _ in Reminders.seen] == ["wanted"])


@pytest.mark.parametrize("kind", ["target", "relayed", "relay", "classic"])
def test_a_long_name_fits_into_that_of_its_wait_queue(kind: str) -> None:
    def name(of: str) -> str:
        wait = Wait(100, "", of) if kind == "target" else Wait(100, of, is_relayed=kind != "classic")
        return wait.relay if kind == "relay" else wait.queue

    names = {name(of) for of in ("q" * 255, "q" * 254 + "r", "q")}
    assert len(names) == 3
    assert all(len(name) <= 255 for name in names)


def test_retries_for_one_queue_by_two_exchanges_wait_in_two_queues() -> None:
    assert Wait(100, "", "rpc-a", is_quorum=True).queue != Wait(100, "nameko-rpc", "rpc-a", is_quorum=True).queue


def test_an_exchange_that_does_not_exist_is_found_out_before(send: Send, broker: str) -> None:
    with pytest.raises(ChannelClosed, match="no-such"):
        send(lambda service: service.publish("job", exchange="no-such", routing_key="jobs", delay=0.1))


def test_an_expiration_cannot_wait(send: Send) -> None:
    with pytest.raises(TypeError, match="delay and expiration"):
        send(lambda service: service.dispatch("placed", 1, delay=1, expiration=5))


@pytest.mark.parametrize(
    ("delay", "error", "words"),
    [
        ("soon", TypeError, "delay='soon': give a number of seconds"),
        (True, TypeError, "delay=True: give a number of seconds"),
        (-1, ValueError, "delay=-1: give seconds from 0"),
        (float("nan"), ValueError, "delay=nan"),
        (3_000_000, ValueError, "which are 23 days"),
    ],
    ids=str,
)
def test_a_delay_that_is_none_is_refused(delay: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_delay(delay)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (0, 10),
        (0.0101, 11),
        (0.1, 100),
        (0.3, 300),
        (0.25, 250),
        (0.123, 130),
        (1, 1000),
        (1.1, 1100),
        (37, 37_000),
        (123, 130_000),
        (900, 900_000),
        (3600, 3_600_000),
        (86_400, 87_000_000),
        (2_000_000, 2_000_000_000),
    ],
)
def test_delays_are_rounded_up_to_two_digits(seconds: float, milliseconds: int) -> None:
    assert rounded(seconds) == milliseconds


def test_a_wait_queue_outlives_what_waits_in_it() -> None:
    longest = Wait(rounded(2_000_000), "")
    assert longest.arguments["x-expires"] > 2 * longest.milliseconds
    assert longest.arguments["x-expires"] < 2**32
