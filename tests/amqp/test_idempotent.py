"""Messages that come more than once and are to be handled once, on both brokers."""

import json
import logging
from collections.abc import Callable
from time import time
from typing import Any
from uuid import UUID

import pytest
from waiting import wait_until

from rpcservice import (
    BROADCAST,
    ConfigError,
    DeclarationError,
    DependencyProvider,
    Requeue,
    Retry,
    ServiceContainer,
    ServiceRpc,
    WorkerContext,
    consume,
    event_handler,
    rpc,
    timer,
)
from rpcservice.concurrency import green
from rpcservice.core.idempotency import Claims
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import dummy, entrypoint_hook

Start = Callable[..., ServiceRunner]

QUICK = Retry(max_attempts=3, initial=0.05, jitter=0)
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


@pytest.fixture
def config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of services with a store."""
    return {**config, "idempotency_store": "memory:"}


class Journal(DependencyProvider):
    """Notes which hooks run."""

    def __init__(self, hooks: list[str]) -> None:
        self.hooks = hooks

    def get_dependency(self, ctx: WorkerContext) -> None:
        self.hooks.append("inject")

    def worker_setup(self, ctx: WorkerContext) -> None:
        self.hooks.append("setup")

    def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
        self.hooks.append("result")

    def worker_teardown(self, ctx: WorkerContext) -> None:
        self.hooks.append("teardown")


class Runs(list[Any]):
    """What a method was called with; the first ``failures`` calls fail, and each waits for the gate."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.gate = green().event()
        self.gate.set()
        self.hooks: list[str] = []
        self.running = 0
        self.most_running = 0

    def run(self, what: Any) -> Any:
        self.append(what)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            assert self.gate.wait(20)
            if len(self) <= self.failures:
                raise ConnectionError("no bank")
            return {"run": len(self), "of": what}
        finally:
            self.running -= 1


def shop(runs: Runs, **options: Any) -> type:
    options = {"idempotent": True, **options}

    class Shop:
        name = "shop"
        journal = Journal(runs.hooks)

        @rpc(**options)
        def buy(self, what: Any) -> Any:
            return runs.run(what)

        @event_handler("orders", "placed", **options)
        def bill(self, what: Any) -> Any:
            return runs.run(what)

        @consume("parcels", **options)
        def pack(self, what: Any) -> Any:
            return runs.run(what)

        @rpc
        def done(self) -> None:
            """So that a test knows that what came before has been taken in."""

    return Shop


def buy(wire: Any, message_id: str | None, what: str = "tea", **properties: Any) -> Any:
    """Send a request and give the body of its reply."""
    body = json.dumps({"args": [what], "kwargs": {}}).encode()
    ids = {} if message_id is None else {"message_id": message_id}
    return json.loads(wire.request("shop.buy", body, **ids, **properties).body)


def ask(wire: Any, message_ids: list[str], **properties: Any) -> Any:
    """Send requests one after the other, without waiting; gives the inbox for their replies."""
    replies = wire.tap("nameko-rpc", "replies")
    for message_id in message_ids:
        ids = {"message_id": message_id, "reply_to": "replies", "correlation_id": message_id}
        wire.publish("nameko-rpc", "shop.buy", b'{"args": ["tea"], "kwargs": {}}', **ids, **JSON, **properties)
    return replies


def bodies(replies: Any, count: int) -> list[Any]:
    return [json.loads(replies.take().body) for _ in range(count)]


def post(wire: Any, message_id: str, method: str, what: str = '"tea"', **properties: Any) -> None:
    """Send an event or a message."""
    exchange, key = {"bill": ("orders.events", "placed"), "pack": ("", "parcels")}[method]
    wire.publish(exchange, key, what.encode(), message_id=message_id, **JSON, **properties)


def test_a_request_is_run_once_and_answered_again(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs))
    first, second, other = buy(wire, "m-1"), buy(wire, "m-1"), buy(wire, "m-2")
    assert first == second == {"result": {"run": 1, "of": "tea"}, "error": None}
    assert other == {"result": {"run": 2, "of": "tea"}, "error": None}
    assert len(runs) == 2


@pytest.mark.parametrize("method", ["bill", "pack"])
def test_a_message_is_handled_once(start: Start, wire: Any, broker: str, method: str) -> None:
    runs = Runs()
    start(shop(runs))
    for message_id in ("m-1", "m-1", "m-1", "m-2"):
        post(wire, message_id, method, json.dumps(message_id))
    wait_until(lambda: "m-2" in runs)
    assert runs == ["m-1", "m-2"]


