"""What strangers have written does nothing to a terminal, and is read as it was by who reads JSON."""

import json

import pytest

from rpcservice.cli.escapes import printable, printable_json

TITLE = "\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tea für 5 € 茶\u3000🫖", "tea für 5 € 茶\u3000🫖"),
        (TITLE, "\\x1b]0;owned\\x07"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
        ("one\ntwo\ttabs\r", "one\\ntwo\\ttabs\\r"),
        ("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_named(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_where_there_may_be_several() -> None:
    assert printable(f"one\n\ttwo\r{TITLE}", has_lines=True) == "one\n\ttwo\\r\\x1b]0;owned\\x07"


def test_json_says_the_same() -> None:
    value = {"title": TITLE, "rest": "\x7f\x9b2J\u202e ü 茶\n"}
    text = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.isprintable()
    assert "ü 茶" in text
