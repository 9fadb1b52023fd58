"""What JSON costs, with and without orjson and msgspec: ``python -m benchmarks.codec``, which takes some seconds."""

import time
import timeit
from collections.abc import Callable
from typing import Any

from rpcservice.amqp.codec import Codecs
from rpcservice.testing import FakeHost

ROUND = 0.05
"""Seconds that one round takes about."""
ROUNDS = 7

ROWS = [{"id": number, "name": f"item {number}", "price": number * 1.25, "tags": ["a", "b"]} for number in range(100)]
PAYLOADS: dict[str, Any] = {
    "request, 30 B": {"args": ["Ada"], "kwargs": {}},
    "100 objects, 7 KB": {"result": ROWS, "error": None},
    "a text of 10 KB": {"args": ["x" * 10_000], "kwargs": {}},
    "with a NaN, 7 KB": {"result": [*ROWS, float("nan")], "error": None},
}


def microseconds(call: Callable[[], object]) -> float:
    """Give the processor time that a call takes, in the best of some rounds."""
    timer = timeit.Timer(call, timer=time.process_time)
    number = max(1, int(ROUND / max(min(timer.repeat(3, 100)) / 100, 1e-7)))
    return min(timer.repeat(ROUNDS, number)) / number * 1e6


def main() -> None:
    """Print a table, in microseconds."""
    codecs = {
        name: FakeHost(config={"fast_json": fast}).resource(Codecs).default
        for name, fast in (("standard library", False), ("[fast]", True))
    }
    print(f"{'microseconds':20}{'':18}{'encode':>8}{'decode':>8}")
    for payload, value in PAYLOADS.items():
        for name, codec in codecs.items():
            body = codec.dumps(value)
            encode = microseconds(lambda codec=codec, value=value: codec.dumps(value))
            decode = microseconds(lambda codec=codec, body=body: codec.loads(body))
            print(f"{payload:20}{name:18}{encode:8.2f}{decode:8.2f}")


if __name__ == "__main__":
    main()
