"""Messages that are worked on for long: a warning before the broker takes them back, and no second run when it does.

RabbitMQ closes a channel on which a message was not acknowledged for half an hour, and delivers again what was on it;
so does any broker when a connection breaks. https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
"""

import logging
from collections.abc import Iterable
from time import monotonic

from rpcservice.amqp.deadletters import origin
from rpcservice.amqp.link import Delivery
from rpcservice.concurrency import Task
from rpcservice.core.context import WorkerContext
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.resource import Resource

LOOKS = 10
"""So many times within ``consumer_timeout`` it is looked how long messages have been held."""
WARNING_SHARE = 0.8

_log = logging.getLogger(__name__)


def take_over(entrypoint: Entrypoint, delivery: Delivery) -> bool:
    """Give a message that has come again to the worker that still has it; False where nobody has it."""
    ctx = find_holder(entrypoint, delivery)
    if ctx is None:
        return False
    give_to(ctx, delivery)
    return True


def find_holder(entrypoint: Entrypoint, delivery: Delivery) -> WorkerContext | None:
    """Give the context of the worker that still has a message, by a channel that is gone; None where nobody has it.

    It is known by its message id, else by its correlation id; one without either is none. Ids are what senders make
    them, so that all the rest has to be the same too. Who has settled it when its channel was gone already, and only
    ends its other work, can do nothing more for it.
    """
    properties = delivery.properties
    if not (properties.get("message_id") or properties.get("correlation_id")):
        return None
    identity = _identity(delivery)
    contexts: Iterable[WorkerContext] = entrypoint.bound_to.unfinished(entrypoint)
    for ctx in contexts:
        held = ctx.message
        if held is None or ctx.settled or held.channel.is_open:
            continue
        if _identity(held) == identity:
            return ctx
    return None


def give_to(ctx: WorkerContext, delivery: Delivery) -> None:
    """Have a worker settle its message by another delivery of it."""
    _log.warning("%s: its message has come again and is not run a second time here", ctx.call_id)
    ctx.message = delivery


def unfinished(entrypoint: Entrypoint) -> list[WorkerContext]:
    """Give the contexts of an entrypoint for whose messages the broker waits."""
    contexts = entrypoint.bound_to.unfinished(entrypoint)
    return [ctx for ctx in contexts if not getattr(ctx.message, "is_local", False)]


def _identity(delivery: Delivery) -> tuple[object, ...]:
    ids = [delivery.properties.get(name) for name in ("message_id", "correlation_id", "reply_to")]
    return (*ids, origin(delivery), delivery.body)


class LongWork(Resource):
    """Warns of messages that are held for so long that the broker is about to take them back."""

    def setup(self) -> None:
        """Prepare; entrypoints add themselves."""
        self._entrypoints: list[Entrypoint] = []
        self._stopped = self.backend.event()
        self._task: Task | None = None
        # Since when each is known to be held; nothing is noted for a call, which most of them end before a look.
        self._since: dict[WorkerContext, float] = {}
        self._warned: set[WorkerContext] = set()

    def add(self, entrypoint: Entrypoint) -> None:
        """Take in an entrypoint."""
        self._entrypoints.append(entrypoint)

    def start(self) -> None:
        """Begin to look."""
        seconds = self.config.consumer_timeout
        if seconds is not None:
            self._task = self.backend.spawn(self._run, seconds)

    def _run(self, seconds: float) -> None:
        while not self._stopped.wait(seconds / LOOKS):
            self._look(seconds)

    def _look(self, seconds: float) -> None:
        now = monotonic()
        held = [ctx for entrypoint in self._entrypoints for ctx in unfinished(entrypoint)]
        self._since = {ctx: self._since.get(ctx, now) for ctx in held}
        self._warned.intersection_update(held)
        for ctx, since in self._since.items():
            # It may have been there for as long as nobody has looked.
            age = now - since + seconds / LOOKS
            if age >= WARNING_SHARE * seconds and ctx not in self._warned:
                self._warned.add(ctx)
                _log.warning(
                    "%s has not finished for about %.3g s; after %g s (consumer_timeout) RabbitMQ takes its message "
                    "back and closes the channel: do such work in smaller parts, or raise consumer_timeout there "
                    "and here",
                    ctx.call_id,
                    age,
                    seconds,
                )

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    kill = stop
