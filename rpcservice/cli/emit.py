"""``rpcservice emit``: sends an event."""

from typing import Any

import click

from rpcservice.cli import client, common
from rpcservice.cli.call import parse


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("event_type", metavar="EVENT")
@click.argument("payload", default="null", metavar="[PAYLOAD]")
@click.option("--run", "hosted", multiple=True, metavar="MODULE", help="Host a service here, on the embedded broker.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds that connecting and the confirm may take.")
@common.config_options
@common.without_traceback
def command(
    source: str,
    event_type: str,
    payload: str,
    hosted: tuple[str, ...],
    timeout: float,
    config_path: str | None,
    broker: str | None,
    defines: tuple[str, ...],
) -> None:
    """Send an event in the name of the service SOURCE. PAYLOAD is JSON.

    \b
    Example: rpcservice emit payments payment_failed '{"order_id": 17}'
    """
    value = parse(payload, "PAYLOAD", None)
    common.patch()
    settings = client.settings_for(config_path, broker, defines, hosted)

    def work(service: Any) -> None:
        service.dispatch(event_type, value)

    client.carry_out(settings, hosted, source, work, timeout)
    click.echo(f"sent: {source} {event_type}")
