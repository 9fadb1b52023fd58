"""Compressions: kombu's names and types, and a bound on what comes out."""

import gzip
import lzma
import sys
import tracemalloc

import kombu.compression
import pytest

from rpcservice.amqp.compression import NAMES, find_compression, unpack
from rpcservice.errors import MissingExtra

BOMB = b"\0" * 100_000_000


@pytest.mark.parametrize("name", [*NAMES, "zlib", "bzip", "xz", "zstandard"])
def test_bodies_are_packed_as_kombu_packs_them(name: str) -> None:
    compression = find_compression(name)
    body = b"abc" * 1000
    packed, content_type = kombu.compression.compress(body, name)
    assert compression.content_type == content_type
    assert unpack(packed, content_type, len(body)) == body
    assert kombu.compression.decompress(compression.pack(body), content_type) == body
    assert find_compression(content_type).content_type == content_type


def test_gzip_of_other_libraries_is_unpacked_too() -> None:
    assert unpack(gzip.compress(b"abc"), "application/x-gzip", 10) == b"abc"


@pytest.mark.parametrize("name", NAMES)
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(name: str) -> None:
    packed = find_compression(name).pack(b"x" * 1000)
    assert len(unpack(packed, name, 1000)) == 1000
    with pytest.raises(ValueError, match="unpacked it has more than 999 bytes, which max_message_size allows"):
        unpack(packed, name, 999)


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_takes_little_more_memory_than_the_limit(name: str) -> None:
    packed = find_compression(name).pack(BOMB)
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacked it has more than 1000000 bytes"):
        unpack(packed, name, 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(BOMB) / 5


def test_lzma_that_asks_for_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]
    with pytest.raises(lzma.LZMAError, match=r"[Mm]emory"):
        unpack(lzma.compress(b"x", filters=filters), "lzma", 1000)


@pytest.mark.parametrize("name", NAMES)
def test_a_body_that_ends_too_early_is_an_error(name: str) -> None:
    packed = find_compression(name).pack(bytes(range(256)) * 10)
    with pytest.raises((ValueError, EOFError), match="end too early"):
        unpack(packed[:-1], name, 10_000)


@pytest.mark.parametrize("name", ["zip", "", "application/x-brotli", 7, None, ["gzip"]])
def test_an_unknown_compression_is_named_with_those_that_exist(name: object) -> None:
    with pytest.raises(ValueError, match="give one of gzip, bzip2, lzma, zstd, or None"):
        find_compression(name)


def test_zstd_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r'run: pip install "rpcservice\[zstd\]"'):
        find_compression("zstd")
