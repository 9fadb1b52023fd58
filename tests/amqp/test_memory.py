"""What is special to the embedded broker: when it runs what, and who shares it."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
import textwrap
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpcservice.amqp.link import Delivery, Message
from rpcservice.amqp.memory import BATCH, MemoryLink
from rpcservice.amqp.memory_broker import broker_at, forget_broker
from rpcservice.amqp.memory_consumer import OUTBOX_LIMIT
from rpcservice.concurrency import green
from rpcservice.errors import ChannelClosed, ConnectionLost


class PlannedCall:
    def __init__(self, seconds: float, function: Callable[[], object]) -> None:
        self.seconds = seconds
        self.function = function
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandBackend:
    """A backend whose posted calls run when the test says so."""

    name = "hand"

    def __init__(self) -> None:
        self.posted: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self.planned: list[PlannedCall] = []

    def post(self, function: Callable[..., object], *args: object) -> None:
        self.posted.append((function, args))

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> PlannedCall:
        self.planned.append(PlannedCall(seconds, function))
        return self.planned[-1]

    def event(self) -> Any:
        return HandEvent(self)

    def run_turn(self) -> None:
        function, args = self.posted.popleft()
        function(*args)

    def run(self) -> None:
        while self.posted:
            self.run_turn()


class HandEvent:
    """Waiting for it runs what is posted."""

    def __init__(self, backend: HandBackend) -> None:
        self._backend = backend
        self._flag = False

    def set(self) -> None:
        self._flag = True

    def wait(self, timeout: float | None = None) -> bool:
        self._backend.run()
        return self._flag


@pytest.fixture
def uri() -> Iterator[str]:
    host = secrets.token_hex(6)
    yield f"memory://{host}/"
    forget_broker(host)


@pytest.fixture
def backend() -> HandBackend:
    return HandBackend()


@pytest.fixture
def link(uri: str, backend: HandBackend) -> MemoryLink:
    return connect(uri, backend)


def connect(uri: str, backend: Any) -> MemoryLink:
    link = MemoryLink(uri, backend)
    link.connect()
    return link


def publish(link: MemoryLink, queue: str, count: int = 1, **properties: Any) -> None:
    channel = link.channel()
    for number in range(count):
        channel.publish(Message("", queue, b"%d" % number, dict(properties)))


# When callbacks run


def test_nothing_is_delivered_inside_publish(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    channel.declare_queue("q")
    taken: list[Delivery] = []
    channel.consume("q", taken.append)
    channel.publish(Message("", "q", b"", {}))
    assert taken == []
    backend.run()
    assert len(taken) == 1


def test_deliveries_gather_in_one_post(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    channel.declare_queue("q")
    taken: list[Delivery] = []
    channel.consume("q", taken.append)
    publish(link, "q", BATCH)
    assert len(backend.posted) == 1
    backend.run_turn()
    assert len(taken) == BATCH


def test_idle_link_has_nothing_to_run(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    channel.declare_queue("q")
    channel.consume("q", lambda delivery: delivery.ack())
    publish(link, "q", 10)
    backend.run()
    assert (len(backend.posted), backend.planned) == (0, [])


def test_long_queue_lets_others_have_their_turn(link: MemoryLink, backend: HandBackend) -> None:
    log: list[str] = []
    channel = link.channel()
    channel.declare_queue("q")
    publish(link, "q", 3 * BATCH)
    channel.consume("q", lambda delivery: log.append("message"))
    backend.post(log.append, "other")
    backend.run()
    assert log.index("other") == BATCH
    assert log.count("message") == 3 * BATCH


def test_messages_of_a_long_queue_stay_there_until_they_can_be_handed_over(
    link: MemoryLink, backend: HandBackend
) -> None:
    """So that another consumer that comes later gets its share, and memory is not filled with deliveries."""
    count = OUTBOX_LIMIT + 500
    taken: list[bytes] = []
    channel = link.channel()
    channel.declare_queue("q")
    publish(link, "q", count)
    channel.consume("q", lambda delivery: taken.append(delivery.body))
    assert channel.declare_queue("q", passive=True).messages == 500
    backend.run()
    assert taken == [b"%d" % number for number in range(count)]


def test_confirms_in_a_row_become_one(link: MemoryLink, backend: HandBackend) -> None:
    confirms: list[tuple[tuple[int], bool, bool]] = []
    channel = link.channel(confirms=True)
    channel.declare_queue("q")
    channel.on_confirm = lambda *confirm: confirms.append(confirm)
    for _ in range(5):
        channel.publish(Message("", "q", b"", {}))
    backend.run()
    assert confirms == [((5,), True, True)]


def test_confirm_and_refusal_are_not_mixed(link: MemoryLink, backend: HandBackend) -> None:
    confirms: list[tuple[tuple[int], bool, bool]] = []
    channel = link.channel(confirms=True)
    channel.declare_queue("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.on_confirm = lambda *confirm: confirms.append(confirm)
    for key in ("q", "q", "q", "nowhere"):
        channel.publish(Message("", key, b"", {}))
    backend.run()
    assert confirms == [((1,), False, True), ((3,), True, False), ((4,), False, True)]


def test_callback_that_raises_is_logged_and_the_next_one_runs(
    link: MemoryLink, backend: HandBackend, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("bad luck")

    channel = link.channel(confirms=True)
    channel.on_return = channel.on_confirm = fail
    with caplog.at_level(logging.CRITICAL):
        channel.publish(Message("", "nowhere", b"", {}, mandatory=True))
        backend.run()
    assert caplog.text.count("ValueError: bad luck") == 2


# Taking back what nobody saw


def test_message_that_a_cancelled_consumer_never_saw_goes_back_unmarked(link: MemoryLink, backend: HandBackend) -> None:
    taken: list[Delivery] = []
    channel = link.channel()
    channel.declare_queue("q")
    tags = [channel.consume("q", taken.append, no_ack=no_ack) for no_ack in (True, False)]
    publish(link, "q", 4)
    for tag in tags:
        channel.cancel(tag)
    backend.run()
    assert taken == []
    deliveries = [channel.get("q") for _ in range(4)]
    assert [(one.body, one.redelivered) for one in deliveries if one] == [(b"%d" % n, False) for n in range(4)]


def test_messages_that_a_closed_channel_saw_and_did_not_see_keep_their_order(
    link: MemoryLink, backend: HandBackend
) -> None:
    taken: list[Delivery] = []
    channel, other = link.channel(), link.channel()
    channel.declare_queue("q")
    other.qos(BATCH + 2)
    other.consume("q", taken.append)
    publish(link, "q", BATCH + 4)
    backend.run_turn()
    other.close()
    assert len(taken) == BATCH
    deliveries = [channel.get("q") for _ in range(BATCH + 4)]
    assert [(one.body, one.redelivered) for one in deliveries if one] == [
        (b"%d" % number, number < BATCH) for number in range(BATCH + 4)
    ]


def test_room_of_a_cancelled_consumer_is_not_counted_twice(link: MemoryLink, backend: HandBackend) -> None:
    taken: list[Delivery] = []
    channel = link.channel()
    channel.declare_queue("q")
    channel.qos(1)
    tag = channel.consume("q", taken.append)
    publish(link, "q", 2)
    channel.cancel(tag)
    channel.consume("q", taken.append)
    backend.run()
    assert [delivery.body for delivery in taken] == [b"0"]
    taken.pop().ack()
    backend.run()
    assert [delivery.body for delivery in taken] == [b"1"]


# Time


def test_one_timer_serves_a_queue_of_messages_that_expire(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    channel.declare_queue("q", arguments={"x-message-ttl": 60_000})
    publish(link, "q", 1000, expiration="50000")
    backend.run()
    assert len(backend.planned) == 1
    assert 49 < backend.planned[0].seconds <= 50


def test_message_that_is_consumed_at_once_needs_no_timer(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    channel.declare_queue("q")
    channel.consume("q", lambda delivery: delivery.ack())
    publish(link, "q", 10, expiration="50000")
    backend.run()
    assert backend.planned == []


def test_earlier_deadline_replaces_the_timer(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    for name in ("late", "soon"):
        channel.declare_queue(name)
    publish(link, "late", expiration="50000")
    publish(link, "soon", expiration="20000")
    backend.run()
    assert backend.planned[-1].seconds < 21
    assert [call.is_cancelled for call in backend.planned] == [True] * (len(backend.planned) - 1) + [False]


def test_next_link_takes_over_the_clock(uri: str, link: MemoryLink, backend: HandBackend) -> None:
    other_backend = HandBackend()
    other = connect(uri, other_backend)
    other.channel().declare_queue("q")
    publish(link, "q", expiration="50000")
    backend.run()
    link.close()
    assert backend.planned[-1].is_cancelled
    other_backend.run()
    assert 49 < other_backend.planned[-1].seconds <= 50


def test_first_link_that_comes_takes_up_the_clock_again(uri: str, link: MemoryLink, backend: HandBackend) -> None:
    link.channel().declare_queue("q")
    publish(link, "q", expiration="50000")
    link.close()
    other_backend = HandBackend()
    connect(uri, other_backend)
    other_backend.run()
    assert 49 < other_backend.planned[-1].seconds <= 50


# Who shares what


def test_same_host_is_the_same_broker(uri: str, link: MemoryLink, backend: HandBackend) -> None:
    link.channel().declare_queue("q")
    other = connect(uri.replace("memory://", "memory://guest:guest@"), backend)
    assert other.channel().declare_queue("q", passive=True).name == "q"


def test_other_host_is_another_broker(uri: str, link: MemoryLink, backend: HandBackend) -> None:
    link.channel().declare_queue("q")
    other = connect(uri.replace("memory://", "memory://other-"), backend)
    with pytest.raises(ChannelClosed, match="no queue 'q' in vhost '/'"):
        other.channel().declare_queue("q", passive=True)


@pytest.mark.parametrize(("path", "vhost"), [("", "/"), ("/", "/"), ("//", "/"), ("/%2F", "/"), ("/a%2Fb", "a/b")])
def test_path_is_the_virtual_host(uri: str, backend: HandBackend, path: str, vhost: str) -> None:
    assert MemoryLink(uri.rstrip("/") + path, backend).vhost.name == vhost


def test_forgotten_broker_is_gone_for_its_links(uri: str, link: MemoryLink, backend: HandBackend) -> None:
    lost: list[Exception] = []
    closed: list[Exception] = []
    link.on_lost = lost.append
    channel = link.channel()
    channel.on_closed = closed.append
    channel.declare_queue("q")
    forget_broker(uri.removeprefix("memory://").rstrip("/"))
    backend.run()
    assert [type(one) for one in lost + closed] == [ConnectionLost, ConnectionLost]
    with pytest.raises(ChannelClosed):
        connect(uri, backend).channel().declare_queue("q", passive=True)


def test_broken_connections_say_why_and_can_be_made_again(uri: str, link: MemoryLink, backend: HandBackend) -> None:
    lost: list[Exception] = []
    link.on_lost = lost.append
    publisher = link.channel()
    publisher.declare_queue("q")
    link.broker.close_connections("maintenance")
    backend.run()
    assert "320 CONNECTION_FORCED - maintenance" in str(lost[0])
    with pytest.raises(ConnectionLost):
        publisher.publish(Message("", "q", b"", {}))
    link.connect()
    assert link.channel().declare_queue("q", passive=True).name == "q"


def test_link_that_connects_twice_is_one_connection(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    link.connect()
    assert channel.is_open and link.failure is None


def test_consumer_tag_in_use_ends_the_connection(link: MemoryLink, backend: HandBackend) -> None:
    channel = link.channel()
    channel.declare_queue("q")
    channel.consume("q", lambda delivery: None, consumer_tag="mine")
    with pytest.raises(ConnectionLost, match="530 NOT_ALLOWED - attempt to reuse consumer tag 'mine'"):
        channel.consume("q", lambda delivery: None, consumer_tag="mine")


def test_message_published_before_a_channel_knows_that_it_is_closed_is_lost(
    link: MemoryLink, backend: HandBackend
) -> None:
    """As on the wire: the second message was sent before the first one's failure came back."""
    channel = link.channel(confirms=True)
    channel.declare_queue("q")
    confirms: list[Any] = []
    closed: list[Exception] = []
    channel.on_confirm = lambda *confirm: confirms.append(confirm)
    channel.on_closed = closed.append
    assert channel.publish(Message("missing", "", b"", {})) == 1
    assert channel.publish(Message("", "q", b"", {})) == 2
    backend.run()
    assert confirms == []
    assert [getattr(one, "code", 0) for one in closed] == [404]
    assert link.channel().declare_queue("q", passive=True).messages == 0


