"""The test suite that comes with an extension for nameko, unedited, with us in nameko's place."""

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

SOURCE = "nameko-sqlalchemy==1.5.0"
# Its tests know no later SQLAlchemy.
NEEDED = ("sqlalchemy<2", "greenlet", "mock", "six", "wrapt")
# The rest of its tests needs a package of tests that was left out of the archive, or a pytest before version 9.
FILES = ("test_database.py", "test_database_session.py")
HOME = Path(__file__).parents[2] / f".venv-community-suites-{sys.version_info.major}.{sys.version_info.minor}"


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def sources() -> Path:
    """The folder of the extension's source archive, unpacked, among what its tests need; fetched once and kept."""
    with open(f"{HOME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made, wanted = HOME / "made-with", f"{(SOURCE, *NEEDED)}"
        if not (made.exists() and made.read_text() == wanted):
            shutil.rmtree(HOME, ignore_errors=True)
            _pip("install", "--no-deps", "--target", str(HOME), *NEEDED)
            _pip("download", "--no-deps", "--no-binary", "nameko-sqlalchemy", "--dest", str(HOME), SOURCE)
            (archive,) = HOME.glob("nameko*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(HOME, filter="data")
            made.write_text(wanted)
    (folder,) = HOME.glob("nameko*-1.5.0")
    return folder


def test_the_suite_of_nameko_sqlalchemy_passes(sources: Path, tmp_path: Path) -> None:
    """Units with mocks of nameko's classes, and services with a database."""
    suite = shutil.copytree(sources, tmp_path / "suite")
    (suite / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "rpcservice", "test", "--nameko", "-q", "-W", "ignore", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"test/{name}" for name in FILES)],
        cwd=suite,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{suite}:{HOME}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "31 passed" in done.stdout.splitlines()[-1]
