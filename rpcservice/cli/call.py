"""``rpcservice call``: makes one RPC call and prints the result."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rpcservice.cli.client import carry_out, client_options, client_settings, parse_json, set_up_logs
from rpcservice.cli.common import Command, is_debug, make_runner
from rpcservice.cli.escapes import printable_json
from rpcservice.cli.patching import patch
from rpcservice.errors import CommandError, IncorrectSignature, RemoteError

if TYPE_CHECKING:
    from rpcservice.config import Settings


@click.command(cls=Command)
@click.argument("method", metavar="SERVICE.METHOD")
@click.argument("arguments", nargs=-1, metavar="[ARGS] [KWARGS]")
@client_options
@click.pass_context
def call(
    ctx: click.Context,
    method: str,
    arguments: Sequence[str],
    targets: Sequence[str],
    timeout: float | None,
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
) -> None:
    """Call a method of a service and print its result as JSON.

    ARGS is a JSON list of positional arguments, KWARGS a JSON object of named ones.

    \b
    Examples:
      rpcservice call orders.place '["sku-1"]' '{"quantity": 2}' --broker amqp://localhost
      rpcservice call greeter.hello '["world"]' --run hello.py
    """
    service_name, _, method_name = method.rpartition(".")
    if not service_name or not method_name:
        raise CommandError(f"{method!r} is no method; give SERVICE.METHOD, such as orders.place")
    args, kwargs = _split(arguments)
    patch()
    set_up_logs(is_debug=is_debug(ctx))
    settings = client_settings(config, define, broker, targets, timeout)
    try:
        result = _call(settings, targets, service_name, method_name, args, kwargs)
    except RemoteError as exc:
        raise click.ClickException(f"{method} raised {exc.exc_type}: {exc.value}") from exc
    except IncorrectSignature as exc:
        raise click.ClickException(f"{method}: {exc}") from exc
    click.echo(printable_json(json.dumps(result, ensure_ascii=False, default=_as_text)))


def _as_text(value: Any) -> str:
    """Give what JSON has no form for, such as the dates and decimals that serializers bring, as a text."""
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _split(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if len(texts) > 2:
        raise CommandError(f"{len(texts)} arguments; give a JSON list, a JSON object, or both: '[1, 2]' '{{\"c\": 3}}'")
    for text in texts:
        value = parse_json(text, "argument")
        if isinstance(value, list) and not args:
            args = value
        elif isinstance(value, dict) and not kwargs:
            kwargs = value
        else:
            raise CommandError(f"argument {text!r} is no list, or one too many; give at most '[...]' and '{{...}}'")
    return args, kwargs


def _call(
    settings: "Settings",
    targets: Sequence[str],
    service_name: str,
    method_name: str,
    args: list[Any],
    kwargs: dict[str, Any],
) -> Any:
    from rpcservice.amqp.clients import ClusterRpc
    from rpcservice.cli.services import find_services

    services = find_services(targets)
    runner = make_runner(settings)
    for service in services:
        runner.add_service(service)
    return carry_out(runner, ClusterRpc(), lambda cluster: cluster[service_name][method_name](*args, **kwargs))