def test_methods_have_keys_of_their_own(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs))
    post(wire, "m-1", "bill")
    post(wire, "m-1", "pack")
    buy(wire, "m-1")
    wait_until(lambda: len(runs) == 3)


def test_a_duplicate_runs_no_hooks(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs))
    buy(wire, "m-1")
    wait_until(lambda: "teardown" in runs.hooks)
    before = list(runs.hooks)
    buy(wire, "m-1")
    assert runs.hooks == before == ["inject", "setup", "result", "teardown"]


def test_a_duplicate_waits_for_the_one_that_runs(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runs.gate.clear()
    start(shop(runs), max_workers=5)
    replies = ask(wire, ["m-1"] * 3)
    wait_until(lambda: len(runs) == 1)
    green().sleep(0.1)
    assert len(replies) == 0
    runs.gate.set()
    assert bodies(replies, 3) == [{"result": {"run": 1, "of": "tea"}, "error": None}] * 3
    assert len(runs) == 1


def test_a_thousand_duplicates_run_once(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runs.gate.clear()
    start(shop(runs), max_workers=50, PREFETCH_COUNT=50)
    for _ in range(1000):
        post(wire, "m-1", "bill")
    post(wire, "m-2", "bill", '"last"')
    wait_until(lambda: len(runs) == 1)
    runs.gate.set()
    wait_until(lambda: len(runs) == 2, timeout=30)
    assert runs == ["tea", "last"]


def test_a_thousand_requests_with_twenty_keys_run_twenty_times(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs), max_workers=50)
    replies = wire.tap("nameko-rpc", "replies")
    for number in range(1000):
        body = json.dumps({"args": [number % 20], "kwargs": {}}).encode()
        ids = {"message_id": f"m-{number % 20}", "correlation_id": str(number), "reply_to": "replies"}
        wire.publish("nameko-rpc", "shop.buy", body, **ids, **JSON)
    answers: dict[int, set[int]] = {}
    for _ in range(1000):
        result = json.loads(replies.take().body)["result"]
        answers.setdefault(result["of"], set()).add(result["run"])
    assert sorted(answers) == list(range(20))
    assert [len(runs_of_one) for runs_of_one in answers.values()] == [1] * 20
    assert len(runs) == 20


def test_a_failed_attempt_is_run_again(start: Start, wire: Any, broker: str) -> None:
    runs = Runs(failures=1)
    runner = start(shop(runs, retry=QUICK))
    post(wire, "m-1", "bill")
    wait_until(lambda: len(runs) == 2)
    store: Any = runner.resources.get(Claims).store
    wait_until(lambda: len(store._outcomes) == 1)
    assert store._claims == {}
    post(wire, "m-1", "bill")
    post(wire, "m-2", "bill", '"last"')
    wait_until(lambda: "last" in runs)
    assert runs == ["tea", "tea", "last"]


def test_a_request_that_succeeds_at_its_second_attempt_is_answered_again(start: Start, wire: Any, broker: str) -> None:
    runs = Runs(failures=1)
    start(shop(runs, retry=QUICK))
    assert [buy(wire, "m-1")["result"]["run"] for _ in range(3)] == [2, 2, 2]


def test_errors_are_not_kept(start: Start, wire: Any, broker: str) -> None:
    runs = Runs(failures=1)
    start(shop(runs))
    assert buy(wire, "m-1")["error"]["exc_type"] == "ConnectionError"
    assert buy(wire, "m-1")["result"]["run"] == 2


def test_who_waited_for_one_that_failed_runs_next(start: Start, wire: Any, broker: str) -> None:
    runs = Runs(failures=2)
    runs.gate.clear()
    start(shop(runs), max_workers=10)
    replies = ask(wire, ["m-1"] * 5)
    wait_until(lambda: len(runs) == 1)
    runs.gate.set()
    answers = bodies(replies, 5)
    assert runs.most_running == 1
    assert len([answer for answer in answers if answer["error"]]) == 2
    assert [answer["result"]["run"] for answer in answers if not answer["error"]] == [3, 3, 3]


def test_a_request_without_a_key_is_refused_at_once(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs, retry=Retry(initial=30)))
    error = buy(wire, None)["error"]
    assert error["exc_type"] == "MissingKey"
    assert "shop.buy is idempotent by message_id" in error["value"]
    assert runs == []


