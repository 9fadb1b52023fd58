"""Handover: what a worker gets through exec, and that nobody else gets it."""

import json
import os
from collections.abc import Iterator

import pytest

from rpcservice.errors import CommandError
from rpcservice.supervisor.handover import VARIABLE, Handover, listener_name


@pytest.fixture
def descriptors() -> Iterator[tuple[int, int]]:
    """Two open descriptors that a process that is started would inherit."""
    pair = os.pipe()
    for descriptor in pair:
        os.set_inheritable(descriptor, True)
    yield pair
    for descriptor in pair:
        os.close(descriptor)


def test_a_worker_finds_what_it_was_given(descriptors: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    given = Handover(3, descriptors[0], {listener_name("WEB_SERVER_ADDRESS", "[::1]:80"): descriptors[1]})
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Handover.take() == given
    assert os.environ["RPCSERVICE_WORKER"] == "3"


def test_what_a_worker_starts_gets_nothing_of_it(descriptors: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, Handover(1, descriptors[0], {"x": descriptors[1]}).environment()[VARIABLE])
    Handover.take()
    assert VARIABLE not in os.environ
    assert not any(os.get_inheritable(descriptor) for descriptor in descriptors)


def test_a_process_that_is_no_worker_has_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been started by one."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("RPCSERVICE_WORKER", "2")
    assert Handover.take() is None
    assert "RPCSERVICE_WORKER" not in os.environ


@pytest.mark.parametrize(
    "told", ["", "1", "[]", "{}", json.dumps({"number": 1, "channel": 987_654}), '{"number": 1, "channel": "x"}']
)
def test_what_no_supervisor_has_set_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, told)
    with pytest.raises(CommandError, match="unset it"):
        Handover.take()
