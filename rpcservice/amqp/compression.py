"""Compressions of bodies, under kombu's names. What comes in is unpacked up to a bound, for it may hold gigabytes."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from rpcservice.errors import MissingExtra

LZMA_MEMORY = 128 * 1024 * 1024
"""Bytes of memory that unpacking lzma may take; its strongest setting needs 65 MiB."""


class Compression(NamedTuple):
    """One way to compress bodies."""

    content_type: str
    pack: Callable[[bytes], bytes]
    unpacker: Callable[[], Any]


_ALIASES = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}
NAMES = ("gzip", "bzip2", "lzma", "zstd")
_KNOWN: dict[object, Compression] = {
    one.content_type: one
    for one in (
        # kombu calls zlib's format gzip; 47 unpacks either.
        Compression("application/x-gzip", zlib.compress, lambda: zlib.decompressobj(47)),
        Compression("application/x-bz2", bz2.compress, bz2.BZ2Decompressor),
        Compression("application/x-lzma", lzma.compress, lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY)),
    )
}


def find_compression(name: object) -> Compression:
    """Give a compression by one of its names, or by its content type.

    Raises:
        ValueError: There is none of that name.
        MissingExtra: It needs a package that is not installed.
    """
    content_type = _ALIASES.get(name, name) if isinstance(name, str) else None
    if content_type == "application/zstd":
        return _zstd()
    known = _KNOWN.get(content_type)
    if known is None:
        raise ValueError(f"compression is {name!r}; give one of {', '.join(NAMES)}, or None")
    return known


def _zstd() -> Compression:
    for module in ("compression.zstd", "backports.zstd"):
        try:
            zstd: Any = import_module(module)
        except ImportError:
            continue
        return Compression("application/zstd", zstd.compress, zstd.ZstdDecompressor)
    raise MissingExtra(
        'compression "zstd" needs backports.zstd before Python 3.14; run: pip install "rpcservice[zstd]"'
    )


def unpack(body: bytes, name: object, limit: int) -> bytes:
    """Undo a compression.

    Args:
        body: What was compressed.
        name: The compression, as the header says.
        limit: The most bytes that it may hold.

    Raises:
        ValueError: The compression is not known, or the body holds too much or ends too early.
        Exception: What the compression's library raises for a body that it did not make.
    """
    unpacker = find_compression(name).unpacker()
    # One more than the limit, or one that is just as large could not be told from one that is larger.
    data: bytes = unpacker.decompress(body, limit + 1)
    if len(data) > limit:
        raise ValueError(f"unpacked it has more than {limit} bytes, which max_message_size allows")
    if not unpacker.eof:
        raise ValueError(f"{name}: the compressed data end too early")
    return data
