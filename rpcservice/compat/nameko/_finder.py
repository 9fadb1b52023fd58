"""The import hook: finds this package's modules under nameko's names."""

from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from rpcservice.compat.nameko._missing import MODULES

NAMEKO = "nameko"
_GUIDE = "its guide 'Coming from nameko' says what to use instead of what is missing"


class NamekoFinder(MetaPathFinder):
    """Gives ``nameko`` and every module below it out of a package with the same modules.

    Args:
        package: The name of that package.
    """

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give the spec of a module of nameko's; None for all others.

        Raises:
            ModuleNotFoundError: nameko may have it, but this package does not.
        """
        if fullname != NAMEKO and not fullname.startswith(f"{NAMEKO}."):
            return None
        ours = self._package + fullname.removeprefix(NAMEKO)
        if find_spec(ours) is None:
            raise ModuleNotFoundError(
                f"rpcservice stands in for nameko here and has no module {fullname!r}; {MODULES.get(fullname, _GUIDE)}",
                name=fullname,
            )
        return ModuleSpec(fullname, _Alias(ours))


class _Alias(Loader):
    """Gives a module that has a name of its own under another one, as the same object."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module under its own name."""
        module = import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module back what the import system has put in the place of its spec; it has run already."""
        module.__spec__ = self._spec
