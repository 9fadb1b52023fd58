"""A broker that is not who it should be gets no password: refused before a byte of AMQP is sent."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_process import Running

from rpcservice import rpc
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import BrokerUnavailable
from rpcservice.testing import Certificates, make_certificates

LINKS = pytest.mark.parametrize("link", ["frames", "channel"])

# What is wrong with the broker's certificate, and how the refusal says so.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "made out to another host": ({"host": "other.example"}, "Hostname mismatch"),
    "made out to a host of the same domain": ({"host": "x.localhost"}, "Hostname mismatch"),
    "expired": ({"days": -1}, "certificate has expired"),
}


class Quiet:
    name = "quiet"

    @rpc
    def ping(self) -> str:
        return "pong"


class Door:
    """What pretends to be a broker."""

    def __init__(self, certificates: Certificates, authority: Path) -> None:
        script = Path(__file__).with_name("tls_door.py")
        paths = [str(certificates.server_cert), str(certificates.server_key)]
        self.running = Running([sys.executable, str(script), *paths])
        self.authority = authority
        self.port = int(self.running.wait_for("listening").split()[1])
        self.uri = f"amqps://quiet:a-password@localhost:{self.port}//"

    def has_seen_amqp(self) -> bool:
        """Whether a client has sent anything over TLS."""
        return any(line.startswith("sent") and "AMQP" in line for line in self.running.out)


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[Callable[..., Door]]:
    """Open what listens with a certificate: ``open_door(host="other.example")``."""
    opened: list[Door] = []

    def make(**options: Any) -> Door:
        certificates = make_certificates(tmp_path / "tls", **options)
        opened.append(Door(certificates, certificates.ca))
        return opened[-1]

    yield make
    for door in opened:
        door.running.close()


@pytest.fixture
def start(runner_factory: Callable[..., ServiceRunner]) -> Callable[..., None]:
    def run(uri: str, **settings: Any) -> None:
        runner_factory(Quiet, config={"AMQP_URI": uri, "startup_timeout": 0.5, **settings}).start()

    return run


@LINKS
@pytest.mark.parametrize(("options", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_broker_with_a_wrong_certificate_is_refused(
    start: Callable[..., None], open_door: Callable[..., Door], link: str, options: dict[str, Any], reason: str
) -> None:
    door = open_door(**options)
    with pytest.raises(BrokerUnavailable, match=f"certificate verify failed: .*{reason}"):
        start(door.uri, AMQP_SSL={"ca_certs": str(door.authority)}, link=link)
    door.running.wait_for("refused")
    assert not door.has_seen_amqp()


@LINKS
@pytest.mark.parametrize("setting", [None, True, {"cert_reqs": "required"}])
def test_a_broker_that_nobody_vouches_for_gets_no_byte(
    start: Callable[..., None], open_door: Callable[..., Door], link: str, setting: Any
) -> None:
    door = open_door()
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        start(door.uri, AMQP_SSL=setting, link=link)
    door.running.wait_for("refused")
    assert not door.has_seen_amqp()


@LINKS
@pytest.mark.parametrize("options", [{"host": "other.example"}, {"days": -1}])
def test_without_verification_any_broker_is_taken_and_a_warning_says_so(
    start: Callable[..., None],
    open_door: Callable[..., Door],
    link: str,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = open_door(**options)
    with pytest.raises(BrokerUnavailable):
        start(door.uri, AMQP_SSL={"cert_reqs": "none"}, link=link)
    door.running.wait_for("sent")
    assert door.has_seen_amqp()
    warnings = [record.getMessage() for record in caplog.records if "is not verified" in record.getMessage()]
    assert len(warnings) == 1
    assert "a-password" not in caplog.text


def test_the_host_that_is_verified_can_be_another_than_that_of_the_uri(
    start: Callable[..., None], open_door: Callable[..., Door]
) -> None:
    door = open_door(host="other.example")
    with pytest.raises(BrokerUnavailable):
        start(door.uri, AMQP_SSL={"ca_certs": str(door.authority), "server_hostname": "other.example"})
    door.running.wait_for("sent")
    assert door.has_seen_amqp()


@LINKS
def test_a_plain_connection_to_a_broker_that_wants_tls_fails_without_a_password(
    start: Callable[..., None], open_door: Callable[..., Door], link: str, caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door()
    with caplog.at_level(logging.DEBUG), pytest.raises(BrokerUnavailable):
        start(door.uri.replace("amqps:", "amqp:"), link=link)
    assert not door.has_seen_amqp()
    assert "a-password" not in caplog.text
