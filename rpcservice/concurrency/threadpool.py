"""ThreadPool, real threads that work beside a backend while its greenlets go on."""

import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import Any, Protocol

from rpcservice.concurrency.base import Backend, Event
from rpcservice.concurrency.native import native
from rpcservice.concurrency.threadlog import ThreadLog
from rpcservice.errors import ContainerBeingKilled, OffloadFull

_log = logging.getLogger(__name__)


class Job:
    """One call: what is to be done, who waits for it, and how it ended."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], done: Event
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.done = done
        self.context = copy_context()
        self.is_abandoned = False
        self.goes_on = False
        self.result: Any = None
        self.error: BaseException | None = None

    def __str__(self) -> str:
        return getattr(self.function, "__qualname__", None) or repr(self.function)


class Runner(Protocol):
    """What does the jobs of one thread."""

    def run(self, job: Job) -> Any:
        """Called in the thread: do a job and give its result."""
        ...

    def abandon(self, job: Job) -> bool:
        """Called in the loop's thread: nobody waits for the job that runs any more. Say whether it goes on."""
        ...

    def close(self) -> None:
        """Called in the thread, last."""
        ...


class InThread:
    """Does jobs in the thread itself."""

    def run(self, job: Job) -> Any:
        """Call the function."""
        return job.context.run(job.function, *job.args, **job.kwargs)

    def abandon(self, job: Job) -> bool:
        """Tell of it, for a thread cannot be ended."""
        _log.warning("nobody waits for %s any more; it goes on in its thread until it ends by itself", job)
        return True

    def close(self) -> None:
        """Close nothing."""


class ThreadPool:
    """At most so many threads, started when they are needed; they have one job at a time.

    All that is counted here is counted in the loop's thread; the others only take jobs and tell of their end.

    Args:
        backend: Where callers wait.
        size: The most threads.
        max_waiting: The most jobs that wait for a thread.
        make_runner: Gives what does the jobs of one thread.
        name: Whose threads they are, for the log.
        thread_name: What each of them is called.
        idle_limit: Seconds after which a thread that has nothing to do ends; None keeps it until the pool is closed.
    """

    def __init__(
        self,
        backend: Backend,
        size: int,
        max_waiting: int,
        make_runner: Callable[[], Runner],
        name: str,
        *,
        thread_name: str = "rpcservice-offload",
        idle_limit: float | None = None,
    ) -> None:
        self._backend = backend
        self._size = size
        self._max_waiting = max_waiting
        self._make_runner = make_runner
        self._name = name
        self._thread_name = thread_name
        self._idle_limit = idle_limit
        self._guard = backend.guard()
        self._threads: set[_Thread] = set()
        self._idle: list[_Thread] = []
        self._waiting: deque[Job] = deque()
        self._is_closed = False
        self._changed = backend.event()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have a thread call a function, and wait for what it gives or raises.

        Whoever is ended while waiting abandons the job: it is not begun any more, or nobody learns of its end.

        Raises:
            OffloadFull: All threads are busy and ``max_waiting`` jobs wait.
            ContainerBeingKilled: The pool is closed.
        """
        if not self._backend.is_home():
            raise RuntimeError(f"{self._name} is called in a thread of its own; call the function itself there")
        job = Job(function, args, kwargs, self._backend.event())
        with self._guard:
            self._take(job)
        try:
            job.done.wait()
        except BaseException:
            self._abandon(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def _take(self, job: Job) -> None:
        if self._is_closed:
            raise ContainerBeingKilled(f"{self._name} takes no more work: the service is stopping")
        if self._idle:
            self._idle.pop().give(job)
        elif len(self._threads) < self._size:
            thread = _Thread(self._backend, self._make_runner(), self._finish, self._retire, self._forget)
            thread.start(self._thread_name, self._idle_limit)
            self._threads.add(thread)
            thread.give(job)
        elif len(self._waiting) < self._max_waiting:
            self._waiting.append(job)
        else:
            raise OffloadFull(
                f"{self._name}: all {self._size} threads or processes are busy and {self._max_waiting} calls wait; "
                "give it more of them, or offload less"
            )

    def _abandon(self, job: Job) -> None:
        with self._guard:
            if job in self._waiting:
                self._waiting.remove(job)
                return
            job.is_abandoned = True
            runners = [thread.runner for thread in self._threads if thread.job is job]
        for runner in runners:
            job.goes_on = runner.abandon(job)

    def _finish(self, thread: "_Thread", job: Job) -> None:
        """Called in the loop's thread when a thread has done a job."""
        with self._guard:
            thread.job = None
            if self._waiting:
                thread.give(self._waiting.popleft())
            elif self._is_closed:
                thread.end()
            else:
                self._idle.append(thread)
        if not job.is_abandoned:
            job.done.set()
        elif job.error is not None and job.goes_on:
            # In a greenlet, for handlers of the log may wait.
            self._backend.spawn(_log.error, "%s, for which nobody waited any more, failed: %s", job, job.error)

    def _retire(self, thread: "_Thread") -> None:
        """Called in the loop's thread when a thread has had nothing to do for long; it may have a job by now."""
        with self._guard:
            if thread not in self._idle:
                return
            self._idle.remove(thread)
            # Now already: a job that came before it has ended would wait for it, and where all are about to, for ever.
            self._threads.discard(thread)
        thread.end()

    def _forget(self, thread: "_Thread") -> None:
        """Called in the loop's thread when a thread is about to end."""
        with self._guard:
            self._threads.discard(thread)
        self._changed.set()

    def close(self, deadline: float) -> None:
        """Take no more jobs, and wait for those that run.

        Args:
            deadline: Until when, on the monotonic clock; then they are abandoned.
        """
        self._refuse()
        if not self._wait_for_threads(deadline):
            self._abandon_all()

    def _wait_for_threads(self, deadline: float) -> bool:
        while self._threads:
            self._changed.clear()
            if self._threads and not self._changed.wait(max(0, deadline - monotonic())):
                return False
        return True

    def kill(self) -> None:
        """Take no more jobs, and abandon those that run; does not wait."""
        self._refuse()
        self._abandon_all()

    def _abandon_all(self) -> None:
        for job in [thread.job for thread in self._threads]:
            if job is not None and not job.is_abandoned:
                self._abandon(job)

    def _refuse(self) -> None:
        with self._guard:
            self._is_closed = True
            idle, self._idle = self._idle, []
            waiting = list(self._waiting)
            self._waiting.clear()
        for thread in idle:
            thread.end()
        for job in waiting:
            job.error = ContainerBeingKilled(f"{self._name} was closed before it had begun with {job}")
            job.done.set()


