"""nameko's pytest plugin in processes of its own: options, fixtures without a broker, and how it lives with ours."""

import pytest

PLUGIN = "rpcservice.compat.nameko.testing.pytest"
PATCH = ("-p", "rpcservice.testing.patch")


def run(pytester: pytest.Pytester, code: str, *options: str, patched: bool = True) -> pytest.RunResult:
    """Run a test module with the plugin."""
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(code)
    return pytester.runpytest_subprocess("-q", *(PATCH if patched else ()), "-p", PLUGIN, *options, timeout=100)


def test_options_of_tls_come_to_the_fixtures(pytester: pytest.Pytester) -> None:
    """With YAML values, over those that there are already."""
    code = """
import pytest, ssl
from nameko import config

@pytest.fixture
def rabbit_uri():
    return "pyamqp://guest:guest@host:5672/vhost"

def test_ssl(rabbit_ssl_config, rabbit_ssl_uri, rabbit_ssl_options):
    assert rabbit_ssl_uri == "pyamqp://guest:guest@host:5673/vhost"
    assert rabbit_ssl_options == {
        "ca_certs": "mine.pem",
        "certfile": "certs/clientcert.pem",
        "keyfile": "certs/clientkey.pem",
        "cert_reqs": ssl.CERT_REQUIRED,
        "check": [1],
        "verify": True,
    }
    expected = {
        "AMQP_URI": rabbit_ssl_uri, "AMQP_SSL": rabbit_ssl_options, "username": "guest", "vhost": "vhost"
    }
    assert rabbit_ssl_config == expected
    assert dict(config) == expected

def test_plain(rabbit_config, amqp_uri):
    assert amqp_uri == "pyamqp://guest:guest@host:5672/vhost"
    assert dict(config) == rabbit_config

def test_after():
    assert dict(config) == {}
"""
    options = [f"--amqp-ssl-option={text}" for text in ("ca_certs=mine.pem", "check=[1]", "verify")]
    run(pytester, code, "--amqp-ssl-port", "5673", *options).assert_outcomes(passed=3)


@pytest.mark.parametrize("names", [("--amqp-uri", "--rabbit-api-uri"), ("--rabbit-amqp-uri", "--rabbit-ctl-uri")])
def test_addresses_have_two_names_each(pytester: pytest.Pytester, names: tuple[str, str]) -> None:
    code = """
def test_options(pytestconfig):
    assert pytestconfig.getoption("RABBIT_AMQP_URI") == "pyamqp://a"
    assert pytestconfig.getoption("RABBIT_API_URI") == "http://b"
"""
    run(pytester, code, names[0], "pyamqp://a", names[1], "http://b").assert_outcomes(passed=1)


def test_what_blocks_the_hub_is_found(pytester: pytest.Pytester) -> None:
    code = """
def test_hub():
    from eventlet import hubs
    assert hubs.get_hub().debug_blocking
"""
    run(pytester, code, "--blocking-detection").assert_outcomes(passed=1)


def test_an_unpatched_process_is_warned_of(pytester: pytest.Pytester) -> None:
    """With what to run instead; unless that is not wanted."""
    code = "def test_it(): pass"
    loud = run(pytester, code, patched=False)
    assert "run `rpcservice test --nameko`" in loud.stderr.str() + loud.stdout.str()
    silent = run(pytester, code, "--suppress-nameko-eventlet-notification", patched=False)
    assert "rpcservice test" not in silent.stderr.str() + silent.stdout.str()
    patched = run(pytester, code)
    assert "rpcservice test" not in patched.stderr.str() + patched.stdout.str()


def test_a_conftest_may_name_the_plugin_too(pytester: pytest.Pytester) -> None:
    """By nameko's name."""
    pytester.makeconftest('pytest_plugins = ["nameko.testing.pytest"]')
    run(pytester, "def test_it(empty_config): assert empty_config == {}").assert_outcomes(passed=1)


def test_a_conftest_may_switch_everything_on(pytester: pytest.Pytester) -> None:
    """Without an option or a variable: it stands in for nameko, and names the plugin."""
    pytester.makeini("[pytest]\n")
    pytester.makeconftest("""
import rpcservice.compat.nameko

rpcservice.compat.nameko.install()
pytest_plugins = ["nameko.testing.pytest"]
""")
    pytester.makepyfile("""
from nameko.testing.services import dummy, entrypoint_hook

class Service:
    name = "service"

    @dummy
    def work(self):
        return 3

def test_it(container_factory):
    container = container_factory(Service, {"X": 1})
    container.start()
    with entrypoint_hook(container, "work") as work:
        assert work() == 3
""")
    pytester.runpytest_subprocess("-q", *PATCH, timeout=60).assert_outcomes(passed=1)


