"""InProcess, which has the jobs of a thread done by a process of its own."""

import logging
import pickle
import signal
import subprocess
import sys
from multiprocessing import spawn
from os import fsdecode
from time import monotonic
from typing import Any

from rpcservice.concurrency.child import STDIN
from rpcservice.concurrency.childframes import receive_frame, send_frame
from rpcservice.concurrency.native import native
from rpcservice.concurrency.threadpool import Job
from rpcservice.errors import OffloadError

_log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds in which a process that was told to end does so; then it is killed."""
_PAUSE = 0.01


class InProcess:
    """Does jobs in a process that is started for the first of them, and again after it has died.

    A new interpreter and no fork, which would take the loop's sockets and locks along. The thread starts it, waits for
    it and reaps it by system calls alone: the pipes and locks of ``multiprocessing`` and ``subprocess`` are greenlets'
    in a process that eventlet has patched.
    """

    def __init__(self) -> None:
        self._os: Any = native("os")
        self._socket: Any = native("socket")
        self._sleep = native("time").sleep
        self._pid: int | None = None
        self._end = -1

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
            if self._pid is None or self._has_ended():
                self._start()
            if job.is_abandoned:
                raise OffloadError(f"nobody waits for {job} any more")
            send_frame(self._end, request)
            answer = receive_frame(self._end)
        except (EOFError, ConnectionError) as exc:
            raise OffloadError(f"the process that ran {job} ended with exit code {self._reap()}") from exc
        try:
            result, error = pickle.loads(answer)
        except Exception as exc:
            raise OffloadError(f"what {job} gave in its process cannot be read here: {exc}") from exc
        if error is not None:
            raise error
        return result

    def _start(self) -> None:
        own, childs = self._socket.socketpair()
        try:
            self._pid = self._os.posix_spawn(
                spawn.get_executable(),
                _command(),
                self._os.environ,
                file_actions=[(self._os.POSIX_SPAWN_DUP2, childs.fileno(), STDIN)],
            )
        except BaseException:
            own.close()
            raise
        finally:
            childs.close()
        self._end = own.detach()
        data = spawn.get_preparation_data("rpcservice-offload")
        # Which cannot be pickled, and is of no use where no connections of multiprocessing are made.
        data.pop("authkey", None)
        send_frame(self._end, pickle.dumps(data))

    def abandon(self, job: Job) -> bool:
        """Kill the process: nobody waits for its work."""
        _log.warning("nobody waits for %s any more; its process is killed", job)
        self._kill()
        return False

    def close(self) -> None:
        """End the process, which does nothing any more."""
        if self._pid is not None:
            self._reap()

    def _kill(self) -> None:
        if self._pid is not None:
            try:
                self._os.kill(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                return  # it has just ended

    def _has_ended(self) -> bool:
        """Say whether the process has died meanwhile; then it is let go of."""
        status = self._wait_for_end()
        if status is not None:
            self._let_go()
        return status is not None

    def _reap(self) -> int | None:
        """Have the process end, and give its exit code; None where somebody else has taken it."""
        self._os.close(self._end)
        self._end = -1
        deadline = monotonic() + PATIENCE
        while (code := self._wait_for_end()) is None:
            if monotonic() > deadline:
                self._kill()
            self._sleep(_PAUSE)
        self._let_go()
        return code if code is not _UNKNOWN else None

    def _wait_for_end(self) -> int | None:
        """Give the exit code of the process; None while it lives."""
        try:
            pid, status = self._os.waitpid(self._pid, self._os.WNOHANG)
        except ChildProcessError:
            return _UNKNOWN
        code: int | None = self._os.waitstatus_to_exitcode(status) if pid else None
        return code

    def _let_go(self) -> None:
        self._pid = None
        if self._end != -1:
            self._os.close(self._end)
            self._end = -1


_UNKNOWN = 1 << 16


def _command() -> list[str]:
    """Give the command line of a child; it finds its modules where this process does."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    program = f"import sys; sys.path[:] = {sys.path!r}; from rpcservice.concurrency.child import serve; serve()"
    return [fsdecode(spawn.get_executable()), *flags, "-c", program]
