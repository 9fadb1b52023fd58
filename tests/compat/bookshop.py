"""Runs the worked example of docs/coming-from-nameko.rst: the same shop on nameko, in drop-in mode, and migrated."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from command_process import Running

from rpcservice.testing import free_ports

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "from_nameko"
BEFORE, AFTER = EXAMPLE / "before", EXAMPLE / "after"
CUSTOMER = {"name": "Ada", "email": "ada@example.com"}
LIMIT = 60.0


class Bookshop:
    """A shop that runs, in a process of its own.

    Args:
        folder: Where its code and its configuration are.
        command: What runs services, such as ``rpcservice run``, with all of its options but the configuration.
        broker: The URI of its broker.
    """

    def __init__(self, folder: Path, command: list[str], broker: str) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.environment = {
            **os.environ,
            "AMQP_URI": broker,
            "WEB_SERVER_ADDRESS": f"127.0.0.1:{self.port}",
            "PYTHONPATH": str(folder),
        }
        self._broker = broker
        self._running = Running(
            [*command, "--config", "config.yaml", "bookshop.services"], cwd=folder, env=self.environment
        )

    def order(self, title: str) -> tuple[int, str]:
        """Order a book over HTTP; waits for the shop to be up."""
        body = json.dumps({"title": title, "customer": CUSTOMER}).encode()
        url = f"http://127.0.0.1:{self.port}/orders"
        deadline = monotonic() + LIMIT
        while True:
            try:
                request = urllib.request.Request(url, body, method="POST")
                with urllib.request.urlopen(request, timeout=LIMIT) as response:
                    return response.status, json.loads(response.read())["message"]
            except urllib.error.HTTPError as exc:
                with exc:
                    text = exc.read().decode()
                # nameko serves HTTP before its other services are there.
                if exc.code != 503 and "UnknownService" not in text:
                    return exc.code, json.loads(text)["message"]
            except OSError:
                if monotonic() > deadline:
                    raise
            assert self._running.process.poll() is None, "\n".join(self._running.err)
            sleep(0.05)

    def report(self, python: str = sys.executable, set_up: str = "") -> list[str]:
        """Run the program that is no service, in a process of its own; gives its lines."""
        code = f"{set_up}\nimport sys\nfrom bookshop.report import report\nprint(*report(sys.argv[1]), sep='\\n')"
        done = subprocess.run(
            [python, "-c", code, self._broker],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1]

    def close(self) -> None:
        """See it gone."""
        self._running.close()


@contextmanager
def bookshop(folder: Path, command: list[str], broker: str) -> Iterator[Bookshop]:
    """Run a shop for the time of a block."""
    shop = Bookshop(folder, command, broker)
    try:
        yield shop
    finally:
        shop.close()
