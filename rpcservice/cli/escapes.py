"""What strangers have written, for terminals, which do what control characters tell them: none is shown raw."""

import json
import re

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, and halves of characters, which cannot be encoded."""
_CONTROLS_IN_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""The same but for tabs and ends of lines."""


def printable(text: str, *, has_lines: bool = False) -> str:
    r"""Give a text with ``\x1b`` in the place of a control character.

    Args:
        text: Any text.
        has_lines: It may have several lines, and tabs.
    """
    return (_CONTROLS_IN_LINES if has_lines else _CONTROLS).sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def printable_json(text: str) -> str:
    """Give a JSON text that says the same without control characters."""
    return _CONTROLS_IN_LINES.sub(lambda found: json.dumps(found[0])[1:-1], text)
