"""The table of names: what each public name of nameko, 2.14 and 3.0, is called in rpcservice. Data, and nothing else.

Three kinds: those with a name of our own, those that only the layer which stands in for nameko has, and those that
rpcservice does not have at all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rpcservice.nameko_names import BORROWERS, CONSTANTS, homes_of

COMPAT = "rpcservice.compat"
"""Where nameko is to be found, as a module like any other, for names that have none of our own."""

_OWN: Mapping[str, Mapping[str, str]] = {
    "nameko.rpc": {
        "rpc": "rpcservice.rpc",
        "RpcProxy": "rpcservice.ServiceRpc",
        "ServiceRpc": "rpcservice.ServiceRpc",
        "ClusterRpc": "rpcservice.ClusterRpc",
        "RpcReply": "rpcservice.RpcCall",
        "RpcCall": "rpcservice.RpcCall",
    },
    "nameko.events": {
        "event_handler": "rpcservice.event_handler",
        "EventDispatcher": "rpcservice.EventDispatcher",
        "SERVICE_POOL": "rpcservice.SERVICE_POOL",
        "SINGLETON": "rpcservice.SINGLETON",
        "BROADCAST": "rpcservice.BROADCAST",
        "EventHandlerConfigurationError": "rpcservice.DeclarationError",
    },
    "nameko.messaging": {"consume": "rpcservice.consume", "Publisher": "rpcservice.Publisher"},
    "nameko.timer": {"timer": "rpcservice.timer"},
    "nameko.web.handlers": {"http": "rpcservice.http"},
    "nameko.web.websocket": {
        "rpc": "rpcservice.websocket_rpc",
        "WebSocketHubProvider": "rpcservice.WebSocketHubProvider",
    },
    "nameko.standalone.rpc": {
        "ServiceRpcProxy": "rpcservice.standalone.ServiceRpcClient",
        "ServiceRpcClient": "rpcservice.standalone.ServiceRpcClient",
        "ClusterRpcProxy": "rpcservice.standalone.ClusterRpcClient",
        "ClusterRpcClient": "rpcservice.standalone.ClusterRpcClient",
    },
    "nameko.standalone.events": {"event_dispatcher": "rpcservice.standalone.event_dispatcher"},
    "nameko.extensions": {
        "Extension": "rpcservice.Extension",
        "SharedExtension": "rpcservice.SharedExtension",
        "DependencyProvider": "rpcservice.DependencyProvider",
        "ProviderCollector": "rpcservice.ProviderCollector",
        "Entrypoint": "rpcservice.Entrypoint",
    },
    "nameko.containers": {
        "ServiceContainer": "rpcservice.ServiceContainer",
        "WorkerContext": "rpcservice.WorkerContext",
    },
    "nameko.runners": {"ServiceRunner": "rpcservice.ServiceRunner", "run_services": "rpcservice.run_services"},
    "nameko.dependency_providers": {"Config": "rpcservice.Config"},
    "nameko.contextdata": {
        "AuthToken": "rpcservice.AuthToken",
        "ContextDataProvider": "rpcservice.ContextDataProvider",
        "Language": "rpcservice.Language",
        "UserAgent": "rpcservice.UserAgent",
        "UserId": "rpcservice.UserId",
    },
    "nameko.exceptions": {
        "BadRequest": "rpcservice.BadRequest",
        "CommandError": "rpcservice.CommandError",
        "ConfigurationError": "rpcservice.ConfigError",
        "ConnectionNotFound": "rpcservice.ConnectionNotFound",
        "ContainerBeingKilled": "rpcservice.ContainerBeingKilled",
        "ExtensionNotFound": "rpcservice.ExtensionNotFound",
        "IncorrectSignature": "rpcservice.IncorrectSignature",
        "MalformedRequest": "rpcservice.MalformedRequest",
        "MethodNotFound": "rpcservice.MethodNotFound",
        "RemoteError": "rpcservice.RemoteError",
        "ReplyQueueExpiredWithPendingReplies": "rpcservice.ConnectionLost",
        "RpcTimeout": "rpcservice.RpcTimeout",
        "UnknownService": "rpcservice.UnknownService",
        "UnserializableValueError": "rpcservice.UnserializableValueError",
        "deserialize_to_instance": "rpcservice.deserialize_to_instance",
    },
    "nameko.utils": {"REDACTED": "rpcservice.REDACTED", "get_redacted_args": "rpcservice.get_redacted_args"},
    "nameko.amqp": {"UndeliverableMessage": "rpcservice.UndeliverableMessage"},
    "nameko.amqp.publish": {"UndeliverableMessage": "rpcservice.UndeliverableMessage"},
    "nameko.testing.services": {
        "EntrypointWaiterTimeout": "rpcservice.testing.EntrypointTimeout",
        "MockDependencyProvider": "rpcservice.testing.MockDependencyProvider",
        "dummy": "rpcservice.testing.dummy",
        "entrypoint_hook": "rpcservice.testing.entrypoint_hook",
        "entrypoint_waiter": "rpcservice.testing.entrypoint_waiter",
        "get_extension": "rpcservice.testing.get_extension",
        "once": "rpcservice.testing.once",
        "replace_dependencies": "rpcservice.testing.replace_dependencies",
        "restrict_entrypoints": "rpcservice.testing.restrict_entrypoints",
        "wait_for_call": "rpcservice.testing.wait_for_call",
        "worker_factory": "rpcservice.testing.worker_factory",
    },
    "nameko.testing.utils": {
        "ANY_PARTIAL": "rpcservice.testing.ANY_PARTIAL",
        "AnyInstanceOf": "rpcservice.testing.AnyInstanceOf",
        "assert_stops_raising": "rpcservice.testing.assert_stops_raising",
        "find_free_port": "rpcservice.testing.find_free_port",
        "get_container": "rpcservice.testing.get_container",
        "get_extension": "rpcservice.testing.get_extension",
    },
    "nameko.testing.waiting": {
        "WaitResult": "rpcservice.testing.WaitResult",
        "wait_for_call": "rpcservice.testing.wait_for_call",
    },
    "nameko.testing.websocket": {"make_virtual_socket": "rpcservice.testing.make_virtual_socket"},
}

_CONSTANT = "write its value, such as 'AMQP_URI', or read the setting's attribute, such as host.config.amqp_uri"
_RETRY = "write the loop, or take a library for it"
_AMQP = "use rpcservice.Publisher and consume, or kombu itself"
_HEADERS = "context data travels by itself; ctx.context_data has it, and ctx.message.headers what came"
_CLI = "rpcservice.cli.main is the group of our own commands; write options of yours with click"
_GREEN = "use eventlet.GreenPool, or the client's call_async"
_INNER = "rpcservice's own are rpcservice.core.faults.error_to_data and error_from_data, which add a code"

_STAYS: Mapping[str, Mapping[str, str]] = {
    "nameko.extensions": dict.fromkeys(
        ("ENTRYPOINT_EXTENSIONS_ATTR", "is_dependency", "is_entrypoint", "is_extension", "register_entrypoint"),
        "use isinstance with rpcservice.DependencyProvider, Entrypoint or Extension, and Entrypoint.decorator",
    )
    | {"iter_extensions": "use container.extensions"},
    "nameko.containers": {
        "get_container_cls": "rpcservice.ServiceRunner does that by itself",
        "get_service_name": "use service_cls.name",
        "new_call_id": "use uuid.uuid4",
    },
    "nameko.exceptions": dict.fromkeys(
        ("deserialize", "get_module_path", "registry", "safe_for_serialization", "serialize"), _INNER
    ),
    "nameko.rpc": dict.fromkeys(
        ("RESTRICTED_PUBLISHER_OPTIONS", "RPC_REPLY_QUEUE_TEMPLATE", "RPC_REPLY_QUEUE_TTL", "get_rpc_exchange"), _AMQP
    ),
    "nameko.messaging": {"decode_from_headers": _HEADERS, "encode_to_headers": _HEADERS},
    "nameko.standalone.events": {"get_event_exchange": _AMQP},
    "nameko.amqp": {"get_connection": _AMQP, "get_producer": _AMQP, "verify_amqp_uri": _AMQP},
    "nameko.cli": {"cli": _CLI},
    "nameko.cli.main": {"main": _CLI, "setup_yaml_parser": _CLI},
    "nameko.cli.click_arguments": {"argument_services": _CLI},
    "nameko.cli.click_options": dict.fromkeys(
        ("option_backdoor_port", "option_broker", "option_config_file", "option_define", "option_interface"), _CLI
    ),
    "nameko.cli.click_paramtypes": dict.fromkeys(
        ("HOST_PORT", "HostPortParamType", "KEY_VAL", "KeyValParamType"), _CLI
    ),
    "nameko.cli.run": {"import_service": _CLI, "run": _CLI},
    "nameko.cli.shell": {"SHELLS": _CLI, "make_nameko_helper": _CLI},
    "nameko.cli.utils": dict.fromkeys(("import_services", "load_config", "setup_config", "setup_yaml_parser"), _CLI),
    "nameko.amqp.publish": {"Publisher": _AMQP, "get_connection": _AMQP, "get_producer": _AMQP},
    "nameko.log_helpers": {"make_timing_logger": "time the block where it runs"},
    "nameko.web.server": {
        "BindAddress": "use rpcservice.kinds.parse_address",
        "parse_address": "use rpcservice.kinds.parse_address",
    },
    "nameko.utils": {
        "import_from_path": "use importlib.import_module",
        "sanitize_url": "use rpcservice.config.hide_password",
    },
    "nameko.utils.concurrency": dict.fromkeys(("SpawningProxy", "SpawningSet", "fail_fast_imap"), _GREEN),
    "nameko.utils.retry": {"RetryDelay": _RETRY, "retry": _RETRY},
    "nameko.testing.rabbit": {"Client": "use rpcservice.testing.ManagementApi", "HTTPError": "catch ManagementError"},
    "nameko.testing.utils": {
        "DummyProvider": "use rpcservice.testing.FakeHost",
        "MockCallArgs": "use call.args and call.kwargs",
        "ResourcePipeline": "make resources in a fixture",
        "get_rabbit_connections": "use rpcservice.testing.ManagementApi",
        "reset_rabbit_connections": "use rpcservice.testing.ManagementApi, or TcpProxy to break a connection",
        "unpack_mock_call": "use call.args and call.kwargs",
        "wait_for_call": "use rpcservice.testing.wait_for_call, which takes the object and the method's name",
        "wait_for_worker_idle": "use rpcservice.testing.entrypoint_waiter",
    },
    "nameko.constants": dict.fromkeys(CONSTANTS, _CONSTANT),
}

_SUBCLASS = "write an Entrypoint of your own, or go on with `rpcservice run --nameko`"
_STUB = "calls are made through ServiceRpc, ClusterRpc or rpcservice.standalone"
_WEBSOCKET = "use websocket_rpc, on_connect, on_disconnect and WebSocketHubProvider"
_SERIALIZERS = "name serializers under SERIALIZERS in the configuration"
_SERVER = "put middleware and headers into a proxy, or an around_worker hook"

_MISSING: Mapping[str, str] = {
    "nameko.config": "there is no global configuration: a service declares rpcservice.Config(), an extension reads "
    "self.host.config, a program passes its mapping on",
    "nameko.rpc.Client": _STUB,
    "nameko.rpc.MethodProxy": _STUB,
    "nameko.rpc.Proxy": _STUB,
    "nameko.rpc.ReplyListener": _STUB,
    "nameko.rpc.Responder": _SUBCLASS,
    "nameko.rpc.Rpc": _SUBCLASS,
    "nameko.rpc.RpcConsumer": _SUBCLASS,
    "nameko.rpc.ServiceProxy": _STUB,
    "nameko.events.EventHandler": _SUBCLASS,
    "nameko.messaging.Consumer": _SUBCLASS,
    "nameko.messaging.HeaderDecoder": _HEADERS,
    "nameko.messaging.HeaderEncoder": _HEADERS,
    "nameko.messaging.QueueConsumer": _SUBCLASS,
    "nameko.timer.Timer": _SUBCLASS,
    "nameko.web.handlers.HttpRequestHandler": _SUBCLASS,
    "nameko.web.server.WebServer": _SERVER,
    "nameko.web.server.WsgiApp": _SERVER,
    "nameko.web.server.HttpOnlyProtocol": "rpcservice has an HTTP server of its own; leave it out",
    "nameko.web.websocket.Connection": _WEBSOCKET,
    "nameko.web.websocket.WebSocketHub": _WEBSOCKET,
    "nameko.web.websocket.WebSocketRpc": _WEBSOCKET,
    "nameko.web.websocket.WebSocketServer": _WEBSOCKET,
    "nameko.standalone.rpc.ClusterProxy": _STUB,
    "nameko.standalone.rpc.ConsumeEvent": _STUB,
    "nameko.standalone.rpc.PollingQueueConsumer": _STUB,
    "nameko.standalone.rpc.ReplyListener": _STUB,
    "nameko.standalone.rpc.SingleThreadedReplyListener": "leave it out: one client serves any number of threads",
    "nameko.standalone.rpc.StandaloneProxyBase": _STUB,
    "nameko.serialization.SerializationConfig": _SERIALIZERS,
    "nameko.serialization.setup": _SERIALIZERS,
    "nameko.amqp.consume.Consumer": _AMQP,
    "nameko.Config": "pass a mapping: there is no global configuration",
    "nameko.cli.main.env_var_constructor": _CLI,
    "nameko.cli.main.setup_parser": _CLI,
    "nameko.cli.run.MISSING_MODULE_TEMPLATE": _CLI,
    "nameko.cli.run.is_entrypoint": _CLI,
    "nameko.cli.run.is_type": _CLI,
    "nameko.messaging.QueueConsumerStopped": _SUBCLASS,
    "nameko.web.websocket.IDENTIFY_WEBSOCKET_RULES": _WEBSOCKET,
    "nameko.web.websocket.SocketInfo": _WEBSOCKET,
    "nameko.cli.run.main": _CLI,
    "nameko.cli.run.setup_backdoor": _CLI,
    "nameko.cli.shell.ShellRunner": _CLI,
    "nameko.cli.shell.main": _CLI,
    "nameko.events.get_event_exchange": _AMQP,
    "nameko.testing.services.Once": "use rpcservice.testing.once",
    "nameko.testing.pytest": "remove it: rpcservice's pytest plugin is found by itself",
}

_BORROWED: Mapping[str, str] = {
    f"{module}.{name}": f"{home}.{name}" for module in BORROWERS for name, home in homes_of(module).items()
}
"""Where the names that a module of nameko's only imports are at home, both by their dotted paths."""

