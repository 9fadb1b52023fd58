"""A network that fails: connections that break, go silent, or do not come up. The broker itself runs on."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import BROADCAST, EventDispatcher, ServiceContainer, ServiceRunner, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.amqp import frames
from rpcservice.amqp.connection import AmqpConnection, connection_key, pauses
from rpcservice.amqp.consumer import ServiceChannel
from rpcservice.amqp.framelink import FrameLink
from rpcservice.amqp.replies import ReplyListener
from rpcservice.concurrency import Event, green
from rpcservice.errors import BrokerUnavailable, ChannelClosed, ConnectionLost, PublishTimeout
from rpcservice.testing import RabbitMQNode, TcpProxy, free_ports

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

Make = Callable[..., ServiceContainer]


class Echo:
    """Answers, and can be made to wait before it does."""

    name = "echo"
    dispatch = EventDispatcher()
    entered: list[str] = []
    heard: list[str] = []
    gate: Event

    @rpc_method
    def say(self, text: str) -> str:
        return text

    @rpc_method
    def hold(self, text: str) -> str:
        self.entered.append(text)
        self.gate.wait(30)
        return text

    @rpc_method
    def emit(self, text: str) -> None:
        self.dispatch("said", text)

    @event_handler("echo", "said", handler_type=BROADCAST, reliable_delivery=False)
    def hear(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture
def config(proxy: TcpProxy) -> dict[str, Any]:
    return {"AMQP_URI": proxy.uri, "HEARTBEAT": 1, "rpc_timeout": 15}


@pytest.fixture
def echo(container_factory: Make, gate: Event) -> ServiceContainer:
    Echo.entered, Echo.heard, Echo.gate = [], [], gate
    container = container_factory(Echo)
    container.start()
    return container


def _connection(container: ServiceContainer) -> AmqpConnection:
    return container.resources.get(AmqpConnection, connection_key(container.config))


def _service_channel(container: ServiceContainer) -> ServiceChannel:
    return container.resources.get(ServiceChannel, (connection_key(container.config), container.service_name))


def _start_holding(rpc: Any, text: str = "held") -> Any:
    """Start a call that does not end before the gate opens, and see it run."""
    call = rpc["echo"].hold.call_async(text)
    wait_until(lambda: text in Echo.entered, "the start of the call")
    return call


# The connection breaks


def test_pending_calls_fail_at_once_when_the_connection_breaks(
    echo: ServiceContainer, rpc: Any, proxy: TcpProxy
) -> None:
    call = _start_holding(rpc)
    proxy.refuse()
    begin = monotonic()
    with pytest.raises(ConnectionLost) as caught:
        call.result()
    assert monotonic() - begin < 1
    assert caught.value.maybe_executed is True


def test_a_call_during_an_outage_waits_for_the_connection(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    assert rpc["echo"].say("before") == "before"
    proxy.refuse()
    wait_until(rpc._provider.replies.connection.health, "the end of the client's connection")
    outcomes: list[str] = []
    task = green().spawn(lambda: outcomes.append(rpc["echo"].say("during")))
    assert not task.wait(0.2)
    proxy.resume()
    assert task.wait(10)
    assert outcomes == ["during"]


def test_a_call_during_an_outage_gives_up_in_its_own_time(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    say = rpc["echo"].say.with_options(timeout=0.3)
    proxy.refuse()
    wait_until(rpc._provider.replies.connection.health, "the end of the client's connection")
    begin = monotonic()
    with pytest.raises(ConnectionLost, match="nothing was sent: broker at amqp://") as caught:
        say("during")
    assert 0.2 < monotonic() - begin < 2
    assert caught.value.maybe_executed is False


def test_a_request_whose_service_lost_its_connection_is_carried_out_again(
    echo: ServiceContainer, rabbitmq_uri: str, container_factory: Make, proxy: TcpProxy, gate: Event
) -> None:
    """The caller, whose own connection holds, gets its answer."""
    from rpcservice.testing.callers import cluster_client

    direct = cluster_client(lambda cls: container_factory(cls, {"AMQP_URI": rabbitmq_uri}))
    call = _start_holding(direct)
    proxy.drop()
    wait_until(lambda: Echo.entered == ["held", "held"], "the second delivery")
    gate.set()
    assert call.result() == "held"


def test_a_publisher_gives_up_after_publish_timeout(container_factory: Make, proxy: TcpProxy, gate: Event) -> None:
    Echo.gate = gate
    container = container_factory(Echo, {"publish_timeout": 0.3})
    container.start()
    proxy.refuse()
    wait_until(lambda: _connection(container).health(), "the end of the connection")
    with pytest.raises(PublishTimeout, match=r"no confirm within 0.3 s for 'said'.*broker at amqp://"):
        _dispatch_of(container)("said", "x")


def test_a_full_publish_buffer_makes_publishers_wait_within_their_time(
    container_factory: Make, proxy: TcpProxy, gate: Event
) -> None:
    Echo.gate = gate
    container = container_factory(Echo, {"publish_timeout": 5, "publish_buffer": 2})
    container.start()
    proxy.refuse()
    wait_until(lambda: _connection(container).health(), "the end of the connection")
    dispatch = _dispatch_of(container)
    tasks = [green().spawn(dispatch, "said", f"{number}") for number in range(5)]
    assert not any(task.wait(0.05) for task in tasks)
    proxy.resume()
    assert all(task.wait(5) for task in tasks)


def _dispatch_of(container: ServiceContainer) -> Any:
    from rpcservice.core.context import WorkerContext

    (provider,) = container.dependencies
    return provider.get_dependency(WorkerContext(container, container.entrypoints[0]))


# The connection goes silent


def test_a_silent_connection_is_found_within_two_heartbeats(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    call = _start_holding(rpc)
    begin = monotonic()
    proxy.black_hole()
    with pytest.raises(ConnectionLost, match="no heartbeat"):
        call.result()
    assert monotonic() - begin < 2.3


def test_a_greenlet_that_keeps_all_others_from_running_is_no_silence(
    echo: ServiceContainer, rpc: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's heartbeats came meanwhile, and are only unread."""
    reader, writer = socket.socketpair()
    link: Any = _connection(echo).link
    write = link.write

    def write_and_wake(data: bytes) -> None:
        write(data)
        if data == frames.HEARTBEAT:
            writer.send(b"x")

    def keep_the_hub() -> None:
        # Woken by a socket just after a look at what came: the hub's timers come next, and other sockets after them.
        reader.recv(1)
        end = monotonic() + 1.9
        while monotonic() < end:
            continue

    task = green().spawn(keep_the_hub)
    monkeypatch.setattr(link, "write", write_and_wake)
    assert task.wait(10)
    assert rpc["echo"].say("after") == "after"
    assert _connection(echo).link is link
    assert "no heartbeat" not in caplog.text
    reader.close()
    writer.close()


