"""nameko's small helpers: retry, fan-out, redaction, serializers, timing."""

import logging
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

import pytest
from under_nameko import standing_in

from rpcservice.concurrency import green

with standing_in():
    import kombu.serialization
    from nameko import config, serialization
    from nameko.exceptions import ConfigurationError
    from nameko.log_helpers import make_timing_logger
    from nameko.utils import REDACTED, get_redacted_args, import_from_path, sanitize_url
    from nameko.utils.concurrency import SpawningProxy, SpawningSet, fail_fast_imap
    from nameko.utils.retry import RetryDelay, retry

from eventlet import GreenPool


@pytest.fixture
def pauses() -> Any:
    """The seconds that retry pauses for, which are not waited."""
    with patch("rpcservice.compat.nameko.utils.retry.sleep") as sleep:
        yield SimpleNamespace(all=lambda: [call.args[0] for call in sleep.call_args_list])


# retry


def test_max_attempts_counts_the_times_after_the_first(pauses: Any) -> None:
    """Four calls, three pauses of a second."""
    work = Mock(side_effect=ValueError("no"), __name__="work")
    with pytest.raises(ValueError, match="no"):
        retry(work)()
    assert (work.call_count, pauses.all()) == (4, [1, 1, 1])


def test_it_ends_with_the_first_success(pauses: Any) -> None:
    """Arguments are passed on each time."""
    work = Mock(side_effect=[ValueError, "done"])
    assert retry(max_attempts=None)(work)(1, a=2) == "done"
    assert [(call.args, call.kwargs) for call in work.call_args_list] == [((1,), {"a": 2})] * 2
    assert pauses.all() == [1]


def test_other_exceptions_are_raised_at_once(pauses: Any) -> None:
    """Nothing is known of them."""
    work = Mock(side_effect=KeyError("k"))
    with pytest.raises(KeyError):
        retry(for_exceptions=(ValueError, OSError))(work)()
    assert (work.call_count, pauses.all()) == (1, [])


def test_pauses_grow_from_the_first_on_up_to_a_limit(pauses: Any) -> None:
    """The factor is in the first pause already."""
    with pytest.raises(ValueError):
        retry(Mock(side_effect=ValueError), max_attempts=4, delay=1, backoff=2, max_delay=5)()
    assert pauses.all() == [2, 4, 5, 5]


def test_each_call_has_pauses_of_its_own(pauses: Any) -> None:
    """In nameko they go on growing from call to call."""
    work = retry(Mock(side_effect=ValueError), max_attempts=1, backoff=3)
    for _ in range(2):
        with pytest.raises(ValueError):
            work()
    assert pauses.all() == [3, 3]


def test_methods_of_every_kind_are_decorated(pauses: Any) -> None:
    """As wrapt does it."""

    class Client:
        @retry
        def method(self) -> Any:
            return self

        @retry(delay=2)
        @classmethod
        def of_class(cls) -> Any:
            return cls

        @retry
        @staticmethod
        def of_none(value: int) -> int:
            return value

    client = Client()
    assert (client.method(), client.of_class(), client.of_none(3)) == (client, Client, 3)
    assert Client.method.__name__ == "method"


def test_a_delay_without_factor_stays() -> None:
    """A factor of 0 is none."""
    delay = RetryDelay(2, 0, None)
    assert [delay.next(), delay.next()] == [2, 2]


# Fan-out


