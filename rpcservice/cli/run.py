"""``rpcservice run``: hosts services until it is told to stop."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from rpcservice.cli.common import backdoor_address, config_options, is_debug, make_runner, read_settings
from rpcservice.cli.patching import patch
from rpcservice.cli.workers import (
    RunCommand,
    check_backdoor,
    check_worker,
    count_workers,
    is_worker,
    make_member,
    supervise,
)
from rpcservice.errors import CommandError, RpcServiceError

if TYPE_CHECKING:
    from rpcservice.config import Settings
    from rpcservice.core.runner import ServiceRunner
    from rpcservice.supervisor.member import Member

_log = logging.getLogger("rpcservice.run")


@click.command(cls=RunCommand)
@click.argument("targets", nargs=-1, metavar="[MODULE[:CLASS] | FILE.py[:CLASS]]...")
@click.option("--backdoor-port", metavar="[HOST:]PORT", help="Serve a Python console there; see rpcservice backdoor.")
@click.option(
    "--workers",
    metavar="N",
    help="Run so many processes of the services, or auto for one on each processor, which share queues and HTTP ports. "
    "One that dies is started again; SIGHUP restarts them in turn. Wins over workers of the configuration.",
)
@config_options
@click.pass_context
def run(
    ctx: click.Context,
    targets: Sequence[str],
    backdoor_port: str | None,
    workers: str | None,
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
      rpcservice run -c config.yaml --workers auto
    """
    from rpcservice.cli import logs

    with logs.held_back():
        settings = read_settings(config, define, broker)
        if is_worker(ctx):
            check_worker(ctx, settings)
            count = None
        else:
            count = count_workers(workers, settings)
        # A supervisor runs no services. Nothing that binds what is patched has been imported so far.
        if count is None:
            patch()
        logs.set_up(settings, level=logging.DEBUG if is_debug(ctx) else logging.INFO)
    address = None if backdoor_port is None else backdoor_address(backdoor_port)
    names = targets or settings.services
    if not names:
        raise CommandError("nothing to run; name a module or a file, or give -c FILE with a list under services")
    if count is None:
        _host(names, settings, address, make_member(ctx, settings))
        return
    if address is not None:
        check_backdoor(address)
    supervise(ctx, count, settings, lambda lines: _show(lines, settings))


def _host(names: Sequence[str], settings: "Settings", address: str | None, member: "Member | None") -> None:
    """Run services in this process to their end."""
    from rpcservice.cli.services import find_services
    from rpcservice.cli.serving import Serving
    from rpcservice.core.process import Process

    # They first, for it is they that make the modules of this folder known, where SERVICE_CONTAINER_CLS may be.
    services = find_services(names)
    runner = make_runner(settings)
    for service in services:
        runner.add_service(service)
    try:
        with _backdoor(runner, address) as backdoor:
            if member is None:
                was_orderly = Serving(runner, lambda: _announce(runner, backdoor)).run()
            else:
                member.join(runner.resources.get(Process))
                report = partial(_report, runner, backdoor, member)
                was_orderly = Serving(runner, report, member.stop_by, member.report_leaving).run()
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
    """Show what is up."""
    from rpcservice.cli.banner import describe

    lines = list(describe(runner))
    if backdoor is not None:
        lines.append(f"Backdoor: rpcservice backdoor {backdoor}")
    _show(lines, runner.config)


def _report(runner: "ServiceRunner", backdoor: str | None, member: "Member") -> None:
    """Tell the supervisor what is up, who shows it once for all workers."""
    from rpcservice.cli.banner import describe

    if backdoor is not None:
        _log.info("Backdoor: rpcservice backdoor %s", backdoor)
    member.report_ready(list(describe(runner)))


def _show(lines: Sequence[str], settings: "Settings") -> None:
    """Print lines; into the log where somebody may parse it."""
    if settings.log_format == "text" and settings.logging is None:
        click.echo("\n".join([*lines, "Ctrl-C stops."]))
        return
    for line in lines:
        _log.info("%s", line.strip())
