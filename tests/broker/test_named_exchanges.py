"""Exchanges that messages only name: looked for before the first message, so that a missing one costs nobody else."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from publishing_program import THREADS, TIMES
from waiting import wait_until

from rpcservice import EventDispatcher, Publisher, ServiceContainer, event_dispatcher
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.core.context import WorkerContext
from rpcservice.errors import ChannelClosed, ConnectionLost
from rpcservice.testing import RabbitMQNode, TcpProxy, dummy

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

Send = Callable[..., None]


class Shop:
    name = "shop"
    publish = Publisher()
    dispatch = EventDispatcher()

    @dummy
    def nothing(self) -> None: ...


@pytest.fixture
def start(container_factory: Callable[..., ServiceContainer]) -> Callable[..., ServiceContainer]:
    def make(**config: Any) -> ServiceContainer:
        container = container_factory(Shop, {"publish_timeout": 10, **config})
        container.start()
        return container

    return make


def sending(container: ServiceContainer, name: str = "publish") -> Send:
    """Give what a worker would send with."""
    (provider,) = (known for known in container.dependencies if known.attr_name == name)
    send: Send = provider.get_dependency(WorkerContext(container, container.entrypoints[0]))
    return send


def shared_channel(container: ServiceContainer) -> Any:
    return container.resource(ConfirmedSender, connection_key(container.config))._channel.current


def lose(proxy: TcpProxy, container: ServiceContainer) -> None:
    proxy.refuse()
    wait_until(container.resource(AmqpConnection, connection_key(container.config)).health, "the loss")


def test_on_threads_missing_exchanges_fail_their_messages_alone_and_nothing_is_sent_twice(
    rabbitmq: RabbitMQNode, rabbitmq_uri: str, start: Callable[..., ServiceContainer]
) -> None:
    channel = shared_channel(start())
    channel.declare_exchange("there", "fanout")
    channel.declare_queue("all")
    channel.bind_queue("all", "there")
    program = Path(__file__).with_name("publishing_program.py")
    command = [sys.executable, str(program), rabbitmq_uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    outcomes = answer["outcomes"]
    good = TIMES * len(range(0, THREADS, 3))
    assert outcomes.pop("there: taken") == good
    assert sum(outcomes.values()) == THREADS * TIMES - good
    for outcome in outcomes:
        name = outcome.partition(":")[0]
        expected = f"ChannelClosed the broker closed the channel: 404 NOT_FOUND - no exchange '{name}'"
        assert outcome == f"{name}: {expected}"
    assert answer["is_same_channel"]
    assert rabbitmq.queues(rabbitmq_uri)["all"]["messages"] == good


def test_an_exchange_is_looked_for_again_on_a_new_connection(
    start: Callable[..., ServiceContainer], proxy: TcpProxy
) -> None:
    container = start(AMQP_URI=proxy.uri)
    publish = sending(container)
    shared_channel(container).declare_exchange("passing", "fanout")
    publish(1, exchange="passing")
    shared_channel(container).delete_exchange("passing")
    lose(proxy, container)
    proxy.resume()
    wait_until(lambda: shared_channel(container), "the connection")
    shared = shared_channel(container)
    with pytest.raises(ChannelClosed, match="404"):
        publish(2, exchange="passing")
    assert shared_channel(container) is shared


def test_while_the_broker_is_away_a_message_waits_to_have_its_exchange_looked_for(
    start: Callable[..., ServiceContainer], proxy: TcpProxy
) -> None:
    container = start(AMQP_URI=proxy.uri)
    lose(proxy, container)
    begin = monotonic()
    with pytest.raises(ConnectionLost, match="nothing was sent: broker at amqp://") as caught:
        sending(container)(1, exchange="absent", timeout=0.3)
    assert 0.2 < monotonic() - begin < 5
    assert caught.value.maybe_executed is False
    proxy.resume()
    with pytest.raises(ChannelClosed, match="404 NOT_FOUND - no exchange 'absent'"):
        sending(container)(1, exchange="absent")


def test_without_retries_nobody_waits_to_have_an_exchange_looked_for(
    start: Callable[..., ServiceContainer], proxy: TcpProxy
) -> None:
    container = start(AMQP_URI=proxy.uri)
    lose(proxy, container)
    begin = monotonic()
    with pytest.raises(ConnectionLost, match="nothing was sent"):
        sending(container)(1, exchange="absent", retry=False)
    assert monotonic() - begin < 1


def test_without_confirms_nobody_waits_to_have_an_exchange_looked_for(
    start: Callable[..., ServiceContainer], proxy: TcpProxy, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    container = start(AMQP_URI=proxy.uri)
    for name in ("there", "passed"):
        shared_channel(container).declare_exchange(name, "fanout")
    shared_channel(container).declare_queue("all")
    shared_channel(container).bind_queue("all", "there")
    lose(proxy, container)
    begin = monotonic()
    sending(container)(1, exchange="there", use_confirms=False)
    assert monotonic() - begin < 1
    proxy.resume()
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)["all"]["messages"], "the message")


def test_a_broker_that_takes_nothing_is_not_waited_for_longer_than_told(
    start: Callable[..., ServiceContainer], rabbitmq: RabbitMQNode
) -> None:
    container = start()
    publish = sending(container)
    connection = container.resource(AmqpConnection, connection_key(container.config))
    shared_channel(container).declare_exchange("there", "fanout")
    rabbitmq.block_publishers()
    try:
        publish(1, routing_key="any", use_confirms=False)
        wait_until(connection.health, "the broker's refusal")
        begin = monotonic()
        with pytest.raises(ConnectionLost, match=r"nothing was sent: broker at .* takes no messages"):
            publish(2, exchange="there", timeout=0.3)
        assert monotonic() - begin < 5
        publish(3, exchange="there", use_confirms=False)
    finally:
        rabbitmq.unblock_publishers()
    publish(4, exchange="there")


def test_events_whose_exchange_is_left_to_others_are_sent_without_the_right_to_declare_it(
    start: Callable[..., ServiceContainer], rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    owner = start()
    vhost = rabbitmq_uri.rpartition("/")[2]
    rabbitmq.ctl("add_user", "modest", "secret")
    rabbitmq.ctl("set_permissions", "-p", vhost, "modest", "", ".*", "")
    shared = shared_channel(owner)
    shared.declare_queue("all")
    shared.bind_queue("all", "shop.events", "#")
    uri = rabbitmq_uri.replace("guest:guest", "modest:secret")
    with event_dispatcher({"AMQP_URI": uri, "DECLARE_EVENT_EXCHANGES": False}) as dispatch:
        dispatch("shop", "sold", 1)
        with pytest.raises(ChannelClosed, match=r"404 NOT_FOUND - no exchange 'nobody\.events'"):
            dispatch("nobody", "sold", 2)
        dispatch("shop", "sold", 3)
    assert rabbitmq.queues(rabbitmq_uri)["all"]["messages"] == 2
