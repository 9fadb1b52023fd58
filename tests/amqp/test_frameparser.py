"""The parser against a stream with frames of all kinds, cut anywhere."""

import struct
from typing import Any

import pytest
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from rpcservice.amqp import frames
from rpcservice.amqp.frameparser import FrameError, FrameParser
from rpcservice.amqp.properties import decode_properties, encode_properties


class Recorder:
    """Stands for one channel; keeps what the parser hands it."""

    def __init__(self, parser: FrameParser, number: int) -> None:
        self.deliveries: list[tuple[bytes, bytes, bytes]] = []
        self.returns: list[tuple[bytes, bytes, bytes]] = []
        self.gets: list[tuple[bytes, bytes, bytes]] = []
        self.confirms: list[tuple[list[int], bool, bool]] = []
        parser.add_channel(
            number,
            lambda *content: self.deliveries.append(content),
            lambda *content: self.returns.append(content),
            lambda *content: self.gets.append(content),
            lambda *confirm: self.confirms.append(confirm),
        )


class Stream:
    """A parser, the frames that it passed on, and channels 1 and 2."""

    def __init__(self) -> None:
        self.foreign: list[tuple[int, int, bytes]] = []
        self.parser = FrameParser(lambda *frame: self.foreign.append(frame))
        self.one = Recorder(self.parser, 1)
        self.two = Recorder(self.parser, 2)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def deliver_method(tag: str = "tag", delivery_tag: int = 1, redelivered: bool = False, key: str = "key") -> bytes:
    return b"\x00\x3c\x00\x3c" + dumps("sLbss", (tag, delivery_tag, redelivered, "exchange", key))


def delivery(channel: int, body: bytes, frame_max: int = 4096, **method: Any) -> bytes:
    content = frames.encode_content(channel, encode_properties({"type": "t"}), body, frame_max)
    return frame(1, channel, deliver_method(**method)) + content


def sample_stream() -> bytes:
    """Give frames of all kinds: two channels whose contents are interleaved, confirms, a return, foreign frames."""
    first = delivery(1, b"a" * 9000, delivery_tag=1)
    second = delivery(2, b"b" * 5000, delivery_tag=2)
    returned = b"\x00\x3c\x00\x32" + dumps("Bsss", (312, "NO_ROUTE", "e", "k"))
    return b"".join(
        (
            interleave(first, second),
            frames.ack_frame(1, 3, True),
            frames.nack_frame(2, 4, False, False),
            frames.HEARTBEAT,
            frame(1, 1, b"\x00\x32\x00\x0b" + dumps("sll", ("queue", 0, 0))),
            frame(1, 1, returned),
            frames.encode_content(1, encode_properties({}), b"", 4096),
            frame(1, 9, b"\x00\x14\x00\x28"),
            delivery(2, b"", delivery_tag=5),
        )
    )


