"""The service that standalone clients call, and what their programs answer."""

from typing import Any

from eventlet import sleep
from json_process import JsonProcess

from rpcservice import RpcServiceError, WorkerContext, event_handler, rpc
from rpcservice.concurrency import Event, green
from rpcservice.core.dependency import DependencyProvider


class NoLuck(RpcServiceError):
    """What a method of the service raises."""


class Contexts(DependencyProvider):
    """Injects the context data of the call."""

    def get_dependency(self, ctx: WorkerContext) -> Any:
        return {"call_id_stack": ctx.call_id_stack, **ctx.data}


class Headers(DependencyProvider):
    """Injects the message's headers and properties."""

    def get_dependency(self, ctx: WorkerContext) -> Any:
        return ctx.message


class Desk:
    """Answers; what it has heard and whom it keeps waiting is looked at by the tests."""

    name = "desk"
    context = Contexts()
    message = Headers()
    entered: list[Any] = []
    heard: list[Any] = []
    gate: Event = green().event()

    @rpc
    def say(self, text: Any) -> Any:
        return text

    @rpc
    def fail(self, text: str) -> None:
        raise NoLuck(text)

    @rpc
    def hold(self, text: Any) -> Any:
        self.entered.append(text)
        self.gate.wait(30)
        return text

    @rpc
    def dawdle(self, text: Any, seconds: float) -> Any:
        sleep(seconds)
        return text

    @rpc
    def tell_context(self) -> Any:
        return self.context

    @rpc
    def tell_properties(self) -> Any:
        return self.message.properties

    @event_handler("office", "opened")
    def hear(self, payload: Any) -> None:
        self.heard.append((payload, self.message.headers))


def answer_of(program: JsonProcess, timeout: float = 60) -> Any:
    """Wait for what a program's function gives."""
    return program.wait_until(lambda: [line for line in program.lines if "answer" in line], "the answer", timeout)[0][
        "answer"
    ]
