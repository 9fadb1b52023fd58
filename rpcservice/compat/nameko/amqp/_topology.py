"""nameko's exchanges and reply queues, as objects of kombu."""

from collections.abc import Mapping
from typing import Any

from kombu import Exchange, Queue
from kombu.serialization import registry

from rpcservice.amqp.events import event_exchange
from rpcservice.amqp.message import PERSISTENT, REPLY_QUEUE_EXPIRES
from rpcservice.compat.nameko import constants
from rpcservice.compat.nameko._config import config as global_config

DEFAULT_RPC_EXCHANGE = "nameko-rpc"


def get_rpc_exchange(config: Mapping[str, Any] | None = None) -> Any:
    """Give the exchange of requests and replies.

    Args:
        config: A configuration; None for the global one.
    """
    settings = global_config if config is None else config
    name = settings.get(constants.RPC_EXCHANGE_CONFIG_KEY, DEFAULT_RPC_EXCHANGE)
    return Exchange(name, durable=True, type="topic")


def get_event_exchange(service_name: str, config: Mapping[str, Any] | None = None) -> Any:
    """Give the exchange of a service's events.

    Args:
        service_name: The service.
        config: A configuration; None for the global one.
    """
    settings = global_config if config is None else config
    return Exchange(
        event_exchange(service_name),
        type="topic",
        durable=True,
        delivery_mode=PERSISTENT,
        auto_delete=bool(settings.get("AUTO_DELETE_EVENT_EXCHANGES")),
        no_declare=settings.get("DECLARE_EVENT_EXCHANGES") is False,
    )


def reply_queue(name: str, routing_key: str, config: Mapping[str, Any]) -> Any:
    """Give the description of a queue for replies."""
    return Queue(
        name,
        exchange=get_rpc_exchange(config),
        routing_key=routing_key,
        queue_arguments={"x-expires": REPLY_QUEUE_EXPIRES},
    )


def make_queue(name: str, **options: Any) -> Any:
    """Give a Queue of kombu."""
    return Queue(name, **options)


def serializer_for(content_type: str | None) -> str | None:
    """Give the name of the serializer for a content type; None where there is none."""
    name: str | None = registry.type_to_name.get(content_type)
    return name
