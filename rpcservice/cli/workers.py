"""``rpcservice run --workers``: the supervisor's part of the command, and a worker's."""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rpcservice.cli.common import Command
from rpcservice.errors import CommandError, ConfigError

if TYPE_CHECKING:
    from rpcservice.config import Settings
    from rpcservice.supervisor.channel import Channel
    from rpcservice.supervisor.handover import Handover
    from rpcservice.supervisor.member import Member

STOP_MARGIN = 15.0
"""Seconds beyond ``shutdown_timeout`` in which a worker ends its dependencies and connections; then it is killed."""

START_MARGIN = 60.0
"""Seconds beyond ``startup_timeout`` in which a new worker of a restart imports and starts; then it is stopped."""

_WORKER = "rpcservice.worker"


class RunCommand(Command):
    """A command that may run as the worker of a supervisor, who is told of its errors and shows them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from rpcservice.concurrency.native import native
        from rpcservice.supervisor.channel import Channel
        from rpcservice.supervisor.handover import Handover

        try:
            handover = Handover.take()
        except CommandError as exc:
            raise click.UsageError(str(exc), ctx) from exc
        if handover is None:
            return super().invoke(ctx)
        # A thread of the system waits for what it says.
        channel = Channel(native("socket").socket(fileno=handover.channel))
        ctx.meta[_WORKER] = handover, channel
        try:
            return super().invoke(ctx)
        except click.ClickException as exc:
            is_usage = isinstance(exc, click.UsageError)
            try:
                channel.send("failed", {"message": exc.format_message(), "code": exc.exit_code, "is_usage": is_usage})
            except OSError:
                raise exc from None  # the supervisor is gone: nobody else shows it
            raise click.exceptions.Exit(exc.exit_code) from exc


def is_worker(ctx: click.Context) -> bool:
    """Say whether this process is the worker of a supervisor."""
    return _WORKER in ctx.meta


def check_worker(ctx: click.Context, settings: "Settings") -> None:
    """See whether this worker may run with a configuration, which may be another one than at the supervisor's start.

    Raises:
        ConfigError: It is one for a single process.
    """
    handover: Handover = ctx.meta[_WORKER][0]
    _check_broker(handover.count, settings)


def make_member(ctx: click.Context, settings: "Settings") -> "Member | None":
    """Give this worker's side of its supervisor; None where it is no worker. The process is to be patched."""
    if not is_worker(ctx):
        return None
    from rpcservice.concurrency import green
    from rpcservice.supervisor.member import Member

    handover: Handover
    channel: Channel
    handover, channel = ctx.meta[_WORKER]
    _name_process(f"rpcservice {handover.number}")
    return Member(handover, channel, green(), settings.shutdown_timeout + STOP_MARGIN)


def count_workers(text: str | None, settings: "Settings") -> int | None:
    """Give how many workers are asked for; None where the services run in this process.

    Args:
        text: What the option says, which wins over the configuration.
        settings: The configuration.

    Raises:
        CommandError: It is no number of workers.
        ConfigError: There may be only one.
    """
    asked = settings.workers if text is None else _parse(text)
    if asked is None:
        return None
    if isinstance(asked, int):
        count = asked
    else:
        from rpcservice.supervisor.cpus import usable_cpus

        count = usable_cpus()
    _check_broker(count, settings)
    return count


def _check_broker(count: int, settings: "Settings") -> None:
    if count > 1 and settings.amqp_uri.startswith("memory:"):
        raise ConfigError(
            f"{count} workers cannot share memory://, for the embedded broker is within one process; "
            "give RabbitMQ's URI as AMQP_URI or --broker, or leave workers out"
        )


def _parse(text: str) -> int | str:
    from rpcservice.kinds import WORKERS

    try:
        asked: int | str = WORKERS.check(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError:
        raise CommandError(f"--workers is {text!r}; give {WORKERS.allowed}") from None
    return asked


def check_backdoor(address: str) -> None:
    """See whether workers can serve a backdoor there.

    Raises:
        CommandError: It is one port for all.
    """
    if not address.endswith(":0"):
        raise CommandError(
            f"workers cannot share the backdoor's port, {address}; give --backdoor-port 0: each takes a free one then, "
            "and its log says which"
        )


def supervise(ctx: click.Context, count: int, settings: "Settings", show: Callable[[Sequence[str]], object]) -> None:
    """Run this command line in so many workers, until they are stopped.

    Args:
        ctx: The command's.
        count: How many.
        settings: The configuration.
        show: Shows some lines, once all workers are up.

    Raises:
        ClickException: The services could not be started, or not be stopped in order.
    """
    from rpcservice.supervisor.supervisor import Supervisor

    _open_standard_streams()

    def announce(lines: Sequence[str]) -> None:
        try:
            show([*lines, f"Workers: {count}; kill -HUP {os.getpid()} restarts them in turn"])
        except OSError as exc:
            # A terminal that has gone shows nothing, which is nothing to end for; that ends who is to end by a signal.
            if exc.errno != errno.EIO:
                raise

    failure = Supervisor(
        count,
        stop_limit=settings.shutdown_timeout + STOP_MARGIN,
        start_limit=None if settings.startup_timeout is None else settings.startup_timeout + START_MARGIN,
        announce=announce,
    ).run()
    if failure is None:
        return
    message = failure["message"]
    error = click.UsageError(message, ctx) if failure.get("is_usage") else click.ClickException(message)
    error.exit_code = failure["code"]  # type: ignore[misc]  # click asks the instance
    raise error


def _open_standard_streams() -> None:
    """See that descriptors 0 to 2 are open: one of a worker's would have to give way to its standard input."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)


def _name_process(name: str) -> None:
    """Have ps and top show a name, a courtesy where there is a place to write it to."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)
