from collections.abc import Callable
from pathlib import Path

import pytest
from command_process import Result

Cli = Callable[..., Result]

SHOP = """
from rpcservice import event_handler

class Mailer:
    name = "mailer"

    @event_handler("orders", "placed")
    def thank(self, payload):
        print("thanks for", payload)

    @event_handler("orders", "placed", reliable_delivery=False, handler_type="broadcast")
    def count(self, payload):
        print("one more")

    @event_handler("orders", "failed")
    def complain(self, payload):
        raise LookupError(f"nobody to tell about {payload}")

class Orders:
    name = "orders"

    @event_handler("mailer", "bounced")
    def note(self, payload):
        print("noted")
"""


@pytest.fixture(autouse=True)
def shop(folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)


def test_it_ends_when_the_handlers_here_have_ended(here: Cli) -> None:
    result = here("emit", "orders", "placed", '{"sku": 1}', "--run", "shop.py:Mailer")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(result.stdout.splitlines()) == [
        "handled: mailer.count",
        "handled: mailer.thank",
        "one more",
        "sent: orders placed",
        "thanks for {'sku': 1}",
    ]


def test_it_may_speak_for_a_service_that_it_hosts(here: Cli) -> None:
    result = here("emit", "orders", "placed", "1", "--run", "shop.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert "handled: mailer.thank" in result.stdout.splitlines()


def test_the_payload_is_null_by_default(here: Cli) -> None:
    assert "thanks for None" in here("emit", "orders", "placed", "--run", "shop.py:Mailer").stdout.splitlines()


def test_without_a_handler_the_event_is_sent_all_the_same(here: Cli) -> None:
    assert here("emit", "orders", "lost", "--run", "shop.py:Mailer").stdout == "sent: orders lost\n"


def test_a_handler_that_raises_is_one_line_and_exit_code_1(here: Cli, folder: Path) -> None:
    result = here("emit", "orders", "failed", "7", "--run", "shop.py")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: mailer.complain raised LookupError: nobody to tell about 7 ({folder}/shop.py, line")


def test_a_handler_that_does_not_end_in_time_is_named(cli: Cli, folder: Path) -> None:
    (folder / "slow.py").write_text(
        "import threading\nfrom rpcservice import event_handler\n"
        "class Slow:\n    name = 'slow'\n"
        "    @event_handler('orders', 'placed')\n    def hang(self, payload):\n        threading.Event().wait()\n"
    )
    arguments = ("--run", "slow.py", "--timeout", "0.5")
    result = cli("emit", "orders", "placed", *arguments)
    assert (result.returncode, result.stderr) == (1, "Error: not handled within 0.5 s by: slow.hang\n")


def test_a_broker_that_is_away_is_one_line(cli: Cli) -> None:
    result = cli("emit", "orders", "placed", "--broker", "amqp://127.0.0.1:1/", "--timeout", "1")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: no connection to the broker at amqp://")
