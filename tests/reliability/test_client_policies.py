"""Retries, breaker, bulkhead and fallback of clients in services, on the embedded broker and on RabbitMQ."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from payments import Payments
from waiting import wait_until

from rpcservice import (
    Breaker,
    CircuitOpen,
    ClusterRpc,
    DeadlineExceeded,
    DeclarationError,
    DependencyProvider,
    RemoteError,
    Retry,
    RpcTimeout,
    ServiceContainer,
    ServiceRpc,
    ServiceRpcClient,
    TooManyCalls,
    UnknownService,
    WorkerContext,
    rpc,
)
from rpcservice.concurrency import green
from rpcservice.testing import dummy, entrypoint_hook, get_extension

Make = Callable[..., ServiceContainer]

QUICKLY = Retry(max_attempts=3, initial=0.01, idempotent=True)
SOON = Breaker(min_calls=2, cooldown=0.2)


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def broker(request: pytest.FixtureRequest) -> Any:
    """Run a test on the embedded broker and on RabbitMQ; the marker of the second one chooses the URI."""
    return request.param


pytestmark = pytest.mark.usefixtures("broker")


@pytest.fixture
def client(container_factory: Make) -> Callable[..., Any]:
    """Make what a worker is given by ``ServiceRpc("payments", ...)``, or by another provider."""

    def make(provider: DependencyProvider | None = None, **options: Any) -> Any:
        class Shop:
            name = "shop"
            payments = provider or ServiceRpc("payments", **options)

            @dummy
            def hold(self) -> None:
                """Be there: a worker's context names its entrypoint."""

        container = container_factory(Shop)
        container.start()
        bound = get_extension(container, DependencyProvider)
        made = bound.get_dependency(WorkerContext(container, container.entrypoints[0]))
        made_from[id(made)] = bound
        return made

    made_from: dict[int, Any] = {}
    make.provider_of = lambda made: made_from[id(made)]  # type: ignore[attr-defined]
    return make


def outcome(function: Callable[[], Any]) -> Any:
    """Give what a function gives, or the error that it raises."""
    try:
        return function()
    except Exception as exc:
        return exc


def at_once(count: int, function: Callable[[int], Any]) -> list[Any]:
    """Call a function in so many greenlets; gives the outcomes, errors too."""
    outcomes: list[Any] = []
    tasks = [
        green().spawn(lambda number=number: outcomes.append(outcome(lambda: function(number))))
        for number in range(count)
    ]
    assert all(task.wait(20) for task in tasks)
    return outcomes


@pytest.mark.parametrize("wait", [lambda method: method, lambda method: lambda *a: method.call_async(*a).result()])
def test_a_call_without_an_answer_is_sent_again_with_the_same_id(payments: Any, client: Any, wait: Any) -> None:
    shop = client(timeout=0.3, retry=QUICKLY)
    assert wait(shop.charge_at_last)(5, 2) == [5, 3]
    assert len({ids[:2] for ids in payments.seen}) == 1
    deadlines = [deadline for *_, deadline in payments.seen]
    assert deadlines == sorted(set(deadlines))


def test_a_call_that_may_have_run_is_not_sent_again_unless_it_is_idempotent(payments: Any, client: Any) -> None:
    shop = client(timeout=0.2, retry=Retry(initial=0.01))
    with pytest.raises(RpcTimeout):
        shop.hold(1)
    assert len(payments.seen) == 1


def test_after_the_last_attempt_its_error_is_raised_and_says_how_many_there_were(payments: Any, client: Any) -> None:
    shop = client(timeout=0.1, retry=QUICKLY)
    with pytest.raises(RpcTimeout, match=r"payments.hold did not answer within 0.1 s") as caught:
        shop.hold(1)
    assert caught.value.__notes__ == ["payments was tried 3 times"]
    assert len(payments.seen) == 3


@pytest.mark.parametrize("start", [lambda method: method(7), lambda method: method.call_async(7).result()])
def test_an_error_that_the_method_raises_is_an_answer(payments: Any, client: Any, start: Any) -> None:
    """It is not tried again, does not open the breaker, and no fallback takes its place."""
    shop = client(retry=QUICKLY, breaker=SOON, fallback=lambda error, amount: "fallback")
    for _ in range(3):
        with pytest.raises(RemoteError, match="7 is too much"):
            start(shop.refuse)
    assert len(payments.seen) == 3


def test_a_service_that_comes_up_meanwhile_is_called(container_factory: Make, client: Any) -> None:
    """A request that came back was not carried out, so that it may always be sent again."""
    shop = client(retry=Retry(max_attempts=10, initial=0.1, factor=1))
    call = shop.charge.call_async(3)
    Payments.seen = []
    container_factory(Payments).start()
    assert call.result(10) == 3


