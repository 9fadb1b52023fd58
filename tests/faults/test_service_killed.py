"""Scenario 4: an instance is killed while it works on 50 messages and holds more; the other one finishes them all."""

from collections.abc import Callable
from typing import Any

import pytest
from command_process import Running
from effects import Effects
from ledger import Ledger
from waiting import wait_until

from rpcservice.standalone import event_dispatcher
from rpcservice.testing import RabbitMQNode

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(300)]

WORKERS = 50
EACH = 100
"""Events, and calls: each instance gets half of them, of which the one that is killed has begun as many as it can."""


def test_what_a_killed_instance_worked_on_has_its_effect_once(
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
    run_service: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    effects: Effects,
) -> None:
    options = {"file": "effect_services.py", "max_workers": WORKERS, **effects.settings}
    doomed, _ = (run_service(rabbitmq_uri, pause=0.3, **options) for _ in range(2))
    numbers = [str(number) for number in range(10 * EACH)]
    with event_dispatcher({"AMQP_URI": rabbitmq_uri}) as dispatch:
        for number in numbers:
            dispatch("source", "happened", number)
    # In the midst of commits and acknowledgements, of which each instance makes some hundred a second.
    wait_until(lambda: len(effects.count()) > 3 * WORKERS, "the middle", timeout=60)
    doomed.process.kill()
    doomed.wait()
    finished = len(effects.count())

    wait_until(lambda: effects.count().keys() == set(numbers), "the last effect", timeout=120)
    wait_until(lambda: all(q["messages"] == 0 for q in rabbitmq.queues(rabbitmq_uri).values()), "the last ack")
    begun = ledger.read("effect-begun")
    in_work = begun.total() - len(numbers)
    report(events=len(numbers), finished_before=finished, begun_twice=in_work, effects=effects.count().total())
    assert set(effects.count().values()) == {1}
    assert 0 < finished < len(numbers) and 0 < in_work <= WORKERS


def test_what_a_killed_instance_worked_on_is_finished_by_the_other(
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
    run_service: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    rpc_to: Callable[[str], Any],
) -> None:
    doomed = run_service(rabbitmq_uri, pause=600, max_workers=WORKERS)
    run_service(rabbitmq_uri, max_workers=WORKERS)
    numbers = [str(number) for number in range(EACH)]
    call = rpc_to(rabbitmq_uri).counted.call.with_options(timeout=120)
    replies = []
    with event_dispatcher({"AMQP_URI": rabbitmq_uri}) as dispatch:
        for number in numbers:
            dispatch("source", "happened", number)
            replies.append(call.call_async(number))

    def begun() -> int:
        return ledger.read("begun").total() + ledger.read("called").total()

    def finished() -> int:
        return ledger.read("handled").total() + ledger.read("returned").total()

    # The survivor has finished its half, and the doomed one can begin no more.
    wait_until(lambda: finished() == EACH and begun() == EACH + WORKERS, "the middle", timeout=60)
    in_work = [
        len(ledger.read(begin) - ledger.read(end)) for begin, end in (("begun", "handled"), ("called", "returned"))
    ]
    assert sum(in_work) == WORKERS and all(in_work)
    doomed.process.kill()

    assert [reply.result() for reply in replies] == numbers
    wait_until(lambda: len(ledger.read("handled")) == EACH, "the last event", timeout=60)
    wait_until(lambda: all(q["messages"] == 0 for q in rabbitmq.queues(rabbitmq_uri).values()), "the last ack")
    # Nothing is lost, nothing finished twice; only what the killed one had begun was begun again.
    assert ledger.read("handled") == ledger.read("returned") == dict.fromkeys(numbers, 1)
    assert begun() == 2 * EACH + WORKERS
    report(events=EACH, calls=EACH, in_work=in_work, begun_twice=begun() - 2 * EACH, finished=finished())
