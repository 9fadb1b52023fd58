"""``rpcservice run``: hosts services until a signal comes."""

import logging
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

import rpcservice
from rpcservice.cli import common
from rpcservice.errors import BrokerError, CommandError, ConfigError

if TYPE_CHECKING:
    from rpcservice.config import Settings
    from rpcservice.core.runner import ServiceRunner

_CONVERTER = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?\w+>")


@click.command()
@click.argument("targets", nargs=-1, metavar="[MODULE[:CLASS] | FILE.py[:CLASS]]...")
@common.config_options
@common.without_traceback
def command(targets: tuple[str, ...], config_path: str | None, broker: str | None, defines: tuple[str, ...]) -> None:
    """Run services until Ctrl-C or SIGTERM; a second signal kills them.

    Without CLASS every service in the module runs; without any module those under "services" in the configuration.

    \b
    Example: rpcservice run shop.orders shop/products.py:Products -c config.yaml -d max_workers=50
    """
    common.patch()
    settings = common.read_config(config_path, broker, defines)
    names = list(targets) or list(settings.services)
    if not names:
        raise CommandError("nothing to run: name a module or file, or give a configuration with services (-c FILE)")
    common.look_here_for_modules()
    from rpcservice.cli import logs
    from rpcservice.cli.services import find_services

    logs.set_up(settings)
    sys.exit(host(find_services(names), settings))


def host(services: list[type], settings: "Settings") -> int:
    """Run services until a signal comes; gives the exit code."""
    from rpcservice.core.runner import ServiceRunner

    runner = ServiceRunner(settings)
    for service in services:
        runner.add_service(service)
    if settings.health_address is not None:
        from rpcservice.web.server import HealthServer

        runner.resources.get(HealthServer, "health")
    if settings.amqp_uri.startswith("memory:"):
        click.echo(
            f"rpcservice {rpcservice.__version__} on the embedded broker, memory://: nothing leaves this process. "
            "Set AMQP_URI to a RabbitMQ for more than one."
        )
    signals = Signals(runner)
    signals.install()
    try:
        runner.start()
    except (BrokerError, ConfigError) as exc:
        # Not a mistake on the command line: the machine is not as the configuration wants it.
        click.echo(f"Error: {exc}", err=True)
        return common.FAILURE
    for line in overview(runner):
        click.echo(line)
    return signals.serve()


class Signals:
    """Turns SIGTERM and SIGINT into an orderly stop, and a second one into a kill."""

    def __init__(self, runner: "ServiceRunner") -> None:
        self._runner = runner
        self._backend = runner.backend
        self._received = 0
        self._wanted = self._backend.event()

    def install(self) -> None:
        """Take the signals over."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        self._received += 1
        if self._received == 1:
            self._backend.wake_for(self._wanted.set)
        else:
            self._backend.wake_for(self._backend.spawn, self._kill)

    def _kill(self) -> None:
        click.echo("killed", err=True)
        try:
            self._runner.kill()
        finally:
            logging.shutdown()
            sys.stdout.flush()
            # What still runs may never give control back: that is what a second signal is for.
            os._exit(common.FAILURE)

    def serve(self) -> int:
        """Wait for a signal, or for a service to die; stop all; give the exit code."""
        watcher = self._backend.spawn(self._watch)
        self._wanted.wait()
        self._runner.stop()
        watcher.wait()
        return common.FAILURE if self._died else 0

    _died = False

    def _watch(self) -> None:
        try:
            self._runner.wait()
        except Exception as exc:
            self._died = True
            click.echo(f"Error: a service died: {type(exc).__name__}: {exc}", err=True)
        self._wanted.set()


def overview(runner: "ServiceRunner") -> list[str]:
    """Say which services and entrypoints are up, where, and what to try."""
    lines = []
    urls: list[str] = []
    for container in runner.containers.values():
        lines.append(f"{container.service_name}")
        for entrypoint in container.entrypoints:
            lines.append(f"  {entrypoint.describe()}")
            url = getattr(entrypoint, "url", None)
            if url is not None and "GET" in getattr(entrypoint, "methods", ()):
                urls.append(url)
    server = _web_server(runner)
    if server is not None:
        lines.append(f"listening on {server.url}")
        if urls:
            # One with a name in it says more than a bare list.
            best = next((url for url in urls if "<" in url), urls[0])
            lines.append(f"try: curl {server.url}{_CONVERTER.sub(_sample, best)}")
    return lines


def _web_server(runner: "ServiceRunner") -> Any:
    for resource in runner.resources:
        if type(resource).__name__ == "WebServer":
            return resource
    return None


def _sample(match: re.Match[str]) -> str:
    return "1" if match[1] in ("int", "float") else "world"
