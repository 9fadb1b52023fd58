"""Test suites as users of nameko have them, unmodified: they pass with nameko itself, and with us in its place."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from nameko_environment import nameko_python, nameko_testing_path

from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker

SUITES = {2: "nameko_suite", 3: "nameko_suite3"}
PLUGIN = "rpcservice.compat.nameko.testing.pytest"

# What says which nameko the suite has run with.
WITNESS = """
import sys


def test_which_nameko():
    import nameko.extensions

    assert nameko.extensions.__file__.startswith({home!r})
    others = [name for name, module in sys.modules.items() if name.split(".")[0] == "nameko"]
    assert {{sys.modules[name].__file__.startswith({home!r}) for name in others}} == {{True}}
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, managed_rabbitmq: RabbitMQNode) -> Run:
    """Run a suite in a process of its own; gives the last line of what pytest says."""

    def run(version: int, home: Path, command: list[str], environment: Mapping[str, str], *options: str) -> str:
        folder = shutil.copytree(Path(__file__).parent / SUITES[version], tmp_path / "suite")
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_witness.py").write_text(WITNESS.format(home=str(home)))
        brokers = ["--amqp-uri", managed_rabbitmq.uri, "--rabbit-api-uri", managed_rabbitmq.api_uri]
        done = subprocess.run(
            [*command, "-q", "-p", "no:cacheprovider", *brokers, *options],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout.rstrip().splitlines()[-1]

    return run


@pytest.fixture
def installed_nameko(tmp_path: Path) -> str:
    """A folder with nameko 2 and its metadata, among which its pytest plugin, but without what it needs."""
    (packages,) = Path(nameko_python(2)).parents[1].glob("lib/python3.11/site-packages")
    folder = tmp_path / "installed"
    folder.mkdir()
    for path in packages.glob("nameko*"):
        (folder / path.name).symlink_to(path)
    return str(folder)


OURS = Path(__file__).parents[2] / "rpcservice" / "compat" / "nameko"
PYTEST = [sys.executable, "-m", "pytest", "-p", "rpcservice.testing.patch"]
WAYS = {
    "the command line": ([sys.executable, "-m", "rpcservice", "test", "--nameko"], {}),
    "the plugin": ([*PYTEST, "-p", PLUGIN], {}),
    "the environment": (PYTEST, {"RPCSERVICE_NAMEKO": "1"}),
}


@pytest.mark.interop
@pytest.mark.parametrize("version", [2, 3])
def test_a_suite_passes_with_nameko_itself(run: Run, version: int) -> None:
    """Else it would prove nothing."""
    python, paths = nameko_testing_path(version)
    environment = {"PYTHONPATH": ":".join(paths), "PYTHONWARNINGS": "ignore"}
    home = Path(python).parents[1] / "lib" / "python3.11" / "site-packages" / "nameko"
    assert "passed" in run(version, home, [python, "-m", "nameko", "test"], environment)


@pytest.mark.parametrize("version", [2, 3])
def test_a_suite_passes_with_us_in_nameko_s_place(run: Run, version: int) -> None:
    """As it is."""
    command, environment = WAYS["the command line"]
    assert "passed" in run(version, OURS, command, environment)


@pytest.mark.interop
@pytest.mark.parametrize("way", WAYS)
def test_an_installed_nameko_does_not_get_in_the_way(run: Run, way: str, installed_nameko: str) -> None:
    """pytest loads its plugin too, and perhaps before ours."""
    command, environment = WAYS[way]
    path = {"PYTHONPATH": installed_nameko}
    assert "passed" in run(
        2, OURS, command, {**environment, **path}, "-k", "hook or witness or vhost or mock_container"
    )


@pytest.mark.parametrize("way", WAYS)
def test_without_nameko_each_way_works(run: Run, way: str) -> None:
    """Nothing of it has to be there."""
    command, environment = WAYS[way]
    assert "passed" in run(2, OURS, command, environment, "-k", "hook or witness or vhost or mock_container")
