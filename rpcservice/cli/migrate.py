"""``rpcservice migrate``: rewrites a code base's imports of nameko, and lists what needs a person."""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rpcservice.cli.common import Command
from rpcservice.errors import MissingExtra

if TYPE_CHECKING:
    from rpcservice.migrate.finding import Finding
    from rpcservice.migrate.project import Report

_COLORS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@click.option("--write", "writes", is_flag=True, help="Write the files; without it the changes are only shown.")
@click.pass_context
def migrate(ctx: click.Context, paths: Sequence[Path], writes: bool) -> None:
    """Rewrite imports of nameko to rpcservice's own names, and list what needs a person.

    Names keep standing for the same below their imports, and comments and layout stay. The exit code is 0 when
    nothing is left to do, and 1 when something is: files to write, places for a person, or a file that is no Python.

    \b
    Examples:
      rpcservice migrate shop tests
      rpcservice migrate --write .
    """
    try:
        project = import_module("rpcservice.migrate.project")
    except ImportError as exc:
        raise MissingExtra(
            "rpcservice migrate needs libcst; install it with: pip install 'rpcservice[migrate]'"
        ) from exc
    report: Report = project.migrate(paths, writes=writes, tell=_show_progress if sys.stderr.isatty() else _be_silent)
    for change in report.changes:
        _show_diff(change.diff())
    _show_places("Needs a person:", report.findings)
    _show_places("Left out:", report.broken)
    click.echo(_summary(report, writes=writes))
    is_done = not (report.findings or report.broken or (report.changes and not writes))
    ctx.exit(0 if is_done else 1)


def _show_progress(done: int, total: int) -> None:
    """Count files on one line, which is cleared in the end; what is printed besides comes below it."""
    is_last = done == total
    click.echo("\r\x1b[K" if is_last else f"\r{done} of {total} files", err=True, nl=False)


def _be_silent(done: int, total: int) -> None:
    """Tell nothing to what is no terminal."""


def _show_diff(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(click.style(line, fg=_COLORS.get(line[:1])))
    click.echo()


def _show_places(title: str, places: "Sequence[Finding]") -> None:
    """Print places by what is to be done about them, which is the same for many."""
    if not places:
        return
    click.echo(click.style(title, bold=True))
    for mend in dict.fromkeys(place.mend for place in places):
        click.echo(f"* {mend}")
        for place in places:
            if place.mend == mend:
                click.echo(f"    {place}")
    click.echo()


def _summary(report: "Report", *, writes: bool) -> str:
    if not (report.changes or report.findings or report.broken):
        return "Nothing to do."
    parts = []
    if report.changes:
        count = _count(len(report.changes), "file")
        parts.append(f"{count} rewritten" if writes else f"{count} to rewrite; --write does it")
    if report.findings:
        parts.append(f"{_count(len(report.findings), 'place')} for a person")
    if report.broken:
        parts.append(f"{_count(len(report.broken), 'file')} left out")
    return f"{', '.join(parts)}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