def test_an_event_without_a_key_is_dropped_and_logged(
    start: Start, wire: Any, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs()
    start(shop(runs))
    wire.publish("orders.events", "placed", b'"tea"', **JSON)
    wait_until(lambda: "MissingKey" in caplog.text)
    assert [record.levelno for record in caplog.records if "MissingKey" in record.message] == [logging.ERROR]
    wait_until(lambda: wire.channel.declare_queue("evt-orders-placed--shop.bill", passive=True).messages == 0)
    assert runs == []


def test_an_event_without_a_key_is_kept_with_the_dead_letters(start: Start, wire: Any, broker: str, inbox: Any) -> None:
    runs = Runs()
    start(shop(runs, dead_letter=True))
    letters = inbox()
    wire.channel.consume("evt-orders-placed--shop.bill.dead", letters, no_ack=True)
    wire.publish("orders.events", "placed", b'"tea"', **JSON)
    assert letters.take().headers["rpcservice-error"].startswith("MissingKey: ")


def test_a_message_without_a_key_is_not_put_back_without_end(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()

    class Shop:
        name = "shop"

        @event_handler("orders", "placed", requeue_on_error=True, idempotent=True)
        def bill(self, what: Any) -> None:
            runs.run(what)

    start(Shop)
    wire.publish("orders.events", "placed", b'"tea"', **JSON)
    post(wire, "m-1", "bill")
    wait_until(lambda: len(runs) == 1)
    wait_until(lambda: wire.channel.declare_queue("evt-orders-placed--shop.bill", passive=True).messages == 0)


@pytest.mark.parametrize("identity", ["text", 7, UUID(int=7)])
def test_a_function_gives_the_key(start: Start, wire: Any, broker: str, identity: Any) -> None:
    runs = Runs()
    start(shop(runs, idempotent=lambda what: identity))
    assert buy(wire, None, "tea") == buy(wire, "m-2", "coffee")
    assert runs == ["tea"]


@pytest.mark.parametrize("given", [None, "", 1.5, ["a"], True])
def test_what_is_no_key_is_refused(start: Start, wire: Any, broker: str, given: Any) -> None:
    runs = Runs()
    start(shop(runs, idempotent=lambda what: given))
    error = buy(wire, "m-1")["error"]
    assert error["exc_type"] == "MissingKey"
    assert "a text, a whole number or a UUID" in error["value"]


def test_a_function_that_fails_gives_no_key(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs, idempotent=lambda what: what["id"]))
    error = buy(wire, "m-1")["error"]
    assert (error["exc_type"], error["value"]) == (
        "MissingKey",
        "shop.buy: idempotent= failed: TypeError: string indices must be integers, not 'str'",
    )


def test_a_result_that_is_too_large_to_keep_fails_and_is_not_tried_again(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs, retry=Retry(initial=30)), idempotency_max_result=10)
    error = buy(wire, "m-1")["error"]
    assert error["exc_type"] == "MessageTooLarge"
    assert len(runs) == 1
    assert "result" in runs.hooks


