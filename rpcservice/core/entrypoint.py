"""Entrypoint, the base of what fires a service's methods, and the declarations that decorators leave on methods."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from rpcservice.core.context import WorkerContext
from rpcservice.core.extension import Extension
from rpcservice.errors import DeclarationError, IncorrectSignature, Reject, Requeue

if TYPE_CHECKING:
    from rpcservice.core.once import Once

F = TypeVar("F", bound=Callable[..., Any])

DECLARATIONS = "rpcservice_entrypoints"
"""The attribute of a decorated function that holds its declarations, a tuple of entrypoints."""

LONGEST_TIME_LIMIT = 2_000_000
"""The most seconds that a ``time_limit`` may have, 23 days: the loop waits no longer."""

_WRAPPED = (staticmethod, classmethod)

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


class Entrypoint(Extension):
    """Declared by a decorator on a method; fires it in a worker when something happens.

    Args:
        expected_exceptions: Exception classes that the method may raise as part of its contract: logged as
            warnings, and the caller's fault.
        sensitive_arguments: Names of arguments (``name``, ``name.key``, ``name.key[0].x``) that are to be
            hidden wherever calls are shown.
        concurrency: At most this many workers at a time run the method; None leaves it to ``max_workers``.
        time_limit: Seconds that the method may run, from its call on; then it is ended where it waits, and
            WorkerTimeout is the outcome. None lets it run as long as it likes. Code that never waits cannot be ended.
    """

    stop_phase: ClassVar[str] = "source"
    """When it stops: "source" entrypoints bring new work and stop first; "serving" ones answer workers that are
    still running and stop when those have ended."""

    method_signature: inspect.Signature
    """The method's signature without ``self``; set by the container, like the next three."""
    method_call_prefix: str = ""
    method_workers: int = 0
    method_seconds: float | None = None
    method_positional: tuple[int, int] | None = None
    """With how many positional arguments alone the method can be called, at least and at most."""
    method_once: "Once | None" = None
    """That the method runs once for each key; set in ``setup`` by entrypoints that are idempotent."""

    def __init__(
        self,
        *,
        expected_exceptions: ExceptionTypes = (),
        sensitive_arguments: str | tuple[str, ...] = (),
        concurrency: int | None = None,
        time_limit: float | None = None,
    ) -> None:
        self.expected_exceptions = exception_classes("expected_exceptions", expected_exceptions)
        self.sensitive_arguments = (
            (sensitive_arguments,) if isinstance(sensitive_arguments, str) else tuple(sensitive_arguments)
        )
        if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
            raise ValueError(f"concurrency={concurrency!r}: give the number of workers, 1 or more, or None")
        # Not by the names of the arguments, which entrypoints of others use for things of their own.
        self.method_limit = concurrency
        self.method_seconds = _check_time_limit(time_limit)

    @property
    def method_name(self) -> str:
        """The name of the method that this entrypoint fires."""
        return self.attr_name

    @overload
    @classmethod
    def decorator(cls, function: F, /) -> F: ...

    @overload
    @classmethod
    def decorator(cls, *args: Any, **kwargs: Any) -> Callable[[F], F]: ...

    @classmethod
    def decorator(cls, *args: Any, **kwargs: Any) -> Any:
        """Decorate a method, bare (``@rpc``) or called (``@rpc(...)``); the function itself is given back."""
        if len(args) == 1 and not kwargs and _is_method(args[0]):
            return declare(args[0], cls())
        entrypoint = cls(*args, **kwargs)

        def decorate(function: F) -> F:
            return declare(function, entrypoint)

        return decorate

    def check_signature(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See whether the arguments fit the method, before a worker is spent on them.

        Raises:
            IncorrectSignature: They do not fit.
        """
        # Signature.bind costs more than the rest of the dispatch; calls without keywords need only be counted.
        positional = self.method_positional
        if not kwargs and positional and positional[0] <= len(args) <= positional[1]:
            return
        try:
            self.method_signature.bind(*args, **kwargs)
        except TypeError as exc:
            if not all(isinstance(name, str) for name in kwargs):
                raise IncorrectSignature(str(exc)) from exc  # keywords that are none fit no method
            signature = self.method_signature.replace(return_annotation=inspect.Signature.empty)
            raise IncorrectSignature(f"{self.method_name}{signature}: {exc}") from exc

    def is_expected(self, error: BaseException) -> bool:
        """Say whether an exception is part of the method's contract, so that it is a warning in the log."""
        return isinstance(error, (*self.expected_exceptions, Reject, Requeue))

    def method_deadline(self, ctx: WorkerContext) -> float | None:
        """Give until when somebody waits for the outcome of a call, in seconds since 1970; None where nobody says."""
        return None

    def method_refusal(self, ctx: WorkerContext) -> Exception | None:
        """Called when a worker takes up a call, which may have waited for one.

        Gives why it is not to be run any more, which becomes its outcome, without the method and without hooks.
        """
        return None

    def encode(self, ctx: WorkerContext) -> None:
        """Called when the method has ended: turn ``ctx.result`` or ``ctx.error`` into ``ctx.reply``.

        What it raises becomes ``ctx.error``, and it is called once more for that.
        """

    def settle(self, ctx: WorkerContext) -> None:
        """Called once the dependencies have had the result: send ``ctx.reply`` and take the message off its queue."""

    def give_back(self, ctx: WorkerContext) -> None:
        """Called instead of :meth:`settle` for work that was not finished: put the message back on its queue."""

    def describe(self) -> str:
        """Say in a few words what fires the method."""
        return f"{type(self).__name__.lower()} {self.method_name}"


def exception_classes(option: str, given: Any) -> tuple[type[BaseException], ...]:
    """Give exception classes as a tuple.

    Raises:
        TypeError: An option holds something else.
    """
    classes = tuple(given) if isinstance(given, tuple | list | set | frozenset) else (given,)
    for cls in classes:
        if not (inspect.isclass(cls) and issubclass(cls, BaseException)):
            raise TypeError(f"{option}={given!r}: give an exception class, or a tuple of them")
    return classes


def _check_time_limit(seconds: float | None) -> float | None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and 0 < seconds <= LONGEST_TIME_LIMIT):
        raise ValueError(
            f"time_limit={seconds!r}: give a number of seconds above 0, at most {LONGEST_TIME_LIMIT:,}, or None"
        )
    return seconds


def _is_method(candidate: Any) -> bool:
    return inspect.isfunction(candidate) or isinstance(candidate, _WRAPPED)


def declare(function: F, entrypoint: Entrypoint) -> F:
    """Note an entrypoint on a function and give the function itself.

    Raises:
        DeclarationError: It is no method, or an ``async`` one, which nobody would await.
    """
    # Of a static or class method the class gives the function within.
    target = function.__func__ if isinstance(function, _WRAPPED) else function
    kind = type(entrypoint).__name__.lower()
    if not inspect.isroutine(target):
        raise DeclarationError(f"@{kind} decorates a method, not {target!r}")
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        raise DeclarationError(
            f"@{kind} of {target.__qualname__}: a method runs in a green thread; write def, not async def"
        )
    # A new tuple each time: a wrapper that copied the attribute must not grow the wrapped function's list.
    declarations = (*getattr(target, DECLARATIONS, ()), entrypoint)
    setattr(target, DECLARATIONS, declarations)
    return function