def test_a_service_that_does_not_come_up_is_unknown_in_the_end(client: Any) -> None:
    shop = client(retry=QUICKLY)
    with pytest.raises(UnknownService) as caught:
        shop.charge(3)
    assert caught.value.__notes__ == ["payments was tried 3 times"]


def test_a_late_reply_to_an_earlier_attempt_ends_the_call(payments: Any, client: Any) -> None:
    """The second attempt is still under way then, and its own reply is dropped."""
    shop = client(timeout=0.5, retry=Retry(max_attempts=2, initial=0.01, idempotent=True))
    call = shop.hold_all_but_the_first.with_options(timeout=1).call_async()
    wait_until(lambda: len(payments.seen) == 2, "the second attempt")
    payments.first_gate.set()
    assert call.result(10) == 1
    payments.gate.set()
    assert shop.charge(3) == 3


@pytest.mark.parametrize("pause", [0.01, 1.0], ids=["under way", "pause"])
def test_an_earlier_attempt_that_is_refused_as_too_late_does_not_end_the_call(
    container_factory: Make, client: Any, pause: float
) -> None:
    """The one worker is busy until the first attempt has been given up, and then it refuses it, with the same ids."""
    Payments.seen, Payments.gate = [], green().event()
    container_factory(Payments, config={"max_workers": 1, "clock_skew": 0}).start()
    shop = client(timeout=20)
    held = shop.hold.call_async(1)
    wait_until(lambda: Payments.seen, "the request that keeps the worker busy")
    retry = Retry(max_attempts=2, initial=pause, jitter=0, idempotent=True)
    call = shop.charge.with_options(timeout=0.5, retry=retry).call_async(2)
    pending = client.provider_of(shop).replies._pending
    message_id = call._request._message.properties["message_id"]
    wait_until(lambda: pending.get(message_id) not in (None, call._first), "the end of the first attempt")
    later = shop.charge.call_async(3)
    Payments.gate.set()
    assert later.result(10) == 3
    assert call.result(10) == 2
    assert held.result(10) == 1


def test_a_late_reply_during_the_pause_ends_the_call_at_once(payments: Any, client: Any) -> None:
    shop = client(timeout=0.2, retry=Retry(max_attempts=2, initial=15, jitter=0, idempotent=True))
    begin = monotonic()
    call = shop.hold.call_async(1)
    # The reply comes when the first attempt has been given up and long before the second one is due.
    replies = client.provider_of(shop).replies
    wait_until(lambda: replies._pending and all(one.timeout == 15 for one in replies._pending.values()), "the pause")
    payments.gate.set()
    assert call.result(10) == 1
    assert monotonic() - begin < 10
    assert len(payments.seen) == 1


def test_no_attempt_goes_past_the_callers_own_deadline(payments: Any, container_factory: Make, client: Any) -> None:
    """The gateway waits for 0.5 s; what it calls would try for much longer."""

    class Shop:
        name = "shop"
        payments = ServiceRpc("payments", timeout=0.2, retry=Retry(max_attempts=9, initial=0.1, idempotent=True))
        ended: list[Any] = []

        @rpc
        def buy(self) -> None:
            begin = monotonic()
            self.ended.append((outcome(lambda: self.payments.hold(1)), monotonic() - begin))

    container_factory(Shop, config={"clock_skew": 0}).start()
    gateway = client(ServiceRpc("shop", timeout=0.5))
    outcome(gateway.buy)
    wait_until(lambda: Shop.ended, "the end of the attempts")
    ((error, seconds),) = Shop.ended
    assert isinstance(error, RpcTimeout | DeadlineExceeded)
    assert seconds < 2
    assert len(payments.seen) <= 2


def test_the_breaker_opens_for_all_workers_and_closes_when_the_service_answers(payments: Any, client: Any) -> None:
    shop = client(timeout=0.2, breaker=Breaker(min_calls=20, cooldown=0.3))
    assert {type(error) for error in at_once(20, shop.hold)} == {RpcTimeout}
    begin = monotonic()
    assert {type(error) for error in at_once(50, shop.charge)} == {CircuitOpen}
    assert monotonic() - begin < 0.3 or len(payments.seen) == 20
    (circuit,) = client.provider_of(shop).circuits
    assert (circuit.service_name, circuit.state) == ("payments", "open")
    wait_until(lambda: outcome(lambda: shop.charge(1)) == 1, "the end of the cooldown")
    assert circuit.state == "closed"


def test_services_have_a_circuit_each(payments: Any, client: Any) -> None:
    cluster = client(ClusterRpc(breaker=SOON))
    for _ in range(2):
        with pytest.raises(UnknownService):
            cluster.nobody.call()
    with pytest.raises(CircuitOpen):
        cluster.nobody.call()
    assert cluster.payments.charge(1) == 1


