"""What bytes mean, and how much of them is taken."""

import zlib
from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason

from rpcservice.web.websocket_protocol import (
    WORTH_COMPRESSING,
    Broken,
    Closed,
    Encoder,
    Reply,
    Text,
    Wire,
    negotiate_deflate,
)

CHROME = "permessage-deflate; client_max_window_bits"
FIREFOX = "permessage-deflate"
WEBSOCKETS = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"


def pair(limit: int = 1000, offer: str | None = None) -> tuple[Wire, Connection]:
    """Give the server's side and a client that speaks to it."""
    if offer is None:
        return Wire(limit), Connection(ConnectionType.CLIENT)
    negotiated = negotiate_deflate(offer, limit)
    assert negotiated is not None
    extension, answer = negotiated
    clients = PerMessageDeflate()
    clients.finalize(answer)
    return Wire(limit, extension), Connection(ConnectionType.CLIENT, [clients])


def meanings(wire: Wire, client: Connection, *events: Any) -> list[Any]:
    return [meaning for event in events for meaning in wire.feed(bytes(client.send(event)))]


def test_text_comes_whole_whatever_the_frames() -> None:
    wire, client = pair()
    frames = [TextMessage(data="one ", message_finished=False), TextMessage(data="two"), TextMessage(data="three")]
    assert meanings(wire, client, *frames) == [Text("one two", 7), Text("three", 5)]


def test_text_comes_whole_whatever_the_reads() -> None:
    wire, client = pair()
    data = bytes(client.send(TextMessage(data="h\xe9llo \U0001f600")))
    assert [meaning for byte in data for meaning in wire.feed(bytes([byte]))] == [Text("h\xe9llo \U0001f600", 11)]


def test_a_ping_is_answered_with_its_payload() -> None:
    wire, client = pair()
    (reply,) = meanings(wire, client, Ping(payload=b"payload"))
    assert isinstance(reply, Reply)
    client.receive_data(reply.frame)
    assert list(client.events()) == [Pong(payload=b"payload")]


def test_a_pong_means_nothing() -> None:
    wire, client = pair()
    assert meanings(wire, client, Pong()) == []


@pytest.mark.parametrize(("sent", "code"), [(1000, 1000), (4321, 4321), (CloseReason.NO_STATUS_RCVD, 1005)])
def test_a_close_says_its_code(sent: int, code: int) -> None:
    wire, client = pair()
    assert meanings(wire, client, CloseConnection(code=sent)) == [Closed(code)]


def test_a_close_is_answered_once() -> None:
    wire, client = pair()
    meanings(wire, client, CloseConnection(code=1000))
    assert (bool(wire.close(1000)), wire.close(1000)) == (True, b"")


def test_text_is_still_read_while_the_answer_to_a_close_is_awaited() -> None:
    wire, client = pair()
    wire.close(1001)
    seen = meanings(wire, client, Ping(), TextMessage(data="late"), CloseConnection(code=1000))
    assert seen == [Text("late", 4), Closed(1000)]


def test_binary_messages_are_not_taken() -> None:
    wire, client = pair()
    (broken,) = meanings(wire, client, BytesMessage(data=b"\x00"), TextMessage(data="after"))
    assert isinstance(broken, Broken)
    assert broken.code == 1003


def test_the_limit_of_a_message_counts_bytes() -> None:
    """One of 500 letters of two bytes each is let through, one of 501 is not."""
    wire, client = pair(limit=1000)
    fits, too_large = meanings(wire, client, TextMessage(data="\xe9" * 500), TextMessage(data="\xe9" * 501))
    assert (fits.size, too_large.code) == (1000, 1009)


def test_the_limit_counts_all_frames_of_a_message() -> None:
    wire, client = pair(limit=10)
    parts = [TextMessage(data="12345", message_finished=False) for _ in range(3)]
    assert [meaning.code for meaning in meanings(wire, client, *parts)] == [1009]


