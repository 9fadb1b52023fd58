"""What a change gave: commits next to each other, in turn, by the processor time of a call and of an event.

``python -m benchmarks.compare COMMIT COMMIT ...``; "now" is the work tree. Processor time is the robust figure: on a
busy machine two runs of one commit differ in their rates by more than two commits do.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

from benchmarks.pages import render_table
from benchmarks.peers import HERE, ROOT
from benchmarks.processes import Child
from benchmarks.run import open_broker

NOW = "now"
TASKS = {"RPC, 50 in flight": ("rpc", 50), "RPC, one by one": ("rpc", 1), "publish, 50 at once": ("publish", 50)}
"""What is measured: the task of ``clients/rpcservice_both.py``, and how many at once."""
PATIENCE = 60.0


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Give a folder that holds the tree of a commit, for as long as it is needed."""
    if commit == NOW:
        yield ROOT
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def is_known(commit: str) -> bool:
    """Whether git knows a commit."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--quiet", "--verify", f"{commit}^{{commit}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


Measure = Callable[[Path], tuple[float, ...]]
"""Gives figures of the package in a tree."""


def run_program(name: str, tree: Path, folder: Path, *args: object) -> dict[str, float]:
    """Give what one of the programs in ``clients`` reports at its end, with the package of a tree."""
    command = [sys.executable, "-W", "ignore", str(HERE / "clients" / name), *map(str, args)]
    child = Child(command, log=folder / "log", env={"PYTHONPATH": str(tree)}, cwd=folder)
    try:
        return child.report("end", PATIENCE)
    finally:
        child.stop()


def measure(uri: str, task: str, in_flight: int, seconds: float, folder: Path, tree: Path) -> tuple[float, float]:
    """Give the rate, and the processor time of one in microseconds."""
    end = run_program("rpcservice_both.py", tree, folder, uri, task, in_flight, seconds)
    return end["rate"], end["cpu"]


def measure_in_turn(trees: Mapping[str, Path], measures: Sequence[Measure], rounds: int) -> dict[str, list[float]]:
    """Measure each tree in turn, round after round; gives the medians of all figures by the trees' names."""
    found: dict[str, list[list[tuple[float, ...]]]] = {name: [[] for _ in measures] for name in trees}
    for turn in range(rounds):
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
        for number, measure_tree in enumerate(measures):
            for name, tree in trees.items():
                found[name][number].append(measure_tree(tree))
    return {
        name: [statistics.median(values) for taken in of_tree for values in zip(*taken, strict=True)]
        for name, of_tree in found.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("commits", nargs="+", metavar="COMMIT", help='what git knows, or "now" for the work tree')
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement (default %(default)s)")
    parser.add_argument("--amqp-uri", help="a RabbitMQ to use; without it a private node is started", metavar="URI")
    options = parser.parse_args(argv)
    for commit in options.commits:
        if commit != NOW and not is_known(commit):
            parser.error(f"git knows no commit {commit!r}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trees = {commit: stack.enter_context(checked_out(commit, folder / commit)) for commit in options.commits}
        uri, _ = stack.enter_context(open_broker(options.amqp_uri))
        measures = [
            partial(measure, uri, task, in_flight, options.seconds, folder) for task, in_flight in TASKS.values()
        ]
        found = measure_in_turn(trees, measures, options.rounds)
    # The rate and the time of each task, in turn.
    rows = [
        [name, *(f"{value:{form}}" for value, form in zip(values, cycle((",.0f", ".1f"))))]
        for name, values in found.items()
    ]
    print(render_table(["", *(head for title in TASKS for head in (f"{title}: 1/s", "CPU, us"))], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