MISSING: Mapping[str, str] = {
    **_MISSING,
    **{path: _MISSING[home] for path, home in _BORROWED.items() if home in _MISSING},
    **{path: _SERIALIZERS for path, home in _BORROWED.items() if home == "nameko.serialization"},
}
"""Names that rpcservice does not have, with what to do instead."""

NOWHERE = frozenset(
    (
        "nameko.web.server.HttpOnlyProtocol",
        "nameko.standalone.rpc.ClusterProxy",
        "nameko.standalone.rpc.ConsumeEvent",
        "nameko.standalone.rpc.PollingQueueConsumer",
        "nameko.standalone.rpc.ReplyListener",
        "nameko.standalone.rpc.SingleThreadedReplyListener",
        "nameko.standalone.rpc.StandaloneProxyBase",
        "nameko.cli.main.env_var_constructor",
        "nameko.cli.main.setup_parser",
        "nameko.cli.run.MISSING_MODULE_TEMPLATE",
        "nameko.cli.run.is_entrypoint",
        "nameko.cli.run.is_type",
        "nameko.messaging.QueueConsumerStopped",
        "nameko.web.websocket.IDENTIFY_WEBSOCKET_RULES",
        "nameko.web.websocket.SocketInfo",
        "nameko.cli.run.main",
        "nameko.cli.run.setup_backdoor",
        "nameko.cli.shell.ShellRunner",
        "nameko.cli.shell.main",
    )
)
"""Those of them that the layer which stands in for nameko does not have either."""

