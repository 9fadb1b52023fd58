"""``--nameko``: services and tests that import nameko run as they are, with its options."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command_process import Result, Running

Start = Callable[..., Running]
Cli = Callable[..., Result]

THEIRS = """
from nameko.extensions import DependencyProvider
from nameko.timer import timer

class Settings(DependencyProvider):
    def get_dependency(self, worker_ctx):
        return self.container.config

class Theirs:
    name = "theirs"
    settings = Settings()

    @timer(interval=60, eager=True)
    def work(self):
        print("config", sorted(self.settings.items()), flush=True)
"""

EMBEDDED = "AMQP_URI=memory://"


@pytest.fixture(autouse=True)
def module(folder: Path) -> None:
    """A service of nameko's, in a package."""
    (folder / "fleet").mkdir()
    (folder / "fleet" / "__init__.py").write_text("")
    (folder / "fleet" / "theirs.py").write_text(THEIRS)


@pytest.mark.parametrize("options", [["--nameko"], []], ids=["by option", "by environment"])
def test_a_service_that_imports_nameko_runs(options: list[str], start: Start) -> None:
    variables = {} if options else {"RPCSERVICE_NAMEKO": "1"}
    running = start("run", *options, "fleet.theirs", "-d", EMBEDDED, **variables)
    running.wait_for("Ctrl-C stops.")
    assert "Service theirs" in running.out
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0


def test_without_it_nameko_is_somebody_elses(cli: Cli) -> None:
    result = cli("run", "fleet.theirs", "-d", EMBEDDED)
    assert result.returncode == 2
    assert "No module named 'nameko'" in result.stderr
    assert "; give --nameko, with which rpcservice stands in for it" in result.stderr


def test_the_service_sees_the_configuration_as_it_was_given(start: Start, folder: Path) -> None:
    """A key of ours that bears the name of one of theirs is theirs, outside of the section for ours."""
    (folder / "config.yaml").write_text(
        "AMQP_URI: ${BROKER:memory://}\nlog_format: mine\nrpcservice: {rpc_timeout: 3}\n"
    )
    running = start(
        "run", "--nameko", "fleet.theirs:Theirs", "--config", "config.yaml", "--define", "DEBUG", "-d", "max_workers=7"
    )
    assert running.wait_for("config [") == (
        "config [('AMQP_URI', 'memory://'), ('DEBUG', True), ('log_format', 'mine'), ('max_workers', 7), "
        "('rpcservice', {'rpc_timeout': 3})]"
    )


def test_the_broker_is_used_where_the_configuration_names_none(start: Start) -> None:
    running = start("run", "--nameko", "fleet.theirs", "--broker", "memory://")
    assert running.wait_for("config [") == "config [('AMQP_URI', 'memory://')]"


def test_a_broker_that_is_not_used_is_warned_of(start: Start) -> None:
    running = start("run", "--nameko", "fleet.theirs", "-d", EMBEDDED, "--broker", "amqp://me:secret@there")
    assert " WARNING " in running.wait_for("--broker is not used, for AMQP_URI is set: memory://")
    assert running.wait_for("config [") == "config [('AMQP_URI', 'memory://')]"


def test_a_backdoor_shows_namekos_runner(start: Start, cli: Cli) -> None:
    running = start("run", "--nameko", "fleet.theirs", "-d", EMBEDDED, "--backdoor-port", "0")
    address = running.wait_for("Backdoor: ").removeprefix("Backdoor: rpcservice backdoor ")
    inside = cli(
        "backdoor", address, input="import nameko.runners; type(runner) is nameko.runners.ServiceRunner\nservices\n"
    )
    assert ">>> True\n>>> {'theirs': <ServiceContainer 'theirs'>}" in inside.stdout


def test_tests_that_import_nameko_run(cli: Cli, folder: Path) -> None:
    (folder / "test_theirs.py").write_text(
        "from nameko.extensions import Entrypoint\n"
        "from fleet.theirs import Theirs\n"
        "def test_it():\n    assert Theirs.work.__name__ == 'work' and Entrypoint.decorator\n"
    )
    result = cli("test", "--nameko", "-q", "-p", "no:cacheprovider", "test_theirs.py", PYTHONWARNINGS="default")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


def test_show_config_leaves_their_keys_alone(cli: Cli) -> None:
    result = cli("show-config", "--nameko", "-d", "log_format=mine", "-d", EMBEDDED)
    assert (result.returncode, result.stdout) == (0, "log_format: mine\nAMQP_URI: memory://\n")
    assert cli("show-config", "-d", "log_format=mine").returncode == 2


