"""Once: what a worker does about a call whose method is to run once for each key; stages, as in ``worker``."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.idempotency import Claim, Claims, KeyFunction, Transactions, make_key
from rpcservice.core.worker import (
    Stage,
    WorkerPlan,
    begin,
    call,
    encode,
    ends_worker,
    hand_result,
    inject,
    record,
    set_up,
    settle,
    tear_down,
)
from rpcservice.errors import MessageTooLarge, Requeue


class OnceOrder(NamedTuple):
    """The stages of an idempotent call; its outcome is kept in the transaction that is committed, or right after it."""

    run: tuple[Stage, ...]
    commit: tuple[Stage, ...]
    answer: tuple[Stage, ...]


ONCE_STAGES = OnceOrder((inject, set_up, call, encode), (hand_result,), (settle, tear_down))


_log = logging.getLogger(__name__)


def _dump_nothing(result: Any) -> bytes:
    return b""


def _load_nothing(outcome: bytes) -> None:
    return None


class Once:
    """That the method of one entrypoint runs once for each key.

    Args:
        entrypoint: The bound entrypoint.
        key: True for the id of the message, or a function that gives a key for the method's arguments.
        dump: Encodes a result, so that it can be given again.
        load: Decodes it.

    Raises:
        ConfigError: There is no store for outcomes.
    """

    def __init__(
        self,
        entrypoint: Entrypoint,
        key: Literal[True] | KeyFunction,
        dump: Callable[[Any], bytes] = _dump_nothing,
        load: Callable[[bytes], Any] = _load_nothing,
    ) -> None:
        host = entrypoint.bound_to
        self.claims = host.resource(Claims)
        self.load = load
        self._dump = dump
        self._key = key
        self._limit = host.config.idempotency_max_result

    def claim(self, ctx: WorkerContext) -> Claim | bytes | None:
        """Claim the key of a call, as :meth:`Claims.claim` does.

        Raises:
            MissingKey: It has none.
        """
        return self.claims.claim(ctx, make_key(ctx, self._key))

    def dump(self, result: Any) -> bytes:
        """Encode a result.

        Raises:
            UnserializableValueError: It cannot be encoded.
            MessageTooLarge: It has too many bytes.
        """
        outcome = self._dump(result)
        if len(outcome) > self._limit:
            mend = "give less back, or raise idempotency_max_result"
            raise MessageTooLarge("result, which is kept for duplicates,", len(outcome), self._limit, mend)
        return outcome


class _Run:
    """One worker's run of an idempotent method, and what it has given so far."""

    def __init__(self, once: Once, claim: Claim) -> None:
        self.once = once
        self.claim = claim
        self.outcome = b""


class OnceStages:
    """The stages for the idempotent entrypoints of a container; other calls go through its plan as ever.

    Args:
        plan: The container's plan.
        stages: What an idempotent call is taken through.
        dependencies: The providers, one of which may have the transaction in which outcomes are kept.
        claims: The claims of the process.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        stages: OnceOrder,
        dependencies: Sequence[DependencyProvider],
        claims: Claims,
    ) -> None:
        self._stages = (*stages.run, self._note, *stages.commit, self._keep, *stages.answer)
        self._runs: dict[WorkerContext, _Run] = {}
        self._claims = claims
        self._transactions = _find_transactions(claims, dependencies)
        plan.teardowns.append(self._forget)
        plan.begin = self.begin

    def begin(self, plan: WorkerPlan, ctx: WorkerContext) -> tuple[Stage, ...]:
        """Give the stages of a call: all, or only those that answer it where its outcome is known, or none."""
        stages, once = begin(plan, ctx), ctx.entrypoint.method_once
        if once is None or stages is plan.answers or ctx.message is None:
            # Without a message somebody has called it by hand, as tests do.
            return stages
        try:
            found = once.claim(ctx)
            if isinstance(found, Claim):
                self._runs[ctx] = _Run(once, found)
                return self._stages
            if found is None:
                return ()
            ctx.answer(once.load(found))
            _log.info("%s: answered with the outcome of an earlier call", ctx.call_id)
        except BaseException as exc:
            if ends_worker(ctx, exc):
                raise
            record(ctx, exc)
        return plan.answers

    def _note(self, plan: WorkerPlan, ctx: WorkerContext) -> None:
        """Encode the result, and write it into the transaction that is about to be committed, where there is one."""
        if ctx.error is not None:
            return
        run = self._runs[ctx]
        try:
            run.outcome = run.once.dump(ctx.result)
            if self._transactions is not None:
                connection = self._transactions.connection(ctx)
                if not self._claims.finish_within(run.claim, run.outcome, connection):
                    raise Requeue("another worker has run it meanwhile, for the claim had lapsed")
        except BaseException as exc:
            if ends_worker(ctx, exc):
                raise
            plan.fail(ctx, exc)

    def _keep(self, plan: WorkerPlan, ctx: WorkerContext) -> None:
        """Keep the outcome of a success, and let another attempt run what has failed."""
        run = self._runs[ctx]
        if ctx.error is not None:
            self._claims.release(run.claim)
        elif self._transactions is not None:
            self._claims.committed(run.claim, run.outcome)
        else:
            self._claims.finish(run.claim, run.outcome)
        del self._runs[ctx]

    def _forget(self, ctx: WorkerContext) -> None:
        """Give up the claim of a worker that was ended before it could say what came of it."""
        run = self._runs.pop(ctx, None)
        if run is not None:
            self._claims.release(run.claim)


def _find_transactions(claims: Claims, dependencies: Sequence[DependencyProvider]) -> Transactions | None:
    """Give the provider whose transactions are in the store's database."""
    providers = [provider for provider in dependencies if isinstance(provider, Transactions)]
    for provider in providers:
        if claims.store.is_in(provider.database_url):
            return provider
    for provider in providers:
        _log.warning(
            "%s.%s is another database than idempotency_store, so that a call whose process dies right after its "
            "commit may run once more; give both the same URL to rule that out",
            provider.bound_to.service_name,
            provider.attr_name,
        )
    return None