FIXTURES: Mapping[str, str] = {
    "amqp_uri": "use rabbitmq_uri, or broker_uri for the embedded broker and RabbitMQ in turn",
    "empty_config": "use a mapping of your own",
    "fast_teardown": "leave it out",
    "get_message_from_queue": "consume in a service, or use kombu with rabbitmq_uri",
    "mock_container": "use rpcservice.testing.FakeHost",
    "predictable_call_ids": "compare with ctx.call_id",
    "rabbit_config": "use config",
    "rabbit_manager": "use rabbitmq, a RabbitMQNode",
    "rabbit_ssl_config": "use rabbitmq and rpcservice.testing.make_certificates",
    "rabbit_ssl_options": "use rabbitmq and rpcservice.testing.make_certificates",
    "rabbit_ssl_uri": "use rabbitmq and rpcservice.testing.make_certificates",
    "rabbit_uri": "use rabbitmq_uri",
    "vhost_pipeline": "rabbitmq_uri is a virtual host of the test's own",
    "web_config": "give WEB_SERVER_ADDRESS: 127.0.0.1:0",
    "web_config_port": "give WEB_SERVER_ADDRESS: 127.0.0.1:0, and take the port of the server",
    "web_session": "use an HTTP client of your own",
    "websocket": "use rpcservice.testing.make_virtual_socket",
}
"""Fixtures of nameko's pytest plugin that ours has not under that name, with what to use."""