def test_a_service_works_again_after_a_black_hole(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    proxy.black_hole()
    wait_until(lambda: _connection(echo).health(), "the end of the connection")
    proxy.resume()
    wait_until(lambda: _connection(echo).health() is None, "the connection")
    assert rpc["echo"].say("again") == "again"


def test_a_broadcast_handler_hears_again_after_a_black_hole(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    proxy.black_hole()
    wait_until(lambda: _connection(echo).health(), "the end of the connection")
    proxy.resume()
    rpc["echo"].emit("again")
    wait_until(lambda: Echo.heard == ["again"], "the event")


def test_a_queue_that_is_locked_by_a_dead_connection_gets_a_fresh_name(
    echo: ServiceContainer, rpc: Any, proxy: TcpProxy, rabbitmq_uri: str, rabbitmq: RabbitMQNode
) -> None:
    """The broker may take longer to see a dead connection than its owner does, and keeps its exclusive queues."""
    handler = next(entrypoint for entrypoint in echo.entrypoints if entrypoint.method_name == "hear")
    name = handler.queue_name  # type: ignore[attr-defined]  # of EventHandler
    proxy.refuse()
    wait_until(lambda: name not in rabbitmq.queues(rabbitmq_uri), "the end of the queue")
    dead = FrameLink(rabbitmq_uri, green())
    dead.connect()
    dead.channel().declare_queue(name, exclusive=True)
    proxy.resume()
    rpc["echo"].emit("again")
    wait_until(lambda: Echo.heard == ["again"], "the event")
    assert handler.queue_name != name  # type: ignore[attr-defined]  # of EventHandler
    dead.close()


# Channels and queues are lost, the connection holds


def _make_a_mistake(channel: Any) -> None:
    with pytest.raises(ChannelClosed, match="404"):
        channel.declare_queue("no-such-queue", passive=True)


def test_a_mistake_on_a_services_channel_costs_only_that_channel(
    echo: ServiceContainer, rpc: Any, caplog: pytest.LogCaptureFixture, proxy: TcpProxy
) -> None:
    link = _connection(echo).link
    _make_a_mistake(_service_channel(echo).current)
    assert rpc["echo"].say("again") == "again"
    assert _connection(echo).link is link
    assert "channel for service echo: the broker closed the channel: 404" in caplog.text


def test_what_ran_when_its_channel_was_closed_is_carried_out_again(
    echo: ServiceContainer, rpc: Any, gate: Event
) -> None:
    call = _start_holding(rpc)
    _make_a_mistake(_service_channel(echo).current)
    wait_until(lambda: Echo.entered == ["held", "held"], "the second delivery")
    gate.set()
    assert call.result() == "held"


def test_a_deleted_queue_is_declared_again(
    echo: ServiceContainer, rpc: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    _delete_queue(rabbitmq_uri, "rpc-echo")
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri).get("rpc-echo", {}).get("consumers"), "the consumer")
    assert rpc["echo"].say("again") == "again"


def test_calls_that_run_when_their_queue_is_deleted_are_answered(
    echo: ServiceContainer, rpc: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str, gate: Event
) -> None:
    """Nobody will deliver their requests again."""
    call = _start_holding(rpc)
    _delete_queue(rabbitmq_uri, "rpc-echo")
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri).get("rpc-echo", {}).get("consumers"), "the consumer")
    gate.set()
    assert call.result() == "held"


