"""What can go wrong between this process and the broker."""

from rpcservice.errors.base import RpcServiceError

_KEEP_ARGUMENTS = (
    "; a queue keeps what it was made with: go back to that (is queue_type, or delivery_limit, another one than "
    "before?), or delete the queue when it is empty"
)


class BrokerError(RpcServiceError):
    """Base of what can go wrong between this process and the broker."""


class BrokerUnavailable(BrokerError):
    """Raised when the broker could not be reached within ``startup_timeout`` seconds."""


class ConnectionLost(BrokerError, ConnectionError):
    """Raised when the connection to the broker broke, or did not come back within the time-out.

    Attributes:
        maybe_executed: True when the request had been handed to the network, so that it may have run.
    """

    def __init__(self, message: str = "the connection to the broker broke", *, maybe_executed: bool = False) -> None:
        super().__init__(message)
        self.maybe_executed = maybe_executed


class ChannelClosed(BrokerError):
    """Raised when the broker closed a channel because of what was asked on it (AMQP 0-9-1 section 1.5.2.5).

    Attributes:
        code: The AMQP reply code: 403, 404, 405, 406, 541 ...
        text: The broker's own explanation.
    """

    def __init__(self, code: int, text: str) -> None:
        is_other_queue = code == 406 and "inequivalent arg" in text and " for queue " in text
        super().__init__(f"the broker closed the channel: {code} {text}{_KEEP_ARGUMENTS if is_other_queue else ''}")
        self.code = code
        self.text = text


class PublishError(BrokerError):
    """Base of the ways in which a message fails to be published."""


class PublishTimeout(PublishError, TimeoutError):
    """Raised when the broker did not confirm a message in time; whether it has the message is unknown."""


class PublishRejected(PublishError):
    """Raised when the broker refused a message (``basic.nack``), for example because a queue is full.

    Attributes:
        maybe_executed: True, for one of several queues, or of several nodes, may have taken it.
    """

    maybe_executed = True


class MessageTooLarge(PublishError):
    """Raised before anything is sent when a part of a message is larger than it may be.

    Attributes:
        part: What is too large: "body", "headers" or the name of a property.
        size: Its size in bytes.
        limit: The most it may have, in bytes.
        mend: What to do about it.
    """

    def __init__(self, part: str, size: int | str, limit: int | str, mend: str = "send less") -> None:
        # Its arguments travel in an error reply, as texts, and make an equal one for the caller.
        super().__init__(part, size, limit, mend)
        self.part = part
        self.size = int(size)
        self.limit = int(limit)
        self.mend = mend

    def __str__(self) -> str:
        return f"the message's {self.part} has {self.size} bytes, at most {self.limit} are allowed; {self.mend}"


class NameTooLong(MessageTooLarge):
    """Raised before the broker is asked when a queue, an exchange or a routing key has a name that is too long."""

    def __str__(self) -> str:
        return f"the {self.part} has {self.size} bytes, at most {self.limit} are allowed; {self.mend}"


class UndeliverableMessage(PublishError):
    """Raised when a mandatory message reached no queue.

    Attributes:
        exchange: The exchange it was published to.
        routing_key: Its routing key, for which that exchange has no binding.
    """

    def __init__(self, exchange: str = "", routing_key: str = "") -> None:
        super().__init__(
            f"no queue takes messages with routing key {routing_key!r} from exchange {exchange!r}; bind one first"
        )
        self.exchange = exchange
        self.routing_key = routing_key
