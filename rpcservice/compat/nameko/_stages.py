"""The stages of a worker in nameko's order, and what is said of them in the log at DEBUG."""

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from rpcservice.compat.nameko._threads import Event
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.core import context, worker
from rpcservice.core.once import OnceOrder
from rpcservice.core.worker import Stage, WorkerPlan

HandleResult = Callable[[Any, Any, Any], tuple[Any, Any]]
"""Called with a worker's context, result and exc_info; gives the result and exc_info that providers are to see."""

_log = logging.getLogger(__name__)


def exc_info_of(error: BaseException | None) -> Any:
    """Give an exception as the triple of :func:`sys.exc_info`, or None."""
    return None if error is None else (type(error), error, error.__traceback__)


def handle_result(plan: WorkerPlan, ctx: Any) -> None:
    """Have the entrypoint send the outcome; it may replace it for the providers, which come after."""
    handle: HandleResult | None = getattr(ctx, "handle_result", None)
    if handle is None:
        worker.encode(plan, ctx)
        worker.settle(plan, ctx)
        return
    try:
        result, exc_info = handle(ctx, ctx.result, exc_info_of(ctx.error))
    except BaseException as exc:
        if worker.ends_worker(ctx, exc):
            raise
        _log.exception("handle_result failed after %s", ctx.call_id)
        result, exc_info = None, exc_info_of(exc)
        ctx.entrypoint.handle_result_failed(ctx, exc)
    ctx.result = result
    ctx.error = exc_info[1] if exc_info else None
    ctx.settled = True


def settle(worker_ctx: Any, result: Any = None, exc_info: Any = None) -> tuple[Any, Any]:
    """Have the entrypoint send an outcome: the ``handle_result`` of entrypoints that have none of their own."""
    worker_ctx.result, worker_ctx.error = result, exc_info[1] if exc_info else None
    worker.encode(worker_ctx.plan, worker_ctx)
    worker.settle(worker_ctx.plan, worker_ctx)
    return worker_ctx.result, exc_info_of(worker_ctx.error)


def handle_by_event(handle: Callable[..., tuple[Any, Any]], worker_ctx: Any, result: Any, exc_info: Any) -> Any:
    """Have a ``handle_result`` of nameko's entrypoints for the web replace an outcome.

    Args:
        handle: Called with an event too, which it sends what the client is to get.
        worker_ctx: The worker's context.
        result: What the method returned.
        exc_info: What it raised, as the triple of ``sys.exc_info()``.
    """
    event = Event()
    seen = handle(event, worker_ctx, result, exc_info)
    try:
        settle(worker_ctx, event.wait())
    except Exception as exc:
        settle(worker_ctx, None, exc_info_of(exc))
    return seen


def set_up(plan: WorkerPlan, ctx: Any) -> None:
    """Run ``worker_setup`` of every provider."""
    ctx.plan = plan
    ctx.container._worker_setup(ctx)


def hand_result(plan: WorkerPlan, ctx: Any) -> None:
    """Run ``worker_result`` of every provider; the caller has its answer already, so errors are only logged."""
    ctx.container._worker_result(ctx, ctx.result, exc_info_of(ctx.error))


def commit(plan: WorkerPlan, ctx: Any) -> None:
    """Run ``worker_result`` of every provider of an idempotent call, before the caller gets its answer."""
    for provider in ctx.container.dependencies:
        error = exc_info_of(ctx.error) if isinstance(provider, DependencyProvider) else ctx.error
        try:
            provider.worker_result(ctx, ctx.result, error)
        except BaseException as exc:
            if worker.ends_worker(ctx, exc):
                raise
            worker.record(ctx, exc)


def tear_down(plan: WorkerPlan, ctx: Any) -> None:
    """Run ``worker_teardown`` of every provider."""
    ctx.plan = plan
    ctx.container._worker_teardown(ctx)


STAGES: tuple[Stage, ...] = (worker.inject, set_up, worker.call, handle_result, hand_result, tear_down)
ONCE_STAGES = OnceOrder((worker.inject, set_up, worker.call), (commit,), (handle_result, tear_down))
"""Of calls that are idempotent, which nameko has not: they commit before they answer, as elsewhere."""

_TOLD: dict[Stage, tuple[str, str | None]] = {
    worker.inject: ("setting up %s", None),
    worker.call: ("calling handler for %s", "ran handler for %s in %.3fs"),
    handle_result: ("handling result for %s", "handled result for %s in %.3fs"),
    hand_result: ("signalling result for %s", None),
    tear_down: ("tearing down worker %s", "tore down worker %s in %.3fs"),
}
"""What is logged before and after a stage, as nameko has it."""


def choose_stages(stages: Sequence[Stage]) -> Sequence[Stage]:
    """Give the stages, with lines of the log about them where DEBUG is logged by now."""
    if not _log.isEnabledFor(logging.DEBUG):
        return stages
    return [_told(stage, *_TOLD[stage]) if stage in _TOLD else stage for stage in stages]


def _told(stage: Stage, before: str, after: str | None) -> Stage:
    def told(plan: WorkerPlan, ctx: context.WorkerContext) -> None:
        _log.debug(before, ctx)
        begin = monotonic()
        try:
            stage(plan, ctx)
        finally:
            if after is not None:
                _log.debug(after, ctx, monotonic() - begin)

    return told
