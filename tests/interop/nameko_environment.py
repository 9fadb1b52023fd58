"""A virtual environment with nameko 2.14.1, made once and kept; nameko runs on Python 3.11 at most."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REQUIREMENTS = ("setuptools<81", "nameko==2.14.1")
HOME = Path(__file__).parents[2] / ".venv-nameko"


def nameko_python() -> str:
    """Give the path of a Python that can import nameko; the first time this takes half a minute."""
    python = HOME / "bin" / "python"
    made = HOME / "made-with"
    # Two test runs at once, such as tox's, share the environment.
    with open(f"{HOME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made.exists() and made.read_text() == f"{REQUIREMENTS}"):
            shutil.rmtree(HOME, ignore_errors=True)
            _run(find_python311(), "-m", "venv", str(HOME))
            _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS)
            made.write_text(f"{REQUIREMENTS}")
    return str(python)


def find_python311() -> str:
    """Give a Python 3.11 that works: this one, one on the PATH, or one of pyenv's.

    Raises:
        RuntimeError: There is none.
    """
    for candidate in _candidates():
        if _version(candidate) == "3.11":
            return candidate
    raise RuntimeError(
        "the interop tests run nameko 2.14.1, which needs Python 3.11, and none was found on the PATH or in "
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
