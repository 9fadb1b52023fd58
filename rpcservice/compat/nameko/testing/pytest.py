"""nameko's pytest plugin: its options, and its fixtures in the forms of version 2 (they give a configuration) and of
version 3 (they lay it over ``nameko.config``) at once.

It is loaded by ``RPCSERVICE_NAMEKO=1``, ``rpcservice test --nameko`` or
``pytest -p rpcservice.compat.nameko.testing.pytest``, takes the place of the plugin of an installed nameko, and stands
in for nameko from then on.
"""

import itertools
import random
import string
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import MagicMock, create_autospec, patch
from urllib.parse import urlsplit

import pytest

from rpcservice.compat import nameko
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.testing._options import add_options
from rpcservice.errors import MissingExtra

__all__ = (
    "amqp_uri",
    "container_factory",
    "empty_config",
    "fast_teardown",
    "get_message_from_queue",
    "mock_container",
    "predictable_call_ids",
    "rabbit_config",
    "rabbit_manager",
    "rabbit_ssl_config",
    "rabbit_ssl_options",
    "rabbit_ssl_uri",
    "rabbit_uri",
    "runner_factory",
    "vhost_pipeline",
    "web_config",
    "web_config_port",
    "web_session",
    "websocket",
)

__getattr__ = missing_names(__name__, {"parse_config_option": "use nameko.cli.click_paramtypes.KEY_VAL"})

NAMES = ("pytest_nameko", "nameko.testing.pytest", __name__)
"""What this plugin may be registered as: by an installed nameko's entry point, by ``pytest_plugins``, by ``-p``."""

