"""nameko's AMQP tools: connections, publishers and consumers that need no service."""

from rpcservice.compat.nameko.amqp.publish import UndeliverableMessage as UndeliverableMessage
from rpcservice.compat.nameko.amqp.publish import get_connection as get_connection
from rpcservice.compat.nameko.amqp.publish import get_producer as get_producer
from rpcservice.compat.nameko.amqp.publish import verify_amqp_uri as verify_amqp_uri

__all__ = (
    "UndeliverableMessage",
    "get_connection",
    "get_producer",
    "verify_amqp_uri",
)
