"""Finds the service classes that a command line or a configuration names."""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from rpcservice.errors import CommandError


def find_services(targets: list[str]) -> list[type]:
    """Give the service classes of ``MODULE[:CLASS]`` or ``path/to/file.py[:CLASS]``, each once, in this order.

    Raises:
        CommandError: There is no such module, file or class, or no service in it.
    """
    found: dict[type, None] = {}
    for target in targets:
        for cls in _services_of(target):
            found[cls] = None
    return list(found)


def _services_of(target: str) -> list[type]:
    from rpcservice.core.service import is_service

    place, _, class_name = target.partition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    if not class_name:
        services = [member for _, member in inspect.getmembers(module, is_service)]
        if not services:
            raise CommandError(f"{place}: no service in it; a service is a class with a name and an entrypoint")
        return services
    cls: Any = getattr(module, class_name, None)
    if cls is None:
        raise CommandError(f"{place}: there is no {class_name!r} in it{_others(module)}")
    if not inspect.isclass(cls):
        raise CommandError(f"{place}: {class_name!r} is not a class{_others(module)}")
    if not is_service(cls):
        raise CommandError(f"{place}: {class_name!r} is no service: it needs a name and an entrypoint such as @rpc")
    return [cls]


def _others(module: ModuleType) -> str:
    from rpcservice.core.service import is_service

    names = [name for name, _ in inspect.getmembers(module, is_service)]
    return f"; its services: {', '.join(names)}" if names else ""


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(f"{exc.name}.")):
            hint = f"; is the file {name}.py meant?" if Path(f"{name}.py").exists() else ""
            raise CommandError(f"there is no module {name!r} here or on the Python path{hint}") from exc
        raise CommandError(f"{name}: cannot be imported: {exc}") from exc
    except Exception as exc:
        raise CommandError(f"{name}: cannot be imported: {type(exc).__name__}: {exc}") from exc


def _load_file(path: Path) -> ModuleType:
    """Import a file by its path, under the name by which files beside it import it too."""
    path = path.resolve()
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").exists():
        names.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = _load_module(".".join(names))
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise CommandError(
            f"{path}: another module is named {module.__name__!r} already: {module.__file__}; rename the file"
        )
    return module
