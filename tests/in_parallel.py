"""Runs the tests in several processes: ``python tests/in_parallel.py [-n PROCESSES] [arguments of pytest]``.

What failed is run once more, alone: on a busy machine a broker or a terminal may answer too late. The last line is
the summary of all.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from taking_turns import VARIABLE, Outcome

# Each process has brokers of its own, and the longest file sets an end to what more of them gain.
FEWEST, MOST = 2, 8
_PAUSE = 0.2
# pytest's words for: all is well, some tests failed, somebody pressed Ctrl-C.
_PASSED, _FAILED, _INTERRUPTED = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run the tests; gives the exit code."""
    processes = min(max(os.cpu_count() or 1, FEWEST), MOST)
    if arguments[:1] == ["-n"]:
        processes, arguments = int(arguments[1]), arguments[2:]
    began = time.monotonic()
    try:
        exit_code, counts = run(processes, arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    print(summary(counts, time.monotonic() - began), flush=True)
    return exit_code


def run(processes: int, arguments: list[str]) -> tuple[int, Counter[str]]:
    """Run the tests, and once more those that failed; gives the exit code, and how many ended how."""
    outcomes = run_shared(processes, arguments)
    counts = sum((Counter(outcome.counts) for outcome in outcomes), Counter[str]())
    # Each process has left out the same.
    counts["deselected"] = max(outcome.counts.get("deselected", 0) for outcome in outcomes)
    failed = sorted({nodeid for outcome in outcomes for nodeid in outcome.failed})
    exit_code = worst(outcomes)
    if exit_code == _FAILED and failed:
        print(f"Running again what failed, alone: {len(failed)}", flush=True)
        again = run_shared(1, failed)
        exit_code = worst(again)
        counts = Counter({**counts, "failed": 0, "error": 0}) + Counter(again[0].counts)
    return exit_code, counts


def worst(outcomes: Iterable[Outcome]) -> int:
    """Give the exit code that stands for all: that of tests which could not run, before that of tests which failed."""
    codes = {outcome.exit_code for outcome in outcomes} - {_PASSED}
    return max(codes - {_FAILED}, default=_FAILED if codes else _PASSED)


def run_shared(processes: int, arguments: list[str]) -> list[Outcome]:
    """Run all tests once, in that many processes; gives how each ended, and shows what the bad ones wrote."""
    with tempfile.TemporaryDirectory(prefix="rpcservice-tests-") as path:
        folder = Path(path)
        running = {
            name: _start(folder, name, arguments) for name in (f"process-{number}" for number in range(processes))
        }
        try:
            _show_progress(folder, list(running.values()))
        finally:
            # Ctrl-C has reached them too; they end their brokers.
            for process in running.values():
                process.wait()
        return [_outcome(folder, name, process.returncode) for name, process in running.items()]


def _start(folder: Path, name: str, arguments: list[str]) -> "subprocess.Popen[bytes]":
    with open(folder / f"{name}.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={folder / name}", *arguments],
            env={**os.environ, VARIABLE: str(folder / name)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _show_progress(folder: Path, running: "list[subprocess.Popen[bytes]]") -> None:
    """Write a dot for each file that a process begins with, until all have ended."""
    shown = 0
    while any(process.poll() is None for process in running):
        taken = len(list(folder.glob("taken-*")))
        print("." * (taken - shown), end="", flush=True)
        shown = taken
        time.sleep(_PAUSE)
    print(flush=True)


def _outcome(folder: Path, name: str, exit_code: int) -> Outcome:
    outcome = Outcome.read(folder / f"{name}.json")
    if exit_code or outcome is None:
        print((folder / f"{name}.log").read_text(errors="replace"), flush=True)
    if outcome is not None:
        return outcome
    taken = sorted(folder.glob("taken-*"), key=lambda path: path.stat().st_mtime_ns)
    files = [entry.partition(" ")[2] for entry in map(Path.read_text, taken) if entry.startswith(f"{name} ")]
    where = f"in one of: {', '.join(files[-2:])}" if files else "before the first test"
    print(f"A process of tests died with exit code {exit_code}, {where}", flush=True)
    return Outcome(exit_code or _INTERRUPTED)


def summary(counts: Counter[str], seconds: float) -> str:
    """Give the last line, as pytest would."""
    parts = [f"{count} {name}" for name, count in sorted(counts.items()) if count]
    return f"{', '.join(parts) or 'no tests ran'} in {seconds:.2f}s ({int(seconds) // 60}:{int(seconds) % 60:02})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