def test_calls_work_again_when_the_reply_queue_was_deleted(echo: ServiceContainer, rpc: Any, rabbitmq_uri: str) -> None:
    _delete_queue(rabbitmq_uri, _reply_queue(rpc))
    assert wait_until(lambda: _answers(rpc), "an answer")


def test_pending_calls_fail_when_the_reply_queue_is_deleted(
    echo: ServiceContainer, rpc: Any, rabbitmq_uri: str, gate: Event
) -> None:
    """Their replies may have been in it."""
    call = _start_holding(rpc)
    _delete_queue(rabbitmq_uri, _reply_queue(rpc))
    with pytest.raises(ConnectionLost) as caught:
        call.result(5)
    assert caught.value.maybe_executed is True


def _answers(rpc: Any) -> bool:
    try:
        return bool(rpc["echo"].say.with_options(timeout=1)("again") == "again")
    except ConnectionLost:
        return False


def _reply_queue(rpc: Any) -> str:
    replies: ReplyListener = rpc._provider.replies
    return replies.queue_name


def _delete_queue(uri: str, name: str) -> None:
    link = FrameLink(uri, green())
    link.connect()
    link.channel().delete_queue(name)
    link.close()


def test_what_the_broker_refuses_one_service_does_not_stop_another(
    runner_factory: Callable[..., ServiceRunner], gate: Event, rpc: Any, proxy: TcpProxy, rabbitmq_uri: str
) -> None:
    """Somebody changes a queue while the connection is away; the service next to it comes back."""

    class Another:
        name = "another"

        @rpc_method
        def say(self, text: str) -> str:
            return text

    Echo.gate = gate
    runner = runner_factory(Echo, Another)
    runner.start()
    proxy.refuse()
    link = FrameLink(rabbitmq_uri, green())
    link.connect()
    channel = link.channel()
    channel.delete_queue("rpc-echo")
    channel.declare_queue("rpc-echo", arguments={"x-max-length": 5})
    link.close()
    proxy.resume()
    assert rpc["another"].say("again") == "again"
    connection = runner.resources.get(AmqpConnection, connection_key(runner.config))
    assert "406 PRECONDITION_FAILED" in wait_until(connection.health, "a complaint")


# The connection does not come up


