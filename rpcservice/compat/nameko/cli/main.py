"""nameko 2's way to its command line."""

from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.cli import cli
from rpcservice.compat.nameko.cli.utils import setup_yaml_parser as setup_yaml_parser

__all__ = (
    "main",
    "setup_yaml_parser",
)

__getattr__ = missing_names(
    __name__,
    {
        "commands": "nameko.cli.cli is the group of the commands; add one to it by click",
        "setup_parser": "commands are those of the group nameko.cli.cli; add one to it by click",
    }
    | dict.fromkeys(
        (
            "ENV_VAR_MATCHER",
            "IMPLICIT_ENV_VAR_MATCHER",
            "RECURSIVE_ENV_VAR_MATCHER",
            "env_var_constructor",
            "has_regex_module",
        ),
        "call nameko.cli.utils.load_config(), which replaces environment variables",
    ),
)


def main() -> None:
    """Run the command line with the arguments of the process, and end the process."""
    cli.main(prog_name="nameko")
