"""nameko's ways to call many at once, on eventlet's green threads."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import eventlet
from eventlet.queue import LightQueue

__all__ = (
    "SpawningProxy",
    "SpawningSet",
    "fail_fast_imap",
)


def fail_fast_imap(pool: Any, call: Callable[[Any], Any], items: Collection[Any]) -> Iterator[Any]:
    """Call a function with each item at once; gives the results as they come.

    Args:
        pool: A ``GreenPool``.
        call: The function.
        items: Its arguments.

    Raises:
        Exception: The first one that a call raises; the other calls are killed.
    """
    outcomes: Any = LightQueue()
    running = set()

    def note(thread: Any) -> None:
        running.discard(thread)
        try:
            outcomes.put((thread.wait(), None))
        except Exception as exc:
            outcomes.put((None, exc))

    for item in items:
        thread = pool.spawn(call, item)
        running.add(thread)
        thread.link(note)
    for _ in items:
        result, error = outcomes.get()
        if error is not None:
            for thread in list(running):
                thread.kill()
            raise error
        yield result


class SpawningProxy:
    """Calls a method of each item at once; gives the list of their results.

    Args:
        items: The objects.
        abort_on_error: Kill the other calls when one raises.
    """

    def __init__(self, items: Collection[Any], abort_on_error: bool = False) -> None:
        self._items = items
        self.abort_on_error = abort_on_error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def spawning_method(*args: Any, **kwargs: Any) -> list[Any] | None:
            if not self._items:
                return None
            pool = eventlet.GreenPool(len(self._items))

            def call(item: Any) -> Any:
                return getattr(item, name)(*args, **kwargs)

            imap = fail_fast_imap if self.abort_on_error else _imap
            return list(imap(pool, call, self._items))

        return spawning_method


def _imap(pool: Any, call: Callable[[Any], Any], items: Collection[Any]) -> Iterator[Any]:
    results: Iterator[Any] = pool.imap(call, items)
    return results


class SpawningSet(set[Any]):
    """A set whose members are called together: ``spawning_set.all.stop()``."""

    @property
    def all(self) -> SpawningProxy:
        """Gives what calls a method of each member at once."""
        return SpawningProxy(self)