def test_call_and_emit_host_services_of_namekos(cli: Cli, folder: Path) -> None:
    (folder / "both.py").write_text(
        "from nameko.events import event_handler\n"
        "from nameko.rpc import rpc\n"
        "class Both:\n"
        "    name = 'both'\n"
        "    @rpc\n"
        "    def add(self, a, b): return a + b\n"
        "    @event_handler('payments', 'paid')\n"
        "    def hear(self, payload): print('heard', payload)\n"
    )
    called = cli("call", "--nameko", "both.add", "[1, 2]", "--run", "both")
    assert (called.returncode, called.stdout, called.stderr) == (0, "3\n", "")
    sent = cli("emit", "--nameko", "payments", "paid", "7", "--run", "both")
    assert (sent.returncode, sent.stderr) == (0, "")
    assert sent.stdout.splitlines() == ["heard 7", "sent: payments paid", "handled: both.hear"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("fleet/theirs", "there is no module 'fleet/theirs' here; is the file fleet/theirs.py meant?"),
        ("fleet.nothing", "there is no module 'fleet.nothing' here"),
        ("fleet", "fleet has no service"),
        ("fleet.theirs:Nobody", "module 'fleet.theirs' has no 'Nobody'; its services are: Theirs"),
        ("fleet.theirs:timer", "fleet.theirs:timer is a method; a service is a class"),
    ],
)
def test_mistakes_are_told_in_a_line(target: str, message: str, cli: Cli) -> None:
    result = cli("run", "--nameko", target, "-d", EMBEDDED)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-2].startswith(f"Error: {message}")


def test_a_file_may_be_named_too(start: Start) -> None:
    start("run", "--nameko", "fleet/theirs.py", "-d", EMBEDDED).wait_for("Service theirs")


def test_several_modules_and_classes_run_together(start: Start, folder: Path) -> None:
    (folder / "fleet" / "more.py").write_text(THEIRS.replace("theirs", "more").replace("Theirs", "More"))
    running = start("run", "--nameko", "fleet.theirs", "fleet.more:More", "-d", EMBEDDED)
    running.wait_for("Ctrl-C stops.")
    assert [line for line in running.out if line.startswith("Service ")] == ["Service theirs", "Service more"]


@pytest.mark.parametrize("package", ["nameko.containers", "rpcservice"])
def test_the_class_of_containers_may_be_a_module_of_this_folder(package: str, start: Start, folder: Path) -> None:
    """Whoever hosts them: it is looked for where the services are."""
    options = ["--nameko", "fleet.theirs"] if "nameko" in package else ["hello:Greeter"]
    (folder / "audit.py").write_text(
        f"from {package} import ServiceContainer\n"
        "class AuditContainer(ServiceContainer):\n"
        "    def setup(self):\n        print('audits', self.service_name, flush=True)\n        super().setup()\n"
    )
    running = start("run", *options, "-d", EMBEDDED, "-d", "SERVICE_CONTAINER_CLS=audit.AuditContainer")
    assert running.wait_for("audits ") in ("audits theirs", "audits greeter")


@pytest.mark.parametrize("options", [["--nameko", "fleet.theirs"], ["hello:Greeter"]], ids=["theirs", "ours"])
def test_a_class_of_containers_that_is_not_there_is_named_with_its_cause(
    options: list[str], cli: Cli, folder: Path
) -> None:
    (folder / "audit.py").write_text("import fleet.nothing\n")
    result = cli("run", *options, "-d", EMBEDDED, "-d", "SERVICE_CONTAINER_CLS=audit.AuditContainer")
    assert result.returncode == 2
    assert (
        "SERVICE_CONTAINER_CLS is 'audit.AuditContainer', which cannot be imported: No module named 'fleet.nothing'"
    ) in result.stderr


@pytest.mark.parametrize("step", ["setup", "start"])
def test_an_error_at_the_start_names_the_service_the_extension_and_the_line(step: str, cli: Cli, folder: Path) -> None:
    """Of the user's own module, and not the one of ours that it asked."""
    (folder / "keyed.py").write_text(
        "from nameko.extensions import DependencyProvider\n"
        "from nameko.timer import timer\n"
        "class Database(DependencyProvider):\n"
        f"    def {step}(self):\n"
        "        self.uri = self.container.config['DB']\n"
        "class Keyed:\n"
        "    name = 'keyed'\n"
        "    db = Database()\n"
        "    @timer(interval=60)\n"
        "    def work(self): ...\n"
    )
    result = cli("run", "--nameko", "keyed", "-d", EMBEDDED)
    assert result.returncode == 1
    assert f"Error: KeyError: 'DB', in {step} of keyed.db, Database ({folder / 'keyed.py'}, line 5)" in result.stderr
