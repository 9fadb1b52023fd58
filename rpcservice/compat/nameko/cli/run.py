"""nameko's functions that host services, for programs that start themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from rpcservice.cli.backdoor_server import BackdoorServer
from rpcservice.cli.services import find_services
from rpcservice.cli.serving import Serving
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.runners import ServiceRunner

__all__ = (
    "import_service",
    "run",
)

__getattr__ = missing_names(
    __name__,
    {
        "logger": 'use logging.getLogger("nameko.cli.run")',
        "main": "call nameko.cli.main.main(), or run `rpcservice run --nameko`",
        "setup_backdoor": "give backdoor_port to run(), or run `rpcservice run --nameko --backdoor-port PORT`",
    }
    | dict.fromkeys(("MISSING_MODULE_TEMPLATE", "is_entrypoint", "is_type"), "call import_service()"),
)


def import_service(module_name: str) -> list[type]:
    """Give the services of ``module`` or ``module:Class``.

    Raises:
        CommandError: There is none.
        DeclarationError: The module raises when it is imported.
    """
    return find_services([module_name])


def run(
    services: Sequence[type | str],
    config: Mapping[str, Any] | None = None,
    backdoor_port: int | tuple[str, int] | None = None,
) -> None:
    """Host services until SIGTERM or Ctrl-C; a second one kills them. The process is to be patched for eventlet.

    Args:
        services: Service classes, as in nameko 2, or what names them, ``module`` or ``module:Class``, as in nameko 3.
        config: A configuration; None for the global one.
        backdoor_port: Where a Python console is served, on localhost unless a host is given.

    Raises:
        Exception: What ended a service.
    """
    runner = ServiceRunner(config)
    for service in services:
        for service_cls in import_service(service) if isinstance(service, str) else [service]:
            runner.add_service(service_cls)
    serving = Serving(runner, lambda: None)
    if backdoor_port is None:
        serving.run()
        return
    host, port = backdoor_port if isinstance(backdoor_port, tuple) else ("localhost", backdoor_port)
    with BackdoorServer(f"{host}:{port}", {"runner": runner}):
        serving.run()
