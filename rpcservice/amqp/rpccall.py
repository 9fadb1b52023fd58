"""RpcCall, a call under way, from ``call_async`` on until its reply is decoded."""

import logging
import os
from collections.abc import Callable, Mapping
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING, Any

from rpcservice.amqp.link import Delivery
from rpcservice.amqp.message import check_timeout
from rpcservice.concurrency import Event, Timer
from rpcservice.core.faults import error_from_data
from rpcservice.errors import ConnectionLost, DeadlineExceeded, MethodNotFound, RpcTimeout

if TYPE_CHECKING:
    from rpcservice.amqp.replies import ReplyListener

A_WHILE = 2.0
"""Seconds after which an outcome that is on its way does not come any more."""

A_MOMENT = 0.001
"""Seconds after which somebody else has had their turn."""

_log = logging.getLogger(__name__)


class RpcCall:
    """A call under way; :meth:`result` waits for its end. Made by ``call_async``.

    Any thread may ask for the result, and more than one.

    Attributes:
        service_name: The service that is called.
        method_name: Its method.
        timeout: Seconds that the call may take altogether; None is without end.
    """

    __slots__ = (
        "_callbacks",
        "_event",
        "_listener",
        "_outcome",
        "_timer",
        "correlation_id",
        "deadline",
        "method_name",
        "reply",
        "service_name",
        "timeout",
    )

    is_local: bool = False
    """Whether its request is carried out in this process, and the broker knows nothing of it."""

    def __init__(
        self, service_name: str, method_name: str, timeout: float | None, event: Event, listener: "ReplyListener"
    ) -> None:
        self.service_name = service_name
        self.method_name = method_name
        self.timeout = timeout
        self.deadline = None if timeout is None else monotonic() + timeout
        self.correlation_id = ""
        self.reply: Delivery | None = None
        self._event = event
        self._listener = listener
        self._outcome: tuple[Any, Exception | None] | None = None
        self._callbacks: tuple[Callable[[RpcCall], object], ...] = ()
        self._timer: Timer | None = None

    def renew(self) -> "RpcCall":
        """Give the same call as if nothing had happened to it: nothing was sent yet."""
        call = type(self)(
            self.service_name, self.method_name, self.timeout, self._listener.backend.event(), self._listener
        )
        call.deadline = self.deadline
        call.correlation_id = self.correlation_id
        return call

    def settle(self, error: Exception | None) -> None:
        """End the call, once: with an error, or with the reply that has been put in place.

        Only who has taken the call out of the listener's table may do so.
        """
        if error is not None:
            self._outcome = (None, error)
        self._event.set()
        if self._callbacks:
            self._call_back()

    def expire(self) -> None:
        """End the call because its time is up, unless its outcome is there."""
        if self._listener.drop(self):
            self.settle(RpcTimeout(self.service_name, self.method_name, self.timeout or 0))

    @property
    def was_answered(self) -> bool:
        """Whether it has ended with a reply, be it an error that the method raised."""
        return self.reply is not None

    def is_done(self) -> bool:
        """Say whether :meth:`result` would give or raise at once."""
        return self._event.is_set()

    def add_done_callback(self, function: Callable[["RpcCall"], object]) -> None:
        """Have a function called with this call, once, when the outcome is there; at once where it is already.

        Args:
            function: Called where the outcome arrives, in the reader of the connection: it must not wait, though it
                may ask for the result. What it raises is logged.
        """
        if self._is_of_parent():
            # Without the guard, which nobody gives back here if a thread held it at the fork.
            if not self._event.is_set():
                self._outcome = (None, self._lost_to_parent())
                self._event.set()
            self._tell(function)
            return
        with self._listener.guard:
            self._callbacks = (*self._callbacks, function)
            if self._timer is None and self.deadline is not None and not self._event.is_set():
                # Somebody who waits looks at the clock; nobody does now.
                remaining = max(0, self.deadline - monotonic())
                self._timer = self._listener.backend.call_later(remaining, self.expire)
        if self._event.is_set():
            self._call_back()

    def _call_back(self) -> None:
        with self._listener.guard:
            callbacks, self._callbacks = self._callbacks, ()
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        for function in callbacks:
            self._tell(function)

    def _tell(self, function: Callable[["RpcCall"], object]) -> None:
        try:
            function(self)
        except Exception:
            _log.exception("a callback of the call %s.%s failed", self.service_name, self.method_name)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the reply and give the result; may be called again, and raises the same again.

        Args:
            timeout: Seconds to wait here; None waits as long as the call may take.

        Raises:
            TypeError: The timeout is no number.
            ValueError: It is negative.
            RpcTimeout: No reply in time. When the call's own time is up, a late reply is dropped.
            UnknownService: Nothing is bound for the service.
            ConnectionLost: The connection to the broker broke meanwhile, or the call is one of the parent process.
            RemoteError: The method raised; or its own class, if that is registered.
        """
        outcome = self._outcome
        if outcome is None:
            if not self._event.is_set():
                self._wait(timeout)
            outcome = self._outcome
            if outcome is None:
                outcome = self._outcome = self._decode()
        value, error = outcome
        if error is not None:
            # Each time from here: what was raised in one thread must not grow longer in the next.
            raise error.with_traceback(None)
        return value

    def _wait(self, timeout: float | None) -> None:
        if self._is_of_parent():
            raise self._lost_to_parent()
        timeout = check_timeout(timeout, "to wait as long as the call may take")
        remaining = None if self.deadline is None else max(0, self.deadline - monotonic())
        if timeout is not None and (remaining is None or timeout < remaining):
            if not self._event.wait(timeout):
                raise RpcTimeout(self.service_name, self.method_name, timeout)
        elif not self._event.wait(remaining):
            self.expire()
            # Where somebody else has taken it, the outcome is on its way, unless a signal handler has broken that off.
            if not self._event.wait(A_WHILE):
                self.settle(RpcTimeout(self.service_name, self.method_name, self.timeout or 0))

    def _is_of_parent(self) -> bool:
        return self._listener.pid != os.getpid()

    def _lost_to_parent(self) -> ConnectionLost:
        return ConnectionLost(
            f"the reply of {self.service_name}.{self.method_name} goes to the process that made the call, before a "
            "fork: ask there, or call again; the call may have been carried out",
            maybe_executed=True,
        )

    def _decode(self) -> tuple[Any, Exception | None]:
        assert self.reply is not None
        try:
            payload = self._listener.codecs.decode(self.reply.body, self.reply.properties)
        except Exception as exc:
            return None, exc
        fault = payload.get("error") if isinstance(payload, Mapping) else payload
        if not fault and isinstance(payload, Mapping):
            return payload.get("result"), None
        error = error_from_data(fault)
        if isinstance(error, MethodNotFound):
            error.service_name = self.service_name
        return None, error


class RepeatedCall(RpcCall):
    """A call whose request was sent before, with the same ids: an earlier one may still be refused as too late."""

    __slots__ = ()

    def settle(self, error: Exception | None) -> None:
        """End the call, unless the reply is such a refusal: then the reply to the last request is to come."""
        if error is None:
            outcome = self._decode()
            if isinstance(outcome[1], DeadlineExceeded):
                self.reply = None
                self._listener.keep(self)
                return
            self._outcome = outcome
        super().settle(error)

    def wait(self) -> bool:
        """Wait for the reply as long as the call may take; False where none came."""
        if not self._event.wait(self.timeout):
            end = monotonic() + A_WHILE
            # Who has just taken it either settles it or puts it back.
            while not self._listener.drop(self) and not self._event.wait(A_MOMENT) and monotonic() < end:
                pass
        return self.was_answered


class LocalCall(RpcCall):
    """A call that is carried out in this process, as long as :attr:`is_local` says so."""

    __slots__ = ("is_local",)

    def settle(self, error: Exception | None) -> None:
        """End the call; who waits goes on at once, for the next call begins in another turn of the loop."""
        if error is not None:
            self._outcome = (None, error)
        self._event.set_in_turn()
        if self._callbacks:
            self._call_back()

    def _call_back(self) -> None:
        # The worker that answers is none that the callbacks belong to.
        Context().run(super()._call_back)


class RepeatedLocalCall(RepeatedCall, LocalCall):
    """The same for a request that was sent before."""

    __slots__ = ()
