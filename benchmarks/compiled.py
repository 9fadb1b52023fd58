"""What it would give to compile the codec with mypyc: ``python -m benchmarks.compiled``, which takes two minutes.

mypyc goes into a venv of its own and works on a copy of the package, both in a temporary folder; the work tree stays as
it is. Needs a C compiler and Python's headers.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.compare import measure, measure_in_turn, run_program
from benchmarks.environments import EnvironmentMissing, run_command
from benchmarks.pages import render_table
from benchmarks.peers import OURS, ROOT
from benchmarks.run import open_broker

MODULES = ("properties", "frames", "frameparser")
"""Of ``rpcservice/amqp``: pure functions on bytes, and the parser."""
FIGURES = ("encode", "decode", "RPC, 50 in flight", "RPC, one by one")
"""Microseconds of processor time: of a message, and of a call, service and client in one process."""


def copy_tree(folder: Path) -> Path:
    """Copy the package into a folder, with what tells mypy how strict to be."""
    shutil.copytree(ROOT / OURS, folder / OURS, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "setup.cfg", folder)
    return folder


def compile_tree(tree: Path, venv: Path) -> None:
    """Compile the modules where they lie.

    Raises:
        EnvironmentMissing: mypyc could not be installed, or does not compile them.
    """
    run_command([sys.executable, "-m", "venv", str(venv)])
    python = str(venv / "bin" / "python")
    run_command([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "mypy[mypyc]", "setuptools"])
    sources = [f"{OURS}/amqp/{module}.py" for module in MODULES]
    # Python takes a compiled module before the source that lies beside it.
    run_command([str(venv / "bin" / "mypyc"), *sources], cwd=tree)


def measure_codec(seconds: float, folder: Path, tree: Path) -> tuple[float, float]:
    """Give what encoding and decoding of a message take."""
    end = run_program("rpcservice_frames.py", tree, folder, seconds)
    return end["encode"], end["decode"]


def measure_call(uri: str, in_flight: int, seconds: float, folder: Path, tree: Path) -> tuple[float]:
    """Give what a call takes."""
    return (measure(uri, "rpc", in_flight, seconds, folder, tree)[1],)


def table(found: Mapping[str, Sequence[float]]) -> str:
    """Give the figures of both, and what the plain ones are divided by the compiled ones."""
    rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in found.items()]
    ratios = [f"{plain / compiled:.2f}" for plain, compiled in zip(found["plain"], found["compiled"], strict=True)]
    return render_table(["us", *FIGURES], [*rows, ["plain / compiled", *ratios]])


def main(argv: Sequence[str] | None = None) -> int:
    """Compile, measure both in turn, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement (default %(default)s)")
    parser.add_argument("--amqp-uri", help="a RabbitMQ to use; without it a private node is started", metavar="URI")
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trees = {name: copy_tree(folder / name) for name in ("plain", "compiled")}
        print("compiling", file=sys.stderr, flush=True)
        try:
            compile_tree(trees["compiled"], folder / "venv")
        except EnvironmentMissing as exc:
            print(f"not compiled: {exc}", file=sys.stderr)
            return 1
        uri, _ = stack.enter_context(open_broker(options.amqp_uri))
        calls = [partial(measure_call, uri, in_flight, options.seconds, folder) for in_flight in (50, 1)]
        found = measure_in_turn(trees, [partial(measure_codec, options.seconds, folder), *calls], options.rounds)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
