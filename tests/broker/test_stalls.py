"""A quorum queue that has lost acknowledgements, and would wait for them for ever."""

from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import ServiceContainer, event_handler
from rpcservice.amqp import stalls
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.consumer import ServiceChannel
from rpcservice.amqp.framechannel import FrameChannel
from rpcservice.concurrency import Event, green

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses", "quick_looks")]

LOOK = 0.2
STUCK = "it has lost acknowledgements; the channel is opened anew"


class Patient:
    name = "patient"
    seen: list[int] = []
    gate: Event

    @event_handler("source", "happened")
    def handle(self, number: int) -> None:
        self.seen.append(number)
        self.gate.wait(30)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalls, "LOOK", LOOK)


@pytest.fixture
def config(rabbitmq_uri: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_uri, "queue_type": getattr(request, "param", "quorum"), "max_workers": 2}


@pytest.fixture
def patient(container_factory: Callable[..., ServiceContainer], gate: Event) -> ServiceContainer:
    Patient.seen, Patient.gate = [], gate
    container = container_factory(Patient)
    container.start()
    return container


def channel_of(container: ServiceContainer) -> Any:
    key = (connection_key(container.config), container.service_name)
    return container.resources.get(ServiceChannel, key).current


def forget_acks(monkeypatch: pytest.MonkeyPatch, container: ServiceContainer) -> None:
    """Have the acknowledgements on the channel of now go nowhere."""
    stuck, ack = channel_of(container), FrameChannel.ack

    def forgetful(self: FrameChannel, *args: Any) -> None:
        if self is not stuck:
            ack(self, *args)

    monkeypatch.setattr(FrameChannel, "ack", forgetful)


def test_the_channel_is_opened_anew_when_messages_wait_and_nobody_works(
    patient: ServiceContainer, dispatch: Any, gate: Event, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    forget_acks(monkeypatch, patient)
    gate.set()
    for number in range(6):
        dispatch("source", "happened", number)
    wait_until(lambda: set(Patient.seen) == set(range(6)), "the last of them")
    assert STUCK in caplog.text
    # What was acknowledged in vain came again.
    assert len(Patient.seen) == 8


def test_work_that_takes_long_is_left_alone(patient: ServiceContainer, dispatch: Any, gate: Event, caplog: Any) -> None:
    channel = channel_of(patient)
    for number in range(6):
        dispatch("source", "happened", number)
    wait_until(lambda: len(Patient.seen) == 2, "two at work")
    green().sleep(5 * LOOK)
    gate.set()
    wait_until(lambda: len(Patient.seen) == 6, "the others")
    assert channel_of(patient) is channel
    assert STUCK not in caplog.text


def test_a_queue_that_is_not_there_is_no_stall(patient: ServiceContainer, rabbitmq: Any, rabbitmq_uri: str) -> None:
    """The look at it closes a channel, and not that of the service."""
    channel = channel_of(patient)
    watched = patient.resources.get(stalls.Stalls)._watched[0]
    watched._consumer._queue = "nowhere"
    green().sleep(3 * LOOK)
    assert channel_of(patient) is channel
    assert rabbitmq.consumers(rabbitmq_uri)


@pytest.mark.parametrize("config", ["classic"], indirect=True)
def test_classic_queues_are_not_looked_at(patient: ServiceContainer) -> None:
    assert patient.resources.get(stalls.Stalls)._task is None
