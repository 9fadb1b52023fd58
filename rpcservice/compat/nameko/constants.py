"""nameko's names of configuration keys and context data, and its defaults."""

from typing import Any

from rpcservice.nameko_names import CONSTANTS

__all__ = CONSTANTS

AMQP_URI_CONFIG_KEY = "AMQP_URI"
AMQP_SSL_CONFIG_KEY = "AMQP_SSL"
LOGIN_METHOD_CONFIG_KEY = "LOGIN_METHOD"
HEARTBEAT_CONFIG_KEY = "HEARTBEAT"
TRANSPORT_OPTIONS_CONFIG_KEY = "TRANSPORT_OPTIONS"
PREFETCH_COUNT_CONFIG_KEY = "PREFETCH_COUNT"
RPC_EXCHANGE_CONFIG_KEY = "rpc_exchange"
SERIALIZER_CONFIG_KEY = "serializer"
SERIALIZERS_CONFIG_KEY = "SERIALIZERS"
ACCEPT_CONFIG_KEY = "ACCEPT"
WEB_SERVER_CONFIG_KEY = "WEB_SERVER_ADDRESS"
MAX_WORKERS_CONFIG_KEY = "max_workers"
PARENT_CALLS_CONFIG_KEY = "parent_calls_tracked"

DEFAULT_AMQP_URI = "pyamqp://guest:guest@localhost"
DEFAULT_MAX_WORKERS = 10
DEFAULT_PARENT_CALLS_TRACKED = 10
DEFAULT_SERIALIZER = "json"
DEFAULT_HEARTBEAT = 60
DEFAULT_PREFETCH_COUNT = 10
DEFAULT_RETRY_POLICY: dict[str, Any] = {"max_retries": 3}
DEFAULT_TRANSPORT_OPTIONS: dict[str, Any] = {
    "max_retries": 3,
    "interval_start": 2,
    "interval_step": 1,
    "interval_max": 5,
}

CALL_ID_STACK_CONTEXT_KEY = "call_id_stack"
AUTH_TOKEN_CONTEXT_KEY = "auth_token"
LANGUAGE_CONTEXT_KEY = "language"
USER_ID_CONTEXT_KEY = "user_id"
USER_AGENT_CONTEXT_KEY = "user_agent"

HEADER_PREFIX = "nameko"
NON_PERSISTENT = 1
PERSISTENT = 2