# Greenlets and threads, in processes that are not patched


def run_unpatched(script: str) -> str:
    """Run a script in a process of its own; gives what it prints."""
    code = "import warnings\nwarnings.filterwarnings('ignore', message='[\\\\s]*Eventlet is deprecated')\n"
    code += textwrap.dedent(script)
    # Measuring coverage would load eventlet before the script does.
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_greenlets_and_threads_talk_to_each_other_in_an_unpatched_process() -> None:
    """Replies come to a thread, requests to greenlets on the hub of another thread, and the other way round."""
    output = run_unpatched(
        """
        import threading
        from rpcservice.amqp.link import Message
        from rpcservice.amqp.memory import MemoryLink
        from rpcservice.concurrency import green, threads

        COUNT = 300

        def converse(backend, mine, other, first, outcome):
            link = MemoryLink("memory://both/", backend)
            link.connect()
            channel = link.channel()
            channel.declare_queue(mine)
            channel.declare_queue(other)
            done = backend.event()
            seen = []

            def on_message(delivery):
                seen.append(delivery.body)
                number = int(delivery.body)
                if number < COUNT:
                    channel.publish(Message("", other, b"%d" % (number + 1), {}))
                delivery.ack()
                if number >= COUNT - 1:
                    done.set()

            channel.consume(mine, on_message)
            if first:
                channel.publish(Message("", other, b"0", {}))
            outcome[mine] = (done.wait(30), len(seen))
            link.close()

        def converse_on_greenlets():
            converse(green(), "greenlets", "threads", False, outcome)
            ended.set()

        outcome = {}
        ended = threading.Event()
        threading.Thread(target=converse_on_greenlets, daemon=True).start()
        converse(threads(), "threads", "greenlets", True, outcome)
        print(ended.wait(30), sorted(outcome.items()))
        """
    )
    assert output == "True [('greenlets', (True, 151)), ('threads', (True, 150))]"


