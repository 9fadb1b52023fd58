from collections.abc import Callable
from typing import Any

from rpcservice import ServiceContainer
from rpcservice.testing import FakeHost, dummy, entrypoint_waiter, once
from rpcservice.testing.entrypoints import Dummy, Once


def test_once_fires_at_start_with_its_arguments(host: FakeHost) -> None:
    entrypoint = host.bind(Once(1, 2, key="value"))
    entrypoint.start()
    (ctx,) = host.workers
    assert (ctx.args, ctx.kwargs) == ((1, 2), {"key": "value"})


def test_once_keeps_the_options_of_every_entrypoint_to_itself() -> None:
    entrypoint = Once(1, expected_exceptions=ValueError, sensitive_arguments="token")
    assert (entrypoint.expected_exceptions, entrypoint.sensitive_arguments) == ((ValueError,), ("token",))
    assert entrypoint.kwargs == {}


def test_once_works_bare(container_factory: Callable[..., ServiceContainer]) -> None:
    class Starter:
        name = "starter"

        @once
        def begin(self) -> str:
            return "begun"

    container = container_factory(Starter)
    with entrypoint_waiter(container, "begin") as result:
        container.start()
    assert result.get() == "begun"


def test_dummy_never_fires(host: FakeHost) -> None:
    entrypoint = host.bind(Dummy())
    entrypoint.setup()
    entrypoint.start()
    entrypoint.stop()
    assert host.workers == []


def test_decorators_give_the_function_itself() -> None:
    def method(self: Any) -> None: ...

    assert once(method) is method
    assert dummy(method) is method