def test_a_late_duplicate_gives_up_with_its_caller(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runs.gate.clear()
    start(shop(runs), clock_skew=0)
    ask(wire, ["m-1"])
    wait_until(lambda: len(runs) == 1)
    error = buy(wire, "m-1", headers={"rpcservice-deadline": int(time() * 1000) + 200})["error"]
    assert error["exc_type"] == "DeadlineExceeded"
    runs.gate.set()


def test_a_duplicate_of_one_that_runs_elsewhere_waits_for_it(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runner = start(shop(runs))
    store: Any = runner.resources.get(Claims).store
    store._claims["shop:buy:m-1"] = ("elsewhere", 1e12)
    replies = ask(wire, ["m-1"])
    green().sleep(0.3)
    assert (len(replies), runs) == (0, [])
    store._outcomes["shop:buy:m-1"] = (b'json\n"from elsewhere"', 1e12)
    assert bodies(replies, 1) == [{"result": "from elsewhere", "error": None}]
    assert runs == []


def test_a_stop_gives_back_what_waits_for_another_process(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runner = start(shop(runs))
    store: Any = runner.resources.get(Claims).store
    store._claims["shop:bill:m-1"] = ("elsewhere", 1e12)
    post(wire, "m-1", "bill")
    container = runner.containers["shop"]
    wait_until(lambda: container.pool.running)
    runner.stop()
    assert wire.channel.declare_queue("evt-orders-placed--shop.bill", passive=True).messages == 1
    assert runs == []


def test_a_killed_worker_gives_its_claim_up(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runs.gate.clear()
    runner = start(shop(runs))
    store: Any = runner.resources.get(Claims).store
    post(wire, "m-1", "bill")
    wait_until(lambda: len(runs) == 1)
    assert list(store._claims) == ["shop:bill:m-1"]
    runner.kill()
    wait_until(lambda: store._claims == {})


def test_a_method_that_runs_for_too_long_gives_its_claim_up(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runs.gate.clear()
    start(shop(runs, time_limit=0.1))
    assert buy(wire, "m-1")["error"]["exc_type"] == "WorkerTimeout"
    runs.gate.set()
    assert buy(wire, "m-1")["result"]["run"] == 2


def test_long_work_keeps_its_claim(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    runs.gate.clear()
    runner = start(shop(runs), idempotency_lease=0.2)
    store: Any = runner.resources.get(Claims).store
    post(wire, "m-1", "bill")
    wait_until(lambda: len(runs) == 1)
    _, expires = store._claims["shop:bill:m-1"]
    wait_until(lambda: store._claims["shop:bill:m-1"][1] > expires + 0.3)
    runs.gate.set()


def test_a_caller_that_sends_again_gets_the_result_of_the_first(start: Start, broker: str) -> None:
    runs = Runs()
    runs.gate.clear()

    class Caller:
        name = "caller"
        shop = ServiceRpc("shop", timeout=0.3, retry=Retry(max_attempts=9, initial=0.05, idempotent=True))

        @dummy
        def buy(self) -> Any:
            return self.shop.buy("tea")

    runner = start(shop(runs), Caller)
    green().spawn(lambda: (wait_until(lambda: len(runs) == 1), green().sleep(0.5), runs.gate.set()))
    with entrypoint_hook(runner.containers["caller"], "buy") as hook:
        assert hook() == {"run": 1, "of": "tea"}
    assert len(runs) == 1


def test_what_is_called_by_hand_runs_each_time(start: Start) -> None:
    runs = Runs()
    runner = start(shop(runs))
    with entrypoint_hook(runner.containers["shop"], "buy") as hook:
        assert [hook("tea")["run"] for _ in range(2)] == [1, 2]


def test_other_methods_of_the_service_are_as_ever(start: Start, wire: Any, broker: str) -> None:
    runs = Runs()
    start(shop(runs))
    for _ in range(2):
        assert json.loads(wire.request("shop.done", message_id="m-1").body) == {"result": None, "error": None}
    assert runs.hooks.count("inject") == 2


def test_a_method_may_ask_for_its_message_again(start: Start, wire: Any, broker: str) -> None:
    attempts: list[Any] = []

    class Shop:
        name = "shop"

        @event_handler("orders", "placed", idempotent=True)
        def bill(self, what: Any) -> None:
            attempts.append(what)
            if len(attempts) == 1:
                raise Requeue("later")

    start(Shop)
    post(wire, "m-1", "bill")
    wait_until(lambda: len(attempts) == 2)


def test_without_a_store_the_service_does_not_start(
    container_factory: Callable[..., ServiceContainer], broker_uri: str
) -> None:
    container = container_factory(shop(Runs()), {"AMQP_URI": broker_uri, "idempotency_store": None})
    with pytest.raises(ConfigError, match="idempotency_store is not set; give sqlite:///path"):
        container.start()


@pytest.mark.parametrize("given", ["yes", 1, ("id",)])
def test_what_is_no_way_to_a_key_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="give True, by the id of the message, or a function"):
        rpc(idempotent=given)
    with pytest.raises(TypeError, match="give True, by the id of the message, or a function"):
        event_handler("orders", "placed", idempotent=given)


def test_a_broadcast_handler_cannot_be_idempotent() -> None:
    with pytest.raises(DeclarationError, match="runs on every instance"):
        event_handler("orders", "placed", handler_type=BROADCAST, reliable_delivery=False, idempotent=True)


def test_entrypoints_without_messages_cannot_be_idempotent() -> None:
    with pytest.raises(TypeError, match="idempotent"):
        timer(interval=1, idempotent=True)
