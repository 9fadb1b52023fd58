"""Lets a command call and send: a service that exists for one call, in this process."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rpcservice.cli import common
from rpcservice.cli.services import find_services
from rpcservice.errors import CommandError

if TYPE_CHECKING:
    from rpcservice.config import Settings


def carry_out(
    settings: "Settings", hosted: tuple[str, ...], service_name: str, work: Callable[[Any], Any], timeout: float
) -> Any:
    """Do something with a broker, as a worker of a service that is there for this alone.

    Args:
        settings: Which broker.
        hosted: Modules or files whose services run in this process meanwhile.
        service_name: In whose name.
        work: Given the service, with ``cluster`` and ``dispatch``; gives the result.
        timeout: Seconds that a call, or connecting, may take.

    Raises:
        RpcServiceError: It failed.
    """
    from dataclasses import replace

    from rpcservice.amqp.events import EventDispatcher
    from rpcservice.amqp.rpc import ClusterRpc
    from rpcservice.core.entrypoint import Entrypoint
    from rpcservice.core.runner import ServiceRunner

    class Command(Entrypoint):
        """Fires when the command says so."""

        def settle(self, ctx: Any) -> None:
            """The command reads the outcome itself."""

    class Client:
        """The service of one command."""

        name = service_name
        cluster = ClusterRpc(timeout=timeout)
        dispatch = EventDispatcher(timeout=timeout)

        @Command.decorator
        def carry_out(self) -> Any:
            return work(self)

    # The outcome is printed once, by the command; a traceback in the log would say it again.
    logging.disable(logging.CRITICAL)
    runner = ServiceRunner(replace(settings, startup_timeout=timeout))
    for service in find_services(list(hosted)):
        runner.add_service(service)
    if hosted and service_name in runner.containers:
        container = runner.containers[service_name]
        raise CommandError(f"{container.service_cls.__name__} runs already under the name {service_name!r}")
    container = runner.add_service(Client)
    runner.start()
    try:
        ctx = container.run_worker(container.entrypoints[0])
    finally:
        runner.stop()
    if ctx.error is not None:
        raise ctx.error
    return ctx.result


def settings_for(
    config_path: str | None, broker: str | None, defines: tuple[str, ...], hosted: tuple[str, ...]
) -> "Settings":
    """Give the settings of a command that talks to services: those it hosts itself are on the embedded broker."""
    if hosted and broker is None:
        broker = "memory://"
    common.look_here_for_modules()
    return common.read_config(config_path, broker, defines)
