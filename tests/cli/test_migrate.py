"""The command that migrates, and a system of nameko's that runs on rpcservice once it is migrated."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_process import Result, Running, Terminal

from rpcservice.cli import main

Cli = Callable[..., Result]

ORDERS = '''"""Takes orders."""
import nameko.rpc
from nameko.events import BROADCAST, EventDispatcher, event_handler
from nameko.exceptions import RemoteError as Remote
from nameko.extensions import DependencyProvider
from nameko.rpc import RpcProxy, rpc  # the two that everybody needs


class Stock(DependencyProvider):
    def setup(self):
        self.items = {"sku-1": 3}

    def get_dependency(self, worker_ctx):
        return self.items

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        print("worked", worker_ctx.entrypoint.method_name, exc_info, flush=True)


class Orders:
    name = "orders"

    stock = Stock()
    dispatch = EventDispatcher()
    prices = RpcProxy("prices")

    @nameko.rpc.rpc
    def place(self, sku):
        self.stock[sku] -= 1
        self.dispatch("placed", {"sku": sku})
        try:
            self.prices.price("nothing")
        except Remote as exc:
            print("remote", exc.exc_type, flush=True)
        return {"sku": sku, "price": self.prices.price(sku)}


class Prices:
    name = "prices"

    @rpc
    def price(self, sku):
        return {"sku-1": 7}[sku]


class Mail:
    name = "mail"

    @event_handler("orders", "placed", handler_type=BROADCAST, reliable_delivery=False)
    def send(self, payload):
        print("mailed", payload, flush=True)
'''

TESTS = """
from unittest.mock import patch

from nameko.testing import services
from nameko.testing.services import worker_factory
from shop.orders import Orders, Prices


def test_price():
    assert services.worker_factory(Prices).price("sku-1") == 7


def test_place():
    orders = worker_factory(Orders, stock={"sku-1": 1})
    orders.prices.price.return_value = 8
    assert orders.place("sku-1") == {"sku": "sku-1", "price": 8}
    orders.dispatch.assert_called_once_with("placed", {"sku": "sku-1"})


def test_hosted(container_factory):
    container = container_factory(Prices, {"AMQP_URI": "memory://"})
    container.start()
    with services.entrypoint_hook(container, "price") as price:
        assert price("sku-1") == 7


@patch("nameko.rpc.RpcProxy")
def test_patched(proxy):
    import nameko.rpc

    assert nameko.rpc.RpcProxy is proxy
