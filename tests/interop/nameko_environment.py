"""Virtual environments with nameko 2.14.1 and 3.0.0rc11, made once and kept; both run on Python 3.11 at most."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

REQUIREMENTS = ("setuptools<81", "nameko==2.14.1", "msgpack", "click>=7")
NAMEKO3 = "nameko==3.0.0rc11"
# What nameko's pytest plugin needs: its web fixtures know no later werkzeug.
FOR_TESTS = ("pytest>=8", "pytest-timeout", "werkzeug<3", "websocket-client")
HOME = Path(__file__).parents[2] / ".venv-nameko"


def nameko_python(version: int) -> str:
    """Give the path of a Python that can import nameko 2 or 3; the first time this takes half a minute."""
    # Two test runs at once, such as tox's, share the environments.
    with open(f"{HOME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home = _make_once(HOME, REQUIREMENTS, _fill)
        if version == 3:
            home = _make_once(Path(f"{HOME}3"), (*REQUIREMENTS, NAMEKO3), _fill_for_3)
    return str(home / "bin" / "python")


def nameko_testing_path(version: int) -> tuple[str, list[str]]:
    """Give a Python that can import nameko, and the folders to put on its path to run tests with nameko's plugin."""
    python = nameko_python(version)
    with open(f"{HOME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home = _make_once(
            Path(f"{HOME}-tests"), FOR_TESTS, lambda home: _pip("install", "--target", str(home), *FOR_TESTS)
        )
    return python, [str(home)]


def _make_once(home: Path, made_from: tuple[str, ...], fill: Callable[[Path], None]) -> Path:
    made = home / "made-with"
    if not (made.exists() and made.read_text() == f"{made_from}"):
        shutil.rmtree(home, ignore_errors=True)
        fill(home)
        made.write_text(f"{made_from}")
    return home


def _fill(home: Path) -> None:
    _run(find_python311(), "-m", "venv", str(home))
    _pip("install", *REQUIREMENTS)


def _fill_for_3(home: Path) -> None:
    """Put nameko 3 in front of what the other environment has: both need the same packages, and those take long."""
    _run(find_python311(), "-m", "venv", "--without-pip", str(home))
    (packages,) = home.glob("lib/python3.11/site-packages")
    _pip("install", "--no-deps", "--target", str(packages), NAMEKO3)
    (shared,) = HOME.glob("lib/python3.11/site-packages")
    (packages / "shared.pth").write_text(f"{shared}\n")


def _pip(*command: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    _run(str(HOME / "bin" / "python"), "-m", "pip", command[0], *quiet, *command[1:])


def find_python311() -> str:
    """Give a Python 3.11 that works: this one, one on the PATH, or one of pyenv's.

    Raises:
        RuntimeError: There is none.
    """
    for candidate in _candidates():
        if _version(candidate) == "3.11":
            return candidate
    raise RuntimeError(
        "the interop tests run nameko, which needs Python 3.11, and none was found on the PATH or in "
        "~/.pyenv/versions; install python3.11 and python3.11-venv, or leave these tests out with -m 'not interop'"
    )


def _candidates() -> Iterator[str]:
    yield getattr(sys, "_base_executable", sys.executable)
    for folder in os.get_exec_path():
        yield str(Path(folder) / "python3.11")
    for found in sorted(Path.home().glob(".pyenv/versions/3.11*/bin/python3.11"), reverse=True):
        yield str(found)


def _version(python: str) -> str | None:
    """Give a Python's version, or None where it cannot make environments: a pyenv shim that names no version, or
    Debian's Python without its venv package."""
    if not os.access(python, os.X_OK):
        return None
    code = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
