"""``rpcservice call``: calls a method and prints its result."""

import json
from typing import Any

import click

from rpcservice.cli import client, common
from rpcservice.errors import CommandError


@click.command()
@click.argument("target", metavar="SERVICE.METHOD")
@click.argument("args", default="[]", metavar="[ARGS]")
@click.argument("kwargs", default="{}", metavar="[KWARGS]")
@click.option("--run", "hosted", multiple=True, metavar="MODULE", help="Host a service here, on the embedded broker.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds that connecting and the call may take.")
@common.config_options
@common.without_traceback
def command(
    target: str,
    args: str,
    kwargs: str,
    hosted: tuple[str, ...],
    timeout: float,
    config_path: str | None,
    broker: str | None,
    defines: tuple[str, ...],
) -> None:
    """Call an RPC method and print its result as JSON. ARGS is a JSON list, KWARGS a JSON object.

    \b
    Example: rpcservice call orders.place '["sku-1"]' '{"quantity": 2}'
    """
    service_name, _, method_name = target.rpartition(".")
    if not service_name or not method_name:
        raise CommandError(f"{target!r} names no method; give SERVICE.METHOD, such as orders.place")
    if args.lstrip().startswith("{") and kwargs == "{}":
        args, kwargs = "[]", args
    positional, keyword = parse(args, "ARGS", list), parse(kwargs, "KWARGS", dict)
    common.patch()
    settings = client.settings_for(config_path, broker, defines, hosted)

    def work(service: Any) -> Any:
        return service.cluster[service_name][method_name](*positional, **keyword)

    result = client.carry_out(settings, hosted, "rpcservice-call", work, timeout)
    from kombu.utils.json import dumps

    click.echo(dumps(result, default_kwargs={"ensure_ascii": False}))


_WANTED: dict[type, str] = {list: 'list, such as ["sku-1"]', dict: 'object, such as {"quantity": 2}'}


def parse(text: str, what: str, kind: type | None) -> Any:
    """Parse JSON from the command line.

    Raises:
        CommandError: It is no JSON, or not of that kind.
    """
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise CommandError(f"{what} is no valid JSON: {exc}: {text}") from exc
    if kind is not None and not isinstance(value, kind):
        raise CommandError(f"{what} is {text}; give a JSON {_WANTED[kind]}")
    return value
