"""The command line. Its modules import click and the standard library alone; a command loads what it runs."""

from rpcservice.cli.main import main

__all__ = ("main",)
