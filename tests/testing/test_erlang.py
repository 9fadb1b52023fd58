"""The shell of a node, without a node: what it says is made up here."""

import re
from pathlib import Path

import pytest

from rpcservice.errors import BrokerUnavailable
from rpcservice.testing.erlang import PAUSES, ErlangShell

TURNED_AWAY = "erl_call: failed to connect to node rabbit@localhost"


class MadeUpShell(ErlangShell):
    """Says what it is told to say, then answers."""

    def __init__(self, folder: Path, said: list[str]) -> None:
        super().__init__("rabbit@localhost", {}, folder, "cookie")
        self.said = said
        self.sent = 0

    def _send(self, code: str, timeout: float) -> str:
        self.sent += 1
        if self.said:
            return self.said.pop(0)
        found = re.search(r'write_file\("([^"]+)"', code)
        assert found
        Path(found[1]).write_text("[1, 2]")
        return "{ok, ok}"


def test_a_connection_that_is_turned_away_is_tried_again(tmp_path: Path) -> None:
    shell = MadeUpShell(tmp_path, [TURNED_AWAY] * (len(PAUSES) - 1))
    assert (shell.evaluate("anything"), shell.sent) == ([1, 2], len(PAUSES))


def test_a_node_that_turns_away_for_good_is_an_error(tmp_path: Path) -> None:
    shell = MadeUpShell(tmp_path, [TURNED_AWAY] * 10)
    with pytest.raises(BrokerUnavailable, match="did not evaluate 'anything': erl_call: failed to connect"):
        shell.evaluate("anything")
    assert shell.sent == len(PAUSES)


def test_an_expression_that_fails_is_not_evaluated_twice(tmp_path: Path) -> None:
    shell = MadeUpShell(tmp_path, ["{error, badarg}"])
    with pytest.raises(BrokerUnavailable, match="badarg"):
        shell.evaluate("anything")
    assert shell.sent == 1
