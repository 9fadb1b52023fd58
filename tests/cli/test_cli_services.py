import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rpcservice.cli.services import find_services
from rpcservice.errors import CommandError, DeclarationError

ORDERS = """
from rpcservice import rpc, timer

class Orders:
    name = "orders"

    @rpc
    def place(self): ...

class Archive:
    name = "archive"

    @timer(interval=60)
    def tidy(self): ...

class Helper:
    name = "helper"

def place(): ...
"""


@pytest.fixture(autouse=True)
def here(own_modules: None, folder: Path) -> Path:
    """The folder to run in."""
    return folder


@pytest.fixture
def write(here: Path) -> Callable[[str, str], Path]:
    def write_module(path: str, text: str) -> Path:
        file = here / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write_module


Write = Callable[[str, str], Path]


def names(*targets: str) -> list[str]:
    return [cls.__name__ for cls in find_services(targets)]


def refusal(target: str) -> str:
    with pytest.raises(CommandError) as caught:
        find_services([target])
    return str(caught.value)


def test_a_module_gives_its_services_in_their_order(write: Write) -> None:
    write("cli_orders.py", ORDERS)
    assert names("cli_orders") == ["Orders", "Archive"]


def test_a_class_gives_itself(write: Write) -> None:
    write("cli_orders.py", ORDERS)
    assert names("cli_orders:Archive") == ["Archive"]


def test_a_class_that_is_named_needs_no_entrypoint(write: Write) -> None:
    write("cli_orders.py", ORDERS)
    assert names("cli_orders:Helper") == ["Helper"]


def test_a_file_gives_its_services(write: Write) -> None:
    path = write("shop/cli_orders.py", ORDERS)
    assert names("shop/cli_orders.py") == ["Orders", "Archive"]
    assert names(f"{path}:Archive") == ["Archive"]


def test_a_service_that_is_named_twice_is_there_once(write: Write) -> None:
    path = write("cli_orders.py", ORDERS)
    assert names("cli_orders:Archive", str(path), "cli_orders") == ["Archive", "Orders"]


def test_imported_services_count(write: Write) -> None:
    write("cli_orders.py", ORDERS)
    write("cli_all.py", "from cli_orders import Orders, Archive as Old")
    assert names("cli_all") == ["Orders", "Archive"]


def test_a_file_of_a_package_may_import_what_is_beside_it(write: Write) -> None:
    write("deep/cli_shop/__init__.py", "")
    write("deep/cli_shop/prices.py", "PRICE = 3")
    path = write("deep/cli_shop/orders.py", f"from .prices import PRICE\n{ORDERS}")
    (service,) = find_services([f"{path}:Orders"])
    assert service.__module__ == "cli_shop.orders"


def test_a_script_may_import_what_is_beside_it(write: Write) -> None:
    write("deep/cli_prices.py", "PRICE = 3")
    write("deep/cli_script.py", f"from cli_prices import PRICE\n{ORDERS}")
    assert names("deep/cli_script.py:Orders") == ["Orders"]


def test_a_missing_module_is_named() -> None:
    assert refusal("cli_nowhere") == (
        "there is no module 'cli_nowhere' here; run this in the folder that holds it, "
        "or give the path of a file that ends in .py"
    )


def test_a_missing_part_of_a_package_is_named(write: Write) -> None:
    write("cli_package/__init__.py", "")
    assert refusal("cli_package.orders").startswith("there is no module 'cli_package.orders' here")


def test_a_file_without_its_ending_is_suggested(write: Write) -> None:
    write("deep/cli_orders.py", ORDERS)
    assert (
        refusal("deep/cli_orders") == "there is no module 'deep/cli_orders' here; is the file deep/cli_orders.py meant?"
    )


def test_a_missing_file_is_named(here: Path) -> None:
    assert refusal("cli_orders.py") == f"there is no file {here}/cli_orders.py"


def test_a_folder_is_no_file(here: Path) -> None:
    (here / "cli_folder.py").mkdir()
    assert refusal("cli_folder.py") == f"there is no file {here}/cli_folder.py"


def test_a_missing_class_tells_which_there_are(write: Write) -> None:
    write("cli_orders.py", ORDERS)
    assert refusal("cli_orders:Order") == "module 'cli_orders' has no 'Order'; its services are: Orders, Archive"


def test_a_missing_class_in_a_module_without_any(write: Write) -> None:
    write("cli_empty.py", "")
    assert refusal("cli_empty:Order") == "module 'cli_empty' has no 'Order', and no service either"


def test_a_function_is_no_service(write: Write) -> None:
    write("cli_orders.py", ORDERS)
    assert refusal("cli_orders:place") == "cli_orders:place is a function; a service is a class"


def test_a_colon_without_a_class_is_refused(write: Write) -> None:
    write("cli_orders.py", ORDERS)
    assert refusal("cli_orders:") == "'cli_orders:' names no class; give MODULE:CLASS, or MODULE alone"


def test_a_module_without_services_is_refused(write: Write) -> None:
    write("cli_empty.py", "class Helper:\n    name = 'helper'\n")
    assert refusal("cli_empty") == (
        "cli_empty has no service; a service is a class with a name and an entrypoint such as @rpc"
    )


def test_a_class_that_lacks_its_name_beside_one_that_has_one_is_told_of(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("cli_half.py", ORDERS.replace('name = "archive"', ""))
    assert names("cli_half") == ["Orders"]
    assert "cli_half: Archive has entrypoints but no name, and is not run as a service" in caplog.text


def test_the_base_of_a_service_needs_no_name(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    write("cli_based.py", ORDERS.replace('name = "archive"', "").replace("class Helper:", "class Helper(Archive):"))
    assert names("cli_based") == ["Orders", "Helper"]
    assert not caplog.records


def test_a_class_that_only_lacks_its_name_is_pointed_at(write: Write) -> None:
    write("cli_nameless.py", ORDERS.replace('name = "orders"', "").replace('name = "archive"', ""))
    assert refusal("cli_nameless") == (
        'cli_nameless: Orders has entrypoints, but no name; give it one, such as name = "orders"'
    )


def test_a_file_whose_name_is_taken_is_refused(write: Write) -> None:
    path = write("json.py", ORDERS)
    assert refusal("json.py") == (
        f"{path} cannot be imported as 'json', for that is {sys.modules['json'].__file__}; rename the file"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"cli_broken cannot be imported: ZeroDivisionError: division by zero \(.*cli_broken.py, line 1\)"),
        ("import cli_gone", r"cli_broken cannot be imported: ModuleNotFoundError: No module named 'cli_gone' \("),
        ("def f(:", r"cli_broken cannot be imported: SyntaxError: invalid syntax \(cli_broken.py, line 1\)"),
    ],
)
def test_a_module_that_raises_is_told_from_one_that_is_missing(text: str, message: str, write: Write) -> None:
    write("cli_broken.py", text)
    with pytest.raises(DeclarationError, match=message):
        find_services(["cli_broken"])
