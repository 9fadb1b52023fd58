"""Servers of databases that tests start for themselves."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rpcservice.testing.ports import find_free_port

POSTGRESQL = Path("/usr/lib/postgresql")


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Redis server that nobody else uses."""
    port = find_free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    if shutil.which(command[0]) is None:
        pytest.fail("redis-server is not installed; run: apt-get install redis-server")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert any("ready to accept connections" in line.lower() for line in server.stdout)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()


@contextmanager
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server that nobody else uses."""
    found = sorted(POSTGRESQL.glob("*/bin/initdb"))
    if not found:
        pytest.fail("postgresql is not installed; run: apt-get install postgresql")
    programs = found[-1].parent
    # Not under pytest's own folder: PostgreSQL does not run as root, and its user may not look in there.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_user["user"] = "postgres"
            shutil.chown(folder, "postgres")

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", f"{folder}/data", *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)

        run("initdb", "--username", "tests", "--auth", "trust", "--locale", "C", "--encoding", "UTF8", "--no-sync")
        port = find_free_port()
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "start", "--wait", "--log", f"{folder}/log", "-o", settings)
        try:
            yield f"postgresql+psycopg2://tests@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--mode", "immediate")
