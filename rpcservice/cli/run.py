"""``rpcservice run``: hosts services until it is told to stop."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rpcservice.cli.common import Command, backdoor_address, config_options, is_debug, make_runner, read_settings
from rpcservice.cli.patching import patch
from rpcservice.errors import CommandError, RpcServiceError

if TYPE_CHECKING:
    from rpcservice.core.runner import ServiceRunner


@click.command(cls=Command)
@click.argument("targets", nargs=-1, metavar="[MODULE[:CLASS] | FILE.py[:CLASS]]...")
@click.option("--backdoor-port", metavar="[HOST:]PORT", help="Serve a Python console there; see rpcservice backdoor.")
@config_options
@click.pass_context
def run(
    ctx: click.Context,
    targets: Sequence[str],
    backdoor_port: str | None,
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
) -> None:
    """Run services until SIGTERM or Ctrl-C; a second one kills them.

    Without a class, every service of the module runs; without a module, what the configuration lists under
    "services". Without any setting the broker is RabbitMQ on localhost.

    \b
    Examples:
      rpcservice run hello.py --broker memory://
      rpcservice run shop.orders shop.products:Products -c config.yaml -d max_workers=20
    """
    patch()
    from rpcservice.cli import logs

    with logs.held_back():
        settings = read_settings(config, define, broker)
        logs.set_up(settings, level=logging.DEBUG if is_debug(ctx) else logging.INFO)
    from rpcservice.cli.services import find_services
    from rpcservice.cli.serving import Serving

    address = None if backdoor_port is None else backdoor_address(backdoor_port)
    names = targets or settings.services
    if not names:
        raise CommandError("nothing to run; name a module or a file, or give -c FILE with a list under services")
    # They first, for it is they that make the modules of this folder known, where SERVICE_CONTAINER_CLS may be.
    services = find_services(names)
    runner = make_runner(settings)
    for service in services:
        runner.add_service(service)
    try:
        with _backdoor(runner, address) as backdoor:
            was_orderly = Serving(runner, lambda: _announce(runner, backdoor)).run()
    except RpcServiceError as exc:
        # No mistake on the command line any more, whatever it is.
        raise click.ClickException(str(exc)) from exc
    if not was_orderly:
        raise click.ClickException("killed by a second signal; unfinished work went back to its queues")


@contextmanager
def _backdoor(runner: "ServiceRunner", address: str | None) -> Iterator[str | None]:
    """Serve the backdoor, where one is asked for; gives its address, the port as it came out."""
    if address is None:
        yield None
        return
    from rpcservice.cli.backdoor_server import BackdoorServer

    names = {"runner": runner, "services": runner.service_map, "config": runner.config}
    with BackdoorServer(address, names) as server:
        yield server.address


def _announce(runner: "ServiceRunner", backdoor: str | None) -> None:
    """Print what is up; into the log where somebody may parse it."""
    from rpcservice.cli.banner import describe

    lines = list(describe(runner))
    if backdoor is not None:
        lines.append(f"Backdoor: rpcservice backdoor {backdoor}")
    if runner.config.log_format == "text" and runner.config.logging is None:
        click.echo("\n".join([*lines, "Ctrl-C stops."]))
        return
    log = logging.getLogger("rpcservice.run")
    for line in lines:
        log.info("%s", line.strip())
