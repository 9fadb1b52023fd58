"""Finds the service classes that the command line names: ``MODULE[:CLASS]`` or ``path/to/file.py[:CLASS]``."""

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from rpcservice.cli.common import describe_error, stands_in_for_nameko
from rpcservice.config import is_service_file
from rpcservice.core.entrypoint import DECLARATIONS
from rpcservice.core.service import is_service
from rpcservice.errors import CommandError, DeclarationError

_log = logging.getLogger(__name__)


def find_services(targets: Sequence[str]) -> list[type]:
    """Give the service classes that some targets name, each once.

    Raises:
        CommandError: There is no such module, file or class, or no service in it.
        DeclarationError: A module raises when it is imported.
    """
    search_here()
    found: dict[type, None] = {}
    for target in targets:
        found.update(dict.fromkeys(_find(target)))
    return list(found)


def search_here() -> None:
    """Have modules found in the current folder, as ``python -m`` does."""
    here = os.getcwd()
    if not {"", ".", here} & set(sys.path):
        sys.path.insert(0, here)


def _find(target: str) -> list[type]:
    if is_service_file(target):
        path, _, class_name = target.partition(".py:")
        module = _import_file(Path(path if path.endswith(".py") else f"{path}.py"))
    else:
        name, colon, class_name = target.partition(":")
        if colon and not class_name:
            raise CommandError(f"{target!r} names no class; give MODULE:CLASS, or MODULE alone")
        module = _import(name)
    return [_class_of(module, class_name)] if class_name else _services_of(module, target)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise _broken(name, exc) from exc
        raise CommandError(f"there is no module {exc.name!r} here{_suggestion(name)}") from exc
    except Exception as exc:
        raise _broken(name, exc) from exc


def _broken(name: str, exc: Exception) -> DeclarationError:
    mend = "; --debug shows the traceback"
    missing = exc.name if isinstance(exc, ModuleNotFoundError) else None
    if missing == "nameko" and not stands_in_for_nameko():
        mend = "; give --nameko, with which rpcservice stands in for it"
    return DeclarationError(f"{name} cannot be imported: {describe_error(exc)}{mend}")


def _suggestion(name: str) -> str:
    path = Path(name)
    for candidate in (path.with_suffix(".py"), Path(f"{name}.py"), Path(*name.split(".")).with_suffix(".py")):
        if candidate.is_file():
            return f"; is the file {candidate} meant?"
    return "; run this in the folder that holds it, or give the path of a file that ends in .py"


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    folder, name = path.parent, path.stem
    # A file of a package is imported as its module, so that its relative imports work.
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = _import(name)
    origin = getattr(module, "__file__", None)
    if origin is None or Path(origin).resolve() != path:
        raise CommandError(
            f"{path} cannot be imported as {name!r}, for that is {origin or 'a built-in module'}; rename the file"
        )
    return module


def _class_of(module: ModuleType, name: str) -> type:
    try:
        found: object = getattr(module, name)
    except AttributeError:
        names = [cls.__name__ for cls in _candidates(module)]
        there = f"; its services are: {', '.join(names)}" if names else ", and no service either"
        raise CommandError(f"module {module.__name__!r} has no {name!r}{there}") from None
    if not isinstance(found, type):
        raise CommandError(f"{module.__name__}:{name} is a {type(found).__name__}; a service is a class")
    return found


def _candidates(module: ModuleType) -> list[type]:
    return [value for value in dict.fromkeys(_classes(module)) if is_service(value)]


def _classes(module: ModuleType) -> list[type]:
    return [value for value in vars(module).values() if isinstance(value, type)]


def _services_of(module: ModuleType, target: str) -> list[type]:
    services = _candidates(module)
    nameless = [cls.__name__ for cls in _classes(module) if _has_entrypoints(cls) and cls not in services]
    if services:
        own = [name for name in nameless if getattr(module, name).__module__ == module.__name__]
        bases = {base.__name__ for service in services for base in service.__mro__}
        for name in sorted(set(own) - bases):
            _log.warning("%s: %s has entrypoints but no name, and is not run as a service", target, name)
        return services
    if nameless:
        raise CommandError(
            f'{target}: {nameless[0]} has entrypoints, but no name; give it one, such as name = "orders"'
        )
    raise CommandError(f"{target} has no service; a service is a class with a name and an entrypoint such as @rpc")


def _has_entrypoints(cls: type) -> bool:
    return any(hasattr(member, DECLARATIONS) for _, member in inspect.getmembers(cls, inspect.isroutine))
