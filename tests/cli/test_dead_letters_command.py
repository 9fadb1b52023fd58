"""``rpcservice dead-letters`` as a user types it, against a real broker."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_process import Result
from waiting import wait_until

from rpcservice import event_handler
from rpcservice import rpc as rpc_method
from rpcservice.amqp.connection import connection_key, make_link
from rpcservice.amqp.link import Delivery, LinkChannel, Message
from rpcservice.cli.dead_letters import Search
from rpcservice.concurrency import green
from rpcservice.config import make_settings

Cli = Callable[..., Result]

QUEUE = "evt-orders-placed--billing.bill"
SHOP = """
from rpcservice import event_handler, rpc

class Billing:
    name = "billing"

    @event_handler("orders", "placed", retry=True)
    def bill(self, payload):
        pass

    @event_handler("orders", "failed")
    def complain(self, payload):
        pass

    @rpc(dead_letter=True)
    def charge(self, amount):
        pass
"""

NAMEKO_IMPORTS = "from nameko.events import event_handler\nfrom nameko.rpc import rpc"

pytestmark = pytest.mark.broker


class Billing:
    name = "billing"
    bank_is_open = False
    billed: list[Any] = []

    @event_handler("orders", "placed", dead_letter=True)
    def bill(self, payload: Any) -> None:
        if not self.bank_is_open:
            raise ConnectionError(f"no bank for {payload['id']}")
        self.billed.append(payload["id"])

    @rpc_method(dead_letter=True)
    def charge(self, amount: int) -> None:
        if not self.bank_is_open:
            raise ConnectionError("no bank")
        self.billed.append(amount)


@pytest.fixture
def broken(container_factory: Any, dispatch: Any, rpc: Any, broker_uri: str) -> Any:
    """Three events and a request that have failed; gives the running container."""
    Billing.bank_is_open, Billing.billed = False, []
    container = container_factory(Billing)
    container.start()
    for number in (1, 2, 3):
        dispatch("orders", "placed", {"id": number, "note": "ü" * 400 if number == 3 else ""})
    with pytest.raises(Exception, match="no bank"):
        rpc.billing.charge(5)
    settings = make_settings({"AMQP_URI": broker_uri})
    link = make_link(connection_key(settings), broker_uri, settings, green())
    link.connect()
    channel = link.channel()
    wait_until(lambda: channel.declare_queue(f"{QUEUE}.dead", passive=True).messages == 3)
    link.close()
    return container


@pytest.fixture
def run(cli: Cli, broker_uri: str) -> Cli:
    """Run a command of ``dead-letters`` on this test's broker."""

    def command(*arguments: str) -> Result:
        return cli("dead-letters", *arguments, "--broker", broker_uri)

    return command


