"""nameko's global configuration, and the settings that are read from a configuration of nameko's."""

import json
import pickle
from copy import deepcopy
from typing import Any

import pytest

from rpcservice.compat.nameko import config
from rpcservice.compat.nameko._config import Config, NamekoSettings, read_settings
from rpcservice.errors import ConfigError


@pytest.fixture
def own() -> Config:
    """A configuration with two keys."""
    made = Config()
    made.setup({"AMQP_URI": "memory://", "nested": {"key": "value"}})
    return made


def test_setup_puts_another_configuration_in_place(own: Config) -> None:
    """Nothing of the old one is left."""
    own.setup({"other": 1})
    assert own == {"other": 1}


def test_patch_holds_for_a_block(own: Config) -> None:
    """Other keys are left as they are."""
    with own.patch({"AMQP_URI": "pyamqp://elsewhere"}):
        assert own == {"AMQP_URI": "pyamqp://elsewhere", "nested": {"key": "value"}}
    assert own["AMQP_URI"] == "memory://"


def test_patch_may_clear(own: Config) -> None:
    """Then only the given keys are there."""
    with own.patch({"only": True}, clear=True):
        assert own == {"only": True}
    assert set(own) == {"AMQP_URI", "nested"}


def test_patch_decorates(own: Config) -> None:
    """It holds in each call."""

    @own.patch({"AMQP_URI": "patched"})
    def read(suffix: str) -> str:
        return f"{own['AMQP_URI']}{suffix}"

    assert [read("!"), read("?")] == ["patched!", "patched?"]
    assert own["AMQP_URI"] == "memory://"


def test_a_decorated_function_that_raises_restores_too(own: Config) -> None:
    """As a block does."""

    @own.patch({"AMQP_URI": "patched"})
    def fail() -> None:
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        fail()
    assert own["AMQP_URI"] == "memory://"


def test_patches_nest_and_are_started_and_stopped(own: Config) -> None:
    """Each restores what it found."""
    outer, inner = own.patch({"level": 1}), own.patch({"level": 2})
    outer.start()
    inner.start()
    assert own["level"] == 2
    inner.stop()
    assert own["level"] == 1
    outer.stop()
    assert "level" not in own


def test_patch_restores_a_deep_copy(own: Config) -> None:
    """What was changed within a nested value is undone too."""
    with own.patch({}):
        own["nested"]["key"] = "changed"
    assert own["nested"]["key"] == "value"


def test_settings_are_read_as_the_mapping_that_was_given() -> None:
    """Extensions of others know nothing else."""
    given = {"AMQP_URI": "memory://", "MY_KEY": [1]}
    settings = read_settings(given)
    assert dict(settings) == given
    assert (settings["MY_KEY"], settings.get("absent"), settings.get("absent", 3)) == ([1], None, 3)
    assert "MY_KEY" in settings
    assert len(settings) == 2
    assert settings.amqp_uri == "memory://"


def test_a_missing_key_is_a_key_error() -> None:
    """As in a dictionary."""
    with pytest.raises(KeyError, match="AMQP_URI"):
        read_settings({})["AMQP_URI"]


def test_a_copy_is_a_dictionary_of_its_own() -> None:
    """To be changed at will."""
    given = {"key": 1}
    copy = read_settings(given).copy()
    copy["key"] = 2
    assert given == {"key": 1}


@pytest.mark.parametrize("key", ["rpc_timeout", "services", "health_address", "link", "log_format", "strict_config"])
def test_keys_that_nameko_does_not_know_are_free_at_the_top(key: str) -> None:
    """A service may use each of them for itself."""
    settings = read_settings({key: "the service's own"})
    assert getattr(settings, key) == getattr(read_settings({}), key)
    assert settings[key] == "the service's own"


def test_our_own_keys_are_read_in_their_section() -> None:
    """All of them."""
    settings = read_settings({"max_workers": 3, "rpcservice": {"rpc_timeout": 7, "http_keep_alive": 1}})
    assert (settings.max_workers, settings.rpc_timeout, settings.http_keep_alive) == (3, 7, 1)


