"""GuardedCall: a call that was started by ``call_async`` and that retries or a fallback may go on with."""

import contextvars
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from rpcservice.amqp.message import check_timeout
from rpcservice.core.callpolicy import Call, Request
from rpcservice.errors import RpcTimeout
from rpcservice.reliability.client import NO_ANSWER, Admission, ClientPolicy, judge

_log = logging.getLogger(__name__)


def _raise(error: Exception) -> Any:
    # Each time from here: what was raised in one thread must not grow longer in the next.
    raise error.with_traceback(None)


class GuardedCall:
    """A call under way, as :class:`~rpcservice.RpcCall`; ends when there is to be no further attempt.

    Where the first attempt fails, the others and the fallback have a greenlet or a thread of their own.

    Attributes:
        service_name: The service that is called.
        method_name: Its method.
    """

    def __init__(self, policy: ClientPolicy, request: Request) -> None:
        self.service_name = request.service_name
        self.method_name = request.method_name
        self._policy = policy
        self._request = request
        self._backend = request.backend
        self._context = contextvars.copy_context()
        self._pid = os.getpid()
        self._first: Call | None = None
        self._ended = self._backend.event()
        self._guard = self._backend.guard()
        self._callbacks: list[Callable[[GuardedCall], object]] = []
        self._get: Callable[[], Any] = partial(_raise, RuntimeError("the call has not ended"))
        self._was_answered = False

    def send(self) -> Self:
        """Make the first attempt; raises what it raises where nothing would follow."""
        try:
            self._send_first()
        except NO_ANSWER as exc:
            if not self._policy.can_recover:
                raise
            self._recover_later(exc)
        return self

    def _send_first(self) -> None:
        admission = self._policy.admit(self.service_name)
        try:
            self._first = call = self._request.send()
        except BaseException as exc:
            admission.end(judge(exc, False))
            raise
        call.add_done_callback(partial(self._arrive, admission))

    def _arrive(self, admission: Admission, call: Call) -> None:
        """Take the outcome of the first attempt; called where it arrives, so it must not wait."""
        if call.was_answered:
            admission.end(False)
            self._finish(call.result, True)
            return
        try:
            call.result()
        except Exception as exc:
            admission.end(judge(exc, False))
            if self._policy.can_recover and isinstance(exc, NO_ANSWER):
                self._recover_later(exc)
            else:
                self._finish(call.result)

    def _recover_later(self, error: Exception) -> None:
        try:
            self._backend.spawn(self._context.run, self._recover, error)
        except RuntimeError:
            # There can be no more threads: the interpreter ends, or there are too many.
            self._finish(partial(_raise, error))

    def _recover(self, error: Exception) -> None:
        try:
            result = self._policy.recover(self._request, error)
        except Exception as exc:
            self._finish(partial(_raise, exc), self._request.was_answered)
        except BaseException:
            self._finish(partial(_raise, error))
            raise
        else:
            self._finish(lambda: result, self._request.was_answered)

    def _finish(self, get: Callable[[], Any], was_answered: bool = False) -> None:
        self._get = get
        self._was_answered = was_answered
        with self._guard:
            self._ended.set()
            callbacks, self._callbacks = self._callbacks, []
        for function in callbacks:
            self._tell(function)

    def _tell(self, function: Callable[["GuardedCall"], object]) -> None:
        try:
            function(self)
        except Exception:
            _log.exception("a callback of the call %s.%s failed", self.service_name, self.method_name)

    @property
    def timeout(self) -> float | None:
        """Seconds that an attempt may take, as the first one had them; None is without end."""
        timeout: float | None = getattr(self._first, "timeout", None)
        return timeout

    @property
    def was_answered(self) -> bool:
        """Whether it has ended with a reply, be it an error that the method raised."""
        return self._was_answered

    def is_done(self) -> bool:
        """Say whether :meth:`result` would give or raise at once."""
        return self._ended.is_set()

    def add_done_callback(self, function: Callable[["GuardedCall"], object]) -> None:
        """Have a function called with this call, once, when the outcome is there; at once where it is already.

        Args:
            function: It must not wait, though it may ask for the result. What it raises is logged.
        """
        with self._guard:
            if not self._ended.is_set():
                self._callbacks.append(function)
                return
        self._tell(function)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the outcome and give the result; may be called again, and raises the same again.

        Args:
            timeout: Seconds to wait here; None waits until there is to be no further attempt.

        Raises:
            RpcTimeout: There is no outcome yet; or no reply came to the last attempt.
            Exception: As :meth:`rpcservice.RpcCall.result`, or what the fallback raised.
        """
        if not self._ended.is_set():
            if self._first is not None and self._pid != os.getpid():
                return self._first.result(timeout)
            timeout = check_timeout(timeout, "to wait as long as the call may take")
            if not self._ended.wait(timeout):
                raise RpcTimeout(self.service_name, self.method_name, timeout or 0)
        return self._get()
