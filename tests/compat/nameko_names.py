"""The public names of nameko 2.14.1 and 3.0.0rc11, by module; and those of them that have no counterpart here."""

from rpcservice.migrate.names import NOWHERE
from rpcservice.nameko_names import CONSTANTS

NAMES = {
    "nameko": "Config config",
    "nameko.amqp": "get_connection get_producer UndeliverableMessage verify_amqp_uri",
    "nameko.amqp.publish": "Publisher UndeliverableMessage get_connection get_producer",
    "nameko.amqp.consume": "Consumer",
    "nameko.cli": "cli",
    "nameko.cli.main": "env_var_constructor main setup_parser setup_yaml_parser",
    "nameko.cli.click_arguments": "argument_services",
    "nameko.cli.click_options": (
        "option_broker option_config_file option_define option_backdoor_port option_interface"
    ),
    "nameko.cli.click_paramtypes": "KEY_VAL HOST_PORT KeyValParamType HostPortParamType",
    "nameko.cli.run": "MISSING_MODULE_TEMPLATE import_service is_entrypoint is_type run main setup_backdoor",
    "nameko.cli.shell": "SHELLS make_nameko_helper main ShellRunner",
    "nameko.cli.utils": "import_services load_config setup_config setup_yaml_parser",
    "nameko.constants": " ".join(CONSTANTS),
    "nameko.containers": "ServiceContainer WorkerContext get_container_cls get_service_name new_call_id",
    "nameko.contextdata": "AuthToken ContextDataProvider Language UserAgent UserId",
    "nameko.dependency_providers": "Config",
    "nameko.events": (
        "BROADCAST EventDispatcher EventHandler EventHandlerConfigurationError SERVICE_POOL SINGLETON event_handler "
        "get_event_exchange"
    ),
    "nameko.exceptions": (
        "BadRequest CommandError ConfigurationError ConnectionNotFound ContainerBeingKilled ExtensionNotFound "
        "IncorrectSignature MalformedRequest MethodNotFound RemoteError ReplyQueueExpiredWithPendingReplies RpcTimeout "
        "UnknownService UnserializableValueError deserialize deserialize_to_instance get_module_path registry "
        "safe_for_serialization serialize"
    ),
    "nameko.extensions": (
        "DependencyProvider ENTRYPOINT_EXTENSIONS_ATTR Entrypoint Extension ProviderCollector SharedExtension "
        "is_dependency is_entrypoint is_extension iter_extensions register_entrypoint"
    ),
    "nameko.log_helpers": "make_timing_logger",
    "nameko.messaging": (
        "Consumer HeaderDecoder HeaderEncoder Publisher QueueConsumer QueueConsumerStopped consume "
        "decode_from_headers encode_to_headers"
    ),
    "nameko.rpc": (
        "Client ClusterRpc MethodProxy Proxy RPC_REPLY_QUEUE_TEMPLATE RPC_REPLY_QUEUE_TTL "
        "ReplyListener Responder Rpc RpcCall RpcConsumer RpcProxy RpcReply "
        "ServiceProxy ServiceRpc get_rpc_exchange rpc"
    ),
    "nameko.runners": "ServiceRunner run_services",
    "nameko.serialization": "SerializationConfig setup",
    "nameko.standalone": "",
    "nameko.standalone.events": "event_dispatcher get_event_exchange",
    "nameko.standalone.rpc": (
        "ClusterProxy ClusterRpcClient ClusterRpcProxy PollingQueueConsumer ServiceRpcClient ServiceRpcProxy "
        "SingleThreadedReplyListener"
    ),
    "nameko.testing": "",
    "nameko.testing.pytest": (
        "amqp_uri container_factory empty_config fast_teardown get_message_from_queue mock_container "
        "predictable_call_ids rabbit_config rabbit_manager rabbit_ssl_config rabbit_ssl_options rabbit_ssl_uri "
        "rabbit_uri runner_factory vhost_pipeline web_config web_config_port web_session websocket"
    ),
    "nameko.testing.rabbit": "Client HTTPError",
    "nameko.testing.services": (
        "EntrypointWaiterTimeout MockDependencyProvider Once dummy entrypoint_hook entrypoint_waiter get_extension "
        "once replace_dependencies restrict_entrypoints wait_for_call worker_factory"
    ),
    "nameko.testing.utils": (
        "ANY_PARTIAL AnyInstanceOf DummyProvider ResourcePipeline assert_stops_raising find_free_port get_container "
        "get_extension get_rabbit_connections reset_rabbit_connections unpack_mock_call wait_for_call "
        "wait_for_worker_idle"
    ),
    "nameko.testing.waiting": "WaitResult wait_for_call",
    "nameko.testing.websocket": "make_virtual_socket",
    "nameko.timer": "Timer timer",
    "nameko.utils": "REDACTED get_redacted_args import_from_path sanitize_url",
    "nameko.utils.concurrency": "SpawningProxy SpawningSet fail_fast_imap",
    "nameko.utils.retry": "RetryDelay retry",
    "nameko.web": "",
    "nameko.web.handlers": "HttpRequestHandler http",
    "nameko.web.server": "BindAddress HttpOnlyProtocol WebServer WsgiApp parse_address",
    "nameko.web.websocket": (
        "Connection IDENTIFY_WEBSOCKET_RULES SocketInfo WebSocketHub WebSocketHubProvider WebSocketRpc WebSocketServer "
        "rpc"
    ),
}
"""Module by module, names with spaces between them."""

WITHOUT_COUNTERPART = {f"{module}.{name}" for module, names in NAMES.items() for name in names.split()} & NOWHERE
"""Importing one of these is an ImportError that says what to use."""
