import socket

from rpcservice.testing.ports import free_ports, is_open, speaks_amqp


def test_ports_differ_and_nobody_listens_on_them() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not any(is_open(port) for port in ports[:3])


def test_ports_lie_outside_the_range_for_outgoing_connections() -> None:
    """A client that retries a dead port in that range can end up connected to itself."""
    assert all(10_000 <= port < 32_768 for port in free_ports(20))


def test_a_listening_port_is_open_but_need_not_speak_amqp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_open(port)
        assert not speaks_amqp(port, timeout=0.1)
