"""What leads every entrypoint of ours through a ``spawn_worker`` that is somebody else's."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from inspect import Parameter, signature
from typing import Any

from rpcservice.core.context import WorkerContext

Spawn = Callable[..., Any]


class Firing:
    """What an entrypoint of ours gives with a call, and nameko's ``spawn_worker`` has no argument for.

    Args:
        entrypoint: The entrypoint that fires.
        message: What is given back when the worker does not finish.
        is_here: Whether the worker is to run in the calling greenlet.
        wait: For how many seconds it waits for its turn there; None for ever.
    """

    def __init__(self, entrypoint: Any, message: Any, *, is_here: bool = False, wait: float | None = None) -> None:
        self.entrypoint = entrypoint
        self.message = message
        self.is_here = is_here
        self.wait = wait
        self.ctx: WorkerContext | None = None
        """The context of the worker, once it is made."""

    def call(self, spawn: Spawn, *args: Any, **kwargs: Any) -> Any:
        """Call a ``spawn_worker``, at the inner end of which :func:`take_firing` gives this."""
        token = _firing.set(self)
        try:
            return spawn(*args, **kwargs)
        finally:
            _firing.reset(token)


_firing: ContextVar[Firing | None] = ContextVar("nameko_firing", default=None)


def take_firing(entrypoint: Any) -> Firing | None:
    """Give what an entrypoint fires with here, once; None where it is nameko's way of spawning a worker."""
    firing = _firing.get()
    if firing is None or firing.entrypoint is not entrypoint:
        return None
    # What the worker spawns in its turn is none of this.
    _firing.set(None)
    return firing


def keep_message(spawn: Spawn, handle_result: Any) -> Spawn:
    """Give an overriding ``spawn_worker`` an argument ``message``, where it has nameko's arguments only.

    Args:
        spawn: The function of the class.
        handle_result: What settles the outcome of an entrypoint that hands none over.
    """
    parameters = signature(spawn).parameters.values()
    if any(one.name == "message" or one.kind is Parameter.VAR_KEYWORD for one in parameters):
        return spawn

    @wraps(spawn)
    def spawn_worker(self: Any, entrypoint: Any, *args: Any, message: Any = None, **kwargs: Any) -> Any:
        if message is None:
            return spawn(self, entrypoint, *args, **kwargs)
        kwargs.setdefault("handle_result", handle_result)
        return Firing(entrypoint, message).call(spawn, self, entrypoint, *args, **kwargs)

    return spawn_worker
