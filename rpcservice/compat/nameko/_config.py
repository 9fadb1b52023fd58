"""nameko's configuration: the global mapping of version 3, and settings that can be read as nameko's mapping too."""

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rpcservice.compat.nameko.exceptions import nameko_errors
from rpcservice.config import Settings, check_own_keys, make_settings
from rpcservice.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

OWN_SECTION = "rpcservice"
"""The key under which keys that nameko does not know are looked for."""

NAMEKO_KEYS = frozenset(
    (
        "ACCEPT",
        "AMQP_SSL",
        "AMQP_URI",
        "AUTO_DELETE_EVENT_EXCHANGES",
        "DECLARE_EVENT_EXCHANGES",
        "HEARTBEAT",
        "LOGGING",
        "LOGIN_METHOD",
        "PREFETCH_COUNT",
        "SERIALIZERS",
        "TRANSPORT_OPTIONS",
        "WEB_SERVER_ADDRESS",
        "max_workers",
        "parent_calls_tracked",
        "rpc_exchange",
        "serializer",
    )
)
_DEFAULTS = {"rpc_timeout": None, "websocket_broadcast": "process", "websocket_origins": ["*"], "fast_json": False}
"""What holds here where nothing is said: a nameko service waits for a reply as long as it takes, its hub knows the
websockets of its own process, pages from anywhere may open one, and JSON has nameko's very bytes."""


class Config(UserDict[str, Any]):
    """A mapping from configuration keys to values, for the whole process (nameko 3)."""

    def setup(self, config: Mapping[str, Any]) -> None:
        """Put another configuration in the place of this one."""
        self.data.clear()
        self.data.update(config)

    def patch(self, context_config: Mapping[str, Any], clear: bool = False) -> "ConfigPatch":
        """Give a context manager, which is a decorator too, with which other values hold for a while.

        Args:
            context_config: The values.
            clear: Whether they take the place of all others, instead of being laid over them.
        """
        return ConfigPatch(self, context_config, clear)


class ConfigPatch:
    """Lays values over a configuration, until it is stopped."""

    def __init__(self, config: Config, values: Mapping[str, Any], clear: bool) -> None:
        self._config = config
        self._values = values
        self._clear = clear
        self._before: list[dict[str, Any]] = []

    def start(self) -> None:
        """Lay the values over the configuration."""
        self._before.append(deepcopy(self._config.data))
        if self._clear:
            self._config.data.clear()
        self._config.data.update(self._values)

    def stop(self) -> None:
        """Restore what held before."""
        self._config.setup(self._before.pop())

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __call__(self, function: F) -> F:
        """Have the values hold while a function runs."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]  # wraps keeps the signature


config = Config()
"""The one configuration of the process, as ``nameko.config``."""


if TYPE_CHECKING:
    # Type checkers know no class that is a dictionary with other methods.
    _Dictionary = MutableMapping[str, Any]
else:

    class _Dictionary(MutableMapping, dict):
        """Is a dictionary, and does everything by its five methods of a mapping."""


@dataclass(frozen=True, eq=False)
class NamekoSettings(Settings, _Dictionary):
    """Settings that extensions of nameko's can use as the dictionary that they know.

    What they write there is written to the configuration that was given; the settings, once checked, stay as they are.
    """

    def __post_init__(self) -> None:
        # json, and others written in C, look into the dictionary itself.
        dict.update(cast(dict[str, Any], self), self.raw)

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]

    def __setitem__(self, key: str, value: Any) -> None:
        cast(MutableMapping[str, Any], self.raw)[key] = value
        dict.__setitem__(cast(dict[str, Any], self), key, value)

    def __delitem__(self, key: str) -> None:
        del cast(MutableMapping[str, Any], self.raw)[key]
        dict.pop(cast(dict[str, Any], self), key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __eq__(self, other: object) -> bool:
        return Mapping.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # as dictionaries have it

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.raw, **other}

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)

    def copy(self) -> dict[str, Any]:
        """Give the mapping as a dictionary of its own."""
        return dict(self.raw)


@nameko_errors()
def read_settings(given: Mapping[str, Any] | Settings | None = None) -> NamekoSettings:
    """Give the settings that a nameko configuration stands for.

    Args:
        given: A configuration; None for the global one.

    Raises:
        ConfigurationError: A value is wrong.
    """
    if isinstance(given, NamekoSettings):
        return given
    raw: Mapping[str, Any] = given.raw if isinstance(given, Settings) else (config.data if given is None else given)
    own = raw.get(OWN_SECTION) or {}
    if not isinstance(own, Mapping):
        raise ConfigError(f"configuration: {OWN_SECTION} is {own!r}; give a mapping from keys to values")
    check_own_keys(own, f"configuration, section {OWN_SECTION}")
    known = {key: value for key, value in raw.items() if key in NAMEKO_KEYS and value is not None}
    settings = make_settings({**_DEFAULTS, **known, **own})
    values = {field.name: getattr(settings, field.name) for field in fields(Settings)}
    return NamekoSettings(**{**values, "raw": raw})