class Item:
    """Something to call."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.is_done = False

    def work(self, factor: int = 1) -> int:
        green().sleep(0.001 * self.value)
        if self.value < 0:
            raise ValueError("negative")
        self.is_done = True
        return self.value * factor


def test_all_items_are_called_and_results_keep_their_order() -> None:
    assert SpawningProxy([Item(3), Item(1), Item(2)]).work(2) == [6, 2, 4]


def test_nothing_is_called_of_nothing() -> None:
    assert SpawningProxy([]).work() is None


def test_a_set_calls_its_members() -> None:
    items = SpawningSet([Item(1), Item(2)])
    assert sorted(items.all.work()) == [1, 2]
    assert {item.is_done for item in items} == {True}


def test_an_error_is_raised_when_all_have_ended() -> None:
    slow = Item(20)
    with pytest.raises(ValueError, match="negative"):
        SpawningProxy([slow, Failing()]).work()


class Failing(Item):
    """Fails at once."""

    def __init__(self) -> None:
        super().__init__(0)

    def work(self, factor: int = 1) -> int:
        raise ValueError("negative")


def test_the_first_error_may_end_the_rest() -> None:
    slow = Item(2000)
    with pytest.raises(ValueError, match="negative"):
        SpawningProxy([slow, Failing()], abort_on_error=True).work()
    assert not slow.is_done


def test_results_come_as_they_are_ready_and_all_of_them() -> None:
    """nameko loses those that are ready at once."""
    gate = green().event()

    def work(name: str) -> str:
        if name == "first":
            gate.wait()
        else:
            green().call_later(0, gate.set)
        return name

    assert list(fail_fast_imap(GreenPool(3), work, ["first", "second", "third"])) == ["second", "third", "first"]


# The rest


class Payments:
    name = "payments"

    def pay(self, user: str, token: str, *cards: Any, note: str = "none") -> None: ...


def test_arguments_of_a_stand_in_for_an_entrypoint_are_redacted() -> None:
    """As unit tests of extensions have them; a single name may be given as a text."""
    entrypoint = Mock(sensitive_arguments="token", method_name="pay")
    entrypoint.container.service_cls = Payments
    shown = {"user": "ada", "token": REDACTED, "cards": (1,), "note": "none"}
    assert get_redacted_args(entrypoint, "ada", "secret", 1) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("pyamqp://guest:secret@host:5672/vhost?x=1", "pyamqp://guest:********@host:5672/vhost?x=1"),
        ("amqp://guest:p%40ss@h", "amqp://guest:********@h"),
        ("amqp://guest@host", "amqp://guest@host"),
        ("memory://", "memory://"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert sanitize_url(url) == shown


def test_an_object_is_imported_from_its_path() -> None:
    assert import_from_path("logging.Logger") is logging.Logger
    assert import_from_path(None) is None
    with pytest.raises(ImportError, match=r"`logging\.Nothing` could not be imported"):
        import_from_path("logging.Nothing")


def test_time_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Also of a block that raises."""
    log_time = make_timing_logger(logging.getLogger("timed"), precision=2, level=logging.WARNING)
    with pytest.raises(ValueError), log_time("worked on %s", "it"):
        raise ValueError
    assert caplog.messages == ["worked on it in 0.00s"]


def test_serializers_are_those_of_the_configuration() -> None:
    """Of an argument (nameko 2) or of the global one (nameko 3)."""
    assert serialization.setup({}) == ("json", ["json"])
    with config.patch({"serializer": "yaml", "ACCEPT": ["json", "yaml"]}, clear=True):
        found = serialization.setup()
    assert (found.serializer, found.accept) == ("yaml", ["json", "yaml"])


def test_a_serializer_of_one_s_own_is_registered() -> None:
    """By dotted paths."""
    described = {"encoder": "json.dumps", "decoder": "json.loads", "content_type": "application/x-upper"}
    serializer, accept = serialization.setup({"serializer": "upper", "SERIALIZERS": {"upper": described}})
    assert (serializer, accept) == ("upper", ["upper"])
    assert kombu.serialization.dumps({"a": 1}, "upper")[0] == "application/x-upper"
    kombu.serialization.unregister("upper")


def test_an_unknown_serializer_is_refused() -> None:
    """By its name."""
    with pytest.raises(ConfigurationError, match='Please register a serializer for "unknown" format'):
        serialization.setup({"serializer": "unknown"})
