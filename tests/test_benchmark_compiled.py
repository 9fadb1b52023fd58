"""The codec compiled and as it is: what is compared, and what is said when there is no compiler."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import compiled
from benchmarks.environments import EnvironmentMissing
from benchmarks.peers import ROOT


def test_the_modules_to_compile_are_there(tmp_path: Path) -> None:
    tree = compiled.copy_tree(tmp_path / "tree")
    assert all((tree / "rpcservice" / "amqp" / f"{module}.py").is_file() for module in compiled.MODULES)
    assert not list(tree.rglob("__pycache__"))


def test_encoding_and_decoding_take_time(tmp_path: Path) -> None:
    assert min(compiled.measure_codec(0.1, tmp_path, ROOT)) > 0


@pytest.mark.broker
def test_both_trees_have_a_row_and_each_figure_a_ratio(
    rabbitmq_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(compiled, "compile_tree", lambda tree, venv: asked.append(tree))
    assert compiled.main(["--rounds", "1", "--seconds", "0.05", "--amqp-uri", rabbitmq_uri]) == 0
    assert [tree.name for tree in asked] == ["compiled"]
    rows = {line.partition("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    for name in ("plain", "compiled", "plain / compiled"):
        figures = [float(cell) for cell in rows[name].removeprefix(name).split()]
        assert len(figures) == len(compiled.FIGURES)
        assert min(figures) > 0


def test_what_does_not_compile_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(command: list[str], cwd: Path = ROOT) -> str:
        raise EnvironmentMissing("no compiler")

    monkeypatch.setattr(compiled, "run_command", refuse)
    assert compiled.main([]) == 1
    assert capsys.readouterr().err.endswith("not compiled: no compiler\n")