def test_the_pauses_between_attempts_grow_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    growing = pauses()
    assert [next(growing) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_service_starts_when_the_broker_comes(
    container_factory: Make, proxy: TcpProxy, caplog: pytest.LogCaptureFixture, gate: Event
) -> None:
    Echo.gate = gate
    caplog.set_level(logging.INFO)
    proxy.refuse()
    container = container_factory(Echo)
    task = green().spawn(container.start)
    wait_until(lambda: "trying again in 0.1 s" in caplog.text, "the second attempt")
    assert "trying again in 0.05 s" in caplog.text
    proxy.resume()
    assert task.wait(10)
    assert _connection(container).health() is None


def test_a_broker_that_stays_away_is_an_error_after_startup_timeout(container_factory: Make, proxy: TcpProxy) -> None:
    proxy.refuse()
    container = container_factory(Echo, {"startup_timeout": 0.3})
    with pytest.raises(BrokerUnavailable, match=r"within 0\.3 s: cannot connect to amqp://.*; start it") as caught:
        container.start()
    assert "guest:guest" not in str(caught.value)


def test_a_wrong_password_is_an_error_at_the_start(
    container_factory: Make, rabbitmq_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    container = container_factory(
        Echo, {"AMQP_URI": rabbitmq_uri.replace("guest:guest", "guest:wrong"), "startup_timeout": 0.3}
    )
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED"):
        container.start()
    assert "wrong" not in caplog.text


def test_a_service_that_does_not_fit_a_queue_is_an_error_at_the_start(
    container_factory: Make, rabbitmq_uri: str
) -> None:
    link = FrameLink(rabbitmq_uri, green())
    link.connect()
    link.channel().declare_queue("rpc-echo", arguments={"x-max-length": 5})
    link.close()
    begin = monotonic()
    with pytest.raises(ChannelClosed, match=r"406 .*'rpc-echo'"):
        container_factory(Echo).start()
    assert monotonic() - begin < 5


def test_the_next_broker_of_a_list_is_used_when_the_first_is_away(
    container_factory: Make, rabbitmq_uri: str, proxy: TcpProxy, gate: Event, rpc: Any
) -> None:
    Echo.gate = gate
    away = f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}//"
    container_factory(Echo, {"AMQP_URI": f"{away};{proxy.uri}"}).start()
    assert rpc["echo"].say("here") == "here"


def test_a_service_goes_to_the_next_broker_of_a_list_when_its_own_goes_away(
    container_factory: Make, rabbitmq_uri: str, gate: Event
) -> None:
    from rpcservice.testing.callers import cluster_client

    Echo.gate = gate
    client = cluster_client(lambda cls: container_factory(cls, {"AMQP_URI": rabbitmq_uri}))
    with TcpProxy(rabbitmq_uri) as first, TcpProxy(rabbitmq_uri) as second:
        container = container_factory(Echo, {"AMQP_URI": f"{first.uri};{second.uri}"})
        container.start()
        first.refuse()
        wait_until(lambda: second.connections == 1, "the connection by the second way")
        assert client["echo"].say("moved") == "moved"
        container.stop()


# Stopping meanwhile


def test_a_stop_during_an_outage_is_quick(echo: ServiceContainer, proxy: TcpProxy) -> None:
    proxy.refuse()
    wait_until(_connection(echo).health, "the end of the connection")
    begin = monotonic()
    echo.stop()
    assert monotonic() - begin < 1


def test_a_stop_in_a_black_hole_takes_two_heartbeats_at_most(echo: ServiceContainer, proxy: TcpProxy) -> None:
    proxy.black_hole()
    begin = monotonic()
    echo.stop()
    assert monotonic() - begin < 2.5


def test_a_worker_may_finish_during_an_outage(echo: ServiceContainer, rpc: Any, proxy: TcpProxy, gate: Event) -> None:
    """Its outcome is dropped, for the broker delivers the request again, to somebody else."""
    _start_holding(rpc)
    proxy.refuse()
    wait_until(_connection(echo).health, "the end of the connection")
    stopping = green().spawn(echo.stop)
    assert not stopping.wait(0.2)
    gate.set()
    assert stopping.wait(2)


def test_a_service_that_gave_up_leaves_no_connection_behind(container_factory: Make, proxy: TcpProxy) -> None:
    """The attempt that was under way when the time was up ends as soon as it succeeds."""
    proxy.black_hole()
    container = container_factory(Echo, {"startup_timeout": 0.3})
    with pytest.raises(BrokerUnavailable):
        container.start()
    proxy.resume()
    proxy.wait_for_connections(0)


def test_the_command_line_exits_with_1_when_the_broker_stays_away(tmp_path: Path) -> None:
    service = tmp_path / "away.py"
    service.write_text("from rpcservice import rpc\nclass Away:\n    name = 'away'\n    @rpc\n    def x(self): ...\n")
    broker = f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}//"
    done = subprocess.run(
        [sys.executable, "-m", "rpcservice", "run", str(service), "--broker", broker, "-d", "startup_timeout=0.5"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 1
    assert "no connection to the broker at amqp://guest:**@127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
