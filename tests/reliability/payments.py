"""The service that clients with policies call."""

from typing import Any

from rpcservice import DependencyProvider, WorkerContext, rpc
from rpcservice.concurrency import Event


class Ids(DependencyProvider):
    """Injects the ids of the request."""

    def get_dependency(self, ctx: WorkerContext) -> Any:
        properties = ctx.message.properties
        return properties["message_id"], properties["correlation_id"], properties["headers"]["rpcservice-deadline"]


class Payments:
    name = "payments"
    ids = Ids()
    seen: list[Any] = []
    gate: Event
    first_gate: Event

    @rpc
    def charge(self, amount: Any) -> Any:
        self.seen.append(self.ids)
        return amount

    @rpc
    def charge_at_last(self, amount: Any, silent: int) -> Any:
        """Keep the first callers waiting."""
        self.seen.append(self.ids)
        if len(self.seen) <= silent:
            self.gate.wait(20)
        return [amount, len(self.seen)]

    @rpc
    def hold(self, amount: Any) -> Any:
        self.seen.append(self.ids)
        self.gate.wait(20)
        return amount

    @rpc
    def hold_all_but_the_first(self) -> int:
        """Let the first caller go before the others."""
        self.seen.append(self.ids)
        number = len(self.seen)
        (self.first_gate if number == 1 else self.gate).wait(20)
        return number

    @rpc
    def refuse(self, amount: Any) -> Any:
        self.seen.append(self.ids)
        raise ValueError(f"{amount} is too much")
