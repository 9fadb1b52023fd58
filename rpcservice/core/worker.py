"""What a worker does with one call: a list of stages, each a plain function."""

import logging
from collections.abc import Callable, Sequence
from contextvars import Context
from time import monotonic
from types import FrameType
from typing import Any

from rpcservice.core.context import WorkerContext, current_worker
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.faults import is_interrupt, summary
from rpcservice.core.timelimit import call_within
from rpcservice.errors import ContainerBeingKilled

_log = logging.getLogger(__name__)


class WorkerPlan:
    """What is known of every call before it comes: the class, what to inject, and the hooks that do something."""

    def __init__(self, cls: type, dependencies: Sequence[DependencyProvider], stages: "Sequence[Stage]") -> None:
        self.cls = cls
        self.stages = tuple(stages)
        self.injections = [(provider.attr_name, provider.get_dependency) for provider in dependencies]
        self.setups = _hooks(dependencies, "worker_setup")
        self.results = _hooks(dependencies, "worker_result")
        self.teardowns = _hooks(dependencies, "worker_teardown")
        self.begin: Begin = begin
        self.answers = ANSWERS
        self.fail: Callable[[WorkerContext, BaseException], None] = fail


Stage = Callable[[WorkerPlan, WorkerContext], None]
Begin = Callable[[WorkerPlan, WorkerContext], tuple[Stage, ...]]
"""Gives the stages that a call is taken through; with none its message goes back to its queue."""


def _hooks(dependencies: Sequence[DependencyProvider], name: str) -> list[Callable[..., None]]:
    base = getattr(DependencyProvider, name)
    return [
        getattr(provider, name)
        for provider in dependencies
        if getattr(type(provider), name) is not base or name in vars(provider)
    ]


def inject(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Make the service instance and put the dependencies in their places."""
    ctx.service = service = plan.cls()
    for attr_name, get_dependency in plan.injections:
        setattr(service, attr_name, get_dependency(ctx))


def set_up(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Run ``worker_setup`` of every provider."""
    if ctx.error is None:
        for hook in plan.setups:
            hook(ctx)


def call(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Call the method."""
    if ctx.error is None and not ctx.is_answered:
        method, seconds = getattr(ctx.service, ctx.entrypoint.method_name), ctx.entrypoint.method_seconds
        ctx.result = method(*ctx.args, **ctx.kwargs) if seconds is None else call_within(ctx, seconds, method)


def encode(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Have the entrypoint encode the outcome, so that a result that cannot be sent never commits as a success."""
    try:
        ctx.entrypoint.encode(ctx)
    except BaseException as exc:
        if ends_worker(ctx, exc):
            raise
        fail(ctx, exc)


def hand_result(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Run ``worker_result`` of every provider; a failed commit becomes the outcome."""
    for hook in plan.results:
        try:
            hook(ctx, ctx.result, ctx.error)
        except BaseException as exc:
            if ends_worker(ctx, exc):
                raise
            fail(ctx, exc)


def settle(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Have the entrypoint send the reply and take the message off its queue."""
    try:
        ctx.entrypoint.settle(ctx)
    except Exception as exc:
        fail(ctx, exc)
        ctx.entrypoint.settle(ctx)
    ctx.settled = True


def tear_down(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Run ``worker_teardown`` of every provider; the caller has its answer, so errors are only logged."""
    for hook in plan.teardowns:
        try:
            hook(ctx)
        except BaseException as exc:
            if ends_worker(ctx, exc):
                raise
            _log.exception("worker_teardown failed after %s", ctx.call_id)


ANSWERS: tuple[Stage, ...] = (encode, settle)
"""What a call is taken through that is not to be run, for its outcome is there."""
DEFAULT_STAGES: tuple[Stage, ...] = (inject, set_up, call, encode, hand_result, settle, tear_down)


def begin(plan: WorkerPlan, ctx: WorkerContext) -> tuple[Stage, ...]:
    """Give all stages, or only those that answer a call that the entrypoint refuses."""
    refusal = ctx.entrypoint.method_refusal(ctx)
    if refusal is None:
        return plan.stages
    record(ctx, refusal)
    return plan.answers


def run_worker(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Take one call through the stages; what a stage raises becomes the call's outcome.

    Only the end of the worker itself (it is killed, or the process is interrupted) passes through; then the
    message goes back to its queue.
    """
    token = current_worker.set(ctx)
    try:
        for stage in plan.begin(plan, ctx):
            try:
                stage(plan, ctx)
            except BaseException as exc:
                if ends_worker(ctx, exc):
                    raise
                record(ctx, exc)
        if not ctx.settled:
            ctx.entrypoint.give_back(ctx)
    except BaseException:
        _abandon(plan, ctx)
        raise
    finally:
        current_worker.reset(token)


def run_worker_told(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Do as :func:`run_worker`, and tell of it in the log at DEBUG."""
    _log.debug("call stack of %s: %s", ctx.call_id, "->".join(ctx.call_id_stack))
    begin = monotonic()
    try:
        run_worker(plan, ctx)
    finally:
        _log.debug("ran worker %s in %.3fs", ctx.call_id, monotonic() - begin)


def who_runs(stack: Sequence[FrameType]) -> tuple[str, Context]:
    """Say which worker's code a stack is, the innermost frame first, and give the context variables to log it with."""
    context = Context()
    for frame in stack:
        if frame.f_code is run_worker.__code__:
            ctx: WorkerContext = frame.f_locals["ctx"]
            context.run(current_worker.set, ctx)
            return f"the worker of {ctx.call_id}", context
    return "code outside of workers", context


def choose_run() -> Callable[[WorkerPlan, WorkerContext], None]:
    """Give what runs the workers of a container: the one that tells of them where DEBUG is logged by now."""
    return run_worker_told if _log.isEnabledFor(logging.DEBUG) else run_worker


def ends_worker(ctx: WorkerContext, error: BaseException) -> bool:
    """Say whether an error ends the worker itself.

    eventlet's Timeout and SystemExit are no Exceptions either, but they end a call, not the container; nor does a
    KeyboardInterrupt that cannot come from Ctrl-C, for which `rpcservice run` has a handler.
    """
    if isinstance(error, KeyboardInterrupt):
        return ctx.is_killed or is_interrupt(error)
    return ctx.is_killed and not isinstance(error, Exception)


def record(ctx: WorkerContext, error: BaseException) -> None:
    """Note an error in the context and in the log."""
    if ctx.entrypoint.is_expected(error):
        _log.warning("(expected) %s: %s", ctx.call_id, summary(error))
    else:
        _log.error("%s: %s", ctx.call_id, summary(error), exc_info=error)
    if not ctx.settled:
        ctx.error = error
        ctx.result = None


def fail(ctx: WorkerContext, error: BaseException) -> None:
    """Make an error that came after the method the outcome of the call."""
    record(ctx, error)
    ctx.reply = None
    ctx.entrypoint.encode(ctx)


def _abandon(plan: WorkerPlan, ctx: WorkerContext) -> None:
    """Give the message of an unfinished call back and let the providers close what they opened."""
    if ctx.error is None:
        ctx.error = ContainerBeingKilled(f"{ctx.call_id} was ended before it had finished")
    if not ctx.settled:
        ctx.entrypoint.give_back(ctx)
    tear_down(plan, ctx)


def compose(hooks: Sequence[Callable[..., Any]], inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Put around-hooks about a call, the first one outermost; gives the call itself where there are none."""
    for hook in reversed(hooks):
        inner = _around(hook, inner)
    return inner


def _around(hook: Callable[..., Any], inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def around(subject: Any) -> Any:
        return hook(subject, inner)

    return around
