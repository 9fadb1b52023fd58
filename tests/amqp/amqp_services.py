"""Services that the tests of RPC and events call."""

from typing import Any

from waiting import wait_until

from rpcservice import DependencyProvider, rpc
from rpcservice.amqp.connection import AmqpConnection
from rpcservice.core.faults import deserialize_to_instance
from rpcservice.core.runner import ServiceRunner


@deserialize_to_instance(code="test_rpc.out_of_stock")
class OutOfStock(Exception):
    pass


@deserialize_to_instance
class NeedsMore(Exception):
    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"{sku} has {left} left")


class Echo:
    name = "echo"

    @rpc
    def args(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"args": args, "kwargs": kwargs}

    @rpc
    def add(self, left: int, right: int = 1) -> int:
        return left + right

    @rpc
    def fail(self, *args: Any) -> None:
        raise ValueError(*args)

    @rpc
    def run_out(self) -> None:
        raise OutOfStock("sku-1", 3)

    @rpc
    def need_more(self) -> None:
        raise NeedsMore("sku-1", 3)

    @rpc
    def odd(self) -> object:
        return {1, 2}

    @rpc
    def large(self, size: int) -> str:
        return "x" * size

    @rpc
    def fail_large(self, size: int) -> None:
        raise ValueError("x" * size)


class Slow:
    name = "slow"
    go: Any = None

    @rpc
    def wait(self) -> str:
        assert self.go.wait(10)
        return "late"

    @rpc
    def quick(self) -> str:
        return "quick"


class Counting(DependencyProvider):
    """Counts workers, and fails where it is told to."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.journal: list[str] = []

    def note(self, what: str) -> None:
        self.journal.append(what)
        if what in self.broken:
            raise RuntimeError(f"broken {what}")

    def get_dependency(self, ctx: Any) -> Any:
        self.note("get_dependency")
        return self.note

    def worker_setup(self, ctx: Any) -> None:
        self.note("worker_setup")

    def worker_result(self, ctx: Any, result: Any = None, error: BaseException | None = None) -> None:
        outcome = f"result {result}" if error is None else f"error {type(error).__name__}"
        self.journal.append(outcome)
        self.note("worker_result")

    def worker_teardown(self, ctx: Any) -> None:
        self.note("worker_teardown")


def counted(*broken: str) -> type:
    class Counted:
        name = "counted"
        note = Counting(*broken)

        @rpc
        def add(self, left: int, right: int = 1) -> int:
            self.note("method")
            return left + right

        @rpc
        def odd(self) -> object:
            self.note("method")
            return object()

    return Counted


def journal_of(runner: ServiceRunner) -> list[str]:
    provider: Any = runner.containers["counted"].dependencies[0]
    journal: list[str] = provider.journal
    return journal


def wait_for_end(journal: list[str]) -> list[str]:
    wait_until(lambda: "worker_teardown" in journal, "the end of the worker")
    return journal


def connections_of(runner: ServiceRunner) -> list[AmqpConnection]:
    return [resource for resource in runner.resources if isinstance(resource, AmqpConnection)]