def split_frames(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = struct.unpack_from(">I", data, 3)[0] + 8
        found.append(data[:size])
        data = data[size:]
    return found


def interleave(first: bytes, second: bytes) -> bytes:
    one, two = split_frames(first), split_frames(second)
    longest = max(len(one), len(two))
    return b"".join(
        piece for number in range(longest) for pieces in (one, two) for piece in pieces[number : number + 1]
    )


def check_sample(stream: Stream) -> None:
    assert [(len(body), body[:1]) for _, _, body in stream.one.deliveries] == [(9000, b"a")]
    assert [(len(body), body[:1]) for _, _, body in stream.two.deliveries] == [(5000, b"b"), (0, b"")]
    assert [frames.split_deliver(method)[0] for method, _, _ in stream.two.deliveries] == [2, 5]
    assert decode_properties(stream.one.deliveries[0][1], 12) == {"type": "t"}
    assert stream.one.confirms == [([3], True, True)]
    assert stream.two.confirms == [([4], False, False)]
    assert [frames.decode_return(method)[0] for method, _, _ in stream.one.returns] == [312]
    assert [(kind, channel, payload[:4]) for kind, channel, payload in stream.foreign] == [
        (8, 0, b""),
        (1, 1, b"\x00\x32\x00\x0b"),
        (1, 9, b"\x00\x14\x00\x28"),
    ]


def test_confirms_in_a_row_are_handed_on_together() -> None:
    stream = Stream()
    acks = [frames.ack_frame(1, tag, False) for tag in (7, 9, 8)]
    others = [
        frames.nack_frame(1, 10, False, False),
        frames.ack_frame(1, 11, False),
        frames.ack_frame(2, 1, False),
        frames.ack_frame(1, 12, False),
        frames.ack_frame(1, 15, True),
        frames.ack_frame(1, 16, False),
    ]
    stream.parser.feed(b"".join(acks + others))
    assert stream.one.confirms == [
        ([7, 9, 8], False, True),
        ([10], False, False),
        ([11], False, True),
        ([12], False, True),
        ([15], True, True),
        ([16], False, True),
    ]
    assert stream.two.confirms == [([1], False, True)]


def test_confirm_that_does_not_end_among_others_is_an_error() -> None:
    stream = Stream()
    acks = frames.ack_frame(1, 7, False) * 2 + frames.ack_frame(1, 8, False)[:-1] + b"\x00" + frames.HEARTBEAT
    with pytest.raises(FrameError, match="does not end after 13 bytes"):
        stream.parser.feed(acks)
    assert stream.one.confirms == [([7, 7], False, True)]


def test_a_stream_in_one_piece_is_taken_apart() -> None:
    stream = Stream()
    stream.parser.feed(sample_stream())
    check_sample(stream)


def test_a_stream_cut_at_any_offset_is_taken_apart() -> None:
    data = sample_stream()
    for offset in range(len(data) + 1):
        stream = Stream()
        stream.parser.feed(data[:offset])
        stream.parser.feed(data[offset:])
        check_sample(stream)


def test_a_stream_that_comes_byte_by_byte_is_taken_apart() -> None:
    stream = Stream()
    for byte in sample_stream():
        stream.parser.feed(bytes((byte,)))
    check_sample(stream)


@given(st.lists(st.integers(1, 5000), max_size=20))
def test_a_stream_in_pieces_of_any_size_is_taken_apart(sizes: list[int]) -> None:
    data, stream = sample_stream(), Stream()
    for size in sizes:
        stream.parser.feed(data[:size])
        data = data[size:]
    stream.parser.feed(data)
    check_sample(stream)


def test_a_body_of_many_frames_is_put_together() -> None:
    body = bytes(range(256)) * 4096
    stream = Stream()
    stream.parser.feed(delivery(1, body, frame_max=131072))
    assert stream.one.deliveries[0][2] == body


@pytest.mark.parametrize("kind", [1, 2, 3, 8])
def test_a_frame_without_its_end_is_an_error(kind: int) -> None:
    with pytest.raises(FrameError, match=f"frame of type {kind} on channel 1 does not end after 4 bytes"):
        Stream().parser.feed(frame(kind, 1, b"1234")[:-1] + b"\x00")


def test_content_of_a_channel_that_nobody_took_over_is_passed_on() -> None:
    stream = Stream()
    stream.parser.feed(delivery(3, b"body"))
    assert [(kind, channel) for kind, channel, _ in stream.foreign] == [(1, 3), (2, 3), (3, 3)]


def test_content_that_answers_basic_get_is_handed_on() -> None:
    stream = Stream()
    content = frames.encode_content(1, encode_properties({}), b"body", 4096)
    stream.parser.feed(frame(1, 1, b"\x00\x3c\x00\x47" + dumps("Lbssl", (1, False, "", "k", 0))) + content)
    assert [body for _, _, body in stream.one.gets] == [b"body"]
    assert not stream.foreign and not stream.one.deliveries


def test_a_channel_that_is_removed_is_left_alone() -> None:
    stream = Stream()
    stream.parser.feed(delivery(1, b"body")[:-3])
    stream.parser.remove_channel(1)
    stream.parser.feed(delivery(1, b"body")[-3:])
    assert not stream.one.deliveries
    stream.parser.feed(delivery(1, b"body"))
    assert not stream.one.deliveries
