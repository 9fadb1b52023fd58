"""``rpcservice shell``: a Python shell with an RPC client and an event dispatcher."""

import os
import sys
import traceback
from code import InteractiveConsole
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import click

from rpcservice.cli.client import set_up_logs, with_broker_wait
from rpcservice.cli.common import Command, config_options, is_debug, read_settings, stands_in_for_nameko
from rpcservice.cli.escapes import printable
from rpcservice.errors import CommandError, MissingExtra

if TYPE_CHECKING:
    from rpcservice.config import Settings

Names = dict[str, Any]


class Failed(click.exceptions.Exit):
    """Raised when a statement of a script has failed, and its traceback is shown."""

    def __init__(self) -> None:
        super().__init__(1)


@click.command(cls=Command)
@click.option(
    "--interface",
    type=click.Choice(["bpython", "ipython", "plain"]),
    help="Which shell; by default the first of these that is installed.",
)
@config_options
@click.pass_context
def shell(
    ctx: click.Context, interface: str | None, config: str | None, define: Sequence[tuple[str, str]], broker: str | None
) -> None:
    """Open a Python shell that can call services and send events, by its name n.

    Without a terminal it runs what it reads from standard input, and ends at the first exception with exit code 1.
    It runs the file that PYTHONSTARTUP names.

    \b
    Examples:
      rpcservice shell --broker amqp://localhost
      >>> n.rpc.orders.place("sku-1")
      >>> n.dispatch_event("payments", "payment_failed", {"order": 7})
      echo 'n.rpc.orders.place("sku-1")' | rpcservice shell -c config.yaml
    """
    set_up_logs(is_debug=is_debug(ctx))
    settings = read_settings(config, define, broker)
    if settings.amqp_uri.startswith("memory:"):
        raise CommandError(
            "the embedded broker (memory://) reaches no other process; give --broker amqp://user:password@host"
        )
    is_script = not sys.stdin.isatty()
    open_shell = run_script if is_script else _find_shell(interface)
    n = Toolbox(settings)
    try:
        names: Names = {"__name__": "__console__", "n": n}
        run_startup_file(names, stops=is_script)
        open_shell(names, f"rpcservice shell, Python {sys.version.split()[0]}\nBroker: {n.broker}\n{Toolbox.__doc__}")
    finally:
        n.disconnect()


class Toolbox:
    """The name n calls services and sends events:

    n.rpc.service.method()
    n.dispatch_event("service", "event_type", {"any": "data"})
    n.config
    n.disconnect()
    """

    def __init__(self, settings: "Settings") -> None:
        from rpcservice.config import hide_password
        from rpcservice.standalone import event_dispatcher

        self.broker = hide_password(settings.amqp_uri)
        self.config: Mapping[str, Any] = _shown_config(settings)
        ready = with_broker_wait(settings)
        self._client = _client_class()(config=ready, timeout=ready.rpc_timeout)
        self.dispatch_event = event_dispatcher(ready)
        self.rpc = self._client.start()

    def disconnect(self) -> None:
        """Disconnect from the broker; calls and events fail from now on."""
        self.dispatch_event.stop()
        self._client.stop()


def _client_class() -> Any:
    """Give the client whose errors the user's code catches."""
    if stands_in_for_nameko():
        from rpcservice.compat.nameko.standalone import rpc as nameko_rpc

        return nameko_rpc.ClusterRpcClient
    from rpcservice.standalone import ClusterRpcClient

    return ClusterRpcClient


def _shown_config(settings: "Settings") -> Mapping[str, Any]:
    if not stands_in_for_nameko():
        return settings.raw
    from rpcservice.compat.nameko import config

    return config


def run_startup_file(names: Names, *, stops: bool) -> None:
    """Run the file that ``PYTHONSTARTUP`` names, as Python's own shell does.

    Args:
        names: What it defines is put here.
        stops: Whether an exception in it ends the shell; else it is only shown.

    Raises:
        Failed: It raised, and that ends the shell.
    """
    # Taken away, so that a shell which looks for it too does not run it once more.
    path = os.environ.pop("PYTHONSTARTUP", "")
    if not os.path.isfile(path):
        return
    try:
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), names)
    except Exception as exc:
        traceback.print_exception(exc)
        if stops:
            raise Failed from exc


class _Console(InteractiveConsole):
    """A console whose tracebacks do nothing to the terminal, for the errors of services are what strangers wrote."""

    def write(self, data: str) -> None:
        super().write(printable(data, has_lines=True))


class _Script(_Console):
    """A console that ends at the first exception."""

    def runcode(self, code: CodeType) -> None:
        try:
            exec(code, self.locals)
        except Exception as exc:
            self.showtraceback()
            raise Failed from exc

    def showsyntaxerror(self, *args: Any, **kwargs: Any) -> None:
        super().showsyntaxerror(*args, **kwargs)
        raise Failed


def run_script(names: Names, banner: str) -> None:
    """Run standard input, statement by statement, and print the values of expressions.

    Raises:
        Failed: A statement raised.
    """
    script = _Script(names, "<stdin>")
    for line in sys.stdin:
        script.push(line.removesuffix("\n"))
    # The end of the file ends a block, as an empty line does.
    if script.buffer and script.push(""):
        click.echo("Error: standard input ends within a statement", err=True)
        raise Failed


def _find_shell(interface: str | None) -> Callable[[Names, str], object]:
    """Give the shell asked for, or the best one there is.

    Raises:
        MissingExtra: The one asked for is not installed.
    """
    if interface is not None:
        return _SHELLS[interface]()
    for make in _SHELLS.values():
        with suppress(MissingExtra):
            return make()
    raise AssertionError("the plain shell needs nothing")


def _bpython() -> Callable[[Names, str], object]:
    embed = _installed("bpython", "bpython").embed
    return lambda names, banner: embed(locals_=names, banner=banner)


def _ipython() -> Callable[[Names, str], object]:
    embed = _installed("IPython", "ipython").embed
    return lambda names, banner: embed(user_ns=names, banner1=f"{banner}\n")


def _installed(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as exc:
        raise MissingExtra(f"--interface {package} needs {package}; install it with: pip install {package}") from exc


def _plain() -> Callable[[Names, str], object]:
    return _interact


def _interact(names: Names, banner: str) -> None:
    with suppress(ImportError):  # where there is no readline, lines are not edited
        _complete(import_module("readline"), names)
    _Console(names).interact(banner, exitmsg="")


def _complete(readline: Any, names: Names) -> None:
    from rlcompleter import Completer

    readline.set_completer(Completer(names).complete)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")


_SHELLS = {"bpython": _bpython, "ipython": _ipython, "plain": _plain}
