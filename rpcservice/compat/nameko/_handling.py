"""Hands messages to the ``handle_message`` of extensions, and sees to it that each of them comes to an end."""

import logging
from collections.abc import Callable
from typing import Any

from rpcservice.amqp.deadletters import Route
from rpcservice.amqp.failures import Failures
from rpcservice.amqp.longwork import find_holder, give_to
from rpcservice.compat.nameko.amqp._message import Message
from rpcservice.compat.nameko.containers import current_message
from rpcservice.compat.nameko.exceptions import ContainerBeingKilled

Handler = Callable[[Any, Any], Any]
"""Called with the decoded body and the message."""

_log = logging.getLogger(__name__)


def is_plain(extension: Any, name: str, base: type) -> bool:
    """Say whether a method is the one of the base class, which never waits, so that the reader may call it."""
    return getattr(type(extension), name) is getattr(base, name) and name not in vars(extension)


def spawn_handler(
    container: Any, handle: Handler, body: Any, message: Message, fail: Callable[[Message, Exception], None]
) -> None:
    """Handle a message in a managed thread, for what others wrote may wait.

    Args:
        container: Whose thread it is.
        handle: The handler.
        body: The decoded body.
        message: The message.
        fail: Called with the message and the error where the handler raises.
    """

    def run() -> None:
        token = current_message.set(message)
        try:
            handle(body, message)
        except ContainerBeingKilled:
            give_back(message)
        except Exception as exc:
            _log.exception("message %s could not be handled", message.delivery.routing_key)
            if not message.acknowledged:
                fail(message, exc)
        except BaseException:
            # The container is killed, or a time-out of eventlet's ends the handler.
            give_back(message)
            raise
        finally:
            current_message.reset(token)

    container.spawn_managed_thread(run, identifier=f"handle_message[{message.delivery.routing_key}]")


def give_back(message: Any) -> None:
    """Put a message back on its queue, where it has not been settled yet."""
    if not message.acknowledged:
        message.requeue()


def comes_again(entrypoint: Any, message: Any) -> bool:
    """Say whether a worker still has a message that has come, by a connection that is gone; then it settles this one.

    Args:
        entrypoint: The entrypoint whose workers are meant.
        message: The message; one that others have made is never known.
    """
    if type(message) is not Message or not message.delivery.redelivered:
        return False
    ctx: Any = find_holder(entrypoint, message.delivery)
    held = None if ctx is None else ctx.incoming
    # One that has been settled without effect is nobody's.
    if type(held) is not Message or held.acknowledged:
        return False
    give_to(ctx, message.delivery)
    held.go_on_by(message.delivery)
    return True


class _Held:
    """Who has a message of nameko's, which may have come again meanwhile."""

    def __init__(self, message: Any) -> None:
        self._message = message

    @property
    def message(self) -> Any:
        return self._message.delivery


def see_to_failure(
    failures: Failures | None,
    message: Any,
    error: BaseException,
    way_back: Route | None = None,
    deadline: float | None = None,
) -> bool:
    """Have a message come again that could not be handled, or keep it with the dead letters, where that is wanted.

    Args:
        failures: What becomes of such messages; None where nothing knows.
        message: The message; one that others have made is left alone.
        error: Why it could not be handled.
        way_back: Where it is to be published when it comes again; None is where it was published.
        deadline: Until when somebody waits for the outcome, in seconds since 1970.

    Gives whether the message is to be acknowledged, or put back, by now.
    """
    delivery = getattr(message, "delivery", None)
    if failures is None or delivery is None:
        return True
    held, route = _Held(message), way_back or Route(delivery.exchange, delivery.routing_key)
    if not failures.try_again(held, error, route, deadline) and failures.bury(held, error, route):
        return True
    message.mark("REQUEUED")
    return False


def bury_first(
    failures: Failures | None,
    message: Any,
    error: BaseException,
    done: Callable[[], Any],
    way_back: Route | None = None,
) -> None:
    """Call ``done`` when a message is with the dead letters, if there are any for it; for who must not wait.

    The rest is as for :func:`see_to_failure`.
    """
    delivery = getattr(message, "delivery", None)
    if failures is None or delivery is None:
        done()
    else:
        failures.bury_later(delivery, error, way_back or Route(delivery.exchange, delivery.routing_key), done)


class Acknowledger:
    """Settles messages, and knows how they are consumed; ``consumer`` and ``queue_consumer`` of extensions.

    Attributes:
        amqp_uri: The broker.
        queues: What is consumed from.
        prefetch_count: Unacknowledged messages at a time.
        accept: Names of the serializers that are accepted.
    """

    consumer_options: dict[str, Any]

    def __init__(self, config: Any, queues: list[Any], prefetch_count: int, options: dict[str, Any]) -> None:
        self.amqp_uri = config.amqp_uri
        self.ssl = config.amqp_ssl
        self.login_method = config.login_method
        self.heartbeat = config.heartbeat
        self.accept = list(config.accept) or [config.serializer]
        self.queues = queues
        self.prefetch_count = prefetch_count
        self.consumer_options = options

    def ack_message(self, message: Any) -> None:
        """Tell the broker that a message is done with; without effect where its connection is lost."""
        if message.channel.connection:
            message.ack()

    def requeue_message(self, message: Any) -> None:
        """Put a message back on its queue; without effect where its connection is lost."""
        if message.channel.connection:
            message.requeue()
