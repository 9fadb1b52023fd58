"""What of a call's arguments may be shown."""

from typing import Any

import pytest

from rpcservice import REDACTED, Entrypoint, ServiceContainer, get_redacted_args
from rpcservice.core.redaction import redact


class Fired(Entrypoint):
    """Never fires."""


class Payments:
    name = "payments"

    @Fired.decorator(sensitive_arguments=("token", "card.number"))
    def pay(self, user: str, token: str, card: Any = None, *items: str, **more: str) -> None: ...

    @Fired.decorator(sensitive_arguments="secret")
    def take(self, **more: str) -> None: ...

    @Fired.decorator
    def refund(self, user: str, token: str = "none") -> None: ...


def entrypoint_on(method_name: str) -> Entrypoint:
    """Give the bound entrypoint of a method."""
    (found,) = [found for found in ServiceContainer(Payments).entrypoints if found.method_name == method_name]
    return found


def test_arguments_are_named_and_the_sensitive_ones_hidden() -> None:
    card = {"number": "1234", "name": "Ada"}
    assert get_redacted_args(entrypoint_on("pay"), "ada", "secret", card, "tea", note="soon") == {
        "user": "ada",
        "token": REDACTED,
        "card": {"number": REDACTED, "name": "Ada"},
        "items": ("tea",),
        "more": {"note": "soon"},
    }
    assert card == {"number": "1234", "name": "Ada"}, "what is given is left as it is"


def test_without_sensitive_arguments_all_are_shown_with_defaults() -> None:
    assert get_redacted_args(entrypoint_on("refund"), user="ada") == {"user": "ada", "token": "none"}


def test_arguments_that_do_not_fit_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="token"):
        get_redacted_args(entrypoint_on("pay"), "ada")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a", {"a": REDACTED, "t": ({"x": 2}, 3)}),
        ("a.b", {"a": {"b": REDACTED, "d": "text"}, "t": ({"x": 2}, 3)}),
        ("a.b[0]", {"a": {"b": [REDACTED, 5], "d": "text"}, "t": ({"x": 2}, 3)}),
        ("a.b[0].x", {"a": {"b": [{"x": REDACTED}, 5], "d": "text"}, "t": ({"x": 2}, 3)}),
        ("t[0].x", {"a": {"b": [{"x": 1}, 5], "d": "text"}, "t": ({"x": REDACTED}, 3)}),
    ],
)
def test_a_path_leads_into_mappings_and_lists(path: str, shown: dict[str, Any]) -> None:
    assert redact({"a": {"b": [{"x": 1}, 5], "d": "text"}, "t": ({"x": 2}, 3)}, [path]) == shown


@pytest.mark.parametrize("path", ["b", "a.c", "a.b[9]", "a.b.x", "a.b[1].x", "a.d.e", ""])
def test_a_path_that_leads_nowhere_hides_nothing(path: str) -> None:
    """A field that is there in some calls only can be named."""
    arguments = {"a": {"b": [{"x": 1}, 5], "d": "text"}}
    assert redact(arguments, [path]) == arguments


def test_a_name_that_is_taken_by_keyword_arguments_is_hidden_there() -> None:
    shown = get_redacted_args(entrypoint_on("take"), user="ada", secret="1", other="2")
    assert shown == {"more": {"user": "ada", "secret": REDACTED, "other": "2"}}


def test_a_key_may_have_any_characters() -> None:
    assert redact({"headers": {"x-api-key": "1", "a b": 2}}, ["headers.x-api-key"]) == {
        "headers": {"x-api-key": REDACTED, "a b": 2}
    }
