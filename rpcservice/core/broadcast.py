"""BroadcastBus, how parts of one kind reach each other in all processes; the core knows no transport that does it."""

from collections.abc import Callable
from importlib import import_module
from typing import ClassVar, cast

from rpcservice.config import Settings
from rpcservice.core.resource import Resource

# Named and not imported, for the core knows no transport.
_ON_BROKER = ("rpcservice.amqp.broadcast", "AmqpBroadcastBus")


class BroadcastBus(Resource):
    """Hands messages to whoever has subscribed to their topic in the other processes; alone it has nobody to tell."""

    is_alone: ClassVar[bool] = True
    """Whether there are no other processes, so that nothing needs to be published."""

    def setup(self) -> None:
        """Prepare an empty table of listeners."""
        self._listeners: dict[str, list[Callable[[bytes], None]]] = {}

    def subscribe(self, topic: str, on_message: Callable[[bytes], None]) -> None:
        """Have other processes' messages for a topic handed to a function that never waits; call it in ``setup``."""
        self._listeners.setdefault(topic, []).append(on_message)

    def publish(self, topic: str, body: bytes) -> None:
        """Tell the other processes.

        Raises:
            PublishError: The broker did not take it, or it is too large.
        """


def bus_class(config: Settings) -> type[BroadcastBus]:
    """Give the kind of bus that ``websocket_broadcast`` asks for; a host's ``resource`` makes it."""
    kind = config.websocket_broadcast
    if kind == "process" or (kind == "auto" and "AMQP_URI" not in config.raw):
        return BroadcastBus
    module, name = _ON_BROKER
    return cast(type[BroadcastBus], getattr(import_module(module), name))