def test_calls_of_one_method_with_other_options_share_the_circuit(client: Any) -> None:
    shop = client(breaker=Breaker(min_calls=2, cooldown=60))
    for _ in range(2):
        with pytest.raises(UnknownService):
            shop.charge.with_options(timeout=5)(1)
    with pytest.raises(CircuitOpen):
        shop.hold(1)
    with pytest.raises(UnknownService):
        shop.hold.with_options(breaker=None)(1)


def test_each_attempt_counts_for_the_breaker_which_ends_them(payments: Any, client: Any) -> None:
    """The error is that of the attempt that may have been carried out."""
    shop = client(timeout=0.1, retry=Retry(max_attempts=9, initial=0.01, idempotent=True), breaker=SOON)
    with pytest.raises(RpcTimeout) as caught:
        shop.hold(1)
    assert caught.value.maybe_executed is True
    assert "payments has not answered of late" in caught.value.__notes__[0]
    assert len(payments.seen) == 2


def test_more_calls_than_may_be_in_flight_are_refused_at_once(payments: Any, client: Any) -> None:
    shop = client(max_in_flight=50)
    held = [shop.hold.call_async(number) for number in range(50)]
    outcomes = at_once(10, shop.charge)
    assert {type(error) for error in outcomes} == {TooManyCalls}
    assert "50 calls of payments are under way" in str(outcomes[0])
    with pytest.raises(TooManyCalls):
        shop.charge.call_async(1)
    payments.gate.set()
    assert [call.result(10) for call in held] == list(range(50))
    assert shop.charge(1) == 1


@pytest.mark.parametrize("end", ["reply", "error", "timeout", "unsendable"])
def test_a_place_is_free_again_however_a_call_ends(payments: Any, client: Any, end: str) -> None:
    shop = client(max_in_flight=1, timeout=0.3)
    calls = {
        "reply": lambda: shop.charge(1),
        "error": lambda: shop.refuse(1),
        "timeout": lambda: shop.hold(1),
        "unsendable": lambda: shop.charge(object()),
    }
    for _ in range(3):
        assert not isinstance(outcome(calls[end]), TooManyCalls)
    assert shop.charge(2) == 2


def test_a_place_is_free_again_when_nobody_asks_for_the_result(payments: Any, client: Any) -> None:
    shop = client(max_in_flight=1, timeout=0.1)
    shop.hold.call_async(1)
    wait_until(lambda: not isinstance(outcome(lambda: shop.charge(1)), TooManyCalls), "the end of the call")


def test_a_worker_that_is_ended_gives_its_place_back(payments: Any, client: Any) -> None:
    shop = client(max_in_flight=1)
    task = green().spawn(shop.hold, 1)
    wait_until(lambda: payments.seen, "the request")
    task.kill()
    assert shop.charge(2) == 2


def test_nothing_is_held_during_a_pause(payments: Any, client: Any) -> None:
    shop = client(max_in_flight=1, timeout=0.1, retry=Retry(max_attempts=2, initial=0.5, jitter=0, idempotent=True))
    call = shop.charge_at_last.call_async(1, 1)
    wait_until(lambda: outcome(lambda: shop.charge.with_options(timeout=5)(2)) == 2, "the pause")
    assert call.result(10)[0] == 1


@pytest.mark.parametrize("start", [lambda method: method(7), lambda method: method.call_async(7).result()])
def test_a_fallback_takes_the_place_of_a_result(client: Any, start: Any) -> None:
    """It is called with the error and the arguments of the call."""
    shop = client(fallback=lambda error, amount: [type(error).__name__, amount])
    assert start(shop.charge) == ["UnknownService", 7]


def test_a_fallback_is_used_after_the_last_attempt_and_when_a_call_is_refused(payments: Any, client: Any) -> None:
    shop = client(
        timeout=0.1, retry=QUICKLY, breaker=Breaker(min_calls=3), fallback=lambda error, amount: type(error).__name__
    )
    assert shop.hold(1) == "RpcTimeout"
    assert len(payments.seen) == 3
    assert shop.hold(1) == "CircuitOpen"
    assert shop.hold.call_async(1).result() == "CircuitOpen"
    assert len(payments.seen) == 3


def test_what_a_fallback_raises_is_raised(client: Any) -> None:
    def give_up(error: Exception, amount: int) -> None:
        raise LookupError("no price") from error

    shop = client()
    method = shop.charge.with_options(fallback=give_up)
    for start in (method, lambda amount: method.call_async(amount).result()):
        with pytest.raises(LookupError, match="no price") as caught:
            start(1)
        assert isinstance(caught.value.__cause__, UnknownService)


