"""WorkerContext: all that is known of one call while it runs."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from rpcservice.core.container import ServiceContainer
    from rpcservice.core.entrypoint import Entrypoint

CALL_ID_STACK = "call_id_stack"

current_worker: ContextVar["WorkerContext | None"] = ContextVar("rpcservice_worker", default=None)
"""The context of the worker that runs here, if any."""

# Ids ahead of their use, for every call has several of them; a fork must not share them.
_ids: list[str] = []
_AHEAD = 256
os.register_at_fork(after_in_child=_ids.clear)


def new_id() -> str:
    """Give a new UUID as text (RFC 9562 version 4); it costs a fifteenth of ``str(uuid.uuid4())``.

    Up to 256 in a row differ in the first 32 of their 122 random bits only.
    """
    try:
        return _ids.pop()
    except IndexError:
        more = _more_ids()
        mine = more.pop()
        _ids.extend(more)
        return mine


def _more_ids() -> set[str]:
    # What differs comes first, where people look.
    rest = str(uuid4())[8:]
    digits = os.urandom(4 * _AHEAD).hex()
    return {digits[at : at + 8] + rest for at in range(0, len(digits), 8)}


new_call_id = new_id
"""What gives the ids of calls; by a name of its own, so that tests can number calls and nothing else."""


class WorkerContext:
    """One call of one entrypoint: its arguments, what came with it, and how it ended.

    Attributes:
        container: The container that runs it.
        entrypoint: The bound entrypoint that fired.
        args: Positional arguments of the method.
        kwargs: Keyword arguments of the method.
        context_data: What travels with the call and on with every call and event that the worker sends; a
            provider may add to it.
        call_id: This call's own id, ``service.method.uuid``.
        message: The Delivery that fired it, with ``headers`` and ``properties``; None for entrypoints without one.
        service: The service instance, once it is made.
        result: What the method returned.
        error: What the method or a hook raised.
        reply: What the entrypoint's ``encode`` made of the outcome.
        settled: Whether the reply has been sent and the message taken off its queue.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "args",
        "call_id",
        "container",
        "context_data",
        "entrypoint",
        "error",
        "handle",
        "is_answered",
        "is_killed",
        "kwargs",
        "message",
        "reply",
        "result",
        "service",
        "settled",
    )

    def __init__(
        self,
        container: "ServiceContainer",
        entrypoint: "Entrypoint",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        context_data: Mapping[str, Any] | None = None,
        message: Any = None,
    ) -> None:
        self.container = container
        self.entrypoint = entrypoint
        self.args = args
        self.kwargs = kwargs if kwargs is not None else {}
        self.message = message
        self.service: Any = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.reply: Any = None
        self.settled = False
        self.is_answered = False
        self.is_killed = False
        self.handle: Any = None
        self.call_id = entrypoint.method_call_prefix + new_call_id()
        data = dict(context_data) if context_data else {}
        parents = data.get(CALL_ID_STACK)
        stack = [*parents, self.call_id] if isinstance(parents, list | tuple) else [self.call_id]
        data[CALL_ID_STACK] = stack[-container.calls_tracked :]
        self.context_data: dict[str, Any] = data

    @property
    def config(self) -> Mapping[str, Any]:
        """The whole configuration."""
        return self.container.config.raw

    @property
    def service_name(self) -> str:
        """The name of the service."""
        return self.container.service_name

    @property
    def deadline(self) -> float | None:
        """Until when somebody waits for the outcome, in seconds since 1970; None where nobody says."""
        return self.entrypoint.method_deadline(self)

    @property
    def data(self) -> dict[str, Any]:
        """What came with the call, without the call stack."""
        return {key: value for key, value in self.context_data.items() if key != CALL_ID_STACK}

    @property
    def call_id_stack(self) -> list[str]:
        """The ids of the calls that led here, the first one first, this one last."""
        stack: list[str] = self.context_data[CALL_ID_STACK]
        return stack

    @property
    def origin_call_id(self) -> str:
        """The id of the first call that is still tracked."""
        return self.call_id_stack[0]

    @property
    def immediate_parent_call_id(self) -> str | None:
        """The id of the call that made this one, if any."""
        return self.call_id_stack[-2] if len(self.call_id_stack) > 1 else None

    def answer(self, result: Any) -> None:
        """Settle the outcome without the method: it is not called any more. For around-hooks."""
        self.result = result
        self.is_answered = True

    def __repr__(self) -> str:
        return f"<WorkerContext [{self.call_id}]>"