def lines_of(result: Result) -> list[Any]:
    assert (result.returncode, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_says_how_many_a_queue_has(broken: Any, run: Cli) -> None:
    result = run("list", QUEUE, f"{QUEUE}.dead", "no-such")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [f"       3  {QUEUE}", f"       3  {QUEUE}.dead", "       -  no-such"]


def test_list_knows_the_queues_of_a_service(broken: Any, run: Cli, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)
    result = run("list", "--services", "shop", "--json")
    assert lines_of(result) == [
        {"queue": QUEUE, "dead_letters": 3},
        {"queue": "rpc-billing", "dead_letters": 1},
    ]


def test_list_knows_the_services_of_the_configuration(broken: Any, run: Cli, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)
    (folder / "config.yaml").write_text("services: [shop.py]\n")
    result = run("list", "-c", "config.yaml")
    assert result.stdout.splitlines() == [f"       3  {QUEUE}", "       1  rpc-billing"]


def test_list_knows_the_queues_of_a_service_written_for_nameko(run: Cli, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP.replace("from rpcservice import event_handler, rpc", NAMEKO_IMPORTS))
    result = run("list", "--services", "shop", "--json", "--nameko")
    assert lines_of(result) == [{"queue": QUEUE, "dead_letters": None}, {"queue": "rpc-billing", "dead_letters": None}]


def test_list_asks_which_queues_are_meant(run: Cli) -> None:
    result = run("list")
    assert result.returncode == 2
    assert "which queues? name them, give --services MODULE" in result.stderr
    assert "Traceback" not in result.stderr


def test_show_tells_what_happened(broken: Any, run: Cli) -> None:
    result = run("show", QUEUE)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 9
    assert "billing.bill after attempt 1  id " in lines[0]
    assert lines[1] == "  ConnectionError: no bank for 1"
    assert lines[2].replace(" ", "") == 'orders.eventsplaced:{"id":1,"note":""}'
    assert re.search(r"\.\.\. \([\d,]+ characters\)$", lines[8])


def test_show_may_show_the_traceback(broken: Any, run: Cli) -> None:
    assert "    ConnectionError: no bank for 1" in run("show", QUEUE, "--traceback").stdout.splitlines()


def test_show_leaves_everything_where_it_is(broken: Any, run: Cli) -> None:
    first = lines_of(run("show", QUEUE, "--json"))
    second = lines_of(run("show", QUEUE, "--json"))
    assert [letter["error"] for letter in first] == [f"ConnectionError: no bank for {number}" for number in (1, 2, 3)]
    assert first == second


def test_show_shows_as_many_as_asked_for(broken: Any, run: Cli) -> None:
    assert len(lines_of(run("show", QUEUE, "--json", "--limit", "2"))) == 2


def test_show_gives_all_that_is_known_as_json(broken: Any, run: Cli) -> None:
    letter = lines_of(run("show", QUEUE, "--json", "--limit", "1"))[0]
    assert letter.pop("traceback").endswith("ConnectionError: no bank for 1\n")
    assert letter.pop("failed_at").startswith("20")
    assert letter.pop("id")
    assert json.loads(letter.pop("body")) == {"id": 1, "note": ""}
    assert "nameko.call_id_stack" in letter.pop("headers")
    assert letter == {
        "queue": QUEUE,
        "service": "billing",
        "method": "bill",
        "error": "ConnectionError: no bank for 1",
        "attempts": 1,
        "exchange": "orders.events",
        "routing_key": "placed",
        "content_type": "application/json",
        "body_encoding": "text",
    }


def test_replay_sends_all_back(broken: Any, run: Cli) -> None:
    Billing.bank_is_open = True
    result = run("replay", QUEUE)
    assert (result.returncode, result.stdout) == (0, "sent back: 3\n")
    wait_until(lambda: sorted(Billing.billed) == [1, 2, 3])
    assert run("list", QUEUE).stdout.split()[0] == "0"


def test_replay_sends_a_request_to_its_method(broken: Any, run: Cli) -> None:
    Billing.bank_is_open = True
    assert run("replay", "rpc-billing").stdout == "sent back: 1\n"
    wait_until(lambda: Billing.billed == [5])


def test_replay_of_what_fails_again_ends(broken: Any, run: Cli) -> None:
    assert run("replay", QUEUE).stdout == "sent back: 3\n"
    wait_until(lambda: run("list", QUEUE).stdout.split()[0] == "3")


def test_one_may_be_chosen_by_its_id(broken: Any, run: Cli) -> None:
    second = lines_of(run("show", QUEUE, "--json"))[1]["id"]
    Billing.bank_is_open = True
    assert run("replay", QUEUE, "--id", second).stdout == "sent back: 1\n"
    wait_until(lambda: Billing.billed == [2])
    assert run("list", QUEUE).stdout.split()[0] == "2"


def test_replay_leaves_what_cannot_come_back(broken: Any, run: Cli, broker_uri: str) -> None:
    broken.stop()
    settings = make_settings({"AMQP_URI": broker_uri})
    link = make_link(connection_key(settings), broker_uri, settings, green())
    link.connect()
    link.channel().delete_queue(QUEUE)
    link.close()
    result = run("replay", QUEUE)
    assert result.returncode == 1
    assert "3 stay: it cannot be sent back: " in result.stderr
    assert "Traceback" not in result.stderr
    assert run("list", QUEUE).stdout.split()[0] == "3"


def test_purge_throws_away_what_is_meant(broken: Any, run: Cli) -> None:
    assert run("purge", QUEUE, "--yes", "--limit", "2").stdout == "thrown away: 2\n"
    assert [letter["error"] for letter in lines_of(run("show", QUEUE, "--json"))] == ["ConnectionError: no bank for 3"]


def test_purge_asks_first(broken: Any, run: Cli) -> None:
    result = run("purge", QUEUE)
    assert result.returncode == 1
    assert "for good?" in result.stderr
    assert run("list", QUEUE).stdout.split()[0] == "3"


@pytest.mark.parametrize("command", ["show", "replay", "purge"])
def test_a_queue_that_is_none_is_a_mistake_in_one_line(run: Cli, command: str) -> None:
    result = run(command, "no-such", *(["--yes"] if command == "purge" else []))
    assert result.returncode == 2
    assert "there is no queue 'no-such.dead'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def channel(broker_uri: str) -> Iterator[LinkChannel]:
    """A channel of the test's own."""
    settings = make_settings({"AMQP_URI": broker_uri})
    link = make_link(connection_key(settings), broker_uri, settings, green())
    link.connect()
    yield link.channel()
    link.close()


def asked_for(channel: LinkChannel) -> list[bool]:
    """Say of each dead letter, and take it, whether anybody has been given it before."""
    letters = iter(lambda: channel.get(f"{QUEUE}.dead", no_ack=True), None)
    return [letter.redelivered for letter in letters]


def test_show_asks_for_no_more_than_it_shows(broken: Any, run: Cli, channel: LinkChannel) -> None:
    assert len(lines_of(run("show", QUEUE, "--json", "--limit", "1"))) == 1
    assert asked_for(channel) == [True, False, False]


@pytest.mark.parametrize(("command", "more"), [("replay", ()), ("purge", ("--yes",))])
def test_what_is_not_dealt_with_is_not_asked_for(
    broken: Any, run: Cli, channel: LinkChannel, command: str, more: tuple[str, ...]
) -> None:
    Billing.bank_is_open = True
    assert run(command, QUEUE, "--limit", "1", *more).stdout.endswith(": 1\n")
    assert asked_for(channel) == [False, False]


def test_with_an_id_all_are_looked_at_until_there_are_enough(broken: Any, run: Cli, channel: LinkChannel) -> None:
    second = lines_of(run("show", QUEUE, "--json", "--limit", "2"))[1]["id"]
    (letter,) = lines_of(run("show", QUEUE, "--json", "--limit", "1", "--id", second))
    assert letter["id"] == second
    assert asked_for(channel) == [True, True, False]


def bury(channel: LinkChannel, body: bytes, **headers: Any) -> None:
    """Put a dead letter beside the others, as anybody may."""
    channel.declare_queue(f"{QUEUE}.dead")
    channel.publish(Message("", f"{QUEUE}.dead", body, {"message_id": "\x1b[31mm-1", "headers": headers}))
    wait_until(lambda: channel.declare_queue(f"{QUEUE}.dead", passive=True).messages)


def test_show_does_nothing_to_a_terminal(run: Cli, channel: LinkChannel) -> None:
    names = ("error", "traceback", "service", "method", "exchange", "routing-key", "failed-at", "queue")
    bury(channel, b"\x1b[2J\nbody", **{f"rpcservice-{name}": f"{name}\x1b]0;owned\x07\r\nline" for name in names})
    shown = run("show", QUEUE, "--traceback").stdout
    assert shown.replace("\n", "").isprintable()
    lines = shown.splitlines()
    assert len(lines) == 5
    assert lines[2].endswith("routing-key\\x1b]0;owned\\x07\\r\\nline: \\x1b[2J\\nbody")
    assert lines[3:] == ["    traceback\\x1b]0;owned\\x07", "    line"]


def test_json_is_what_was_written(run: Cli, channel: LinkChannel) -> None:
    bury(channel, b"\x1b[2J", **{"rpcservice-error": "\x1b]0;owned\x07"})
    (letter,) = lines_of(run("show", QUEUE, "--json"))
    assert (letter["body"], letter["error"], letter["id"]) == ("\x1b[2J", "\x1b]0;owned\x07", "\x1b[31mm-1")


def test_a_header_that_is_no_text_is_shown_as_one(run: Cli, channel: LinkChannel) -> None:
    bury(channel, b"1", **{"rpcservice-error": b"\xff no text", "rpcservice-service": {"name": [1]}})
    (letter,) = lines_of(run("show", QUEUE, "--json"))
    assert (letter["error"], letter["service"]) == ("\\xff no text", "{'name': [1]}")


def test_list_does_nothing_to_a_terminal(run: Cli) -> None:
    assert run("list", "no\x1b[2J").stdout == "       -  no\\x1b[2J\n"


def test_a_long_search_says_on_a_terminal_how_far_it_has_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("rpcservice.cli.dead_letters.monotonic", lambda: now)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    search, letter = Search(1500, ["m-2"]), Delivery(None, "", 1, False, "", "", b"", {"message_id": "m-1"})  # type: ignore[arg-type]  # it is only looked at
    assert not search.is_meant(letter)
    assert capsys.readouterr().err == ""
    now = 1.5
    assert not search.is_meant(letter)
    assert capsys.readouterr().err == "\r2 of 1,500"
    search.hide_progress()
    search.hide_progress()
    assert capsys.readouterr().err == "\r\x1b[K"


@pytest.mark.parametrize("command", ["list", "show"])
def test_a_name_that_no_queue_can_have_is_an_error_in_one_line(run: Cli, command: str) -> None:
    result = run(command, "q" * 300)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: the queue '{'q' * 40}'... has 305 bytes, at most 255 are allowed; "
        "use a shorter one (AMQP keeps its length in a byte)\n"
    )
