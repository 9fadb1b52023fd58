"""What goes wrong within a process: as it is set up, in its services, and what their methods raise to be heard."""

from rpcservice.errors.base import RpcServiceError

LONGEST_PAUSE = 2_000_000.0
"""Seconds, 23 days: brokers count the time that a queue may live in 32 bits of milliseconds."""


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