_UNPATCHED = (
    "nameko's services run on green threads, and this process is not patched for them; run `rpcservice test --nameko`, "
    "or `pytest -p rpcservice.testing.patch`. --suppress-nameko-eventlet-notification silences this"
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Stand in for nameko, and add its options."""
    if _take_over(pluginmanager):
        add_options(parser)


def _take_over(pluginmanager: pytest.PytestPluginManager) -> bool:
    """Put this plugin in the place of nameko's; False where that one has added the options already."""
    this = sys.modules[__name__]
    real = pluginmanager.get_plugin("pytest_nameko")
    is_loaded = real is not None and real is not this
    nameko.install()
    for name in NAMES:
        # The same module under a second name would be a mistake to pytest.
        if pluginmanager.get_plugin(name) is not this:
            pluginmanager.set_blocked(name)
    # Ours have other arguments.
    pluginmanager.set_blocked("rpcservice.testing.factories")
    return not is_loaded


def pytest_configure(config: pytest.Config) -> None:
    """Have eventlet find what blocks its hub, where that is asked for."""
    if config.option.blocking_detection:
        from eventlet import debug

        debug.hub_blocking_detection(True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Warn where the process is not patched."""
    if session.config.option.suppress_eventlet_notification:
        return
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is None or not any(map(patcher.is_monkey_patched, ("os", "socket", "thread"))):
        warnings.warn(_UNPATCHED, stacklevel=1)


@pytest.fixture
def empty_config() -> Iterator[dict[str, Any]]:
    """An empty configuration."""
    with nameko.config.patch({}, clear=True):
        yield {}


@pytest.fixture
def mock_container(empty_config: dict[str, Any]) -> Iterator[MagicMock]:
    """A mock of a container, with a configuration."""
    from rpcservice.compat.nameko import constants
    from rpcservice.compat.nameko.containers import ServiceContainer

    container: MagicMock = create_autospec(ServiceContainer)
    container.config = empty_config
    container.config[constants.SERIALIZER_CONFIG_KEY] = constants.DEFAULT_SERIALIZER
    container.serializer = constants.DEFAULT_SERIALIZER
    container.accept = [constants.DEFAULT_SERIALIZER]
    with nameko.config.patch(empty_config):
        yield container


@pytest.fixture(scope="session")
def rabbit_manager(request: pytest.FixtureRequest) -> Any:
    """A client for RabbitMQ's management API."""
    from rpcservice.compat.nameko.testing import rabbit

    return rabbit.Client(request.config.getoption("RABBIT_API_URI"))


@pytest.fixture(scope="session")
def vhost_pipeline(request: pytest.FixtureRequest, rabbit_manager: Any) -> Iterator[Any]:
    """Virtual hosts that are made ahead of the tests that use them."""
    from rpcservice.compat.nameko.testing.utils import ResourcePipeline
    from rpcservice.compat.nameko.utils.retry import retry

    username = urlsplit(request.config.getoption("RABBIT_AMQP_URI")).username

    def create() -> str:
        vhost = f"nameko_test_{''.join(random.choices(string.ascii_lowercase, k=10))}"
        rabbit_manager.create_vhost(vhost)
        rabbit_manager.set_vhost_permissions(vhost, username, ".*", ".*", ".*")
        return vhost

    destroy = retry(rabbit_manager.delete_vhost, max_attempts=9)
    with ResourcePipeline(create, destroy).run() as vhosts:
        yield vhosts


@pytest.fixture
def rabbit_uri(request: pytest.FixtureRequest, vhost_pipeline: Any) -> Iterator[str]:
    """The URI of a virtual host that only this test uses."""
    uri = urlsplit(request.config.getoption("RABBIT_AMQP_URI"))
    with vhost_pipeline.get() as vhost:
        yield f"{uri.scheme}://{uri.netloc}/{vhost}"


@pytest.fixture
def rabbit_config(rabbit_uri: str) -> Iterator[dict[str, Any]]:
    """The configuration of services on that virtual host."""
    uri = urlsplit(rabbit_uri)
    config = {"AMQP_URI": rabbit_uri, "username": uri.username, "vhost": uri.path[1:]}
    with nameko.config.patch(config):
        yield config


@pytest.fixture
def rabbit_ssl_options(request: pytest.FixtureRequest) -> Any:
    """The options of TLS."""
    return dict(request.config.getoption("AMQP_SSL_OPTIONS")) or True


@pytest.fixture
def rabbit_ssl_uri(request: pytest.FixtureRequest, rabbit_uri: str) -> str:
    """The URI of the test's virtual host, with the port for TLS."""
    uri = urlsplit(rabbit_uri)
    port = request.config.getoption("AMQP_SSL_PORT")
    host = uri.netloc.removesuffix(f":{uri.port}")
    return uri._replace(netloc=f"{host}:{port}").geturl()


@pytest.fixture
def rabbit_ssl_config(
    rabbit_config: dict[str, Any], rabbit_ssl_uri: str, rabbit_ssl_options: Any
) -> Iterator[dict[str, Any]]:
    """The configuration of services on that virtual host, over TLS."""
    config = {**rabbit_config, "AMQP_URI": rabbit_ssl_uri, "AMQP_SSL": rabbit_ssl_options}
    with nameko.config.patch(config):
        yield config


@pytest.fixture
def amqp_uri(rabbit_config: dict[str, Any]) -> str:
    """The URI of the test's virtual host."""
    uri: str = nameko.config["AMQP_URI"]
    return uri


@pytest.fixture(autouse=True)
def fast_teardown(request: pytest.FixtureRequest) -> None:
    """Have containers end before their virtual host does, however a test orders its fixtures."""
    if "rabbit_config" in request.fixturenames:
        request.getfixturevalue("rabbit_config")


@pytest.fixture
def get_message_from_queue(amqp_uri: str) -> Callable[..., Any]:
    """Take a message off a queue: ``get_message_from_queue(name, ack=True, block=True, timeout=1, accept=None)``."""
    from rpcservice.compat.nameko.amqp import get_connection

    def get(queue_name: str, ack: bool = True, block: bool = True, timeout: float = 1, accept: Any = None) -> Any:
        with get_connection(amqp_uri) as connection:
            queue = connection.SimpleQueue(queue_name)
            if accept is not None:
                queue.consumer.accept = accept
            message = queue.get(block=block, timeout=timeout)
            if ack:
                message.ack()
            else:
                message.requeue()
            queue.close()
        return message

    return get


class _Factory:
    """Makes containers and runners, whose configurations hold in ``nameko.config`` too until the test ends."""

    def __init__(self) -> None:
        self._made: list[Any] = []
        self._patches = ExitStack()

    def make(self, make: Callable[[], Any], config: Mapping[str, Any] | None) -> Any:
        """Make one of them."""
        if config:
            self._patches.enter_context(nameko.config.patch(config))
        self._made.append(make())
        return self._made[-1]

    def end(self) -> None:
        """Kill what still runs, and forget the configurations."""
        for one in reversed(self._made):
            one.kill()
        self._patches.close()


@pytest.fixture
def _nameko_factory() -> Iterator[_Factory]:
    factory = _Factory()
    yield factory
    factory.end()


@pytest.fixture
def container_factory(_nameko_factory: _Factory) -> Callable[..., Any]:
    """Make containers: ``container_factory(ServiceClass, config=None)``. What still runs after the test is killed."""
    from rpcservice.compat.nameko.runners import make_container as make

    def make_container(service_cls: type, config: Mapping[str, Any] | None = None) -> Any:
        return _nameko_factory.make(lambda: make(service_cls, dict(nameko.config)), config)

    return make_container


@pytest.fixture
def runner_factory(_nameko_factory: _Factory) -> Callable[..., Any]:
    """Make runners: ``runner_factory(*service_classes)``, with a configuration in front of them or without."""
    from rpcservice.compat.nameko.runners import ServiceRunner

    def make_runner(*config_and_services: Any) -> Any:
        services = list(config_and_services)
        config = services.pop(0) if services and isinstance(services[0], Mapping) else None
        runner = _nameko_factory.make(lambda: ServiceRunner(dict(nameko.config)), config)
        for service_cls in services:
            runner.add_service(service_cls)
        return runner

    return make_runner


@pytest.fixture
def predictable_call_ids() -> Iterator[MagicMock]:
    """Number calls instead of giving them random ids; gives the mock that makes the ids."""
    with (
        patch("rpcservice.core.context.new_call_id") as get_id,
        patch("rpcservice.compat.nameko.containers.new_call_id", get_id),
    ):
        get_id.side_effect = map(str, itertools.count())
        yield get_id


@pytest.fixture
def web_config() -> Iterator[dict[str, Any]]:
    """The configuration of a web server on a free port."""
    from rpcservice.compat.nameko.constants import WEB_SERVER_CONFIG_KEY
    from rpcservice.testing.ports import find_free_port

    config = {WEB_SERVER_CONFIG_KEY: f"127.0.0.1:{find_free_port()}"}
    with nameko.config.patch(config):
        yield config


@pytest.fixture
def web_config_port(web_config: dict[str, Any]) -> int:
    """The port of that web server."""
    from rpcservice.compat.nameko.constants import WEB_SERVER_CONFIG_KEY
    from rpcservice.kinds import parse_address

    return parse_address(nameko.config[WEB_SERVER_CONFIG_KEY])[1]


@pytest.fixture
def web_session(web_config_port: int) -> Iterator[Any]:
    """A session of ``requests`` for that web server: ``web_session.get("/path")``."""
    from urllib.parse import urljoin

    try:
        from requests import Session
    except ImportError as exc:
        raise MissingExtra('the fixture web_session needs requests; pip install "rpcservice[nameko]"') from exc

    class WebSession(Session):
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # passed on
            return super().request(method, urljoin(f"http://127.0.0.1:{web_config_port}/", url), *args, **kwargs)

    with WebSession() as session:
        yield session


@pytest.fixture
def websocket(web_config_port: int) -> Iterator[Callable[[], Any]]:
    """Open websockets to that web server: ``websocket()`` gives one that is connected."""
    import eventlet

    from rpcservice.compat.nameko.testing.websocket import make_virtual_socket

    opened: list[tuple[Any, Any]] = []

    def open_socket() -> Any:
        app, wait_for_socket = make_virtual_socket("127.0.0.1", web_config_port)
        opened.append((eventlet.spawn(app.run_forever), app))
        socket = wait_for_socket()
        socket.app = app
        return socket

    yield open_socket
    for task, app in opened:
        app.close()
        task.kill()
