"""Commits next to each other: what the comparison measures, and what it says of a wrong one."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import compare


@pytest.mark.broker
def test_each_commit_has_a_row_with_each_figure(rabbitmq_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["now", "--rounds", "1", "--seconds", "0.05", "--amqp-uri", rabbitmq_uri]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("now ")]
    figures = [float(cell.replace(",", "")) for cell in row.split()[1:]]
    assert len(figures) == 2 * len(compare.TASKS)
    assert min(figures) > 0


def test_a_commit_that_git_does_not_know_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        compare.main(["now", "no-such-commit"])
    assert end.value.code == 2
    assert "git knows no commit 'no-such-commit'" in capsys.readouterr().err


def test_the_tree_of_a_commit_is_there_as_long_as_it_is_needed(tmp_path: Path) -> None:
    with compare.checked_out("HEAD", tmp_path / "tree") as tree:
        assert (tree / "rpcservice" / "__init__.py").is_file()
    assert not (tmp_path / "tree").exists()
