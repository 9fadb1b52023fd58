"""The command line. Its modules import click and the standard library alone; a command loads the rest when it runs."""

from rpcservice.cli.main import main

__all__ = ["main"]
