"""Finds the service classes that a command line or a configuration names."""

import importlib
import importlib.util
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
    """Import a file by its path, as a module that files beside it can import too."""
    path = path.resolve()
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path) and module.__name__ != "__main__":
            return module
    name = path.stem if path.stem not in sys.modules else f"{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CommandError(f"{path}: cannot be imported as Python")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        del sys.modules[name]
        raise CommandError(f"{path}: cannot be imported: {type(exc).__name__}: {exc}") from exc
    return module
