"""Process: alone, or one of several."""

import socket

import pytest

from rpcservice.core.process import Process
from rpcservice.testing import FakeHost


class Supervisor:
    """Gives a listening socket for the address "here" only."""

    number = 2

    def __init__(self) -> None:
        self.sock = socket.socket()

    def listener(self, key: str, address: str) -> socket.socket:
        assert (key, address) == ("health_address", "here")
        return self.sock


@pytest.fixture
def process(host: FakeHost) -> Process:
    return host.resource(Process)


def test_alone_it_has_no_number_and_shares_nothing(process: Process) -> None:
    assert process.number is None
    assert process.listener("health_address", "here") is None
    assert not process.others_serve_on


def test_alone_it_leads(process: Process) -> None:
    led: list[int] = []
    process.when_leading(lambda: led.append(1))
    assert led == [1]


def test_one_of_several_has_a_number_and_shares_addresses(process: Process) -> None:
    supervisor = Supervisor()
    with supervisor.sock:
        process.join(supervisor)
        assert process.number == 2
        assert process.others_serve_on
        assert process.listener("health_address", "here") is supervisor.sock


def test_one_of_several_leads_when_it_is_told(process: Process) -> None:
    led: list[int] = []
    supervisor = Supervisor()
    supervisor.sock.close()
    process.join(supervisor)
    process.when_leading(lambda: led.append(1))
    assert led == []
    process.lead()
    process.when_leading(lambda: led.append(2))
    assert led == [1, 2]
    process.lead()
    assert led == [1, 2]