"""


@pytest.fixture
def shop(folder: Path) -> Path:
    """A small system that imports nameko."""
    for name, text in {
        "shop/__init__.py": "",
        "shop/orders.py": ORDERS,
        "tests/test_orders.py": TESTS,
        "requirements.txt": "nameko==2.14.1\n",
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (folder / "hello.py").unlink()
    return folder


def test_it_shows_the_diff_and_what_needs_a_person(shop: Path, cli: Cli) -> None:
    result = cli("migrate", "shop", "requirements.txt")
    assert (result.returncode, result.stderr) == (1, "")
    assert "--- a/shop/orders.py\n+++ b/shop/orders.py\n" in result.stdout
    assert "+from rpcservice import ServiceRpc as RpcProxy, rpc  # the two that everybody needs\n" in result.stdout
    assert result.stdout.endswith(
        "Needs a person:\n"
        "* require rpcservice\n"
        "    requirements.txt:1: nameko==2.14.1\n"
        "* it gets the exception or None: def worker_result(self, ctx, result=None, error=None); and it comes before "
        "the caller has the answer\n"
        "    shop/orders.py:16: worker_result takes exc_info, a triple with nameko\n"
        "\n"
        "1 file to rewrite; --write does it, 2 places for a person.\n"
    )
    assert (shop / "shop" / "orders.py").read_text() == ORDERS


def test_a_migrated_system_runs(
    shop: Path, cli: Cli, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("migrate", "--write", ".").stdout.endswith("2 files rewritten, 2 places for a person.\n")
    # What the person does.
    (shop / "requirements.txt").write_text("rpcservice\n")
    orders = shop / "shop" / "orders.py"
    orders.write_text(orders.read_text().replace("exc_info", "error"))

    again = cli("migrate", "--write", ".")
    assert (again.returncode, again.stdout) == (0, "Nothing to do.\n")
    tested = cli("test", "-q", "-p", "no:cacheprovider", "-W", "ignore:Eventlet is:", PYTHONPATH=".", PYTHONWARNINGS="")
    assert "4 passed" in tested.stdout, tested.stdout + tested.stderr
    called = cli("call", "orders.place", '["sku-1"]', "--run", "shop.orders")
    assert called.stderr == ""
    *printed, answer = called.stdout.splitlines()
    assert answer == '{"sku": "sku-1", "price": 7}'
    assert {"remote KeyError", "mailed {'sku': 'sku-1'}", "worked place None"} <= set(printed)


def test_when_nothing_is_left_the_exit_code_is_0(folder: Path, cli: Cli) -> None:
    (folder / "a.py").write_text("from nameko.rpc import rpc\n")
    assert cli("migrate", "--write", "a.py").returncode == 0
    assert cli("migrate", "a.py").returncode == 0


def test_a_diff_that_is_not_written_is_something_left(folder: Path, cli: Cli) -> None:
    (folder / "a.py").write_text("from nameko.rpc import rpc\n")
    result = cli("migrate", "a.py")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (1, "1 file to rewrite; --write does it.")


def test_a_file_that_is_no_python_is_told(folder: Path, cli: Cli) -> None:
    (folder / "a.py").write_text("import nameko\n)\n")
    (folder / "b.py").write_text("from nameko.rpc import rpc\n")
    result = cli("migrate", "--write", ".")
    assert result.returncode == 1
    assert "Left out:\n* correct it, and migrate again\n    a.py:2: no Python: " in result.stdout
    assert result.stdout.endswith("1 file rewritten, 1 file left out.\n")


def test_a_diff_has_colours_on_a_terminal_alone(folder: Path, cli: Cli, open_terminal: Callable[..., Terminal]) -> None:
    (folder / "a.py").write_text("from nameko.rpc import rpc\n")
    assert "\x1b[" not in cli("migrate", "a.py").stdout
    terminal = open_terminal("migrate", "a.py", TERM="xterm")
    terminal.screen.expect_exact("\x1b[31m-from nameko.rpc import rpc\x1b[0m")
    terminal.screen.expect_exact("\x1b[32m+from rpcservice import rpc\x1b[0m")


def test_a_terminal_sees_how_far_it_is(folder: Path, cli: Cli, open_terminal: Callable[..., Terminal]) -> None:
    """A large code base takes minutes; what is redirected has the results alone."""
    for name in ("a.py", "b.py"):
        (folder / name).write_text("from nameko.rpc import rpc\n")
    assert cli("migrate", "a.py", "b.py").stderr == ""
    terminal = open_terminal("migrate", "a.py", "b.py")
    terminal.screen.expect_exact("1 of 2 files")
    terminal.screen.expect_exact("2 files to rewrite")


def test_imports_of_several_modules_become_one(folder: Path, cli: Cli) -> None:
    (folder / "a.py").write_text("from nameko.events import event_handler\nfrom nameko.rpc import rpc\n")
    assert cli("migrate", "--write", "a.py").returncode == 0
    assert (folder / "a.py").read_text() == "from rpcservice import event_handler, rpc\n"


def test_a_notebook_is_a_mistake_in_one_line(folder: Path, cli: Cli) -> None:
    (folder / "a.ipynb").write_text("{}")
    result = cli("migrate", "a.ipynb")
    assert (result.returncode, result.stderr) == (1, "")
    assert "* give files of Python's, or a folder\n    a.ipynb:1: is no Python\n" in result.stdout


def test_a_path_that_is_not_there_is_a_mistake() -> None:
    result = CliRunner().invoke(main, ["migrate", "nowhere"])
    assert result.exit_code == 2
    assert "'nowhere' does not exist" in result.stderr


def test_without_libcst_it_tells_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("libcst", "rpcservice.migrate"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "libcst", None)
    result = CliRunner().invoke(main, ["migrate", str(folder)])
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: rpcservice migrate needs libcst; install it with: pip install 'rpcservice[migrate]'\n",
    )
