"""Every exception that rpcservice raises; imports nothing, may be used from anywhere.

::

    RpcServiceError
    ├── ConfigError                     a wrong, missing or contradictory setting
    ├── DeclarationError                a service class that cannot be hosted as it is written
    ├── CommandError                    a mistake on the command line
    ├── ExtensionNotFound               (AttributeError) no dependency or entrypoint of that name
    ├── ContainerBeingKilled            the container no longer takes work
    ├── WorkerPoolFull                  no worker came free within the time allowed
    ├── Requeue                         a method asks for its message again, later
    ├── Reject                          a method wants its message never again
    ├── WorkerTimeout                   a method ran for longer than its time_limit
    ├── StoreUnavailable                the store of idempotent calls cannot be asked
    ├── OffloadError                    offloaded work could not be done, or its outcome not be told
    │   └── OffloadFull                 every thread or process of an Offload is busy, and enough calls wait
    ├── MissingExtra                    an optional package is not installed
    ├── BrokerError
    │   ├── BrokerUnavailable           no connection within startup_timeout
    │   ├── ConnectionLost              the connection broke, or did not come back in time
    │   ├── ChannelClosed               the broker closed a channel: 404, 403, 405, 406 ...
    │   └── PublishError
    │       ├── PublishTimeout          no confirm in time; the outcome is unknown
    │       ├── PublishRejected         the broker refused the message
    │       ├── MessageTooLarge         not sent: a part is over its limit
    │       │   └── NameTooLong         not asked for: a name of over 255 bytes
    │       └── UndeliverableMessage    a mandatory message that no queue took
    ├── UnserializableValueError        a value that the serializer cannot encode
    ├── WebSocketRefused                on_connect turns a websocket away, with a close code
    └── RpcError
        ├── UnknownService              nothing listens for that service
        ├── RpcTimeout                  no reply within the time-out
        ├── CircuitOpen                 not sent: the service has not answered of late
        ├── TooManyCalls                not sent: max_in_flight calls are under way
        ├── DeadlineExceeded            a request that came too late, and was not carried out
        ├── RemoteError                 the remote method raised
        └── BadRequest
            ├── MalformedRequest        a body that is no request
            ├── MissingKey              a message for an idempotent method that has no key
            ├── MethodNotFound          the service has no such method
            ├── ConnectionNotFound      no websocket has this id, or not any more
            └── IncorrectSignature      arguments that do not fit the method
"""

LONGEST_PAUSE = 2_000_000.0
"""Seconds, 23 days: brokers count the time that a queue may live in 32 bits of milliseconds."""


class RpcServiceError(Exception):
    """Base of every exception of this package."""


class ConfigError(RpcServiceError):
    """Raised when a setting is wrong; the message names the source, the key and what is allowed."""


class DeclarationError(RpcServiceError):
    """Raised when a service class cannot be hosted as it is written."""


class CommandError(RpcServiceError):
    """Raised for a mistake on the command line, such as a module without a service."""


class ExtensionNotFound(RpcServiceError, AttributeError):
    """Raised when a service has no dependency or entrypoint of the name asked for."""


class ContainerBeingKilled(RpcServiceError):
    """Raised when work is handed to a container that is being killed, or when a kill ends a worker."""


class WorkerPoolFull(RpcServiceError):
    """Raised when every worker of a service stayed busy for as long as the caller would wait."""


class Requeue(RpcServiceError):
    """Raised by a method to have its message again: ``raise Requeue(delay=5)``.

    Where the entrypoint has a ``retry`` it counts as an attempt, else it may be raised without end. The caller of an
    ``@rpc`` method goes on waiting.

    Attributes:
        delay: Seconds until the message comes back, at most 23 days; 0 puts it back on its queue at once.
        reason: Why, for the log.
    """

    def __init__(self, reason: str = "", *, delay: float = 0) -> None:
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= LONGEST_PAUSE:
            raise ValueError(f"Requeue(delay={delay!r}): give seconds from 0 to {LONGEST_PAUSE:g}, which are 23 days")
        super().__init__(reason)
        self.reason = reason
        self.delay = delay

    def __str__(self) -> str:
        return self.reason or f"the message is wanted again, in {self.delay:g} s"


