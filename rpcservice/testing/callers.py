"""What lets a test itself call services and send events: tiny containers that hold one dependency each."""

from collections.abc import Callable
from typing import Any

from rpcservice.amqp.clients import ClusterRpc
from rpcservice.amqp.events import EventDispatcher
from rpcservice.core.container import ServiceContainer
from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.testing.entrypoints import dummy

MakeContainer = Callable[[type], ServiceContainer]


def cluster_client(make_container: MakeContainer) -> Any:
    """Give a client for any service, as a worker would get it from ``ClusterRpc``."""
    return _injected(make_container, "tests", ClusterRpc())


class Dispatcher:
    """Sends events in the name of any service: ``dispatch("orders", "order_placed", {...})``."""

    def __init__(self, make_container: MakeContainer) -> None:
        self._make_container = make_container
        self._by_source: dict[str, Any] = {}

    def __call__(self, source_service: str, event_type: str, payload: object) -> None:
        """Send one event; returns when the broker has it."""
        send = self._by_source.get(source_service)
        if send is None:
            send = self._by_source[source_service] = _injected(self._make_container, source_service, EventDispatcher())
        send(event_type, payload)


def _injected(make_container: MakeContainer, service_name: str, provider: DependencyProvider) -> Any:
    """Start a service of that name and give what the provider would give to a worker of it."""

    class Holder:
        name = service_name
        dependency = provider

        @dummy
        def hold(self) -> None:
            """Be there: a worker's context names its entrypoint."""

    container = make_container(Holder)
    container.start()
    (bound,) = container.dependencies
    return bound.get_dependency(WorkerContext(container, container.entrypoints[0]))
