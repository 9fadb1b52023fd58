"""``rpcservice emit``: sends one event."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from rpcservice.cli.client import carry_out, client_options, client_settings, parse_json, set_up_logs
from rpcservice.cli.common import Command, describe_error, is_debug, make_runner
from rpcservice.cli.patching import patch

if TYPE_CHECKING:
    from rpcservice.config import Settings
    from rpcservice.core.context import WorkerContext
    from rpcservice.core.entrypoint import Entrypoint
    from rpcservice.core.runner import ServiceRunner

HANDLER_WAIT = 60.0


@click.command(cls=Command)
@click.argument("source")
@click.argument("event_type", metavar="EVENT")
@click.argument("payload", required=False, default="null")
@client_options
@click.pass_context
def emit(
    ctx: click.Context,
    source: str,
    event_type: str,
    payload: str,
    targets: Sequence[str],
    timeout: float | None,
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
) -> None:
    """Send an event in the name of the service SOURCE; PAYLOAD is JSON.

    It ends when the broker has the event; with --run, when its handlers there have ended.

    \b
    Examples:
      rpcservice emit payments payment_failed '{"order": 7}' --broker amqp://localhost
      rpcservice emit orders order_placed '{"sku": "sku-1"}' --run shop.notifications
    """
    value = parse_json(payload, "payload")
    patch()
    set_up_logs(is_debug=is_debug(ctx))
    settings = client_settings(config, define, broker, targets, timeout)
    for line in _emit(settings, targets, source, event_type, value, timeout or HANDLER_WAIT):
        click.echo(line)


def _emit(
    settings: "Settings", targets: Sequence[str], source: str, event_type: str, payload: object, timeout: float
) -> list[str]:
    from rpcservice.amqp.events import EventDispatcher
    from rpcservice.cli.services import find_services

    watch = HandlerWatch()
    services = find_services(targets)
    runner = make_runner(settings, [watch])
    for service in services:
        runner.add_service(service)
    watch.expect(runner, source, event_type)

    def send(dispatch: Any) -> list[str]:
        dispatch(event_type, payload)
        return [f"sent: {source} {event_type}", *watch.wait(timeout)]

    lines = carry_out(runner, EventDispatcher(), send, source)
    if watch.errors:
        raise click.ClickException("; ".join(watch.errors))
    return lines


class HandlerWatch:
    """An around-hook that sees the handlers of one event end."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._missing: list[Entrypoint] = []
        self._lines: list[str] = []

    def expect(self, runner: "ServiceRunner", source: str, event_type: str) -> None:
        """Note the handlers of an event in a runner."""
        self._changed = runner.backend.event()
        for container in runner.service_map.values():
            for entrypoint in container.entrypoints:
                event: Any = entrypoint
                if (getattr(event, "source_service", None), getattr(event, "event_type", None)) == (source, event_type):
                    self._missing.append(entrypoint)

    def around_worker(self, ctx: "WorkerContext", call_next: "Callable[[WorkerContext], object]") -> object:
        """See a worker end."""
        try:
            return call_next(ctx)
        finally:
            if ctx.entrypoint in self._missing:
                self._missing.remove(ctx.entrypoint)
                self._note(f"{ctx.service_name}.{ctx.entrypoint.method_name}", ctx.error)

    def _note(self, handler: str, error: BaseException | None) -> None:
        if error is None:
            self._lines.append(f"handled: {handler}")
        else:
            self.errors.append(f"{handler} raised {describe_error(error)}")
        self._changed.set()

    def wait(self, timeout: float) -> list[str]:
        """Wait until every handler has ended; gives a line for each.

        Raises:
            ClickException: One did not end in time.
        """
        from time import monotonic

        deadline = monotonic() + timeout
        while self._missing:
            self._changed.clear()
            if not self._changed.wait(max(0.0, deadline - monotonic())):
                names = ", ".join(f"{one.host.service_name}.{one.method_name}" for one in self._missing)
                raise click.ClickException(f"not handled within {timeout:g} s by: {names}")
        return self._lines
