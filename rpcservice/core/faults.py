"""Exceptions as data: the error object of an RPC reply, with nameko's fields to the letter and a few more."""

import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast, overload

from rpcservice import errors
from rpcservice.errors import DeclarationError, MethodNotFound, RemoteError, UnserializableValueError

E = TypeVar("E", bound=type[Exception])

_NAMEKO = "nameko.exceptions"
_SHARED_WITH_NAMEKO = (
    "MalformedRequest",
    "MethodNotFound",
    "IncorrectSignature",
    "ConnectionNotFound",
    "UnserializableValueError",
)

registry: dict[str, type[Exception]] = {
    f"{home}.{name}": getattr(errors, name)
    for name in _SHARED_WITH_NAMEKO[:-1]
    for home in (_NAMEKO, "rpcservice.errors")
}
registry["rpcservice.errors.MessageTooLarge"] = errors.MessageTooLarge
registry["rpcservice.errors.NameTooLong"] = errors.NameTooLong
registry["rpcservice.errors.DeadlineExceeded"] = errors.DeadlineExceeded
_by_code: dict[str, type[Exception]] = {}


def module_path(cls: type) -> str:
    """Give the path that stands for an exception class on the wire; nameko's own path for what nameko knows."""
    if cls.__module__ == errors.__name__ and cls.__name__ in _SHARED_WITH_NAMEKO:
        return f"{_NAMEKO}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__name__}"


@overload
def deserialize_to_instance(cls: E, /) -> E: ...


@overload
def deserialize_to_instance(*, code: str | None = None) -> Callable[[E], E]: ...


def deserialize_to_instance(cls: Any = None, /, *, code: str | None = None) -> Any:
    """Decorate an exception class that is to come back to RPC callers as itself, instead of as RemoteError.

    Args:
        cls: The exception class; its instances are rebuilt as ``cls(*args)``.
        code: A name for it that stays the same when the class moves to another module, or when caller and
            service have classes of their own. An attribute ``code`` of the class does the same.

    Raises:
        DeclarationError: The code stands for another class already.
    """

    def register(target: E) -> E:
        stable = code if code is not None else vars(target).get("code")
        if isinstance(stable, str):
            known = _by_code.get(stable)
            if known is not None and module_path(known) != module_path(target):
                raise DeclarationError(
                    f"the error code {stable!r} stands for {module_path(known)} already; "
                    f"give {module_path(target)} a code of its own"
                )
            _by_code[stable] = target
            cast(Any, target).code = stable
        registry[module_path(target)] = target
        return target

    return register if cls is None else register(cls)


def is_interrupt(error: BaseException) -> bool:
    """Say whether an error may be Ctrl-C: a KeyboardInterrupt where nothing else handles the signal."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def safe_text(value: object) -> str:
    """Give a value as text, whatever its own ``__str__`` does."""
    try:
        return str(value)
    except BaseException as exc:  # SystemExit too: the value is what has failed, and not the process
        if is_interrupt(exc):
            raise
        return "[__unicode__ failed]"


def traceback_text(error: BaseException) -> str:
    """Give the traceback of an exception, with those that led to it, whatever they do when they are looked at."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return f"[the traceback cannot be shown]\n{summary(error)}\n"


def summary(error: BaseException) -> str:
    """Say in a few words what was raised: its class and its text."""
    return f"{type(error).__name__}: {safe_text(error)}"


def safe(value: object) -> Any:
    """Give a value as text, or as lists and mappings of text, so that any serializer can encode it."""
    try:
        return _safe(value)
    except BaseException as exc:  # it cannot be gone through, or it holds itself: text has to do
        if is_interrupt(exc):
            raise
        return safe_text(value)


def _safe(value: object) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {_safe(key): _safe(item) for key, item in value.items()}
    # An iterator may give items without end, or wait for them.
    if isinstance(value, Iterable) and not isinstance(value, Iterator):
        return [_safe(item) for item in value]
    return safe_text(value)


def error_to_data(error: BaseException, *, send_traceback: bool = False) -> dict[str, Any]:
    """Give the error object of a reply (NAMEKO-compatible: exc_type, exc_path, exc_args, value).

    Args:
        error: What the method raised.
        send_traceback: Add the traceback as text.
    """
    data = {
        "exc_type": type(error).__name__,
        "exc_path": module_path(type(error)),
        "exc_args": [safe(arg) for arg in error.args],
        "value": safe(error),
    }
    code = getattr(error, "code", None)
    if isinstance(code, str):
        data["code"] = code
    if isinstance(error, MethodNotFound):
        data["names"] = list(error.names)
    if send_traceback:
        data["traceback"] = traceback_text(error)
    return data


class _RemoteUnserializable(UnserializableValueError, RemoteError):  # type: ignore[misc]  # both say value: a text
    """The method's result could not be encoded: caught by its own name, and as RemoteError, which nameko gives."""

    def __init__(self, text: str) -> None:
        RemoteError.__init__(self, UnserializableValueError.__name__, text)
        self.value = self.repr_value = text.removeprefix("Unserializable value: `").removesuffix("`")


# What tracebacks call it, and what it is called where it is sent on.
_RemoteUnserializable.__name__ = _RemoteUnserializable.__qualname__ = UnserializableValueError.__name__
_RemoteUnserializable.__module__ = UnserializableValueError.__module__


def error_from_data(data: object) -> Exception:
    """Give the exception that an error object stands for: an instance of its class, or RemoteError."""
    if not isinstance(data, Mapping):
        return RemoteError("Error", data)
    path, args = data.get("exc_path"), data.get("exc_args")
    args = args if isinstance(args, list | tuple) else []
    if path == f"{_NAMEKO}.UnserializableValueError":
        return _RemoteUnserializable(str(data.get("value")))
    cls = _by_code.get(str(data.get("code"))) or registry.get(str(path))
    if cls is not None:
        try:
            error = cls(*args)
        except Exception:
            # Built from other arguments than it keeps: the caller still learns its name and text.
            return _remote_error(data)
        if isinstance(error, MethodNotFound):
            error.names = tuple(str(name) for name in data.get("names") or ())
        return error
    return _remote_error(data)


def _remote_error(data: Mapping[str, Any]) -> RemoteError:
    error = RemoteError(data.get("exc_type"), data.get("value"))
    error.code = data.get("code")
    error.remote_traceback = data.get("traceback")
    return error
