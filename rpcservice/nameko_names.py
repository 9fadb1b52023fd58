"""Names that modules of nameko's have besides their own: data for what stands in for nameko, or leads away from it."""

from collections.abc import Mapping

CONSTANTS = (
    "ACCEPT_CONFIG_KEY",
    "AMQP_SSL_CONFIG_KEY",
    "AMQP_URI_CONFIG_KEY",
    "AUTH_TOKEN_CONTEXT_KEY",
    "CALL_ID_STACK_CONTEXT_KEY",
    "DEFAULT_AMQP_URI",
    "DEFAULT_HEARTBEAT",
    "DEFAULT_MAX_WORKERS",
    "DEFAULT_PARENT_CALLS_TRACKED",
    "DEFAULT_PREFETCH_COUNT",
    "DEFAULT_RETRY_POLICY",
    "DEFAULT_SERIALIZER",
    "DEFAULT_TRANSPORT_OPTIONS",
    "HEADER_PREFIX",
    "HEARTBEAT_CONFIG_KEY",
    "LANGUAGE_CONTEXT_KEY",
    "LOGIN_METHOD_CONFIG_KEY",
    "MAX_WORKERS_CONFIG_KEY",
    "NON_PERSISTENT",
    "PARENT_CALLS_CONFIG_KEY",
    "PERSISTENT",
    "PREFETCH_COUNT_CONFIG_KEY",
    "RPC_EXCHANGE_CONFIG_KEY",
    "SERIALIZERS_CONFIG_KEY",
    "SERIALIZER_CONFIG_KEY",
    "TRANSPORT_OPTIONS_CONFIG_KEY",
    "USER_AGENT_CONTEXT_KEY",
    "USER_ID_CONTEXT_KEY",
    "WEB_SERVER_CONFIG_KEY",
)
"""What ``nameko.constants`` has."""

_CONSTANTS = {
    "nameko.containers": "CALL_ID_STACK_CONTEXT_KEY DEFAULT_MAX_WORKERS MAX_WORKERS_CONFIG_KEY",
    "nameko.contextdata": "AUTH_TOKEN_CONTEXT_KEY LANGUAGE_CONTEXT_KEY USER_AGENT_CONTEXT_KEY USER_ID_CONTEXT_KEY",
    "nameko.messaging": (
        "AMQP_SSL_CONFIG_KEY AMQP_URI_CONFIG_KEY DEFAULT_AMQP_URI DEFAULT_HEARTBEAT DEFAULT_PREFETCH_COUNT "
        "DEFAULT_TRANSPORT_OPTIONS HEADER_PREFIX HEARTBEAT_CONFIG_KEY LOGIN_METHOD_CONFIG_KEY "
        "PREFETCH_COUNT_CONFIG_KEY TRANSPORT_OPTIONS_CONFIG_KEY"
    ),
    "nameko.rpc": (
        "AMQP_SSL_CONFIG_KEY AMQP_URI_CONFIG_KEY DEFAULT_AMQP_URI DEFAULT_HEARTBEAT DEFAULT_PREFETCH_COUNT "
        "DEFAULT_SERIALIZER HEARTBEAT_CONFIG_KEY LOGIN_METHOD_CONFIG_KEY PREFETCH_COUNT_CONFIG_KEY "
        "RPC_EXCHANGE_CONFIG_KEY SERIALIZER_CONFIG_KEY"
    ),
    "nameko.standalone.events": (
        "AMQP_SSL_CONFIG_KEY AMQP_URI_CONFIG_KEY DEFAULT_AMQP_URI LOGIN_METHOD_CONFIG_KEY PERSISTENT"
    ),
    "nameko.standalone.rpc": (
        "AMQP_SSL_CONFIG_KEY AMQP_URI_CONFIG_KEY CALL_ID_STACK_CONTEXT_KEY DEFAULT_AMQP_URI DEFAULT_HEARTBEAT "
        "DEFAULT_PREFETCH_COUNT HEARTBEAT_CONFIG_KEY LOGIN_METHOD_CONFIG_KEY PREFETCH_COUNT_CONFIG_KEY"
    ),
}