def test_nothing_is_collected_of_a_message_that_is_too_large() -> None:
    wire, client = pair(limit=10)
    data = bytes(client.send(TextMessage(data="x" * 100_000)))
    seen = [meaning for start in range(0, len(data), 1000) for meaning in wire.feed(data[start : start + 1000])]
    assert [meaning.code for meaning in seen] == [1009]
    assert wire._parts == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x02hi", 1002, id="not masked"),
        pytest.param(b"\x83\x80\x00\x00\x00\x00", 1002, id="unknown opcode"),
        pytest.param(b"\xc1\x80\x00\x00\x00\x00", 1002, id="compressed without asking"),
        pytest.param(b"\x80\x80\x00\x00\x00\x00", 1002, id="continues nothing"),
        pytest.param(b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + b"x" * 126, 1002, id="long ping"),
        pytest.param(b"\x88\x81\x00\x00\x00\x00\x01", 1002, id="half a close code"),
        pytest.param(b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007, id="not UTF-8"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 1002, id="HTTP"),
    ],
)
def test_what_breaks_the_protocol_is_named(data: bytes, code: int) -> None:
    wire, _ = pair()
    (broken,) = wire.feed(data)
    assert isinstance(broken, Broken)
    assert broken.code == code
    assert broken.reason
    assert list(wire.feed(b"more")) == []


@pytest.mark.parametrize("offer", [CHROME, FIREFOX, WEBSOCKETS, f"x-webkit-deflate-frame, {CHROME}", f"{CHROME}, foo"])
def test_compressed_text_is_inflated(offer: str) -> None:
    wire, client = pair(limit=10_000, offer=offer)
    assert meanings(wire, client, *[TextMessage(data="again " * 500)] * 2) == [Text("again " * 500, 3000)] * 2


@pytest.mark.parametrize("offer", [CHROME, FIREFOX, WEBSOCKETS])
@pytest.mark.parametrize("text", ["short", "long " * WORTH_COMPRESSING, "h\xe9 " * 100_000], ids=lambda text: text[:5])
def test_a_client_that_compresses_reads_what_is_sent(offer: str, text: str) -> None:
    wire, client = pair(offer=offer)
    message = Encoder().encode(text)
    for _ in range(2):
        client.receive_data(message.frame(deflates=wire.deflates))
        assert "".join(event.data for event in client.events()) == text


def test_only_long_messages_are_compressed() -> None:
    """Short ones would get longer."""
    encoder = Encoder()
    short, long = encoder.encode("x" * (WORTH_COMPRESSING - 1)), encoder.encode("x" * WORTH_COMPRESSING)
    assert len(short.frame(deflates=True)) > WORTH_COMPRESSING - 1
    assert len(long.frame(deflates=True)) < 100


def test_a_message_for_many_is_encoded_once() -> None:
    message = Encoder().encode("x" * 5000)
    for deflates in (True, False):
        assert message.frame(deflates=deflates) is message.frame(deflates=deflates)


def test_a_small_frame_cannot_become_a_large_message() -> None:
    """Ten megabytes in ten kilobytes are refused after the limit, not after ten megabytes."""
    wire, client = pair(limit=1000, offer=CHROME)
    data = bytes(client.send(TextMessage(data="x" * 10_000_000)))
    assert len(data) < 20_000
    (broken,) = wire.feed(data)
    assert broken.code == 1009


def test_a_compressed_message_of_exactly_the_limit_is_taken() -> None:
    wire, client = pair(limit=5000, offer=CHROME)
    assert meanings(wire, client, TextMessage(data="x" * 5000)) == [Text("x" * 5000, 5000)]


def test_broken_compression_is_named() -> None:
    wire, _ = pair(offer=CHROME)
    (broken,) = wire.feed(b"\xc1\x84\x00\x00\x00\x00\xff\xff\xff\xff")
    assert broken.code == 1007


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "foo",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=99",
        "permessage-deflate; server_max_window_bits=many",
    ],
)
def test_compression_that_cannot_be_served_is_left_out(offers: str) -> None:
    assert negotiate_deflate(offers, 1000) is None


def test_the_next_offer_is_taken_when_the_first_cannot_be() -> None:
    assert negotiate_deflate("permessage-deflate; server_max_window_bits=8, permessage-deflate", 1000) is not None


def test_no_memory_is_kept_between_messages() -> None:
    """Neither side's compressor: a thousand of them would take hundreds of megabytes."""
    wire, client = pair(limit=10_000, offer=CHROME)
    meanings(wire, client, TextMessage(data="again " * 500))
    (extension,) = wire._connection._proto.extensions
    assert isinstance(extension, PerMessageDeflate)
    assert extension._decompressor is None


def test_the_window_is_one_that_all_clients_read() -> None:
    """The frame can be inflated with the smallest window that is taken."""
    frame = Encoder().encode("".join(f"{number:08}" for number in range(2000))).frame(deflates=True)
    assert zlib.decompressobj(-12).decompress(frame[4:] + b"\x00\x00\xff\xff").endswith(b"00001999")
