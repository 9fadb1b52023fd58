"""Names that a module here does not have itself: from elsewhere, or the import fails with a word on what to use."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rpcservice.compat.nameko._elsewhere import LIBRARIES, take
from rpcservice.nameko_names import homes_of

MODULES: Mapping[str, str] = {
    "nameko.cli.actions": "options of commands are click's, nameko.cli.click_options has nameko 3's",
    "nameko.cli.backdoor": "run `rpcservice backdoor`",
    "nameko.cli.code": "use code.InteractiveConsole of the standard library",
    "nameko.cli.commands": "nameko.cli.cli is the group of the commands; add one to it by click",
    "nameko.cli.show_config": "run `rpcservice show-config`",
    "nameko.cli.test": "run `rpcservice test --nameko`",
    "nameko.cli.utils.code": "use code.InteractiveConsole of the standard library",
    "nameko.cli.utils.config": "nameko.cli.utils has load_config, setup_config and setup_yaml_parser",
    "nameko.cli.utils.import_services": "nameko.cli.utils has import_services",
}
"""Modules of nameko that are not here, with what to use instead."""


def missing_names(module: str, mends: Mapping[str, str] = MappingProxyType({})) -> Callable[[str], Any]:
    """Give a module-level ``__getattr__``; what nameko's module has from others it gives from there.

    Args:
        module: The module's own name.
        mends: For each missing name what to use instead.
    """
    known_as = f"nameko{module.removeprefix('rpcservice.compat.nameko')}"

    homes = {**LIBRARIES.get(known_as, {}), **homes_of(known_as)}

    def __getattr__(name: str) -> Any:
        if name in homes:
            return take(homes[name], name)
        mend = mends.get(name)
        if mend is None:
            raise AttributeError(f"module {known_as!r} has no attribute {name!r}")
        raise ImportError(f"{known_as}.{name} has no counterpart in rpcservice; {mend}", name=name)

    return __getattr__
