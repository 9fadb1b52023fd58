"""Finds the RabbitMQ server that is installed on this machine."""

import os
import shutil
import subprocess
from pathlib import Path

from rpcservice.errors import MissingExtra


def find_server() -> Path:
    """Give the server script of the RabbitMQ package, from ``RABBITMQ_SERVER`` or from where packages put it.

    Raises:
        MissingExtra: No RabbitMQ server is installed.
    """
    for candidate in _candidates():
        # Debian's wrapper on the PATH runs su and outlives its child's kill; only the real script has this neighbour.
        if candidate.is_file() and candidate.with_name("rabbitmq-env").exists():
            return candidate
    raise MissingExtra(
        "no RabbitMQ server is installed; as root, run: apt-get install -y rabbitmq-server "
        '(or name its script in RABBITMQ_SERVER, or leave these tests out with -m "not broker")'
    )


def _candidates() -> list[Path]:
    named = os.environ.get("RABBITMQ_SERVER")
    if named:
        return [Path(named)]
    paths = [Path("/usr/lib/rabbitmq/bin/rabbitmq-server")]
    if shutil.which("dpkg"):
        listing = subprocess.run(["dpkg", "-L", "rabbitmq-server"], capture_output=True, text=True, check=False)
        paths += [Path(line) for line in listing.stdout.splitlines() if line.endswith("bin/rabbitmq-server")]
    on_path = shutil.which("rabbitmq-server")
    if on_path:
        paths.append(Path(on_path).resolve())
    return paths
