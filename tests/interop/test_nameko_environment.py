"""The environments of both versions, and where nameko's Python 3.11 is found when the suite runs on another."""

import subprocess
import sys
from pathlib import Path

import pytest
from nameko_environment import find_python311, nameko_python


@pytest.fixture
def on_another_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the running Python nor the home folder has one to offer."""
    monkeypatch.setattr(sys, "_base_executable", "/nowhere/python3.13")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))


def _make_python(path: Path, version: str, exit_code: int = 0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\nexit {exit_code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("version", "expected"), [(2, "2.14.1 False"), (3, "3.0.0rc11 True")])
def test_each_version_has_an_environment(version: int, expected: str) -> None:
    """Only version 3 has its configuration in the package."""
    code = "import importlib.metadata, nameko; print(importlib.metadata.version('nameko'), hasattr(nameko, 'config'))"
    done = subprocess.run(
        [nameko_python(version), "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == expected


@pytest.mark.usefixtures("on_another_python")
def test_one_on_the_path_is_used(tmp_path: Path) -> None:
    python = _make_python(tmp_path / "python3.11", "3.11")
    assert find_python311() == python


@pytest.mark.usefixtures("on_another_python")
def test_a_shim_that_names_no_version_is_passed_over(tmp_path: Path) -> None:
    _make_python(tmp_path / "python3.11", "", exit_code=127)
    python = _make_python(tmp_path / ".pyenv/versions/3.11.7/bin/python3.11", "3.11")
    assert find_python311() == python


@pytest.mark.usefixtures("on_another_python")
def test_without_any_it_says_what_to_install() -> None:
    with pytest.raises(RuntimeError, match=r"install python3\.11 and python3\.11-venv, or leave these tests out"):
        find_python311()
