"""What needs a package that is not installed says which, when it is used and not before."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None
from rpcservice import *
from rpcservice import Database, ServiceContainer, rpc

class WithDatabase:
    name = "shop"
    database = Database()

class Idempotent:
    name = "shop"

    @rpc(idempotent=True)
    def buy(self):
        pass

config = {"AMQP_URI": "memory://", "sql_databases": {"default": "sqlite:///shop.db"}, "idempotency_store": sys.argv[1]}
for service in (WithDatabase, Idempotent):
    try:
        ServiceContainer(service, config).setup()
    except ImportError as exc:
        print(type(exc).__name__, exc)
    else:
        print("works")
"""


@pytest.mark.parametrize(
    ("store", "missing", "said"),
    [
        ("sqlite:///store.db", "sqlalchemy", ['pip install "rpcservice[sql]"', 'pip install "rpcservice[sql]"']),
        ("redis://localhost/0", "redis", ["works", 'pip install "rpcservice[redis]"']),
        ("postgresql+psycopg2://db/shop", "psycopg2", ["works", "needs the package psycopg2"]),
        ("memory:", "redis", ["works", "works"]),
        ("memory://", "redis", ["works", "works"]),
    ],
)
def test_a_missing_package_is_named(store: str, missing: str, said: list[str]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT, store, missing]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == len(said)
    for line, expected in zip(lines, said, strict=True):
        assert expected in line
        assert expected == line or line.startswith("MissingExtra ")
