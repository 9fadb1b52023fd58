"""nameko clients, two instances of a nameko service and two of ours, on a virtual host for each module and version."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nameko_process
import pytest
from json_process import JsonProcess
from nameko_environment import nameko_python
from our_services import Log, OurShop, Seen
from raw_caller import RawCaller

from rpcservice import ServiceContainer, ServiceRunner
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import cluster_client

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.broker)


@pytest.fixture(scope="module", params=[2, 3], ids=["nameko2", "nameko3"])
def nameko_version(request: pytest.FixtureRequest) -> int:
    """Every test that has to do with nameko runs for both of its versions."""
    version: int = request.param
    return version


@pytest.fixture(scope="module")
def namekos_python(nameko_version: int) -> str:
    return nameko_python(nameko_version)


@pytest.fixture(scope="module")
def interop_uri(rabbitmq: RabbitMQNode, nameko_version: int) -> Iterator[str]:
    """The virtual host of this module's services, for this version of nameko."""
    uri = rabbitmq.vhost()
    yield uri
    rabbitmq.delete_vhost(uri)


@pytest.fixture(scope="module")
def raw_caller(interop_uri: str) -> Iterator[RawCaller]:
    with RawCaller(interop_uri) as caller:
        yield caller


@pytest.fixture(scope="module")
def nameko_shops(
    interop_uri: str, namekos_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[JsonProcess]]:
    """Two instances of one nameko service, as processes."""
    folder = tmp_path_factory.mktemp("nameko")
    with nameko_process.nameko_shops(namekos_python, interop_uri, ("first", "second"), folder) as shops:
        yield shops


@pytest.fixture(scope="module")
def nameko_client(
    interop_uri: str, namekos_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JsonProcess]:
    """nameko's standalone clients, in a process that obeys ``ask``."""
    log = tmp_path_factory.mktemp("nameko") / "client.log"
    with JsonProcess([namekos_python, str(HERE / "nameko_client.py"), interop_uri], log) as client:
        client.wait_for(ready=True)
        yield client


@pytest.fixture(scope="module")
def our_shops(interop_uri: str) -> Iterator[list[ServiceRunner]]:
    """Two instances of one service of ours, each with a connection of its own."""
    # Their replies are compared with nameko's byte by byte.
    config = {"AMQP_URI": interop_uri, "ACCEPT": ["json", "pickle", "yaml", "msgpack"], "fast_json": False}
    runners = [ServiceRunner(config) for _ in range(2)]
    for runner in runners:
        runner.add_service(OurShop)
        runner.start()
    yield runners
    for runner in runners:
        runner.stop()


@pytest.fixture(scope="module")
def our_client(interop_uri: str) -> Iterator[Any]:
    """A client of ours for any service: ``our_client["nameko_shop"].add(1)``."""
    containers: list[ServiceContainer] = []

    def make(cls: type) -> ServiceContainer:
        containers.append(ServiceContainer(cls, {"AMQP_URI": interop_uri, "rpc_timeout": 15}))
        return containers[-1]

    yield cluster_client(make)
    for container in containers:
        container.stop()


@pytest.fixture
def seen() -> Iterator[Seen]:
    """What the handlers of our shops have noted since the test began."""
    Log.seen.clear()
    yield Log.seen
    Log.seen.clear()


@pytest.fixture
def wait_for_seen(seen: Seen) -> Callable[[str, int], list[Any]]:
    """Wait until that many events have reached a handler of ours; gives their payloads in order of arrival."""

    def wait(handler: str, count: int) -> list[Any]:
        def noted() -> list[Any]:
            return [payload for name, payload, _ in seen if name == handler]

        with Log.changed:
            assert Log.changed.wait_for(lambda: len(noted()) >= count, 20), f"{noted()} reached {handler}"
        return noted()

    return wait