_OTHERS: Mapping[str, Mapping[str, str]] = {
    "nameko.containers": {
        "nameko": "config serialization",
        "nameko.extensions": "ENTRYPOINT_EXTENSIONS_ATTR is_dependency iter_extensions",
        "nameko.log_helpers": "make_timing_logger",
        "nameko.utils.concurrency": "SpawningSet",
    },
    "nameko.dependency_providers": {"nameko": "config"},
    "nameko.events": {"nameko.messaging": "encode_to_headers"},
    "nameko.serialization": {"nameko": "config"},
    "nameko.testing.pytest": {"nameko": "config"},
    "nameko.web.server": {"nameko": "config"},
    "nameko.extensions": {"nameko.exceptions": "IncorrectSignature"},
    "nameko.messaging": {
        "nameko": "config serialization",
        "nameko.amqp": "get_connection",
        "nameko.utils": "sanitize_url",
    },
    "nameko.rpc": {
        "nameko": "config serialization",
        "nameko.amqp": "UndeliverableMessage get_connection",
        "nameko.amqp.consume": "Consumer",
        "nameko.exceptions": (
            "MalformedRequest ReplyQueueExpiredWithPendingReplies RpcTimeout UnknownService UnserializableValueError "
            "deserialize serialize"
        ),
        "nameko.messaging": "HeaderEncoder QueueConsumer decode_from_headers encode_to_headers",
    },
    "nameko.runners": {"nameko.utils.concurrency": "SpawningProxy"},
    "nameko.standalone.events": {
        "nameko": "config serialization",
        "nameko.amqp": "get_connection get_producer",
        "nameko.amqp.publish": "Publisher",
    },
    "nameko.standalone.rpc": {
        "nameko": "config serialization",
        "nameko.amqp": "get_connection",
        "nameko.amqp.publish": "Publisher",
        "nameko.amqp.consume": "Consumer",
        "nameko.containers": "WorkerContext new_call_id",
        "nameko.exceptions": "ReplyQueueExpiredWithPendingReplies RpcTimeout",
        "nameko.extensions": "Entrypoint",
        "nameko.messaging": "encode_to_headers",
        "nameko.rpc": (
            "RESTRICTED_PUBLISHER_OPTIONS RPC_REPLY_QUEUE_TEMPLATE RPC_REPLY_QUEUE_TTL ServiceProxy get_rpc_exchange"
        ),
        "nameko.utils.retry": "retry",
    },
    "nameko.web.websocket": {
        "nameko.exceptions": "ConnectionNotFound MalformedRequest MethodNotFound serialize",
        "nameko.extensions": "ProviderCollector",
    },
    "nameko.cli": {
        "nameko": "config",
        "nameko.cli.click_arguments": "argument_services",
        "nameko.cli.click_options": (
            "option_backdoor_port option_broker option_config_file option_define option_interface"
        ),
        "nameko.cli.utils": "setup_config",
        "nameko.exceptions": "CommandError ConfigurationError",
    },
    "nameko.cli.main": {"nameko.exceptions": "CommandError ConfigurationError"},
    "nameko.cli.run": {
        "nameko": "config",
        "nameko.cli.utils": "import_services",
        "nameko.constants": "AMQP_URI_CONFIG_KEY",
        "nameko.exceptions": "CommandError",
        "nameko.extensions": "ENTRYPOINT_EXTENSIONS_ATTR",
    },
    "nameko.cli.shell": {
        "nameko": "config",
        "nameko.constants": "AMQP_URI_CONFIG_KEY",
        "nameko.standalone.events": "event_dispatcher",
        "nameko.standalone.rpc": "ClusterRpcClient ClusterRpcProxy",
    },
}


BORROWERS = frozenset((*_CONSTANTS, *_OTHERS))
"""The modules that have names from others."""


def homes_of(module: str) -> dict[str, str]:
    """Give the names that a module of nameko's has from others, with the modules that have them."""
    homes = dict.fromkeys(_CONSTANTS.get(module, "").split(), "nameko.constants")
    for home, names in _OTHERS.get(module, {}).items():
        homes.update(dict.fromkeys(names.split(), home))
    return homes
