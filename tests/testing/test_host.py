from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import Entrypoint, IncorrectSignature, Resource, WorkerContext
from rpcservice.core.dependency import Config
from rpcservice.testing import FakeHost


class Answering(Entrypoint):
    """Turns its outcome into a reply and keeps what it sent."""

    def setup(self) -> None:
        self.sent: list[Any] = []

    def encode(self, ctx: WorkerContext) -> None:
        ctx.reply = repr(ctx.error or ctx.result)

    def settle(self, ctx: WorkerContext) -> None:
        self.sent.append(ctx.reply)


def _bound(host: FakeHost) -> Answering:
    entrypoint = host.bind(Answering())
    entrypoint.setup()
    return entrypoint


def test_a_worker_runs_the_method_and_the_entrypoint_settles_its_result() -> None:
    host = FakeHost(lambda a, b: a + b)
    entrypoint = _bound(host)
    ctx = host.spawn_worker(entrypoint, (1,), {"b": 2})
    assert (ctx.result, entrypoint.sent) == (3, ["3"])


def test_what_the_method_raises_is_the_outcome() -> None:
    def method() -> None:
        raise KeyError("gone")

    host = FakeHost(method)
    entrypoint = _bound(host)
    host.run_worker(entrypoint)
    assert entrypoint.sent == ["KeyError('gone')"]


def test_workers_are_kept_with_what_fired_them(host: FakeHost) -> None:
    host.run_worker(_bound(host), context_data={"language": "de"}, message="message")
    (ctx,) = host.workers
    assert (ctx.message, ctx.data) == ("message", {"language": "de"})
    assert ctx.call_id.startswith("service.method.")


def test_a_bound_entrypoint_knows_the_signature_of_the_method() -> None:
    entrypoint = _bound(FakeHost(lambda sku: sku))
    entrypoint.check_signature(("sku-1",), {})
    with pytest.raises(IncorrectSignature):
        entrypoint.check_signature((), {})


def test_a_provider_can_be_asked_for_its_dependency(host: FakeHost) -> None:
    provider = host.bind(Config(), "config")
    assert provider.get_dependency(host.context()) == host.config.raw


def test_a_resource_is_made_once_for_each_key(host: FakeHost) -> None:
    assert host.resource(Resource, "a") is host.resource(Resource, "a")
    assert host.resource(Resource, "a") is not host.resource(Resource, "b")


def test_managed_threads_run_beside_the_test(host: FakeHost) -> None:
    ran = host.backend.event()
    host.spawn_managed_thread(ran.set, "a thread")
    assert ran.wait(10)
    assert len(host.threads) == 1


def test_what_a_managed_thread_raises_is_kept(host: FakeHost) -> None:
    def fail() -> None:
        raise ValueError("out of luck")

    assert host.spawn_managed_thread(fail).wait(10)
    assert [str(error) for error in host.errors] == ["out of luck"]


def test_around_hooks_see_every_worker() -> None:
    class Hook:
        def around_worker(self, ctx: WorkerContext, call_next: Callable[[WorkerContext], Any]) -> Any:
            ctx.kwargs["seen"] = True
            return call_next(ctx)

    host = FakeHost(lambda **kwargs: kwargs, hooks=[Hook()])
    assert host.run_worker(_bound(host)).result == {"seen": True}
