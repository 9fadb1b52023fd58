"""The worked example and the tables of docs/coming-from-nameko.rst."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bookshop import AFTER, BEFORE, ROOT, bookshop
from community_table import TABLE
from nameko_environment import nameko_python

from rpcservice.testing import RabbitMQNode

PAGE = (ROOT / "docs" / "coming-from-nameko.rst").read_text(encoding="utf-8")
RPCSERVICE = [sys.executable, "-m", "rpcservice"]
INSTALL = "import rpcservice.compat.nameko as compat; compat.install()"
PEOPLE_NEEDED = 1
WAYS = {
    "drop-in": (BEFORE, [*RPCSERVICE, "run", "--nameko"], INSTALL),
    "migrated": (AFTER, [*RPCSERVICE, "run"], ""),
}


@pytest.mark.broker
@pytest.mark.parametrize("way", WAYS)
def test_the_shop_sells_what_it_has(way: str, rabbitmq_uri: str) -> None:
    """Over HTTP, RPC and events, with an exception that comes back as itself, and a client that is no service."""
    folder, command, set_up = WAYS[way]
    with bookshop(folder, command, rabbitmq_uri) as shop:
        assert shop.order("Dune") == (201, "Dune is on its way to Ada")
        assert shop.order("Dune") == (409, "Dune is sold out")
        assert shop.report(set_up=set_up) == ["Dune: 0", "Emma: 3"]


@pytest.mark.broker
@pytest.mark.interop
def test_the_shop_does_the_same_on_nameko(rabbitmq_uri: str) -> None:
    """Else it would be no example of what works there."""
    python = nameko_python(2)
    with bookshop(BEFORE, [python, "-W", "ignore", "-m", "nameko", "run"], rabbitmq_uri) as shop:
        assert shop.order("Dune") == (201, "Dune is on its way to Ada")
        assert shop.order("Dune") == (409, "Dune is sold out")
        assert shop.report(python) == ["Dune: 0", "Emma: 3"]


def run(command: list[str], folder: Path, code: int = 0) -> str:
    """Run a command in a folder, which ends with a code; gives what it printed."""
    # As for a script, which, unlike ``python -m``, does not find modules in the current folder by itself.
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [*RPCSERVICE, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.broker
def test_the_shops_tests_pass_in_drop_in_mode(managed_rabbitmq: RabbitMQNode, tmp_path: Path) -> None:
    """As they are."""
    folder = shutil.copytree(BEFORE, tmp_path / "shop")
    (folder / "pytest.ini").write_text("[pytest]\n")
    brokers = ["--amqp-uri", managed_rabbitmq.uri, "--rabbit-api-uri", managed_rabbitmq.api_uri]
    assert "3 passed" in run(["test", "--nameko", "tests", *brokers], folder)


def test_the_migrated_shops_tests_pass(tmp_path: Path) -> None:
    """On the embedded broker, which needs nothing to be installed or started."""
    folder = shutil.copytree(AFTER, tmp_path / "shop")
    (folder / "pytest.ini").write_text("[pytest]\n")
    assert "3 passed" in run(["test", "tests"], folder)


def body(path: Path) -> str:
    """Give a module's text without its imports of frameworks, and without blank lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line and not re.match(r"from (nameko|rpcservice)\b", line))


def test_what_migrate_writes_is_the_migrated_shop(tmp_path: Path) -> None:
    """But for what it leaves to a person, and for the order of imports, which a formatter sees to."""
    folder = shutil.copytree(BEFORE, tmp_path / "shop")
    left = run(["migrate", str(folder), "--write"], tmp_path, code=PEOPLE_NEEDED)
    for name in ("errors.py", "report.py", "services.py"):
        assert body(folder / "bookshop" / name) == body(AFTER / "bookshop" / name)
        assert "nameko" not in (folder / "bookshop" / name).read_text(encoding="utf-8")
    for place in ("stock.py:37", "stock.py:43", "test_bookshop.py:19", "test_bookshop.py:21"):
        assert place in left


def rows(title: str) -> list[list[str]]:
    """Give the cells of the table below a heading."""
    section = PAGE.split(f"\n{title}\n", 1)[1].split("\n\n\n", 1)[0]
    table = section.split(".. list-table::", 1)[1]
    cells = [
        re.split(r"^     -", row, flags=re.MULTILINE) for row in re.split(r"^   \* -", table, flags=re.MULTILINE)[1:]
    ]
    return [[" ".join(cell.split()) for cell in row] for row in cells[1:]]


AREAS = re.findall(r"^(\S.*)\n~+\n", PAGE, re.MULTILINE)


@pytest.mark.parametrize("area", AREAS)
def test_each_row_says_how_it_stands(area: str) -> None:
    """In one of four words, and with what is there instead unless it is the same."""
    for feature, here, state in rows(area):
        assert feature
        assert state in ("the same", "more", "drop-in mode", "different")
        assert here or state == "the same"


def test_each_difference_has_its_reason_and_its_mend() -> None:
    """Three cells, none of them empty."""
    for row in rows("What is different, on purpose"):
        assert len(row) == 3
        assert all(row)


def test_the_table_of_community_extensions_is_that_of_the_tests() -> None:
    """Each with its outcome."""
    listed = {row[0].split("``")[1]: row[1] for row in rows("Community extensions")}
    assert listed == {row.name: row.outcome for row in TABLE}


def names_in(cell: str) -> list[str]:
    """Give the dotted names of ours that a cell has."""
    return re.findall(r"``(rpcservice(?:\.\w+)+)``", cell)


@pytest.mark.parametrize("name", sorted({name for area in AREAS for row in rows(area) for name in names_in(row[1])}))
def test_names_of_ours_in_the_tables_are_there(name: str) -> None:
    """As modules, or in them."""
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        assert hasattr(importlib.import_module(module), attribute)
