"""Lets several pytest processes share one run: each takes the next file of tests that none has taken yet.

The plugin of what tests/in_parallel.py starts. Each process is a plain pytest with its own brokers, patched before
anything else is imported; a worker of pytest-xdist is not, as its channel to pytest runs in threads and locks already.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import pytest

VARIABLE = "TESTS_TAKING_TURNS"
"""Names the process, as a path in the folder of the run."""


def pytest_configure(config: pytest.Config) -> None:
    """Share the run with other processes, where tests/in_parallel.py has started this one."""
    # Not for the processes that tests start.
    given = os.environ.pop(VARIABLE, None)
    if given is not None:
        config.pluginmanager.register(TakingTurns(Path(given).parent, Path(given).name))


@dataclass
class Outcome:
    """What one process has to say in the end: its exit code, how many tests ended how, and which of them badly."""

    exit_code: int
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> "Outcome | None":
        """Give what a process has left, None where it died before that."""
        return Outcome(**json.loads(path.read_text())) if path.exists() else None


class TakingTurns:
    """Runs the tests of the files that the other processes of this run leave.

    Args:
        folder: Where the processes mark the files that they take.
        name: The name of this process.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._outcome = folder / f"{name}.json"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Do as pytest does with all items, with those that this process gets."""
        if session.testsfailed or session.config.option.collectonly:
            return None
        mine = self._take(session.items)
        item = next(mine, None)
        while item is not None:
            # Fixtures of a module are torn down when the next item is of another one.
            following = next(mine, None)
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def _take(self, items: list[pytest.Item]) -> Iterator[pytest.Item]:
        for number, (path, group) in enumerate(long_ones_first(items)):
            try:
                with open(self._folder / f"taken-{number}", "x") as taken:
                    taken.write(f"{self._name} {path}")
            except FileExistsError:
                continue
            yield from group

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Leave the outcome for the process that started this one."""
        stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
        failed = {report.nodeid for name in ("failed", "error") for report in stats.get(name, ())}
        counts = {name: len(reports) for name, reports in stats.items() if name}
        # A test that passed and could not be torn down has two reports.
        counts["passed"] = sum(report.nodeid not in failed for report in stats.get("passed", ()))
        self._outcome.write_text(json.dumps(asdict(Outcome(int(exitstatus), counts, sorted(failed)))))


def long_ones_first(items: Iterable[pytest.Item]) -> list[tuple[Path, list[pytest.Item]]]:
    """Give the files with their items, those first that take long: what is taken last should end soon."""
    files = [(path, list(group)) for path, group in groupby(items, key=lambda item: item.path)]
    return sorted(files, key=lambda file: -sum(_weight(item) for item in file[1]))


def _weight(item: pytest.Item) -> int:
    """Guess what a test costs, by what it needs."""
    return 10 if item.get_closest_marker("broker") or item.get_closest_marker("browser") else 1
