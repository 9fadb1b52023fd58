"""What a publisher's retry and retry_policy mean while the connection is lost."""

from collections.abc import Callable
from itertools import repeat
from time import monotonic
from typing import Any

import pytest
from kombu import Exchange, Queue
from waiting import wait_until

from rpcservice import Publisher, Retry, ServiceContainer
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.concurrency import green
from rpcservice.core.context import WorkerContext
from rpcservice.errors import ConnectionLost, PublishTimeout
from rpcservice.testing import TcpProxy, dummy

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

Publish = Callable[..., None]


class Shop:
    name = "shop"
    publish = Publisher(declare=[Queue("orders")], routing_key="orders")

    @dummy
    def nothing(self) -> None: ...


@pytest.fixture
def shop(proxy: TcpProxy, container_factory: Callable[..., ServiceContainer]) -> ServiceContainer:
    container = container_factory(Shop, {"AMQP_URI": proxy.uri, "publish_timeout": 10})
    container.start()
    return container


@pytest.fixture
def publish(shop: ServiceContainer) -> Publish:
    (provider,) = shop.dependencies
    function: Publish = provider.get_dependency(WorkerContext(shop, shop.entrypoints[0]))
    return function


def outcome_of(work: Callable[[], None]) -> Callable[[], Any]:
    """Do something in a task of its own; gives what waits for it and gives its error."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            work()
        except Exception as exc:
            outcome.append(exc)
        else:
            outcome.append(None)

    green().spawn(run)

    def wait() -> Any:
        wait_until(lambda: outcome, "the outcome")
        return outcome[0]

    return wait


def lose(proxy: TcpProxy, shop: ServiceContainer) -> None:
    """Cut the connection, and see the service notice."""
    proxy.refuse()
    connection = shop.resources.get(AmqpConnection, connection_key(shop.config))
    wait_until(lambda: connection.health() is not None, "the loss of the connection")


def waiting_messages(rabbitmq: Any, uri: str) -> int:
    return int(rabbitmq.queues(uri)["orders"]["messages"])


def test_a_message_waits_for_the_connection_to_come_back(
    shop: ServiceContainer, publish: Publish, proxy: TcpProxy, rabbitmq: Any, rabbitmq_uri: str
) -> None:
    lose(proxy, shop)
    outcome = outcome_of(lambda: publish(1))
    proxy.resume()
    assert outcome() is None
    assert waiting_messages(rabbitmq, rabbitmq_uri) == 1


@pytest.mark.parametrize(
    "options", [{"retry": False}, {"retry_policy": {"max_retries": 0}}, {"retry": Retry(max_attempts=1)}], ids=str
)
@pytest.mark.parametrize("more", [{}, {"use_confirms": False}, {"declare": [Exchange("new")]}])
def test_without_retries_a_lost_connection_is_an_error_at_once(
    shop: ServiceContainer, publish: Publish, proxy: TcpProxy, options: dict[str, Any], more: dict[str, Any]
) -> None:
    lose(proxy, shop)
    begin = monotonic()
    with pytest.raises(ConnectionLost, match="nothing was sent: ") as caught:
        publish(1, **options, **more)
    assert monotonic() - begin < 1
    assert caught.value.maybe_executed is False


def test_without_retries_a_connection_that_breaks_before_the_confirm_is_an_error(
    shop: ServiceContainer, publish: Publish, proxy: TcpProxy
) -> None:
    proxy.black_hole()
    outcome = outcome_of(lambda: publish(1, retry=False))
    green().sleep(0)
    lose(proxy, shop)
    error = outcome()
    assert isinstance(error, ConnectionLost)
    assert error.maybe_executed is True
    assert "the broker may have the message" in str(error)


@pytest.mark.parametrize(
    "options",
    [{"retry_policy": {"max_retries": 1, "interval_start": 0}}, {"retry": Retry(max_attempts=2)}],
    ids=["policy", "Retry"],
)
def test_a_message_is_published_again_as_often_as_the_policy_allows(
    shop: ServiceContainer,
    publish: Publish,
    proxy: TcpProxy,
    rabbitmq: Any,
    rabbitmq_uri: str,
    options: dict[str, Any],
) -> None:
    """Once: it survives the first loss of the connection, which comes before its confirm."""
    proxy.black_hole()
    outcome = outcome_of(lambda: publish(1, **options))
    green().sleep(0)
    lose(proxy, shop)
    proxy.resume()
    assert outcome() is None
    assert waiting_messages(rabbitmq, rabbitmq_uri) >= 1


def test_the_time_of_one_call_may_be_shorter(shop: ServiceContainer, publish: Publish, proxy: TcpProxy) -> None:
    lose(proxy, shop)
    begin = monotonic()
    with pytest.raises(ConnectionLost, match=r"nothing was sent: .* within 0\.3 s for 'orders'") as caught:
        publish(1, timeout=0.3)
    assert 0.2 < monotonic() - begin < 5
    assert caught.value.maybe_executed is False


def test_a_message_that_was_sent_before_the_connection_broke_may_be_there(
    shop: ServiceContainer, publish: Publish, proxy: TcpProxy
) -> None:
    """It waits to be published again, in vain; what the broker made of the first time is unknown."""
    proxy.black_hole()
    outcome = outcome_of(lambda: publish(1, timeout=1))
    green().sleep(0)
    lose(proxy, shop)
    error = outcome()
    assert type(error) is PublishTimeout
    assert "whether the broker has the message is unknown" in str(error)


def test_a_message_that_nobody_waits_for_any_more_is_not_sent_later(
    shop: ServiceContainer, publish: Publish, proxy: TcpProxy, rabbitmq: Any, rabbitmq_uri: str
) -> None:
    lose(proxy, shop)
    with pytest.raises(ConnectionLost):
        publish(1, timeout=0.1)
    proxy.resume()
    publish(2)
    assert waiting_messages(rabbitmq, rabbitmq_uri) == 1


def test_what_one_call_declared_is_declared_again_on_a_new_connection(
    shop: ServiceContainer, publish: Publish, proxy: TcpProxy, rabbitmq: Any, rabbitmq_uri: str
) -> None:
    passing = Queue("passing", auto_delete=True, exclusive=True)
    publish(1, routing_key="passing", declare=[passing])
    lose(proxy, shop)
    proxy.resume()
    publish(2, routing_key="passing", declare=[passing])
    assert rabbitmq.queues(rabbitmq_uri)["passing"]["messages"] == 1


def test_who_publishes_has_a_broker_that_has_come_back_used_soon(
    shop: ServiceContainer, publish: Publish, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far the next attempt to reach it would be: here ten minutes."""
    monkeypatch.setattr("rpcservice.amqp.connection.pauses", lambda: repeat(600.0))
    proxy.refuse()
    wait_until(lambda: "cannot connect" in str(shop.resources.health()))
    proxy.resume()
    began = monotonic()
    publish("afterwards")
    assert monotonic() - began < 9
