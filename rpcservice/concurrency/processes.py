"""InProcess, which has the jobs of a thread done by a process of its own."""

import atexit
import logging
import multiprocessing
import pickle
from typing import Any

from rpcservice.concurrency.child import serve
from rpcservice.concurrency.childframes import receive_frame, send_frame
from rpcservice.concurrency.native import native
from rpcservice.concurrency.threadpool import Job
from rpcservice.errors import OffloadError

_log = logging.getLogger(__name__)

_PAUSE = 0.01
_PATIENCE = 5.0


class InProcess:
    """Does jobs in a process that is started for the first of them, and again after it has died.

    The process is spawned, for a fork would take the loop's sockets and locks along. It is started in the loop's
    thread, since locks of ``multiprocessing`` may be greenlets'; the thread only writes to and reads from pipes.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._is_broken = False
        self._sleep = native("time").sleep

    def prepare(self) -> None:
        """Start the process, if there is none that lives."""
        if self._process is not None and not self._is_broken and self._process.is_alive():
            return
        self._forget()
        context = multiprocessing.get_context("spawn")
        child_requests, self._requests = context.Pipe(duplex=False)
        self._replies, child_replies = context.Pipe(duplex=False)
        self._process = context.Process(
            target=serve, args=(child_requests, child_replies), name="rpcservice-offload", daemon=True
        )
        self._is_broken = False
        self._process.start()
        # It ignores SIGTERM, with which multiprocessing would end it.
        atexit.register(self._process.kill)
        child_requests.close()
        child_replies.close()

    def run(self, job: Job) -> Any:
        """Send a job to the process and wait for its outcome.

        Raises:
            OffloadError: It cannot be sent, or the process died.
        """
        try:
            request = pickle.dumps((job.function, job.args, job.kwargs))
        except Exception as exc:
            raise OffloadError(
                f"{job} cannot be sent to a process: {exc}; give a function of a module and arguments that pickle takes"
            ) from exc
        try:
            send_frame(self._requests.fileno(), request)
            answer = receive_frame(self._replies.fileno())
        except (EOFError, OSError) as exc:
            self._is_broken = True
            raise OffloadError(f"the process that ran {job} ended with exit code {self._exit_code()}") from exc
        try:
            result, error = pickle.loads(answer)
        except Exception as exc:
            raise OffloadError(f"what {job} gave in its process cannot be read here: {exc}") from exc
        if error is not None:
            raise error
        return result

    def abandon(self, job: Job) -> bool:
        """Kill the process: nobody waits for its work."""
        _log.warning("nobody waits for %s any more; its process is killed", job)
        self._is_broken = True
        self._process.kill()
        return False

    def close(self) -> None:
        """End the process, which does nothing any more."""
        if self._process is not None:
            self._requests.close()
            if self._exit_code() is None:
                self._process.kill()
                self._exit_code()
            self._forget()

    def _exit_code(self) -> int | None:
        """Wait for the end of the process; None when it does not come."""
        for _ in range(int(_PATIENCE / _PAUSE)):
            code: int | None = self._process.exitcode
            if code is not None:
                return code
            self._sleep(_PAUSE)
        return None

    def _forget(self) -> None:
        """Let go of a process that has ended."""
        if self._process is not None:
            atexit.unregister(self._process.kill)
            self._requests.close()
            self._replies.close()
            self._process = None
