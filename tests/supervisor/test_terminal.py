"""Terminal: which hang-ups are those of a terminal that has gone."""

from pathlib import Path

import pytest

from rpcservice.supervisor.terminal import ECHO, LOOK_EVERY, Terminal


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What stands for a terminal that is there."""
    place = tmp_path / "tty"
    place.touch()
    return place


def test_a_hang_up_is_not_that_of_a_terminal_that_is_there(place: Path, clock: Clock) -> None:
    assert not Terminal(str(place), clock).has_just_gone()


def test_a_hang_up_without_any_terminal_is_not_one_of_a_terminal(tmp_path: Path, clock: Clock) -> None:
    terminal = Terminal(str(tmp_path / "none"), clock)
    assert not terminal.has_just_gone()
    assert terminal.look_again_after is None


def test_the_hang_ups_of_system_and_shell_are_those_of_the_terminal(place: Path, clock: Clock) -> None:
    terminal = Terminal(str(place), clock)
    place.unlink()
    assert terminal.has_just_gone()
    clock.now += ECHO / 2
    assert terminal.has_just_gone()


def test_a_terminal_is_looked_for_until_it_has_gone(place: Path, clock: Clock) -> None:
    terminal = Terminal(str(place), clock)
    pauses = [terminal.look_again_after]
    place.unlink()
    terminal.look()
    assert [*pauses, terminal.look_again_after] == [LOOK_EVERY, None]


def test_a_hang_up_long_after_a_terminal_has_gone_is_somebody_elses(place: Path, clock: Clock) -> None:
    """As where a shell keeps what it has disowned from the terminal's hang-up."""
    terminal = Terminal(str(place), clock)
    place.unlink()
    terminal.look()
    clock.now += ECHO
    assert not terminal.has_just_gone()
