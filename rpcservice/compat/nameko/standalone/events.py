"""nameko's standalone event dispatcher, on rpcservice's."""

from collections.abc import Mapping
from typing import Any

from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.amqp._topology import get_event_exchange as get_event_exchange
from rpcservice.compat.nameko.standalone._arguments import take_config
from rpcservice.standalone.events import StandaloneDispatcher

__all__ = (
    "event_dispatcher",
    "get_event_exchange",
)

__getattr__ = missing_names(__name__)


def event_dispatcher(*config: Mapping[str, Any], **options: Any) -> StandaloneDispatcher:
    """Give a function ``dispatch(service_name, event_type, event_data)`` that sends events in the name of any service.

    Args:
        config: A configuration, as in nameko 2; without it the global one holds.
        options: ``uri``, ``ssl``, ``login_method``, ``serializer`` and other options of publishers.

    Raises:
        ConfigurationError: The configuration is wrong.
        TypeError: There is no such option.
    """
    options.setdefault("config", options.pop("nameko_config", None) or next(iter(config), None))
    settings, _ = take_config((), options)
    return StandaloneDispatcher(settings, options)
