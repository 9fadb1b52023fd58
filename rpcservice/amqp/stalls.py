"""Quorum queues that give a service nothing although it could take it, since they have lost its acknowledgements.

RabbitMQ before 4.2 may forget what a channel has just sent to the leader of a quorum queue that dies. The queue waits
for those acknowledgements, and gives no more than the prefetch. https://github.com/rabbitmq/rabbitmq-server/pull/14589
"""

import logging
from collections.abc import Callable, Iterable

from rpcservice.amqp.consumer import Consumer, ServiceChannel
from rpcservice.amqp.longwork import unfinished
from rpcservice.concurrency import Task
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.resource import Resource
from rpcservice.errors import BrokerError

LOOK = 10.0
"""Seconds from one look to the next; what stands still for two of them is stuck."""

_log = logging.getLogger(__name__)


class _Watched:
    """One consumer, and how it stood at the last look."""

    def __init__(
        self,
        channel: ServiceChannel,
        consumer: Consumer,
        entrypoints: Callable[[], Iterable[Entrypoint]],
        received: Callable[[], int],
    ) -> None:
        self._channel = channel
        self._consumer = consumer
        self._entrypoints = entrypoints
        self._received = received
        self._suspicion: object = None

    def look(self) -> None:
        """Open the channel anew where nothing came since the last look, nothing is worked on, and messages wait."""
        channel = self._channel.current
        state = (channel, self._received())
        if channel is None or not self._consumer.is_started or self._is_at_work() or not self._has_messages():
            self._suspicion = None
        elif self._suspicion != state:
            self._suspicion = state
        else:
            self._suspicion = None
            _log.error(
                "queue %s has messages and gives none, although nothing is being worked on: it has lost "
                "acknowledgements; the channel is opened anew",
                self._consumer.queue,
            )
            self._channel.reopen()

    def _is_at_work(self) -> bool:
        return any(unfinished(entrypoint) for entrypoint in self._entrypoints())

    def _has_messages(self) -> bool:
        link = self._channel.connection.link
        if link is None:
            return False
        # A channel of its own, for a queue that is not there closes it.
        channel = link.channel()
        try:
            return channel.declare_queue(self._consumer.queue, passive=True).messages > 0
        finally:
            if channel.is_open:
                channel.close()


class Stalls(Resource):
    """Looks for stuck consumers of quorum queues, where ``queue_type`` says that there are any."""

    def setup(self) -> None:
        """Prepare; consumers are added before the start."""
        self._watched: list[_Watched] = []
        self._stopped = self.backend.event()
        self._task: Task | None = None

    def add(
        self,
        channel: ServiceChannel,
        consumer: Consumer,
        entrypoints: Callable[[], Iterable[Entrypoint]],
        received: Callable[[], int],
    ) -> None:
        """Take in a consumer.

        Args:
            channel: Its channel.
            consumer: The consumer.
            entrypoints: Gives those that its messages are for.
            received: Gives how many messages have come.
        """
        self._watched.append(_Watched(channel, consumer, entrypoints, received))

    def start(self) -> None:
        """Begin to look."""
        if self.config.queue_type == "quorum":
            self._task = self.backend.spawn(self._run)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK):
            for watched in self._watched:
                try:
                    watched.look()
                except BrokerError as exc:
                    _log.debug("a queue could not be looked at: %s", exc)

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    kill = stop
