"""The worker pool of one service: at most so many calls at a time, the rest wait in order."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from rpcservice.concurrency import Backend, Event
from rpcservice.core.context import WorkerContext
from rpcservice.errors import ContainerBeingKilled, WorkerPoolFull

_log = logging.getLogger(__name__)


class WorkerPool:
    """Runs contexts in greenlets of its own, or lends a slot to a caller that runs one itself.

    Args:
        backend: Where workers run.
        size: At most this many at a time.
        run: Takes a context through the worker's stages.
    """

    def __init__(self, backend: Backend, size: int, run: Callable[[WorkerContext], object]) -> None:
        self.size = size
        self.running: set[WorkerContext] = set()
        self.waiting: deque[WorkerContext] = deque()
        self._lent: dict[WorkerContext, Event] = {}
        self._backend = backend
        self.run = run
        self._watchers: list[Event] = []
        self._refused_phases: set[str] = set()

    def submit(self, ctx: WorkerContext) -> None:
        """Run a context as soon as a worker is free; never waits."""
        if ctx.entrypoint.stop_phase in self._refused_phases:
            # It was on its way when the consumer was cancelled.
            ctx.entrypoint.give_back(ctx)
        elif self._has_room_for(ctx):
            self._occupy(ctx)
            self._backend.start(self._work, ctx)
        else:
            self.waiting.append(ctx)

    def run_here(self, ctx: WorkerContext, wait: float | None) -> None:
        """Run a context in the calling greenlet, once a slot is free.

        Raises:
            WorkerPoolFull: None came free within ``wait`` seconds.
            ContainerBeingKilled: The pool takes no more work of this kind.
        """
        if ctx.entrypoint.stop_phase in self._refused_phases:
            raise ContainerBeingKilled(f"service {ctx.service_name!r} is stopping")
        if self._has_room_for(ctx):
            self._occupy(ctx)
        else:
            self._wait_for_slot(ctx, wait)
        ctx.handle = self._backend.current()
        try:
            self.run(ctx)
        finally:
            self._pass_on(ctx)

    def _pass_on(self, ctx: WorkerContext) -> None:
        """Free a slot, and have a new greenlet work for whoever waits for one."""
        following = self._release(ctx)
        if following is not None:
            self._backend.start(self._work, following)

    def _wait_for_slot(self, ctx: WorkerContext, wait: float | None) -> None:
        granted = self._lent[ctx] = self._backend.event()
        self.waiting.append(ctx)
        try:
            if not granted.wait(wait):
                raise WorkerPoolFull(f"{self._what_is_full(ctx)} stayed busy for {wait:g} s; run more instances")
            if ctx.is_killed or ctx not in self.running:
                raise ContainerBeingKilled(f"service {ctx.service_name!r} is stopping")
        except BaseException:
            if ctx in self.running:
                self._pass_on(ctx)
            elif ctx in self.waiting:
                self.waiting.remove(ctx)
            raise
        finally:
            self._lent.pop(ctx, None)

    def _what_is_full(self, ctx: WorkerContext) -> str:
        if len(self.running) >= self.size:
            return f"all workers of service {ctx.service_name!r} (max_workers: {self.size})"
        limit = ctx.entrypoint.method_limit
        return f"all workers of {ctx.service_name}.{ctx.entrypoint.method_name} (concurrency={limit})"

    def _has_room_for(self, ctx: WorkerContext) -> bool:
        limit = ctx.entrypoint.method_limit
        return len(self.running) < self.size and (limit is None or ctx.entrypoint.method_workers < limit)

    def _occupy(self, ctx: WorkerContext) -> None:
        self.running.add(ctx)
        ctx.entrypoint.method_workers += 1

    def _release(self, ctx: WorkerContext) -> WorkerContext | None:
        """Free a slot; give the next context that has to be run by whoever frees it."""
        self.running.discard(ctx)
        ctx.entrypoint.method_workers -= 1
        if self._watchers:
            watchers, self._watchers = self._watchers, []
            for watcher in watchers:
                watcher.set()
        if not self.waiting:
            return None
        return self._next()

    def _next(self) -> WorkerContext | None:
        for candidate in self.waiting:
            if self._has_room_for(candidate):
                self.waiting.remove(candidate)
                self._occupy(candidate)
                lent = self._lent.get(candidate)
                if lent is None:
                    return candidate
                lent.set()
                return None
        return None

    def _work(self, ctx: WorkerContext | None) -> None:
        # One greenlet takes waiting contexts one after the other: a new one for each would cost more than the dispatch.
        while ctx is not None:
            ctx.handle = self._backend.current()
            following: WorkerContext | None = None
            try:
                if ctx.is_killed:
                    ctx.entrypoint.give_back(ctx)
                else:
                    self.run(ctx)
            except KeyboardInterrupt as exc:
                # Ctrl-C while this worker happened to run: it is for the main greenlet.
                self._backend.post(_raise, exc)
            except BaseException as exc:
                if not ctx.is_killed:
                    _log.critical("worker for %s broke down", ctx.call_id, exc_info=exc)
            finally:
                following = self._release(ctx)
            ctx = following

    def refuse(self, phase: str) -> None:
        """Take no more work from entrypoints of a stop phase, and give back what waits of it."""
        self._refused_phases.add(phase)
        for ctx in [ctx for ctx in self.waiting if ctx.entrypoint.stop_phase == phase and ctx not in self._lent]:
            self.waiting.remove(ctx)
            ctx.entrypoint.give_back(ctx)

    def refuses(self, phase: str) -> bool:
        """Say whether work from entrypoints of a stop phase is no longer taken."""
        return phase in self._refused_phases

    def unfinished(self) -> set[WorkerContext]:
        """Give what runs now, and the calls that wait in their own greenlet for a slot."""
        return self.running | set(self._lent)

    def wait_for(self, contexts: Iterable[WorkerContext] | None, deadline: float) -> bool:
        """Wait until none of the contexts (None: none at all) is left, until ``deadline`` on the monotonic clock."""
        while True:
            left = self.unfinished()
            if contexts is not None:
                left &= set(contexts)
            if not left:
                return True
            if not self._watch().wait(max(0, deadline - monotonic())):
                return False

    def wait_until_taken(self, ctx: WorkerContext) -> None:
        """Wait until a worker has taken a submitted context, or it has been given back; for who must not run ahead."""
        try:
            while ctx in self.waiting:
                self._watch().wait()
        except BaseException:
            # Whoever waited has been ended, and does not know that it was to run.
            if ctx in self.waiting:
                self.waiting.remove(ctx)
            raise

    def _watch(self) -> Event:
        """Give an event that is set when the next worker ends."""
        watcher = self._backend.event()
        self._watchers.append(watcher)
        return watcher

    def runs_here(self) -> bool:
        """Say whether the caller is one of the workers."""
        current = self._backend.current()
        return any(ctx.handle is current for ctx in self.running)

    def kill(self) -> None:
        """End every worker where it stands; what was not finished is given back."""
        for phase in ("source", "serving"):
            self.refuse(phase)
        for ctx, lent in list(self._lent.items()):
            if ctx in self.waiting:
                self.waiting.remove(ctx)
                lent.set()
        for ctx in list(self.running):
            if ctx not in self.running:
                continue  # it has ended while another one was killed, and its greenlet may work for somebody else
            _log.warning("killing the worker of %s", ctx.call_id)
            ctx.is_killed = True
            if ctx.handle is not None:
                self._backend.kill(ctx.handle)


def _raise(error: BaseException) -> None:
    raise error
