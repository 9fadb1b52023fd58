"""A pytest plugin that fails a test in whose output or log the password of the tests' brokers stands.

Every broker of the suite, RabbitMQ or embedded, has a password that begins alike. It must not be seen in what a test
prints or logs, in what a command prints that a test runs, nor in the text of an exception that a test awaits.
"""

import subprocess
from collections.abc import Generator
from typing import Any

import pytest

CANARY = "node-secret-"
"""How the passwords begin; ``rpcservice.testing.rabbitmq`` says so too."""


class SecretShown(AssertionError):
    """Raised when a password is seen."""


def refuse_secret(text: str | bytes | None, where: str) -> None:
    """Look whether a text shows the password of a broker.

    Args:
        text: What a command, a service or an exception says.
        where: What it is, for the error.

    Raises:
        SecretShown: It does.
    """
    if not text:
        return
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    lines = [line for line in text.splitlines() if CANARY in line]
    if lines:
        raise SecretShown(f"the broker's password stands in {where}: {lines[0].replace(CANARY, '<password>')[:500]}")


_SEEN = pytest.StashKey[int]()
_communicate = subprocess.Popen.communicate
_compare = pytest.RaisesExc.__exit__


def _communicate_and_look(process: "subprocess.Popen[Any]", *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    out, err = _communicate(process, *args, **kwargs)
    refuse_secret(out, "the output of a command")
    refuse_secret(err, "the error output of a command")
    return out, err


def _look_and_compare(raises: "pytest.RaisesExc[Any]", kind: Any, error: Any, traceback: Any) -> bool:
    cause, depth = error, 0
    while cause is not None and depth < 10:
        refuse_secret(f"{type(cause).__name__}: {cause}", "the text of an exception")
        cause, depth = cause.__cause__ or cause.__context__, depth + 1
    return _compare(raises, kind, error, traceback)


def pytest_configure(config: pytest.Config) -> None:
    """Look at what commands say, and at awaited exceptions, from now on."""
    patch = pytest.MonkeyPatch()
    patch.setattr(subprocess.Popen, "communicate", _communicate_and_look)
    patch.setattr(pytest.RaisesExc, "__exit__", _look_and_compare)
    config.add_cleanup(patch.undo)
    config.addinivalue_line("markers", "shows_secrets: prints the password of its broker on purpose")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what has printed or logged the password."""
    report = yield
    seen = item.stash.get(_SEEN, 0)
    item.stash[_SEEN] = len(report.sections)
    for name, text in () if item.get_closest_marker("shows_secrets") else report.sections[seen:]:
        try:
            refuse_secret(text, name)
        except SecretShown as exc:
            report.outcome, report.longrepr = "failed", str(exc)
    return report


@pytest.fixture
def broker_uri(broker_uri: str) -> str:
    """A broker that only this test uses; the embedded one has a password too."""
    return broker_uri.replace("memory://", f"memory://guest:{CANARY}0@")