class Reject(RpcServiceError):
    """Raised by a method that can do nothing with its message, now or later: ``raise Reject("no such order")``.

    It is not tried again; it goes to the dead letters where the entrypoint has them, and else it is done with.
    """


class WorkerTimeout(RpcServiceError, TimeoutError):
    """Raised as the outcome of a call whose method ran for longer than its ``time_limit``.

    RPC callers get it as RemoteError, HTTP clients as status 504.

    Attributes:
        service_name: The service.
        method_name: Its method.
        seconds: The limit, in seconds.
    """

    def __init__(self, service_name: str, method_name: str, seconds: float) -> None:
        super().__init__(
            f"{service_name}.{method_name} was ended after {seconds:g} s, its time_limit; "
            "what does it wait for? raise time_limit= if it needs longer"
        )
        self.service_name = service_name
        self.method_name = method_name
        self.seconds = seconds


class StoreUnavailable(RpcServiceError):
    """Raised when the store of the outcomes of idempotent calls cannot be asked, so that the method was not run.

    It may be tried again.
    """


class OffloadError(RpcServiceError):
    """Raised when work for another process could not be sent there, or its outcome did not come back."""


class OffloadFull(OffloadError):
    """Raised when every thread or process of an Offload is busy, and as many calls wait for one as may."""


class MissingExtra(RpcServiceError, ImportError):
    """Raised when a feature needs an optional package that is not installed."""


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


_KEEP_ARGUMENTS = (
    "; a queue keeps what it was made with: go back to that (is queue_type, or delivery_limit, another one than "
    "before?), or delete the queue when it is empty"
)


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


class UnserializableValueError(RpcServiceError):
    """Raised when a value cannot be encoded by the serializer in use.

    Attributes:
        value: The value's ``repr``.
        repr_value: The same, under nameko's name.
    """

    def __init__(self, value: object = None) -> None:
        super().__init__()
        try:
            self.value = repr(value)
        except Exception:  # whatever a foreign __repr__ raises must not hide the first error
            self.value = "[__repr__ failed]"
        self.repr_value = self.value

    def __str__(self) -> str:
        return f"Unserializable value: `{self.value}`"


class WebSocketRefused(RpcServiceError):
    """Raised by methods of ``on_connect`` to turn a websocket away; its page sees the code and the reason.

    Attributes:
        code: The close code, from 3000 to 4999; or 1008 for a policy, 1013 for "try again later".
        reason: Why, in at most 123 bytes.
    """

    def __init__(self, code: int = 1008, reason: str = "") -> None:
        if code not in (1000, 1008, 1013) and not 3000 <= code <= 4999:
            raise ValueError(f"the close code {code!r} cannot be sent; give 1008, 1013, or one from 3000 to 4999")
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the websocket is closed with code {self.code}{f': {self.reason}' if self.reason else ''}"


class RpcError(RpcServiceError):
    """Base of the ways in which an RPC call fails."""


class UnknownService(RpcError):
    """Raised when no queue is bound for the service that was called.

    Attributes:
        service_name: The service that nobody offers.
    """

    def __init__(self, service_name: str) -> None:
        super().__init__(service_name)
        self.service_name = service_name

    @property
    def _service_name(self) -> str:
        """The same, under nameko's name."""
        return self.service_name

    def __str__(self) -> str:
        return f"the broker knows no service named {self.service_name!r}; is it running, and is this its name?"


