"""Offload, the dependency that has work done beside the event loop: in real threads, or in processes."""

import os
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from rpcservice.concurrency.processes import InProcess
from rpcservice.concurrency.threadpool import InThread, ThreadPool
from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider

R = TypeVar("R")

MOST_THREADS = 32


class Offload(DependencyProvider):
    """Injects ``offload(function, *args, **kwargs)``, which calls a function beside the event loop.

    The caller waits for what the function gives or raises; everything else goes on meanwhile. Threads are for code that
    waits in C: a database driver, a file on a slow disk, a library that compresses or encrypts. ``processes`` are for
    Python code that computes, which in threads would take turns with the loop.

    A function in a thread has the caller's context variables, and what it logs is logged by the loop. It must leave
    alone what belongs to the loop: other dependencies of the service, locks, queues and events that greenlets use too,
    SQLAlchemy's connection pools. Import what it needs at the head of its module.

    A function for a process, its arguments and its result go through ``pickle``: give a function of a module. The
    process is a new one, with nothing of this one's state.

    Where the caller is ended, by its ``time_limit`` or a kill, a process is killed with its work; a thread goes on
    until its function ends, and nobody learns of the outcome.

    Args:
        max_threads: The most functions that run in threads at a time; by default the number of processors and four, at
            most 32.
        processes: Processes instead of threads: so many, or True for one for each processor.
        max_waiting: The most calls that wait for a thread or process.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self, *, max_threads: int | None = None, processes: bool | int = False, max_waiting: int = 1000
    ) -> None:
        if max_threads is not None and processes is not False:
            raise ValueError("Offload(max_threads=..., processes=...): give one of the two")
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.uses_processes = processes is not False
        if processes is True:
            self.size = cpus
        elif self.uses_processes:
            self.size = _at_least_one("processes", processes)
        else:
            self.size = (
                min(MOST_THREADS, cpus + 4) if max_threads is None else _at_least_one("max_threads", max_threads)
            )
        if type(max_waiting) is not int or max_waiting < 0:
            raise ValueError(f"Offload(max_waiting={max_waiting!r}): give a whole number from 0 on")
        self.max_waiting = max_waiting

    def setup(self) -> None:
        """Make the pool; its threads start when they are needed."""
        self._pool = ThreadPool(
            self.host.backend,
            self.size,
            self.max_waiting,
            InProcess if self.uses_processes else InThread,
            f"{self.host.service_name}.{self.attr_name}",
        )

    def stop(self) -> None:
        """Wait for what still runs, although nobody waits for it any more, to the end of ``shutdown_timeout``."""
        deadline = getattr(self.host, "stop_deadline", None)
        self._pool.close(monotonic() + self.host.config.shutdown_timeout if deadline is None else deadline)

    def kill(self) -> None:
        """Abandon what still runs."""
        self._pool.kill()

    def get_dependency(self, ctx: WorkerContext) -> Callable[..., Any]:
        """Give the worker the function."""
        return self.call

    def call(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        """Call a function beside the event loop; gives its result, or raises what it raises.

        Raises:
            OffloadFull: Everything is busy and ``max_waiting`` calls wait.
            OffloadError: A process died, or something cannot be pickled.
            ContainerBeingKilled: The service has stopped.
        """
        result: R = self._pool.run(function, args, kwargs)
        return result


def _at_least_one(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"Offload({name}={value!r}): give a whole number from 1 on")
    return value