def test_threads_share_a_broker_without_losing_or_doubling_anything() -> None:
    """Publishers, and consumers that requeue every tenth message once, each on its own thread."""
    output = run_unpatched(
        """
        import threading
        from collections import Counter
        from rpcservice.amqp.link import Message
        from rpcservice.amqp.memory import MemoryLink
        from rpcservice.concurrency import threads

        COUNT, PUBLISHERS, CONSUMERS = 1000, 3, 3
        backend = threads()
        done = backend.event()
        acked = Counter()
        lock = threading.Lock()

        def on_message(delivery):
            number = int(delivery.body)
            if number % 10 == 0 and not delivery.redelivered:
                delivery.reject(requeue=True)
                return
            delivery.ack()
            with lock:
                acked[number] += 1
                if len(acked) == COUNT * PUBLISHERS:
                    done.set()

        def link():
            made = MemoryLink("memory://many/", backend)
            made.connect()
            return made

        links = [link() for _ in range(CONSUMERS)]
        links[0].channel().declare_queue("q")
        for one in links:
            channel = one.channel()
            channel.qos(7)
            channel.consume("q", on_message)

        def publish(start):
            one = link()
            channel = one.channel(confirms=True)
            for number in range(start, start + COUNT):
                channel.publish(Message("", "q", b"%d" % number, {"headers": {"n": "x"}}))
            one.close()

        publishers = [threading.Thread(target=publish, args=(index * COUNT,)) for index in range(PUBLISHERS)]
        for thread in publishers:
            thread.start()
        for thread in publishers:
            thread.join(30)
        print(done.wait(30), set(acked.values()), links[0].channel().declare_queue("q", passive=True).messages)
        for one in links:
            one.close()
        """
    )
    assert output == "True {1} 0"