class RpcTimeout(RpcError, TimeoutError):
    """Raised when no reply came within the time-out.

    Attributes:
        service_name: The service that was called.
        method_name: Its method.
        seconds: How long the caller waited, in seconds.
        maybe_executed: True when the request had been sent, so that it may have run or may still run.
    """

    def __init__(
        self, service_name: str = "", method_name: str = "", seconds: float = 0, *, maybe_executed: bool = True
    ) -> None:
        mend = "is the service busy or down? raise timeout= or rpc_timeout if it needs longer"
        if method_name:
            super().__init__(f"{service_name}.{method_name} did not answer within {seconds:g} s; {mend}")
        else:
            # Of a program's own making: a text of its own, as nameko's takes, or none.
            super().__init__(service_name or f"no answer came in time; {mend}")
        self.service_name = service_name if method_name else ""
        self.method_name = method_name
        self.seconds = seconds
        self.maybe_executed = maybe_executed


class CircuitOpen(RpcError):
    """Raised at once, and nothing is sent, while the breaker of a client finds that a service does not answer.

    Attributes:
        service_name: The service.
        since: When the breaker opened, in seconds since 1970.
        retry_in: Seconds until a call is let through again.
    """

    maybe_executed = False

    def __init__(self, service_name: str, since: float = 0, retry_in: float = 0) -> None:
        super().__init__(f"nothing was sent: {service_name} has not answered of late; try again in {retry_in:.3g} s")
        self.service_name = service_name
        self.since = since
        self.retry_in = retry_in


class TooManyCalls(RpcError):
    """Raised at once, and nothing is sent, when a client has ``max_in_flight`` calls of a service under way.

    Attributes:
        service_name: The service.
        limit: How many there may be.
    """

    maybe_executed = False

    def __init__(self, service_name: str, limit: int = 0) -> None:
        super().__init__(
            f"nothing was sent: {limit} calls of {service_name} are under way; is it slow? raise max_in_flight= if not"
        )
        self.service_name = service_name
        self.limit = limit


class DeadlineExceeded(RpcError):
    """Raised, and sent to the caller, for a request that came too late: nobody waits for its reply, so it was not run.

    Attributes:
        seconds: By how much it was late.
    """

    def __init__(self, message: str = "the request came too late", seconds: float = 0) -> None:
        super().__init__(message)
        self.seconds = seconds


class RemoteError(RpcError):
    """Raised in the caller when the remote method raised something that is not registered here.

    Attributes:
        exc_type: The class name of the remote exception.
        value: Its text.
        code: The stable code of the remote exception class, where it has one.
        remote_traceback: The remote traceback as text, where the service sends it (``send_traceback``).
    """

    def __init__(self, exc_type: str | None = None, value: object = "") -> None:
        self.exc_type = exc_type
        self.value = value
        self.code: str | None = None
        self.remote_traceback: str | None = None
        super().__init__(f"{exc_type} {value}")


class BadRequest(RpcError):
    """Base of the errors that say that the request, not the service, is at fault."""


class MalformedRequest(BadRequest):
    """Raised when a message is no request: undecodable, not a mapping, or without ``args`` and ``kwargs``."""


class MissingKey(BadRequest):
    """Raised when a message is for an idempotent method and has no key by which a duplicate would be known."""


class MethodNotFound(BadRequest):
    """Raised when a service has no method of the name called.

    Attributes:
        method_name: The name that was called.
        names: The names that exist, where the service told them.
        decorator: What methods are marked with that can be called so.
    """

    def __init__(
        self, method_name: str = "", names: tuple[str, ...] = (), service_name: str = "", decorator: str = "@rpc"
    ) -> None:
        super().__init__(method_name)
        self.method_name = method_name
        self.names = tuple(names)
        self.service_name = service_name
        self.decorator = decorator

    def __str__(self) -> str:
        owner = f"service {self.service_name!r}" if self.service_name else "the service"
        text = f"{owner} has no {self.decorator} method {self.method_name!r}"
        return f"{text}; it has: {', '.join(self.names)}" if self.names else text


class ConnectionNotFound(BadRequest):
    """Raised when no websocket of this process has the id given; it may have been closed meanwhile."""


class IncorrectSignature(BadRequest):
    """Raised when the arguments of a call do not fit the method; checked before a worker starts."""
