"""The plugin in processes of its own: they are not patched unless they ask for it, unlike this suite."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import ServiceContainer, ServiceRunner
from rpcservice.testing import RabbitMQNode, dummy, entrypoint_hook
from rpcservice.testing.rabbitmq import vhost_name

_SERVICE = """
import sys

import pytest
from rpcservice import Config
from rpcservice.testing import dummy, entrypoint_hook


class Greeter:
    name = "greeter"
    config = Config()

    @dummy
    def greet(self, name):
        return f"{self.config.get('GREETING', 'Hello')}, {name}!"


def is_patched():
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and patcher.is_monkey_patched("socket")
"""


class Greeter:
    name = "greeter"

    @dummy
    def greet(self, name: str) -> str:
        return f"Hello, {name}!"


class Other:
    name = "other"

    @dummy
    def rest(self) -> None: ...


def _run(pytester: pytest.Pytester, code: str, *args: str) -> pytest.RunResult:
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(_SERVICE + code)
    return pytester.runpytest_subprocess("-q", *args, timeout=100)


def _output_of(code: str) -> str:
    """Run code in a clean process; a coverage measurement of this suite would import eventlet there."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_plugin_imports_neither_eventlet_nor_kombu() -> None:
    """It is imported in every test run of everybody who has the package installed."""
    code = "import sys, rpcservice.testing.plugin; print({'eventlet', 'kombu', 'amqp', 'werkzeug'} & set(sys.modules))"
    assert _output_of(code) == "set()"


def test_the_names_of_the_testing_package_exist_and_are_resolved_lazily() -> None:
    code = (
        "import sys, rpcservice.testing as t; before = 'rpcservice.core.container' in sys.modules;"
        "print(before, [name for name in t.__all__ if not hasattr(t, name)], set(t.__all__) <= set(dir(t)))"
    )
    assert _output_of(code) == "False [] True"


def test_an_unknown_name_of_the_testing_package_is_an_attribute_error() -> None:
    import rpcservice.testing

    with pytest.raises(AttributeError, match=r"rpcservice\.testing.* has no attribute 'worker_fabric'"):
        rpcservice.testing.worker_fabric  # noqa: B018 - the look-up is the test


def test_containers_run_on_the_embedded_broker_without_a_patch(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_greet(container_factory):
    container = container_factory(Greeter)
    container.start()
    with entrypoint_hook(container, "greet") as greet:
        assert greet("Ada") == "Hello, Ada!"
    assert not is_patched()
""",
    )
    result.assert_outcomes(passed=1)


def test_configuration_given_to_a_factory_is_laid_over_that_of_the_fixture(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_greet(container_factory, broker_uri):
    container = container_factory(Greeter, {"GREETING": "Hi"})
    assert container.config.amqp_uri == broker_uri
    container.start()
    with entrypoint_hook(container, "greet") as greet:
        assert greet("Ada") == "Hi, Ada!"
""",
    )
    result.assert_outcomes(passed=1)


def test_a_test_module_may_have_a_config_fixture_of_its_own(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
@pytest.fixture
def config(config):
    return {**config, "GREETING": "Servus"}


def test_greet(container_factory):
    container = container_factory(Greeter)
    container.start()
    with entrypoint_hook(container, "greet") as greet:
        assert greet("Ada") == "Servus, Ada!"
""",
    )
    result.assert_outcomes(passed=1)


def test_leftover_containers_and_runners_are_killed_after_the_test(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
left = []


def test_first(container_factory, runner_factory):
    left.append(container_factory(Greeter))
    left.append(runner_factory(Greeter).containers["greeter"])
    for container in left:
        container.start()


def test_second():
    assert [container.wait(5) for container in left] == [True, True]
""",
    )
    result.assert_outcomes(passed=2)


def test_the_embedded_broker_of_a_test_is_dropped_after_it(pytester: pytest.Pytester) -> None:
    """A suite of thousands of tests would fill the memory with brokers."""
    result = _run(
        pytester,
        """
from rpcservice.amqp.memory_broker import broker_at, forget_broker

hosts = []


def test_first(rpc, broker_uri):
    hosts.append(broker_uri.removeprefix("memory://").rstrip("/"))
    hosts.append(broker_at(hosts[0]))
    assert broker_at(hosts[0]) is hosts[1]


def test_second():
    assert broker_at(hosts[0]) is not hosts[1]
    forget_broker(hosts[0])
""",
    )
    result.assert_outcomes(passed=2)


def test_a_container_on_rabbitmq_in_an_unpatched_process_says_how_to_patch(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
def test_greet(container_factory):
    container_factory(Greeter, config={"AMQP_URI": "amqp://guest:guest@localhost/"})


def test_run(runner_factory):
    runner_factory(Greeter, config={"AMQP_URI": "amqp://guest:guest@localhost/"})
""",
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*ConfigError: services on RabbitMQ run on greenlets*"])
    result.stdout.fnmatch_lines(["*pytest -p rpcservice.testing.patch*rpcservice test*"])


def test_the_patch_plugin_patches_before_test_modules_are_imported(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
import socket

from socket import socket as plain


def test_patched(container_factory):
    assert is_patched()
    assert plain.__module__.startswith("eventlet.")
    container_factory(Greeter, config={"AMQP_URI": "amqp://guest:guest@localhost/"})
""",
        "-p",
        "rpcservice.testing.patch",
    )
    result.assert_outcomes(passed=1)


def test_the_broker_marker_is_known_where_markers_are_strict(pytester: pytest.Pytester) -> None:
    result = _run(
        pytester,
        """
@pytest.mark.broker
def test_marked():
    pass
""",
        "--strict-markers",
    )
    result.assert_outcomes(passed=1)


@pytest.mark.broker
def test_marked_tests_get_a_virtual_host_of_a_real_node(broker_uri: str, rabbitmq: RabbitMQNode) -> None:
    assert vhost_name(broker_uri) in rabbitmq.ctl("list_vhosts").split()


def test_other_tests_get_an_embedded_broker_of_their_own(broker_uri: str) -> None:
    assert broker_uri.startswith("memory://")


def test_where_no_server_is_installed_marked_tests_fail_with_the_line_that_installs_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_SERVER", "/nowhere/rabbitmq-server")
    result = _run(
        pytester,
        """
@pytest.mark.broker
def test_marked(broker_uri):
    pass
""",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*apt-get install -y rabbitmq-server*"])


def test_a_runner_hosts_several_services(runner_factory: Callable[..., ServiceRunner]) -> None:
    runner = runner_factory(Greeter, Other)
    runner.start()
    assert list(runner.containers) == ["greeter", "other"]
    with entrypoint_hook(runner.containers["greeter"], "greet") as greet:
        assert greet("Ada") == "Hello, Ada!"


def test_settings_are_used_as_they_are(
    container_factory: Callable[..., ServiceContainer], config: dict[str, Any]
) -> None:
    from rpcservice.config import make_settings

    settings = make_settings({**config, "max_workers": 3})
    assert container_factory(Greeter, settings).config is settings


def test_web_servers_take_a_free_port_of_this_host(config: dict[str, Any]) -> None:
    assert config["WEB_SERVER_ADDRESS"] == "127.0.0.1:0"
