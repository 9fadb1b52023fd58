"""A service with something of everything, which uses all of it once, as soon as it is up, and says so."""

from typing import Any

from kombu import Exchange, Queue

from rpcservice import (
    BROADCAST,
    EventDispatcher,
    Offload,
    Publisher,
    Retry,
    ServiceRpc,
    WebSocketHubProvider,
    consume,
    event_handler,
    http,
    rpc,
    timer,
    websocket_rpc,
)

WORK = Queue("manifold-work", Exchange("manifold", "direct"), routing_key="work")
LASTING = {
    "rpc-manifold",
    "evt-manifold-happened--manifold.handle",
    "evt-manifold-happened--manifold.handle.dead",
    "manifold-work",
}
"""The queues that outlive the service: messages wait in them for the next instance."""


class Manifold:
    name = "manifold"
    own = ServiceRpc("manifold", timeout=30)
    dispatch = EventDispatcher()
    publish = Publisher(queue=WORK)
    offload = Offload(max_threads=2)
    hub = WebSocketHubProvider()
    done: set[str] = set()

    def note(self, what: str) -> None:
        """Say it when everything has been done once."""
        self.done.add(what)
        if len(self.done) == 4:
            print("everything done", flush=True)

    @rpc
    def answer(self, number: int) -> int:
        return number + 1

    @event_handler("manifold", "happened", retry=Retry(max_attempts=2))
    def handle(self, payload: Any) -> None:
        self.note("handled")

    @event_handler("manifold", "happened", handler_type=BROADCAST, reliable_delivery=False)
    def hear(self, payload: Any) -> None:
        self.note("heard")

    @consume(WORK)
    def work(self, payload: Any) -> None:
        self.note("worked")

    @http("GET", "/manifold")
    def page(self, request: Any) -> str:
        return "manifold"

    @websocket_rpc
    def subscribe(self, socket_id: str) -> None:
        self.hub.subscribe(socket_id, "news")

    @timer(interval=60, eager=True)
    def use_all(self) -> None:
        self.dispatch("happened", {})
        self.publish({}, routing_key="work")
        assert self.own.answer(self.offload(abs, -1)) == 2
        self.note("used")
