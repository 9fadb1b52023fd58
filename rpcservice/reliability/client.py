"""ClientPolicy: retries, breaker, bulkhead and fallback of a client's calls.

From the outside in: fallback, retry, breaker, bulkhead, call. So each attempt counts for the breaker, and nothing is
held during the pauses.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rpcservice.concurrency import Backend
from rpcservice.core.callpolicy import Call, Request
from rpcservice.core.retry import HOPELESS_CALLS, Retry, as_retry, check_number
from rpcservice.errors import (
    BrokerUnavailable,
    CircuitOpen,
    ConnectionLost,
    DeadlineExceeded,
    DeclarationError,
    RpcTimeout,
    TooManyCalls,
    UnknownService,
)
from rpcservice.reliability.breaker import Breaker, Circuit
from rpcservice.reliability.bulkhead import Bulkhead

FAILURES = (BrokerUnavailable, ConnectionLost, RpcTimeout, UnknownService)
"""The ways in which a call gets no answer."""
REFUSALS = (CircuitOpen, TooManyCalls)
"""Why a client itself does not make a call."""
NO_ANSWER = (*FAILURES, *REFUSALS)
NO_FURTHER_ANSWER = (*NO_ANSWER, DeadlineExceeded)
"""The same for attempts after the first one: those may find that there is no time left."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PolicyOptions:
    """The options of a client for its policy, checked."""

    retry: Retry | None
    breaker: Breaker | None
    max_in_flight: int | None
    fallback: Callable[..., Any] | str | None

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> "PolicyOptions":
        """Check what was given.

        Raises:
            TypeError: An option is something else than it may be.
            ValueError: ``max_in_flight`` is out of its range.
        """
        breaker, limit, fallback = (options.get(name) for name in ("breaker", "max_in_flight", "fallback"))
        if breaker is not None and not isinstance(breaker, Breaker):
            raise TypeError(f"breaker={breaker!r}: give Breaker(...)")
        if limit is not None:
            check_number("max_in_flight", limit, 1, kind=int)
        if fallback is not None and not (callable(fallback) or isinstance(fallback, str)):
            raise TypeError(f"fallback={fallback!r}: give a function, or the name of a method of the service")
        return cls(as_retry(options.get("retry")), breaker, limit, fallback)


class Policies:
    """The policies of one client, and what they know of the services that it calls.

    Args:
        backend: On what the client runs.
        service_cls: The service that it belongs to, if any.
    """

    def __init__(self, backend: Backend, service_cls: type | None = None) -> None:
        self._backend = backend
        self._service_cls = service_cls
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._circuits: dict[tuple[Breaker, str], Circuit] = {}
        self._bulkheads: dict[str, Bulkhead] = {}

    def make(self, options: Mapping[str, Any]) -> "ClientPolicy":
        """Give the policy that these options ask for.

        Raises:
            TypeError: An option is something else than it may be.
            ValueError: A number is out of its range.
            DeclarationError: The service has no method that ``fallback`` names.
        """
        read = PolicyOptions.read(options)
        if isinstance(read.fallback, str) and not callable(getattr(self._service_cls, read.fallback, None)):
            owner = (
                "this client, which belongs to no service" if self._service_cls is None else self._service_cls.__name__
            )
            raise DeclarationError(
                f"fallback={read.fallback!r}: {owner} has no such method; name one of the service, or give a function"
            )
        return ClientPolicy(self, read)

    @property
    def circuits(self) -> tuple[Circuit, ...]:
        """The circuits of its breakers, one for each service that has been called."""
        return tuple(self._circuits.values())

    def circuit(self, breaker: Breaker, service_name: str) -> Circuit:
        """Give what a breaker knows of a service."""
        self._check_process()
        known = self._circuits.get((breaker, service_name))
        # On threads, the first one to be kept is everybody's.
        return known or self._circuits.setdefault(
            (breaker, service_name), Circuit(breaker, service_name, self._backend.guard())
        )

    def bulkhead(self, service_name: str) -> Bulkhead:
        """Give what counts the calls of a service."""
        self._check_process()
        known = self._bulkheads.get(service_name)
        return known or self._bulkheads.setdefault(service_name, Bulkhead(service_name, self._backend.guard()))

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            # A fork: another thread of the parent may have held a lock, and its calls end there.
            self._forget()


class Admission:
    """That a call may be made; :meth:`end` is called once when it has ended."""

    __slots__ = ("_bulkhead", "_circuit", "_era")

    def __init__(self, circuit: Circuit | None, bulkhead: Bulkhead | None, limit: int | None) -> None:
        """Ask for leave.

        Raises:
            CircuitOpen: The service does not answer.
            TooManyCalls: Too many calls are under way.
        """
        self._circuit = circuit
        self._bulkhead = bulkhead
        self._era = 0 if circuit is None else circuit.enter()
        if bulkhead is not None and limit is not None:
            try:
                bulkhead.enter(limit)
            except TooManyCalls:
                self._bulkhead = None
                self.end(None)
                raise

    def end(self, has_failed: bool | None) -> None:
        """Note the end of the call.

        Args:
            has_failed: Whether it got no answer; None where it was given up.
        """
        if self._bulkhead is not None:
            self._bulkhead.leave()
        if self._circuit is not None:
            self._circuit.leave(self._era, has_failed)


