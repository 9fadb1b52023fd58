"""What ``call`` and ``emit`` have in common: a private service with one dependency, which they borrow."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rpcservice.cli.common import config_options, read_settings
from rpcservice.errors import CommandError

if TYPE_CHECKING:
    from rpcservice.config import Settings
    from rpcservice.core.dependency import DependencyProvider
    from rpcservice.core.runner import ServiceRunner

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

CLIENT_NAME = "rpcservice-command-line"
BROKER_WAIT = 10.0
"""Seconds that a command waits for the broker, unless ``--timeout`` or the configuration says otherwise."""


def client_options(function: F) -> F:
    """Give a command ``--run`` and ``--timeout``, and the options of the configuration."""
    function = config_options(function)
    for option in (
        click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help=_TIMEOUT_HELP),
        click.option("--run", "targets", multiple=True, metavar="MODULE[:CLASS]", help=_RUN_HELP),
    ):
        function = option(function)
    return function


_TIMEOUT_HELP = "How long to wait for the broker, and for the answer."
_RUN_HELP = "Host this service here, on the embedded broker; may be given more than once."


def parse_json(text: str, what: str) -> Any:
    """Give what a JSON text of the command line says.

    Raises:
        CommandError: It is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as exc:
        raise CommandError(f"{what} {text!r} is no JSON: {exc}; quote it for the shell: '{{\"a\": 1}}'") from exc


def client_settings(
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
    targets: Sequence[str],
    timeout: float | None,
) -> "Settings":
    """Give the settings of a client, and of the services that it hosts itself.

    Raises:
        CommandError: The embedded broker is named, which reaches no other process.
    """
    settings = read_settings(config, define, broker)
    if targets:
        settings = replace(
            settings, amqp_uri=broker or "memory://", web_server_address="127.0.0.1:0", health_address=None
        )
    elif settings.amqp_uri.startswith("memory:"):
        raise CommandError(
            "the embedded broker (memory://) reaches no other process; give --run MODULE to host the service here, "
            "or --broker"
        )
    if timeout is not None:
        return replace(settings, startup_timeout=timeout, rpc_timeout=timeout, publish_timeout=timeout)
    return with_broker_wait(settings)


def with_broker_wait(settings: "Settings") -> "Settings":
    """Give the settings with the wait of a command for the broker, unless the configuration has one."""
    is_given = settings.startup_timeout != type(settings).startup_timeout
    return settings if is_given else replace(settings, startup_timeout=BROKER_WAIT)


def set_up_logs(*, is_debug: bool) -> None:
    """Log nothing but what is asked for: the outcome says what went wrong."""
    from rpcservice.cli import logs
    from rpcservice.config import Settings

    logs.set_up(Settings(), level=logging.DEBUG if is_debug else logging.CRITICAL)


def carry_out(
    runner: "ServiceRunner",
    provider: "DependencyProvider",
    work: Callable[[Any], R],
    service_name: str = CLIENT_NAME,
) -> R:
    """Run services, with one more that is there for one piece of work; gives the result.

    Args:
        runner: With the services to host, if any.
        provider: A dependency.
        work: Called with what the provider gives to a worker.
        service_name: In whose name it acts, while a service of that name may be hosted beside it.

    Raises:
        Abort: A signal came first.
    """
    from rpcservice.cli.signals import Signals

    outcome: list[R] = []
    errors: list[BaseException] = []

    def carry() -> None:
        try:
            outcome.append(_work(runner, provider, work, service_name))
        except BaseException as exc:
            errors.append(exc)

    with Signals(runner.backend) as signals:
        signals.spawn(carry)
        if not signals.ends_before(1):
            runner.kill()
            raise click.Abort
    if errors:
        raise errors[0]
    return outcome[0]


def _work(runner: "ServiceRunner", provider: "DependencyProvider", work: Callable[[Any], R], service_name: str) -> R:
    from rpcservice.core.context import WorkerContext
    from rpcservice.core.entrypoint import Entrypoint

    class Client:
        name = CLIENT_NAME
        dependency = provider

        @Entrypoint.decorator
        def work(self) -> None:
            """Be there: a worker's context names its entrypoint."""

    container = runner.add_service(Client)
    container.service_name = service_name
    runner.start()
    try:
        (bound,) = container.dependencies
        result = work(bound.get_dependency(WorkerContext(container, container.entrypoints[0])))
    except BaseException:
        # What a service hosted here is still busy with has become pointless, and the user waits.
        end = runner.stop if len(runner.service_map) == 1 else runner.kill
        end()
        raise
    runner.stop()
    return result