class _Thread:
    """One real thread, with a queue that never holds more than one job."""

    def __init__(
        self,
        backend: Backend,
        runner: Runner,
        finish: Callable[["_Thread", Job], object],
        retire: Callable[["_Thread"], object],
        forget: Callable[["_Thread"], object],
    ) -> None:
        self.runner = runner
        self.job: Job | None = None
        self._backend = backend
        self._finish = finish
        self._retire = retire
        self._forget = forget
        self._log = ThreadLog()
        self._inbox: Any = native("queue").SimpleQueue()

    def start(self, name: str, idle_limit: float | None) -> None:
        """Start it under a name; after so many seconds without a job it asks whether it may end."""
        native("threading").Thread(target=self._work, name=name, args=(idle_limit,), daemon=True).start()

    def give(self, job: Job) -> None:
        """Have it do a job."""
        self.job = job
        self._inbox.put(job)

    def end(self) -> None:
        """Have it end."""
        self._inbox.put(None)

    def _work(self, idle_limit: float | None) -> None:
        self._log.begin(self._deliver)
        job: Job | None
        while (job := self._next(idle_limit)) is not None:
            try:
                job.result = self.runner.run(job)
            except BaseException as exc:
                job.error = exc
            self._backend.post(self._finish, self, job)
            del job
        try:
            self.runner.close()
        finally:
            self._backend.post(self._forget, self)

    def _next(self, idle_limit: float | None) -> Job | None:
        """Wait for a job; None is for the end."""
        try:
            job: Job | None = self._inbox.get(timeout=idle_limit)
        except native("queue").Empty:
            # The loop's thread decides, for it may be giving it a job right now.
            self._backend.post(self._retire, self)
            job = self._inbox.get()
        return job

    def _deliver(self, function: Callable[[], object]) -> None:
        context = copy_context()
        self._backend.post(self._backend.spawn, context.run, function)