def judge(error: BaseException, was_answered: bool) -> bool | None:
    """Say whether a call that ended with an error got no answer; None where that says nothing of the service."""
    if was_answered:
        return False
    return True if isinstance(error, FAILURES) else None


class ClientPolicy:
    """How a client's calls are carried out.

    Args:
        policies: Those of the client.
        options: What was asked for.
    """

    def __init__(self, policies: Policies, options: PolicyOptions) -> None:
        self._policies = policies
        self._breaker = options.breaker
        self._limit = options.max_in_flight
        self._fallback = options.fallback
        self.retry = options.retry
        self.can_recover = options.retry is not None or options.fallback is not None
        if options.retry is not None:
            # Now, and not in the middle of a failure.
            from rpcservice.reliability.pauses import Pauses

            self.pauses = Pauses(options.retry)

    def admit(self, service_name: str) -> Admission:
        """Ask for leave to make an attempt.

        Raises:
            CircuitOpen: The service does not answer.
            TooManyCalls: Too many calls are under way.
        """
        circuit = None if self._breaker is None else self._policies.circuit(self._breaker, service_name)
        bulkhead = None if self._limit is None else self._policies.bulkhead(service_name)
        return Admission(circuit, bulkhead, self._limit)

    def call(self, request: Request) -> Any:
        """Carry a call out and wait for its result; raises what the last attempt did, or what the fallback does."""
        try:
            return self._attempt(request)
        except NO_ANSWER as exc:
            if request.was_answered or not self.can_recover:
                raise
            return self.recover(request, exc)

    def start(self, request: Request) -> Call:
        """Start a call; the first attempt is sent at once, others by themselves."""
        from rpcservice.reliability.guardedcall import GuardedCall

        return GuardedCall(self, request).send()

    def _attempt(self, request: Request) -> Any:
        admission = self.admit(request.service_name)
        has_failed: bool | None = None
        try:
            result = request.send().result()
            has_failed = False
        except Exception as exc:
            has_failed = judge(exc, request.was_answered)
            raise
        finally:
            admission.end(has_failed)
        return result

    def recover(self, request: Request, error: Exception) -> Any:
        """Make the further attempts of a call whose first one got no answer; gives what comes of it."""
        attempts = Attempts(self, request)
        while (pause := attempts.pause_after(error)) is not None:
            late = request.wait(pause)
            if late is not None:
                return late.result()
            try:
                return self._attempt(request)
            except NO_FURTHER_ANSWER as exc:
                if request.was_answered:
                    raise
                error = exc
        return self.fall_back(request, attempts.outcome(error))

    def fall_back(self, request: Request, error: Exception) -> Any:
        """Give what the fallback gives, for a call that has failed for good; raises the error where there is none."""
        fallback = self._fallback
        if fallback is None:
            raise error
        _log.info("%s.%s: %s; the fallback is used", request.service_name, request.method_name, error)
        function = getattr(request.service, fallback) if isinstance(fallback, str) else fallback
        return function(error, *request.args, **request.kwargs)


class Attempts:
    """What has been tried of one call, and what is to follow.

    Args:
        policy: The client's.
        request: What is sent.
    """

    def __init__(self, policy: ClientPolicy, request: Request) -> None:
        self._policy = policy
        self._request = request
        self._made = 0
        # Why it is not known whether the call was carried out.
        self._doubt: Exception | None = None

    def pause_after(self, error: Exception) -> float | None:
        """Give the seconds to wait after an attempt that got no answer; None where it was the last."""
        policy, request = self._policy, self._request
        retry = policy.retry
        is_refused = isinstance(error, (*REFUSALS, DeadlineExceeded))
        if is_refused and self._made:
            return None
        self._made += 1
        may_have_run = getattr(error, "maybe_executed", False)
        if may_have_run:
            self._doubt = error
        if retry is None or is_refused or (may_have_run and not retry.idempotent):
            return None
        if not (retry.allows(error, self._made, HOPELESS_CALLS) and request.can_be_sent):
            return None
        pause = policy.pauses(self._made)
        left = request.time_left()
        if left is not None and left <= pause:
            return None
        text = "%s.%s: attempt %d of %d got no answer, the next one follows in %.3g s: %s"
        _log.info(text, request.service_name, request.method_name, self._made, retry.max_attempts, pause, error)
        return pause

    def outcome(self, error: Exception) -> Exception:
        """Give the error that a call ends with whose last attempt ended with ``error``.

        The last one, unless the call may have been carried out and this one would say that it was not.
        """
        doubt = self._doubt
        final = error if doubt is None or getattr(error, "maybe_executed", False) else doubt
        if self._made > 1 or final is not error:
            last = "" if final is error else f"; the last time: {error}"
            note = f"{self._request.service_name} was tried {self._made} times{last}"
            # Callers that wait for the same connection may have the same error.
            if note not in getattr(final, "__notes__", ()):
                final.add_note(note)
        return final