def test_a_wrong_value_in_the_section_names_the_key() -> None:
    """And what it may be."""
    with pytest.raises(ConfigError, match="rpc_timeout is 'soon'; give a number of seconds above 0"):
        read_settings({"rpcservice": {"rpc_timeout": "soon"}})


def test_a_section_that_is_no_mapping_is_refused() -> None:
    """With what to give."""
    with pytest.raises(ConfigError, match="rpcservice is 'fast'; give a mapping from keys to values"):
        read_settings({"rpcservice": "fast"})


def test_json_has_namekos_bytes_unless_told_otherwise() -> None:
    assert read_settings({}).fast_json is False
    assert read_settings({"rpcservice": {"fast_json": None}}).fast_json is None


def test_calls_wait_without_end_unless_told_otherwise() -> None:
    """As nameko's do."""
    assert read_settings({}).rpc_timeout is None


@pytest.mark.parametrize("key", ["AMQP_SSL", "LOGIN_METHOD", "HEARTBEAT", "max_workers", "serializer", "LOGGING"])
def test_a_key_without_value_has_its_default(key: str) -> None:
    """A ``${VAR:}`` that is not set gives None."""
    assert getattr(read_settings({key: None}), key.lower()) == getattr(read_settings({}), key.lower())


def test_without_argument_the_global_configuration_is_read() -> None:
    """As nameko 3 does; extensions see what is changed in it later."""
    with config.patch({"max_workers": 4, "mine": 1}, clear=True):
        settings = read_settings()
        assert (settings.max_workers, settings["mine"]) == (4, 1)
        config["mine"] = 2
        assert settings["mine"] == 2


def test_settings_are_given_back_as_they_are() -> None:
    """They have been read."""
    settings = read_settings({"max_workers": 2})
    assert read_settings(settings) is settings
    assert isinstance(settings, NamekoSettings)


def test_settings_are_the_dictionary_that_was_given() -> None:
    """Extensions compare, serialise and copy nameko's; what they know of it is written out in no interface."""
    given = {"max_workers": 2, "mine": {"deep": [1]}}
    settings = read_settings(given)
    assert isinstance(settings, dict)
    assert (settings == given, given == settings, settings != given, settings != {"max_workers": 2}) == (1, 1, 0, 1)
    assert json.loads(json.dumps(settings)) == dict(settings) == {**settings} == given
    assert settings | {"more": 1} == {**given, "more": 1}
    for copied in (deepcopy(settings), pickle.loads(pickle.dumps(settings)), settings.copy()):
        assert type(copied) is dict
        assert copied == given


def test_what_is_written_to_settings_is_written_to_the_configuration() -> None:
    """Under nameko both are one object."""
    given: dict[str, Any] = {"max_workers": 2, "gone": 1}
    settings = read_settings(given)
    settings["own"] = 3
    settings.update(max_workers=5)
    assert settings.setdefault("late", 4) == 4
    del settings["gone"]
    assert given == {"max_workers": 5, "own": 3, "late": 4}
    assert json.loads(json.dumps(settings)) == given


def test_settings_stay_as_they_were_checked() -> None:
    """What is written later has not been."""
    settings = read_settings({"max_workers": 2})
    settings["max_workers"] = "many"
    assert (settings.max_workers, settings["max_workers"]) == (2, "many")


def test_the_wrong_value_of_a_key_of_nameko_is_refused() -> None:
    """With our message: nameko fails somewhere later."""
    wrong: dict[str, Any] = {"max_workers": "many"}
    with pytest.raises(ConfigError, match="max_workers is 'many'; give a whole number from 1 on"):
        read_settings(wrong)


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("rpc_timout", "is rpc_timeout meant?"),
        ("max-worker", "is max_workers meant?"),
        ("colour", "keys of services belong outside of it"),
    ],
)
def test_the_section_for_our_keys_takes_no_others(name: str, mend: str) -> None:
    """Nobody else reads it, so that a slip would have no effect at all."""
    with pytest.raises(ConfigError) as caught:
        read_settings({"rpcservice": {name: 3}})
    assert str(caught.value) == f"configuration, section rpcservice: {name} is no key of rpcservice; {mend}"
