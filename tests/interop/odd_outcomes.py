"""Results and errors that are hard to send, the same for nameko's service and for ours: ``outcome("name")``."""

import datetime
import decimal


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class UnprintableValue:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class IterableError(Exception):
    def __iter__(self):
        return iter(["one", 2, None])


class Outer:
    class InnerError(Exception):
        """Goes by its bare name on the wire, not by its qualified one."""


class WithText(Exception):
    def __str__(self):
        return "a text of its own"


class WithOwnArguments(Exception):
    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")
        self.left = left


def _chained():
    try:
        {}["key"]
    except KeyError as exc:
        return LookupError("not there").with_traceback(exc.__traceback__)


ERRORS = {
    "several_types": lambda: ValueError("no", 3, None, True, 1.5),
    "no_arguments": lambda: ValueError(),
    "none": lambda: ValueError(None),
    "empty_text": lambda: ValueError(""),
    "unicode": lambda: ValueError("Übergröße 漢字 \u0000 🧭"),
    "surrogate": lambda: ValueError("half of a pair \ud83e"),
    "key_error": lambda: KeyError("tea"),
    "bytes": lambda: ValueError(b"\x00\xff"),
    "nested": lambda: ValueError(["a", ("b", 1), {"k": {2: None}}]),
    "set": lambda: ValueError({7}),
    "empty_containers": lambda: ValueError([], {}, ()),
    "error_in_error": lambda: ValueError(KeyError("inner")),
    "class": lambda: ValueError(int),
    "date": lambda: ValueError(datetime.date(2024, 2, 29), decimal.Decimal("1.50")),
    "unprintable": lambda: Unprintable("x"),
    "unprintable_argument": lambda: ValueError(UnprintableValue()),
    "unprintable_key": lambda: ValueError({"k": UnprintableValue()}),
    "iterable": lambda: IterableError("x"),
    "nested_class": lambda: Outer.InnerError("x"),
    "own_text": lambda: WithText("x"),
    "own_arguments": lambda: WithOwnArguments(1, 2),
    "chained": _chained,
    "group": lambda: ExceptionGroup("many", [ValueError(1), KeyError("k")]),
    "os_error": lambda: FileNotFoundError(2, "No such file", "/nowhere"),
    "decode_error": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    "stop_iteration": lambda: StopIteration("done"),
    "time_out": lambda: TimeoutError(),
    "long": lambda: ValueError("x" * 100_000),
}

RESULTS = {
    "none": lambda: None,
    "tuple": lambda: (1, (2,)),
    "number_keys": lambda: {2: "two", None: "none", True: "yes", 1.5: "more"},
    "not_a_number": lambda: [float("nan"), float("inf"), float("-inf")],
    "big_number": lambda: 2**200,
    "surrogate": lambda: "half of a pair \ud83e",
    "control_characters": lambda: "".join(map(chr, range(32))) + "\u2028\u2029\x7f",
    "date_and_time": lambda: [datetime.datetime(2024, 2, 29, 12, 30, 15, 7, tzinfo=datetime.UTC)],
    "naive_date_and_time": lambda: datetime.datetime(2024, 2, 29, 12, 30),
    "date": lambda: datetime.date(2024, 2, 29),
    "time": lambda: datetime.time(12, 30),
    "decimal": lambda: decimal.Decimal("12.30"),
    "bytes": lambda: b"text",
    "binary": lambda: b"\xff\xfe",
    "error_shape": lambda: {"error": "not one", "result": 5},
    "deep": lambda: _nested(300),
    "false": lambda: False,
    "empty_text": lambda: "",
}

UNSERIALIZABLE = {
    "set": lambda: {1},
    "complex": lambda: 1j,
    "generator": lambda: (each for each in "ab"),
    "tuple_keys": lambda: {(1, 2): 3},
    "class": lambda: int,
    "unprintable": UnprintableValue,
    "itself": lambda: _holds_itself(),
}


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def _holds_itself():
    value = []
    value.append(value)
    return value


def outcome(kind, name):
    """Give a result, or raise an error."""
    if kind == "error":
        raise ERRORS[name]()
    return {**RESULTS, **UNSERIALIZABLE}[name]()
