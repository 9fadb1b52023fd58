"""nameko 2's way to its command line."""

from rpcservice.compat.nameko.cli import cli
from rpcservice.compat.nameko.cli.utils import setup_yaml_parser as setup_yaml_parser


def main() -> None:
    """Run the command line with the arguments of the process, and end the process."""
    cli.main(prog_name="nameko")
