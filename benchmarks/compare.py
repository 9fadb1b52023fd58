"""What a change gave: commits next to each other, in turn, by the processor time of a call and of an event.

``python -m benchmarks.compare COMMIT COMMIT ...``; "now" is the work tree. Processor time is the robust figure: on a
busy machine two runs of one commit differ in their rates by more than two commits do.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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


def measure(tree: Path, uri: str, task: str, in_flight: int, seconds: float, folder: Path) -> tuple[float, float]:
    """Give the rate, and the processor time of one in microseconds."""
    command = [sys.executable, "-W", "ignore", str(HERE / "clients" / "rpcservice_both.py")]
    child = Child(
        [*command, uri, task, str(in_flight), str(seconds)],
        log=folder / "log",
        env={"PYTHONPATH": str(tree)},
        cwd=folder,
    )
    try:
        end = child.report("end", PATIENCE)
    finally:
        child.stop()
    return end["rate"], end["cpu"]


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
    found = defaultdict(list)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trees = {commit: stack.enter_context(checked_out(commit, folder / commit)) for commit in options.commits}
        uri, _ = stack.enter_context(open_broker(options.amqp_uri))
        for turn in range(options.rounds):
            print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
            for title, (task, in_flight) in TASKS.items():
                for commit, tree in trees.items():
                    found[commit, title].append(measure(tree, uri, task, in_flight, options.seconds, folder))
    rows = []
    for commit in options.commits:
        medians = [[statistics.median(values) for values in zip(*found[commit, title], strict=True)] for title in TASKS]
        rows.append([commit, *(cell for rate, cpu in medians for cell in (f"{rate:,.0f}", f"{cpu:.1f}"))])
    print(render_table(["", *(head for title in TASKS for head in (f"{title}: 1/s", "CPU, us"))], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
