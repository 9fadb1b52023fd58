"""Connections that break or go silent under running services; the broker itself runs on."""

import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import amqp
import pytest
from echo import COMES_AGAIN, Echo, connection_of, dispatch_of, raw_channel, start_holding
from waiting import wait_until

from rpcservice import ServiceContainer
from rpcservice.amqp import frames
from rpcservice.amqp.framelink import FrameLink
from rpcservice.amqp.link import Message
from rpcservice.concurrency import Event, green
from rpcservice.errors import ConnectionLost
from rpcservice.testing import RabbitMQNode, TcpProxy
from rpcservice.testing.callers import cluster_client

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

Make = Callable[..., ServiceContainer]


@pytest.fixture
def config(proxy: TcpProxy) -> dict[str, Any]:
    return {"AMQP_URI": proxy.uri, "HEARTBEAT": 1, "rpc_timeout": 15}


# The connection breaks


def test_pending_calls_fail_at_once_when_the_connection_breaks(
    echo: ServiceContainer, rpc: Any, proxy: TcpProxy
) -> None:
    call = start_holding(rpc)
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


def test_a_request_whose_service_lost_its_connection_is_answered_and_not_run_again(
    echo: ServiceContainer,
    rabbitmq_uri: str,
    container_factory: Make,
    proxy: TcpProxy,
    gate: Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller, whose own connection holds, gets its answer."""
    direct = cluster_client(lambda cls: container_factory(cls, {"AMQP_URI": rabbitmq_uri}))
    call = start_holding(direct)
    proxy.drop()
    wait_until(lambda: COMES_AGAIN in caplog.text, "the second delivery")
    gate.set()
    assert call.result() == "held"
    assert Echo.entered == ["held"]


def test_a_publisher_gives_up_after_publish_timeout(container_factory: Make, proxy: TcpProxy, gate: Event) -> None:
    Echo.gate = gate
    container = container_factory(Echo, {"publish_timeout": 0.3})
    container.start()
    proxy.refuse()
    wait_until(lambda: connection_of(container).health(), "the end of the connection")
    with pytest.raises(
        ConnectionLost, match=r"nothing was sent: broker at amqp://.* within 0.3 s for 'said'"
    ) as caught:
        dispatch_of(container)("said", "x")
    assert caught.value.maybe_executed is False


def test_a_full_publish_buffer_makes_publishers_wait_within_their_time(
    container_factory: Make, proxy: TcpProxy, gate: Event
) -> None:
    Echo.gate = gate
    container = container_factory(Echo, {"publish_timeout": 5, "publish_buffer": 2})
    container.start()
    proxy.refuse()
    wait_until(lambda: connection_of(container).health(), "the end of the connection")
    dispatch = dispatch_of(container)
    tasks = [green().spawn(dispatch, "said", f"{number}") for number in range(5)]
    assert not any(task.wait(0.05) for task in tasks)
    proxy.resume()
    assert all(task.wait(5) for task in tasks)


# The connection goes silent


def test_a_silent_connection_is_found_within_two_heartbeats(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    call = start_holding(rpc)
    begin = monotonic()
    proxy.black_hole()
    with pytest.raises(ConnectionLost, match="no heartbeat"):
        call.result()
    assert monotonic() - begin < 2.5


def test_a_network_that_takes_nothing_for_a_while_keeps_its_connection(proxy: TcpProxy) -> None:
    """TCP itself would give up after a second, as py-amqp sets it, where bytes wait to be sent."""
    link = FrameLink(proxy.uri, green(), heartbeat=30)
    link.connect()
    channel = link.channel(confirms=True)
    confirmed = green().event()
    channel.on_confirm = lambda *confirm: confirmed.set()
    proxy.black_hole()
    channel.publish(Message("", "nobody", bytes(16 * 1024 * 1024), {}))
    # What is tested is that time passes: twice what TCP was given.
    assert not confirmed.wait(2.5)
    assert link.failure is None
    proxy.resume()
    assert confirmed.wait(10)
    link.close()


def test_a_greenlet_that_keeps_all_others_from_running_is_no_silence(
    echo: ServiceContainer, rpc: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's heartbeats came meanwhile, and are only unread."""
    reader, writer = socket.socketpair()
    link: Any = connection_of(echo).link
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
    assert connection_of(echo).link is link
    assert "no heartbeat" not in caplog.text
    reader.close()
    writer.close()


def test_a_service_works_again_after_a_black_hole(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    proxy.black_hole()
    wait_until(lambda: connection_of(echo).health(), "the end of the connection")
    proxy.resume()
    wait_until(lambda: connection_of(echo).health() is None, "the connection")
    assert rpc["echo"].say("again") == "again"


def test_a_broadcast_handler_hears_again_after_a_black_hole(echo: ServiceContainer, rpc: Any, proxy: TcpProxy) -> None:
    proxy.black_hole()
    wait_until(lambda: connection_of(echo).health(), "the end of the connection")
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
    with raw_channel(rabbitmq_uri) as dead:
        dead.declare_queue(name, exclusive=True)
        proxy.resume()
        rpc["echo"].emit("again")
        wait_until(lambda: Echo.heard == ["again"], "the event")
    assert handler.queue_name != name  # type: ignore[attr-defined]  # of EventHandler


# Stopping meanwhile


def test_a_stop_during_an_outage_is_quick(echo: ServiceContainer, proxy: TcpProxy) -> None:
    proxy.refuse()
    wait_until(connection_of(echo).health, "the end of the connection")
    begin = monotonic()
    echo.stop()
    assert monotonic() - begin < 1


@pytest.mark.parametrize("link", ["frames", "channel"])
def test_a_stop_in_a_black_hole_takes_two_heartbeats_at_most(
    link: str, container_factory: Make, proxy: TcpProxy, gate: Event
) -> None:
    Echo.gate = gate
    container = container_factory(Echo, {"link": link})
    container.start()
    proxy.black_hole()
    begin = monotonic()
    container.stop()
    assert monotonic() - begin < 3


def test_a_worker_may_finish_during_an_outage(echo: ServiceContainer, rpc: Any, proxy: TcpProxy, gate: Event) -> None:
    """Its outcome is dropped, for the broker delivers the request again, to somebody else."""
    start_holding(rpc)
    proxy.refuse()
    wait_until(connection_of(echo).health, "the end of the connection")
    stopping = green().spawn(echo.stop)
    assert not stopping.wait(0.2)
    gate.set()
    assert stopping.wait(2)


def test_who_asks_the_broker_while_the_connection_is_closed_learns_of_it(rabbitmq_uri: str) -> None:
    """py-amqp sees the broker's goodbye before the socket is closed, and has errors of its own for what comes then."""

    def declare_too_late() -> None:
        raise amqp.exceptions.RecoverableConnectionError("connection already closed")

    link = FrameLink(rabbitmq_uri, green())
    link.connect()
    closing = green().spawn(link.close)
    assert not closing.wait(0)
    with pytest.raises(ConnectionLost, match="closed by this process"):
        link.call(None, declare_too_late)
    assert closing.wait(5)


# The service stops


@pytest.mark.parametrize("link", ["frames", "channel"])
def test_a_stop_does_not_wait_for_a_broker_that_has_gone_silent(
    link: str, container_factory: Make, proxy: TcpProxy, gate: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeats tell too, but after two minutes: the supervisor would kill the process before."""
    monkeypatch.setattr("rpcservice.amqp.connection.LAST_PATIENCE", 0.2)
    Echo.entered, Echo.heard, Echo.gate = [], [], gate
    service = container_factory(Echo, {"AMQP_URI": proxy.uri, "HEARTBEAT": 60, "link": link})
    service.start()
    proxy.black_hole()
    begin = monotonic()
    service.stop()
    assert monotonic() - begin < 8
