"""What comes more than once has its effect once, also when processes die at the worst moment."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from command_process import Running
from exactly_once_services import CREATE
from sqlalchemy import text
from waiting import wait_until
from wire import Wire

from rpcservice.concurrency import green

pytestmark = pytest.mark.broker

SERVICE = Path(__file__).with_name("exactly_once_services.py")
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


class Site:
    """Processes of the service on one broker and one database."""

    def __init__(self, folder: Path, broker_uri: str, database_url: str) -> None:
        self.folder = folder
        self.settings = {
            "AMQP_URI": broker_uri,
            "sql_databases": {"default": database_url},
            "idempotency_store": database_url,
            "idempotency_lease": 1,
            "folder": str(folder),
        }
        self.wire = Wire(broker_uri, green())
        self.engine = sqlalchemy.create_engine(database_url)
        with self.engine.begin() as connection:
            connection.execute(text(CREATE))
        self.processes: list[Running] = []

    def start(self) -> Running:
        """Start one more process."""
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(self.settings))
        command = [sys.executable, "-m", "rpcservice", "run", f"{SERVICE}:Effects", "-c", str(config)]
        process = Running(command)
        self.processes.append(process)
        process.wait_for("services are up")
        return process

    def order(self, name: str) -> Path:
        """Give a file by which the service is told something."""
        path = self.folder / name
        path.touch()
        return path

    def send(self, what: str, message_id: str | None = None, **order: Any) -> None:
        """Send an event."""
        body = json.dumps({"what": what, **order}).encode()
        self.wire.publish("orders.events", "placed", body, message_id=message_id or what, **JSON)

    def call(self, what: str) -> Any:
        """Call the method and give its result."""
        body = json.dumps({"args": [{"what": what}], "kwargs": {}}).encode()
        return json.loads(self.wire.request("effects.buy", body).body)["result"]

    def effects(self) -> list[str]:
        """Give what has been written."""
        with self.engine.connect() as connection:
            return list(connection.execute(text("SELECT what FROM effects ORDER BY what")).scalars())

    def answered(self) -> int:
        """Give how many messages have been known for duplicates."""
        lines = [line for process in self.processes for line in process.err]
        return len([line for line in lines if "answered with the outcome of an earlier call" in line])

    def is_idle(self) -> bool:
        """Say whether every message has been acknowledged."""
        # A purge would not count what is unacknowledged: the processes are stopped for that.
        queue = self.wire.channel.declare_queue("evt-orders-placed--effects.bill", passive=True)
        return bool(queue.messages == 0)

    def stop(self) -> None:
        """Stop the processes that still run; what they have not finished is back on the queue."""
        for process in self.processes:
            if process.process.poll() is None:
                process.process.send_signal(signal.SIGCONT)
                process.process.terminate()
        for process in self.processes:
            process.wait()

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.engine.dispose()
        self.wire.link.close()


@pytest.fixture
def make_site(tmp_path: Path, broker_uri: str) -> Iterator[Callable[[str], Site]]:
    made: list[Site] = []

    def make(url: str) -> Site:
        made.append(Site(tmp_path, broker_uri, url))
        return made[0]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[[str], Site], database_url: str) -> Site:
    """A site whose store is in the database of the effects."""
    return make_site(database_url)


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def any_site(request: pytest.FixtureRequest, make_site: Callable[[str], Site]) -> Site:
    """A site with any store that processes share."""
    if request.param != "redis":
        return make_site(request.getfixturevalue(f"{request.param}_url"))
    site = make_site(request.getfixturevalue("postgresql_url"))
    site.settings["idempotency_store"] = request.getfixturevalue("redis_url")
    return site


def test_two_processes_handle_duplicates_once(any_site: Site) -> None:
    any_site.start()
    any_site.start()
    for number in range(300):
        any_site.send(f"order {number % 60:02}")
    expected = [f"order {number:02}" for number in range(60)]
    wait_until(lambda: any_site.effects() == expected and any_site.is_idle(), timeout=30)
    any_site.stop()
    assert any_site.is_idle()
    assert any_site.effects() == expected


def test_two_processes_answer_duplicates_alike(site: Site) -> None:
    site.start()
    site.start()
    replies = [site.call(f"order {number % 5}") for number in range(30)]
    assert len({tuple(reply) for reply in replies}) == 5
    assert site.effects() == [f"order {number}" for number in range(5)]


def test_what_a_killed_process_has_claimed_is_finished_by_another(any_site: Site) -> None:
    first = any_site.start()
    gate = any_site.order("gate")
    any_site.send("order", gate="gate")
    first.wait_for("works on order")
    second = any_site.start()
    first.process.kill()
    gate.unlink()
    second.wait_for("has done order")
    wait_until(lambda: any_site.effects() == ["order"] and any_site.is_idle())
    any_site.stop()
    assert any_site.effects() == ["order"]
    assert any_site.is_idle()


@pytest.mark.parametrize("moment", ["before-commit", "after-commit"])
def test_a_crash_at_the_commit_has_no_second_effect(site: Site, moment: str) -> None:
    first = site.start()
    site.order(moment)
    site.send("order")
    assert first.wait() == -signal.SIGKILL
    site.start()
    site.send("last")
    wait_until(lambda: site.effects() == ["last", "order"] and site.is_idle())
    site.stop()
    assert site.is_idle()
    assert site.effects() == ["last", "order"]


def test_a_process_that_was_frozen_for_too_long_does_not_commit(site: Site) -> None:
    first = site.start()
    gate = site.order("gate")
    site.send("order", gate="gate")
    first.wait_for("works on order")
    first.process.send_signal(signal.SIGSTOP)
    second = site.start()
    # The broker hands them out in turn, to the frozen one too.
    for _ in range(3):
        site.send("order")
    second.wait_for("has done order")
    wait_until(lambda: site.effects() == ["order"])
    gate.unlink()
    first.process.send_signal(signal.SIGCONT)
    first.wait_for("another worker has run it meanwhile")
    # All but the one that the second process has run, once what was refused has come back.
    wait_until(lambda: site.answered() == 3)
    site.stop()
    assert site.is_idle()
    assert site.effects() == ["order"]


def test_a_store_elsewhere_leaves_a_moment_for_a_second_effect(
    make_site: Callable[[str], Site], postgresql_url: str, redis_url: str
) -> None:
    """As the documentation says: between the commit and the record of the outcome."""
    site = make_site(postgresql_url)
    site.settings["idempotency_store"] = redis_url
    first = site.start()
    site.order("after-commit")
    site.send("order")
    assert first.wait() == -signal.SIGKILL
    first.wait_for("effects.database is another database than idempotency_store")
    site.start()
    wait_until(lambda: site.effects() == ["order", "order"])
    site.send("order")
    site.send("last")
    wait_until(lambda: "last" in site.effects() and site.is_idle())
    assert site.effects() == ["last", "order", "order"]
