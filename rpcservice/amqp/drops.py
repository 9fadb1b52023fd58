"""Drops: messages that end here, neither handled nor answered nor kept, are counted and logged."""

import logging
from collections import Counter

from rpcservice.amqp.link import Delivery
from rpcservice.core.resource import Resource

_log = logging.getLogger(__name__)


class Drops(Resource):
    """Counts the messages that a process has dropped.

    Attributes:
        counts: How many, by service and method, or by service alone where no method could be told.
    """

    def setup(self) -> None:
        """Begin to count."""
        self.counts: Counter[str] = Counter()

    def note(self, delivery: Delivery, owner: str, error: BaseException) -> None:
        """Count a message and log it."""
        self.counts[owner] += 1
        _log.error(
            "message %s for %s is dropped (message_id %s; no. %d that is dropped there): %s",
            delivery.routing_key,
            owner,
            delivery.properties.get("message_id"),
            self.counts[owner],
            error,
        )
