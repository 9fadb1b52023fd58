"""Stands in for nameko: after :func:`install`, ``import nameko`` and all modules below it give this package's.

A module here bears the name that it has below ``nameko``; names with an underscore in front are not part of what
nameko has. Both the names of 2.14 and those of 3.0 are there. Nothing outside of this package, but for the command
line and the pytest plugin, which switch it on, knows of it.
"""

import sys
from typing import TYPE_CHECKING, Any

from rpcservice.compat.nameko import _logging
from rpcservice.compat.nameko._finder import NamekoFinder

if TYPE_CHECKING:
    from rpcservice.compat.nameko._config import Config

    config: Config

__all__ = ("Config", "config")

__version__ = "3.0.0+rpcservice"

_finder = NamekoFinder(__name__)


def install() -> None:
    """Have ``import nameko`` give this package from now on; call it before anything imports nameko. May be repeated.

    Raises:
        ImportError: The real nameko has been imported already.
    """
    present = sys.modules.get("nameko")
    if present is not None and present is not sys.modules[__name__] and not _forget_plugin():
        raise ImportError(
            f"nameko has been imported from {getattr(present, '__file__', 'elsewhere')}, and may be in use; call "
            "rpcservice.compat.nameko.install() before anything imports nameko"
        )
    if _finder not in sys.meta_path:
        _logging.connect()
    else:
        sys.meta_path.remove(_finder)
    # In front of what has come meanwhile: pytest's own hook would find an installed nameko.
    sys.meta_path.insert(0, _finder)


def _forget_plugin() -> bool:
    """Forget the pytest plugin of an installed nameko; False where more of nameko than that has been imported.

    pytest imports the plugins of all installed packages, nameko's perhaps before ours, and nothing has used it yet.
    """
    imported = {name for name in sys.modules if name == "nameko" or name.startswith("nameko.")}
    if "nameko.testing.pytest" not in imported or imported - {"nameko", "nameko.testing", "nameko.testing.pytest"}:
        return False
    for name in imported:
        del sys.modules[name]
    return True


def uninstall() -> None:
    """Have ``import nameko`` look for nameko itself again; what has been imported stays in use where it is."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
        _logging.disconnect()
    for name in [name for name in sys.modules if name == "nameko" or name.startswith("nameko.")]:
        if sys.modules[name].__name__.startswith(__name__):
            del sys.modules[name]


def is_installed() -> bool:
    """Say whether ``import nameko`` gives this package."""
    return _finder in sys.meta_path


def __getattr__(name: str) -> Any:
    """Make ``nameko.config`` when it is first used: importing the package is to cost nothing."""
    if name in ("config", "Config"):
        from rpcservice.compat.nameko import _config

        globals()[name] = getattr(_config, name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