def test_a_mistake_of_the_caller_is_no_case_for_a_fallback(payments: Any, client: Any) -> None:
    shop = client(fallback=lambda error, amount: "fallback", retry=QUICKLY)
    with pytest.raises(Exception, match="Unserializable"):
        shop.charge(object())


def test_a_fallback_may_be_a_method_of_the_service(container_factory: Make) -> None:
    class Shop:
        name = "shop"
        payments = ServiceRpc("payments", fallback="take_later")
        debts: list[Any] = []

        @rpc
        def buy(self, amount: int) -> Any:
            return self.payments.charge(amount, currency="EUR")

        def take_later(self, error: Exception, amount: int, currency: str) -> Any:
            self.debts.append((amount, currency))
            return "later"

    container = container_factory(Shop)
    container.start()
    with entrypoint_hook(container, "buy") as buy:
        assert buy(5) == "later"
    assert Shop.debts == [(5, "EUR")]


def test_a_fallback_method_that_is_missing_is_told_at_the_start(container_factory: Make) -> None:
    class Shop:
        name = "shop"
        payments = ServiceRpc("payments", fallback="take_latr")

        @rpc
        def buy(self) -> None:
            """Do nothing."""

    with pytest.raises(DeclarationError, match="fallback='take_latr': Shop has no such method"):
        container_factory(Shop).start()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"retry": 3}, TypeError, "retry=3: give Retry"),
        ({"breaker": True}, TypeError, r"breaker=True: give Breaker\(...\)"),
        ({"max_in_flight": 0}, ValueError, "max_in_flight=0: give a whole number from 1 on"),
        ({"fallback": 7}, TypeError, "fallback=7: give a function, or the name of a method"),
    ],
)
def test_options_are_checked_where_they_are_written(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ServiceRpc("payments", **options)


def test_callbacks_are_called_once_with_the_outcome_of_all_attempts(payments: Any, client: Any) -> None:
    shop = client(timeout=0.3, retry=QUICKLY)
    told: list[Any] = []
    call = shop.charge_at_last.call_async(5, 1)
    call.add_done_callback(lambda ended: told.append(ended.result()))
    assert call.is_done() is False
    assert call.result(10) == [5, 2]
    assert call.is_done() is True
    call.add_done_callback(lambda ended: told.append("late"))
    assert told == [[5, 2], "late"]


def test_a_wait_that_is_too_short_leaves_the_call_under_way(payments: Any, client: Any) -> None:
    shop = client(timeout=0.3, retry=QUICKLY)
    call = shop.charge_at_last.call_async(5, 1)
    with pytest.raises(RpcTimeout):
        call.result(0.01)
    assert call.result(10) == [5, 2]


def test_many_calls_in_flight_are_all_tried_again_at_the_same_time(payments: Any, client: Any) -> None:
    """Whoever waits for them one after another does not wait for their pauses one after another."""
    shop = client(timeout=0.5, retry=Retry(max_attempts=2, initial=0.5, jitter=0, idempotent=True))
    begin = monotonic()
    calls = [shop.charge_at_last.call_async(number, 20) for number in range(20)]
    assert sorted(call.result(20)[0] for call in calls) == list(range(20))
    assert monotonic() - begin < 10


def test_a_worker_that_is_ended_during_a_pause_leaves_nothing_behind(
    payments: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcservice.amqp.replies.SWEEP_INTERVAL", 0.05)
    shop = client(timeout=0.1, retry=Retry(max_attempts=2, initial=0.5, jitter=0, idempotent=True))
    pending = client.provider_of(shop).replies._pending
    task = green().spawn(shop.hold, 1)
    wait_until(lambda: any(one.timeout == 0.5 for one in pending.values()), "the pause")
    task.kill()
    wait_until(lambda: not pending, "the end of the late call")


def test_a_call_says_of_what_it_is(payments: Any, client: Any) -> None:
    call = client(timeout=3, retry=QUICKLY).charge.call_async(1)
    assert (call.service_name, call.method_name, call.timeout) == ("payments", "charge", 3)
    assert call.result() == 1
    assert call.was_answered is True


@pytest.mark.parametrize("start", [lambda method: method(5, 1), lambda method: method.call_async(5, 1).result()])
def test_a_client_of_a_program_on_greenlets_has_policies_too(
    payments: Any, config: dict[str, Any], start: Callable[[Any], Any]
) -> None:
    client = ServiceRpcClient("payments", config, timeout=0.3, retry=QUICKLY, breaker=SOON, max_in_flight=5)
    assert start(client.charge_at_last) == [5, 2]
    client.stop()


def test_a_client_without_such_options_has_no_policy(client: Any) -> None:
    """It pays for one look at an attribute."""
    shop = client()
    assert client.provider_of(shop).options.policy is None
    assert shop.charge.with_options(timeout=1)._options.policy is None
