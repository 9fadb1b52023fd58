"""ErlangShell: evaluates expressions in a running Erlang node of this host, in some 10 ms each."""

import json
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from time import sleep
from typing import Any

from rpcservice.errors import BrokerUnavailable, MissingExtra

# Makes of AMQP tables, resource names and pids what JSON can say.
_PLAIN = """
Plain = fun Plain(V) -> case V of
    {resource, _, _, Name} -> Name;
    [{_, _, _} | _] -> maps:from_list([{K, Plain(W)} || {K, _, W} <- V]);
    _ when is_list(V) -> [Plain(W) || W <- V];
    _ when is_pid(V) -> list_to_binary(pid_to_list(V));
    _ when is_tuple(V) -> [Plain(W) || W <- tuple_to_list(V)];
    _ -> V
end end,
[maps:from_list([{K, Plain(V)} || {K, V} <- Row]) || Row <- %s]
"""


PAUSES = (0.0, 0.1, 0.3, 1.0)
"""Seconds before each attempt to reach the node."""
_NO_CONNECTION = "failed to connect to node"


class ErlangShell:
    """Talks to one node by ``erl_call``, which starts in milliseconds where ``rabbitmqctl`` takes a second.

    Args:
        node: The node's name.
        environment: Environment variables, with the port mapper's port.
        folder: A folder that the node may write to.
        cookie: The node's cookie.
    """

    def __init__(self, node: str, environment: Mapping[str, str], folder: Path, cookie: str) -> None:
        self._node = node
        self._environment = dict(environment)
        self._folder = folder
        self._cookie = cookie

    def evaluate(self, expression: str, timeout: float = 60) -> Any:
        """Give what JSON makes of the expression's value.

        Raises:
            BrokerUnavailable: The node does not answer, or the expression failed.
        """
        # erl_call cuts long binaries short when it prints them: the value comes back through a file.
        answer = self._folder / f"answer-{secrets.token_hex(8)}"
        code = f'file:write_file("{answer}", rabbit_json:encode(begin {expression} end)).\n'
        said = ""
        for pause in PAUSES:
            sleep(pause)
            said = self._send(code, timeout)
            # A busy node turns connections away now and then; nothing has been evaluated then.
            if answer.exists() or _NO_CONNECTION not in said:
                break
        if not answer.exists():
            raise BrokerUnavailable(f"the node {self._node} did not evaluate {expression.strip()!r}: {said}")
        value = json.loads(answer.read_bytes())
        answer.unlink()
        return value

    def _send(self, code: str, timeout: float) -> str:
        """Have the node evaluate code; gives what ``erl_call`` says of it."""
        done = subprocess.run(
            [_erl_call(), "-sname", self._node, "-c", self._cookie, "-e"],
            input=code.encode(),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return done.stdout.decode(errors="replace").strip() or f"exit code {done.returncode}"

    def rows(self, expression: str) -> list[dict[str, Any]]:
        """Give the dicts that an expression's list of property lists stands for."""
        rows: list[dict[str, Any]] = self.evaluate(_PLAIN % expression)
        return rows


def _erl_call() -> str:
    found = shutil.which("erl_call") or shutil.which("erl_call", path="/usr/lib/erlang/bin")
    if found is None:
        raise MissingExtra("erl_call is not installed; as root, run: apt-get install -y erlang-base")
    return found
