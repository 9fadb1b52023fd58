"""``python -m rpcservice`` is the same as ``rpcservice``."""

from rpcservice.cli import main

main(prog_name="rpcservice")
