"""nameko's helper that calls services and sends events in a shell."""

from collections.abc import Mapping
from typing import Any

from rpcservice.cli.shell import Toolbox
from rpcservice.compat.nameko._config import read_settings
from rpcservice.compat.nameko._missing import missing_names

__all__ = (
    "SHELLS",
    "make_nameko_helper",
)

SHELLS = ["bpython", "ipython", "plain"]

__getattr__ = missing_names(
    __name__,
    dict.fromkeys(("Shell", "ShellRunner", "main"), "run `rpcservice shell --nameko`")
    | {"interact": "use code.interact of the standard library"},
)


def make_nameko_helper(config: Mapping[str, Any] | None = None) -> Toolbox:
    """Give the shell's ``n``, with ``rpc``, ``dispatch_event``, ``config`` and ``disconnect()``; it connects.

    Args:
        config: A configuration; None for the global one.
    """
    return Toolbox(read_settings(config))