@dataclass(frozen=True)
class Target:
    """Where a name of nameko's is to be had.

    Attributes:
        module: The module to import it from.
        name: Its name there.
        mend: For what only the compatibility layer has: what to use in the end. Empty for a name of our own.
    """

    module: str
    name: str
    mend: str = ""

    @property
    def path(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.name}"


def _targets() -> Iterator[tuple[str, Target]]:
    for module, names in _OWN.items():
        for name, path in names.items():
            home, _, new_name = path.rpartition(".")
            yield f"{module}.{name}", Target(home, new_name)
    for module, mends in _STAYS.items():
        for name, mend in mends.items():
            yield f"{module}.{name}", Target(f"{COMPAT}.{module}", name, mend)


_TARGETS: Mapping[str, Target] = dict(_targets())

TARGETS: Mapping[str, Target] = {
    **{path: _TARGETS[home] for path, home in _BORROWED.items() if home in _TARGETS},
    **_TARGETS,
}
"""Every name of nameko's that can be imported from rpcservice, by its dotted path."""


ENTRYPOINTS = frozenset(
    f"rpcservice.{name}" for name in ("consume", "event_handler", "http", "rpc", "timer", "websocket_rpc")
) | {"rpcservice.testing.dummy", "rpcservice.testing.once"}
"""Our decorators of methods."""


def _modules() -> Iterator[str]:
    for path in (*TARGETS, *MISSING):
        parts = path.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts)))


MODULES = frozenset(_modules()) | {"nameko.testing.pytest"}
"""nameko's modules."""