def test_thread_of_a_link_ends_with_it() -> None:
    output = run_unpatched(
        """
        import threading
        from rpcservice.amqp.memory import MemoryLink
        from rpcservice.concurrency import threads

        before = set(threading.enumerate())
        link = MemoryLink("memory://ends/", threads())
        link.connect()
        (own,) = set(threading.enumerate()) - before
        link.close()
        own.join(10)
        print(own.is_alive())
        """
    )
    assert output == "False"


def test_threads_see_time_pass_while_a_hub_stands_still() -> None:
    """The clock is a thread's, where there is one: here the hub of the first link never runs."""
    output = run_unpatched(
        """
        from rpcservice.amqp.link import Message
        from rpcservice.amqp.memory import MemoryLink
        from rpcservice.concurrency import green, threads

        still = MemoryLink("memory://clock/", green())
        still.connect()
        backend = threads()
        link = MemoryLink("memory://clock/", backend)
        link.connect()
        channel = link.channel()
        channel.declare_queue("dead")
        channel.declare_queue("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
        arrived = backend.event()
        channel.consume("dead", lambda delivery: arrived.set())
        channel.publish(Message("", "q", b"", {"expiration": "30"}))
        print(arrived.wait(20))
        link.close()
        """
    )
    assert output == "True"


def test_link_made_before_eventlet_is_loaded_shares_its_broker_with_greenlets() -> None:
    output = run_unpatched(
        """
        import sys
        from rpcservice.amqp.link import Message
        from rpcservice.amqp.memory import MemoryLink
        from rpcservice.concurrency import green, threads

        first = MemoryLink("memory://early/", threads())
        first.connect()
        first.channel().declare_queue("q")
        assert "eventlet" not in sys.modules
        backend = green()
        second = MemoryLink("memory://early/", backend)
        second.connect()
        arrived = backend.event()
        second.channel().consume("q", lambda delivery: arrived.set())
        first.channel().publish(Message("", "q", b"", {}))
        print(arrived.wait(20))
        first.close()
        second.close()
        """
    )
    assert output == "True"


def test_broker_at_gives_one_broker_a_host() -> None:
    host = secrets.token_hex(6)
    assert broker_at(host) is broker_at(host)
    forget_broker(host)
    forget_broker(host)


def test_greenlets_wait_for_each_other_over_the_broker(uri: str) -> None:
    """An RPC call in one process: the caller waits, the callee answers from a greenlet of its own."""
    backend = green()
    link = connect(uri, backend)
    channel = link.channel()
    for name in ("requests", "replies"):
        channel.declare_queue(name)

    def serve(delivery: Delivery) -> None:
        channel.publish(Message("", "replies", delivery.body * 2, {}))
        delivery.ack()

    channel.consume("requests", lambda delivery: backend.start(serve, delivery))
    replied = backend.event()
    replies: list[bytes] = []

    def take(delivery: Delivery) -> None:
        replies.append(delivery.body)
        replied.set()

    channel.consume("replies", take, no_ack=True)
    channel.publish(Message("", "requests", b"ab", {}))
    assert replied.wait(10)
    assert replies == [b"abab"]
    link.close()
