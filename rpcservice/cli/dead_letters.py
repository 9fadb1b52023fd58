"""``rpcservice dead-letters``: shows what could not be handled, sends it back, or throws it away."""

import base64
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from rpcservice.cli.client import with_broker_wait
from rpcservice.cli.common import Command, config_options, read_settings, stands_in_for_nameko
from rpcservice.cli.escapes import printable
from rpcservice.cli.patching import import_eventlet
from rpcservice.errors import CommandError

if TYPE_CHECKING:
    from rpcservice.amqp.graveyard import Graveyard, Outcome
    from rpcservice.amqp.link import Delivery
    from rpcservice.config import Settings
    from rpcservice.core.container import ServiceContainer

_MANAGEMENT_HELP = "RabbitMQ's management API, such as http://guest:guest@localhost:15672; it knows all queues."
_MOST_SHOWN = 300
"""Characters of a body that are shown to people."""
_PROGRESS_EVERY = 1.0
"""Seconds."""
_CLEAR_LINE = "\r\x1b[K"


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Show what could not be handled, send it back, or throw it away.

    A queue is named as it is, with or without ".dead".

    \b
    Examples:
      rpcservice dead-letters list -c config.yaml
      rpcservice dead-letters show evt-orders-placed--billing.bill
      rpcservice dead-letters replay evt-orders-placed--billing.bill --limit 1
    """


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
        click.option("--id", "ids", multiple=True, metavar="ID", help="Only the message of this id; may be repeated."),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N, the oldest first."),
    ):
        function = option(function)
    return config_options(function)


@dead_letters.command(name="list", cls=Command)
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option("--services", "targets", multiple=True, metavar="MODULE[:CLASS]", help="Look at this service's queues.")
@click.option("--management", metavar="URL", help=_MANAGEMENT_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_options
def list_(
    queues: Sequence[str],
    targets: Sequence[str],
    management: str | None,
    as_json: bool,
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
) -> None:
    """Say how many dead letters there are.

    Looks at the queues that are named; else at those of the services given with --services or listed in the
    configuration, or with --management at all of the virtual host.
    """
    settings = _settings(config, define, broker)
    names = list(queues) or _known_queues(settings, targets, management)

    def count(graveyard: "Graveyard") -> list[tuple[str, int | None]]:
        return [(name, graveyard.count(name)) for name in names]

    counts = _on_broker(settings, count)
    if as_json:
        for name, messages in counts:
            click.echo(json.dumps({"queue": name, "dead_letters": messages}))
        return
    for name, messages in counts:
        click.echo(f"{'-' if messages is None else messages:>8}  {printable(name)}")
    if not counts:
        click.echo("There is no queue with dead letters.")


@dead_letters.command(cls=Command)
@click.argument("queue")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show the tracebacks too.")
@_chosen
def show(
    queue: str,
    with_traceback: bool,
    limit: int | None,
    ids: Sequence[str],
    as_json: bool,
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
) -> None:
    """Show the dead letters of QUEUE, the oldest first, 10 of them unless --limit says otherwise."""
    settings = _settings(config, define, broker)

    def look(graveyard: "Graveyard") -> None:
        search, shown = Search(_check_known(graveyard, queue), ids), 0
        for letter in graveyard.look(queue, search.is_meant, limit if ids else limit or 10):
            search.hide_progress()
            click.echo(json.dumps(_described(letter)) if as_json else _told(letter, with_traceback))
            shown += 1
        search.hide_progress()
        if not shown and not as_json:
            click.echo("There are none.")

    _on_broker(settings, look)


@dead_letters.command(cls=Command)
@click.argument("queue")
@_chosen
def replay(
    queue: str,
    limit: int | None,
    ids: Sequence[str],
    as_json: bool,
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
) -> None:
    """Send the dead letters of QUEUE back to where they failed; their attempts are counted anew."""
    settings = _settings(config, define, broker)
    _deal_with(settings, queue, limit, ids, "replay", "sent back", as_json=as_json)


@dead_letters.command(cls=Command)
@click.argument("queue")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_chosen
def purge(
    queue: str,
    yes: bool,
    limit: int | None,
    ids: Sequence[str],
    as_json: bool,
    config: str | None,
    define: Sequence[tuple[str, str]],
    broker: str | None,
) -> None:
    """Throw the dead letters of QUEUE away."""
    settings = _settings(config, define, broker)
    if not yes:
        click.confirm(f"Throw dead letters of {queue} away for good?", abort=True, err=True)
    _deal_with(settings, queue, limit, ids, "purge", "thrown away", as_json=as_json)


def _settings(config: str | None, define: Sequence[tuple[str, str]], broker: str | None) -> "Settings":
    settings = with_broker_wait(read_settings(config, define, broker))
    if settings.amqp_uri.startswith("memory:"):
        raise CommandError("the embedded broker (memory://) reaches no other process; give --broker, or AMQP_URI")
    return settings


def _on_broker(settings: "Settings", work: "Callable[[Graveyard], Any]") -> Any:
    from rpcservice.amqp.graveyard import Graveyard
    from rpcservice.cli.client import CLIENT_NAME
    from rpcservice.concurrency import threads
    from rpcservice.standalone.session import Session

    session = Session(settings, CLIENT_NAME, threads())
    graveyard = session.resource(Graveyard)
    session.wait_until_up(None)
    try:
        return work(graveyard)
    finally:
        session.stop()


def _known_queues(settings: "Settings", targets: Sequence[str], management: str | None) -> list[str]:
    """Give the queues whose dead letters are asked for without naming them.

    Raises:
        CommandError: Nothing says which they are.
    """
    if management is not None:
        return _queues_of_broker(settings, management)
    names = targets or settings.services
    if not names:
        raise CommandError(
            "which queues? name them, give --services MODULE, -c FILE with a list under services, or --management URL"
        )
    from rpcservice.amqp.queues import MessageHandler
    from rpcservice.amqp.rpc import Rpc
    from rpcservice.cli.services import find_services
    from rpcservice.concurrency import threads
    from rpcservice.core.resource import Resources

    container_cls = _container_class()
    found: dict[str, None] = {}
    resources = Resources(settings, threads())
    for cls in find_services(names):
        for entrypoint in container_cls(cls, settings, resources=resources).entrypoints:
            if isinstance(entrypoint, MessageHandler | Rpc) and entrypoint.queue_with_dead_letters:
                found[entrypoint.queue_with_dead_letters] = None
    return list(found)


def _container_class() -> "type[ServiceContainer]":
    if stands_in_for_nameko():
        # Its services bring it along, and nothing is patched: the connection is one of threads.
        import_eventlet()
        from rpcservice.compat.nameko.containers import ServiceContainer as NamekoContainer

        return NamekoContainer
    from rpcservice.core.container import ServiceContainer

    return ServiceContainer


def _queues_of_broker(settings: "Settings", management: str) -> list[str]:
    from urllib.parse import unquote, urlsplit

    from rpcservice.amqp.deadletters import SUFFIX
    from rpcservice.testing.management import ManagementApi

    vhost = unquote(urlsplit(settings.amqp_uri.split(";")[0]).path.removeprefix("/")) or "/"
    queues: Iterable[Any] = ManagementApi(management).get_queues(vhost)
    return sorted(queue["name"].removesuffix(SUFFIX) for queue in queues if queue["name"].endswith(SUFFIX))


class Search:
    """Chooses dead letters, and says on a terminal how far it has come, where that takes long.

    Args:
        total: How many there are.
        ids: Those of the letters that are meant; none is all.
    """

    def __init__(self, total: int, ids: Sequence[str]) -> None:
        self._total = total
        self._ids = frozenset(ids)
        self._seen = 0
        self._next_line = monotonic() + _PROGRESS_EVERY
        self._is_shown = False

    def is_meant(self, letter: "Delivery") -> bool:
        """Say whether a letter is meant; called once for each."""
        self._seen += 1
        if monotonic() >= self._next_line and sys.stderr.isatty():
            self._next_line = monotonic() + _PROGRESS_EVERY
            self._is_shown = True
            click.echo(f"\r{self._seen:,} of {self._total:,}", err=True, nl=False)
        return not self._ids or letter.properties.get("message_id") in self._ids

    def hide_progress(self) -> None:
        """Leave the line to something else."""
        if self._is_shown:
            click.echo(_CLEAR_LINE, err=True, nl=False)
            self._is_shown = False


def _check_known(graveyard: "Graveyard", queue: str) -> int:
    count = graveyard.count(queue)
    if count is None:
        from rpcservice.amqp.graveyard import name_of

        raise CommandError(
            f"there is no queue {name_of(queue)!r}; `rpcservice dead-letters list` says which there are, and an "
            "entrypoint has one with dead_letter=True, or a retry"
        )
    return count


def _deal_with(
    settings: "Settings",
    queue: str,
    limit: int | None,
    ids: Sequence[str],
    action: str,
    done: str,
    *,
    as_json: bool,
) -> None:
    """Carry an action out and say what came of it.

    Raises:
        ClickException: Some of the dead letters are still there.
    """

    def work(graveyard: "Graveyard") -> "tuple[int, list[Outcome]]":
        search = Search(_check_known(graveyard, queue), ids)
        finished, problems = 0, []
        outcomes: Iterable[Outcome] = getattr(graveyard, action)(queue, search.is_meant, limit)
        for outcome in outcomes:
            finished += outcome.problem is None
            if outcome.problem is not None:
                problems.append(outcome)
            if as_json:
                search.hide_progress()
                identity = outcome.letter.properties.get("message_id")
                click.echo(json.dumps({"id": identity, "problem": outcome.problem}))
        search.hide_progress()
        return finished, problems

    finished, problems = _on_broker(settings, work)
    if not as_json:
        click.echo(f"{done}: {finished}")
    if problems:
        raise click.ClickException(f"{len(problems)} stay: {problems[0].problem}")


def _described(letter: "Delivery") -> dict[str, Any]:
    """Give all that is known of a dead letter, as JSON takes it."""
    from rpcservice.amqp import deadletters as names
    from rpcservice.amqp.message import ORIGIN_EXCHANGE, ORIGIN_KEY, OWN_PREFIX

    headers = letter.headers
    try:
        body, encoding = letter.body.decode(), "text"
    except UnicodeDecodeError:
        body, encoding = base64.b64encode(letter.body).decode(), "base64"
    attempts = headers.get(names.ATTEMPTS)
    known = {
        "id": letter.properties.get("message_id"),
        "queue": headers.get(names.QUEUE),
        "service": headers.get(names.SERVICE),
        "method": headers.get(names.METHOD),
        "error": headers.get(names.ERROR),
        "traceback": headers.get(names.TRACEBACK),
        "attempts": next(iter(attempts.values()), None) if isinstance(attempts, dict) else None,
        "failed_at": headers.get(names.TIME),
        "exchange": headers.get(ORIGIN_EXCHANGE),
        "routing_key": headers.get(ORIGIN_KEY),
        "content_type": letter.properties.get("content_type"),
    }
    return {
        **{name: _as_json(value) for name, value in known.items()},
        "headers": {name: str(value) for name, value in headers.items() if not name.startswith(OWN_PREFIX)},
        "body": body,
        "body_encoding": encoding,
    }


def _as_json(value: Any) -> Any:
    """Give a value of a header as JSON takes it: a letter may have headers of anybody's, in which anything may be."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value if isinstance(value, str | int | None) else str(value)


def _told(letter: "Delivery", with_traceback: bool) -> str:
    """Say in a few lines what a dead letter is."""
    known = _described(letter)
    body = known["body"]
    shown = body if len(body) <= _MOST_SHOWN else f"{body[:_MOST_SHOWN]}... ({len(body):,} characters)"
    attempts = f" after attempt {known['attempts']}" if known["attempts"] is not None else ""
    lines = [
        f"{known['failed_at'] or '(no time)'}  {known['service']}.{known['method']}{attempts}  id {known['id']}",
        f"  {known['error']}",
        f"  {known['exchange'] or '(default exchange)'} {known['routing_key']}: {shown}",
    ]
    if with_traceback and known["traceback"]:
        lines += [f"    {line}" for line in str(known["traceback"]).splitlines()]
    return "\n".join(map(printable, lines))