def test_leftovers_are_killed_and_configurations_forgotten(pytester: pytest.Pytester) -> None:
    code = """
from nameko import config
from nameko.testing.services import dummy

left = []

class Service:
    name = "service"

    @dummy
    def work(self): ...

def test_first(container_factory, runner_factory):
    left.append(container_factory(Service, {"A": 1}))
    runner = runner_factory({"B": 2}, Service)
    left.extend(runner.containers)
    for container in left:
        container.start()
    assert dict(config) == {"A": 1, "B": 2}

def test_second():
    assert [container.wait(5) for container in left] == [True, True]
    assert dict(config) == {}
"""
    run(pytester, code).assert_outcomes(passed=2)


def test_calls_are_numbered(pytester: pytest.Pytester) -> None:
    code = """
from nameko.containers import ServiceContainer, WorkerContext, new_call_id
from nameko.testing.services import dummy
from rpcservice.core.context import new_id

class Service:
    name = "service"

    @dummy
    def work(self): ...

def test_ids(predictable_call_ids):
    container = ServiceContainer(Service, {})
    (entrypoint,) = container.entrypoints
    made = [WorkerContext(container, None, entrypoint).call_id for _ in range(2)]
    assert made == ["service.work.0", "service.work.1"]
    assert predictable_call_ids.call_count == 2
    # What else has an id, such as a connection, keeps it.
    assert len(new_id()) == 36

def test_otherwise():
    assert len(new_call_id()) == 36
"""
    run(pytester, code).assert_outcomes(passed=2)


def test_a_web_server_of_a_test_has_a_port_of_its_own(pytester: pytest.Pytester) -> None:
    code = """
from nameko import config
from nameko.web.handlers import http

class Service:
    name = "service"

    @http("GET", "/")
    def get(self, request):
        return "in"

def test_web(container_factory, web_config, web_config_port, web_session):
    assert config["WEB_SERVER_ADDRESS"] == web_config["WEB_SERVER_ADDRESS"] == f"127.0.0.1:{web_config_port}"
    container_factory(Service, web_config).start()
    assert web_session.get("/").text == "in"
"""
    run(pytester, code).assert_outcomes(passed=1)


def test_our_other_fixtures_are_there_too(pytester: pytest.Pytester) -> None:
    """They follow nameko's configuration, as its factories do."""
    code = """
import pytest
from nameko import config
from nameko.events import event_handler
from nameko.rpc import rpc as on_call
from nameko.testing.services import entrypoint_waiter

class Service:
    name = "service"

    @on_call
    def say(self, word):
        return word

    @event_handler("other", "said")
    def hear(self, payload):
        return payload

def test_it(container_factory, broker_uri, request):
    with config.patch({"AMQP_URI": broker_uri}):
        container = container_factory(Service)
        container.start()
        assert request.getfixturevalue("rpc").service.say("hello") == "hello"
        with entrypoint_waiter(container, "hear", timeout=10) as result:
            request.getfixturevalue("dispatch")("other", "said", 1)
        assert result.get() == 1
"""
    run(pytester, code).assert_outcomes(passed=1)


def test_without_it_our_own_factories_hold(pytester: pytest.Pytester) -> None:
    """And none of nameko's options is there."""
    pytester.makeini("[pytest]\n")
    pytester.makepyfile("""
import sys

def test_it(container_factory, runner_factory, pytestconfig):
    assert "rpcservice.testing.factories" in sys.modules
    assert "rpcservice.compat.nameko.testing.pytest" not in sys.modules
    assert not hasattr(pytestconfig.option, "RABBIT_AMQP_URI")
""")
    pytester.runpytest_subprocess("-q", timeout=60).assert_outcomes(passed=1)


def test_a_nameko_that_is_in_use_already_is_not_replaced(pytester: pytest.Pytester) -> None:
    """pytest ends with the reason."""
    package = pytester.mkpydir("nameko")
    (package / "rpc.py").write_text("")
    pytester.makepyfile(early="import nameko.rpc")
    pytester.makeini("[pytest]\n")
    result = pytester.runpytest_subprocess("-p", "early", "-p", PLUGIN, timeout=60)
    assert result.ret != 0
    assert "nameko has been imported from" in result.stderr.str()
