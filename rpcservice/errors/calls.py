"""What a caller gets in the place of an answer, and what is wrong with a request."""

from rpcservice.errors.base import RpcServiceError


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
