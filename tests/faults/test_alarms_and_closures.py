"""Scenario 5: the broker takes nothing for a while, takes messages back, and deletes and closes what is in use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import Any

import pytest
from accounts import breaks, settle, take_stock
from command_process import Running
from ledger import Ledger
from load import SENDERS
from nodes import impatient_node
from waiting import wait_until

from rpcservice.standalone import event_dispatcher
from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(300)]

EVENTS, CALLERS, WORKERS = 50, 10, 20
QUEUE = "evt-source-happened--counted.handle"
LONG_QUEUE = "evt-source-lasted--counted.handle_long"
BLOCKED = "takes no messages"
OPENED_AGAIN = "it is opened again"
PUBLISH_TIMEOUT = 3
CONSUMER_TIMEOUT = 3


def messages(node: RabbitMQNode, uri: str) -> int:
    """Give how many messages wait for a worker, or for their acknowledgement."""
    count: int = node.queues(uri)[QUEUE]["messages"]
    return count


def wait_for_work(ledger: Ledger) -> None:
    wait_until(
        lambda: len(ledger.read("handled")) > EVENTS and ledger.read("answered"), "the first of them", timeout=60
    )


def wait_for_more(ledger: Ledger) -> None:
    """See that events are handled, and calls answered, that come after this."""
    before = take_stock(ledger)

    def goes_on() -> bool:
        now = take_stock(ledger)
        return len(now.handled) > len(before.handled) + EVENTS and len(now.answered) > len(before.answered) + CALLERS

    wait_until(goes_on, "what comes after", timeout=60)


@contextmanager
def memory_alarm(node: RabbitMQNode) -> Iterator[None]:
    node.block_publishers()
    yield
    node.unblock_publishers()


@contextmanager
def disk_alarm(node: RabbitMQNode) -> Iterator[None]:
    """Have the node want more space than there is."""
    node.evaluate("rabbit_disk_monitor:set_disk_free_limit(1000000000000000), true")
    yield
    node.evaluate("rabbit_disk_monitor:set_disk_free_limit(1000000), true")


@pytest.mark.parametrize(
    ("alarm", "publish_connection"),
    [(memory_alarm, "shared"), (memory_alarm, "dedicated"), (disk_alarm, "dedicated")],
)
def test_publishers_wait_during_an_alarm_and_consumers_only_where_they_share_their_connection(
    rabbitmq_node: RabbitMQNode,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    alarm: Callable[[RabbitMQNode], Any],
    publish_connection: str,
) -> None:
    uri = rabbitmq_node.uri
    service = run_service(uri, pause=0.5, max_workers=WORKERS, publish_connection=publish_connection)
    load = run_load(uri, events=EVENTS, callers=CALLERS, publish_timeout=PUBLISH_TIMEOUT, rpc_timeout=60)
    wait_for_work(ledger)
    with alarm(rabbitmq_node):
        for running in (service, load):
            assert "what is published waits" in running.wait_for(BLOCKED)
        wait_until(lambda: len(take_stock(ledger).unsent) >= SENDERS, "the end of their patience", timeout=60)
        if publish_connection == "dedicated":
            wait_until(lambda: messages(rabbitmq_node, uri) == 0, "the acks of all events", timeout=60)
        else:
            handled = len(ledger.read("handled"))
            sleep(2)
            assert len(ledger.read("handled")) == handled
            assert messages(rabbitmq_node, uri) > 0
    for running in (service, load):
        running.wait_for("takes messages again")
    wait_for_more(ledger)

    accounts = settle(load, ledger)
    report(**accounts.figures)
    assert breaks(service) == breaks(load) == 0
    assert set(accounts.unsent.values()) == {"PublishTimeout"}
    assert not accounts.ended
    assert accounts.twice == accounts.called_twice == 0


def test_a_message_that_takes_longer_than_the_consumer_timeout_is_handled_once(
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
) -> None:
    with impatient_node(CONSUMER_TIMEOUT) as node:
        service = run_service(node.uri, max_workers=WORKERS, consumer_timeout=CONSUMER_TIMEOUT)
        load = run_load(node.uri, events=EVENTS, callers=CALLERS)
        wait_for_work(ledger)
        numbers = ["1", "2", "3"]
        with event_dispatcher({"AMQP_URI": node.uri}, mandatory=True) as dispatch:
            for number in numbers:
                dispatch("source", "lasted", number)
        wait_until(lambda: ledger.read("long-done").keys() == set(numbers), "their end", timeout=60)
        wait_until(lambda: node.queues()[LONG_QUEUE]["messages"] == 0, "their acknowledgements")
        wait_for_more(ledger)

        accounts = settle(load, ledger)
        closed = breaks(service, OPENED_AGAIN)
        report(**accounts.figures, channels_closed=closed)
        assert closed
        assert breaks(service) == breaks(load) == 0
        assert ledger.read("long-begun") == dict.fromkeys(numbers, 1)
        assert not accounts.ended and not accounts.unsent
        assert accounts.twice <= closed * WORKERS and accounts.called_twice <= closed * WORKERS


def test_a_queue_that_is_deleted_under_its_consumer_is_back_at_once(
    rabbitmq_node: RabbitMQNode,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
) -> None:
    service = run_service(rabbitmq_node.uri, max_workers=WORKERS)
    load = run_load(rabbitmq_node.uri, events=EVENTS, callers=CALLERS, rpc_timeout=10)
    wait_for_work(ledger)
    on_their_way: set[str] = set()
    for queue in (QUEUE, "rpc-counted"):
        acknowledged = ledger.read("acknowledged").keys()
        wait_until(
            lambda queue=queue: delete_if_empty(rabbitmq_node, queue), "a moment in which it is empty", timeout=60
        )
        on_their_way |= ledger.read("sent").keys() - acknowledged
        service.wait_for(f"queue {queue} was deleted; it is declared again")
        wait_for_more(ledger)

    # The broker confirms what is just on its way to a queue that is deleted.
    accounts = settle(load, ledger, may_be_lost=on_their_way)
    figures = {**accounts.figures, "lost": len(accounts.lost - on_their_way)}
    report(**figures, went_with_the_queue=len(accounts.lost & on_their_way))
    assert breaks(service) == breaks(load) == 0
    assert set(accounts.unsent.values()) <= {"UndeliverableMessage"}
    assert set(accounts.ended.values()) <= {"UnknownService", "RpcTimeout"}
    assert accounts.twice == accounts.called_twice == 0


def delete_if_empty(node: RabbitMQNode, queue: str) -> bool:
    """Delete a queue in which no message waits; what its consumers have, they keep."""
    deleted = node.evaluate(
        f'{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)), '
        'case rabbit_amqqueue:delete(Queue, false, true, <<"test">>) of {ok, _} -> true; _ -> false end'
    )
    return bool(deleted)


def test_a_channel_that_is_closed_by_a_second_ack_comes_back(
    rabbitmq_node: RabbitMQNode,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
) -> None:
    service = run_service(rabbitmq_node.uri, max_workers=WORKERS)
    load = run_load(rabbitmq_node.uri, events=EVENTS, callers=CALLERS)
    wait_for_work(ledger)
    numbers = ["1", "2", "3", "4", "5"]
    with event_dispatcher({"AMQP_URI": rabbitmq_node.uri}, mandatory=True) as dispatch:
        for closed, number in enumerate(numbers, 1):
            dispatch("source", "doubled", number)
            wait_until(
                lambda closed=closed: breaks(service, "406 PRECONDITION_FAILED") >= closed, "the end of it", timeout=60
            )
            wait_for_more(ledger)

    accounts = settle(load, ledger)
    closed = breaks(service, OPENED_AGAIN)
    report(**accounts.figures, channels_closed=closed)
    assert closed == len(numbers)
    assert breaks(service) == breaks(load) == 0
    assert ledger.read("doubled") == dict.fromkeys(numbers, 1)
    assert not accounts.ended and not accounts.unsent
    assert accounts.twice <= closed * WORKERS and accounts.called_twice <= closed * WORKERS


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_calls_end_that_wait_for_a_reply_queue_which_is_gone(
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    how: str,
) -> None:
    def reply_queues() -> set[str]:
        return {name for name in rabbitmq.queues(rabbitmq_uri) if name.startswith("rpc.reply-")}

    run_service(rabbitmq_uri, pause=0.3, max_workers=WORKERS)
    with TcpProxy(rabbitmq_uri) as proxy:
        load = run_load(proxy.uri, events=EVENTS, callers=CALLERS, rpc_timeout=10)
        wait_for_work(ledger)
        (queue,) = reply_queues()
        vhost = rabbitmq_uri.rpartition("/")[2]
        if how == "deleted":
            rabbitmq.ctl("--vhost", vhost, "delete_queue", queue)
            load.wait_for(f"the reply queue {queue} was deleted")
        else:
            rabbitmq.ctl("--vhost", vhost, "set_policy", "soon", "^rpc[.]reply-", '{"expires": 1000}')
            proxy.refuse()
            wait_until(lambda: not reply_queues(), "the end of the queue", timeout=60)
            proxy.resume()
        wait_for_more(ledger)

        accounts = settle(load, ledger)
        report(**accounts.figures)
        assert set(accounts.ended.values()) == {"ConnectionLost"}
        # Each caller has one call at a time.
        assert len(accounts.ended) <= CALLERS
        assert accounts.called_twice == 0
