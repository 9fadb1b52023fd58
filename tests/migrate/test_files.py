"""Files of all kinds that there may be in a code base, and that none is left half written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rpcservice.migrate import files, project
from rpcservice.migrate.project import Report, migrate

BEFORE = b"from nameko.rpc import rpc\n"
AFTER = b"from rpcservice import rpc\n"

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Write a file of the code base, below the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(path: str, code: bytes = BEFORE) -> Path:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(code)
        return file

    return write


def told(report: Report) -> list[str]:
    return [str(broken) for broken in report.broken]


KEPT = {
    "a byte order mark": b"\xef\xbb\xbf" + BEFORE,
    "Windows' line ends": b"import os\r\n\r\nfrom nameko.rpc import rpc\r\n",
    "both kinds of line ends": b"import os\r\nfrom nameko.rpc import rpc\nx = 1\r\n",
    "tabs": b"def f():\n\tfrom nameko.rpc import rpc\n\tif rpc:\n\t\treturn\n",
    "no line end at the end": BEFORE[:-1],
    "form feeds": BEFORE + b"\x0c\nx = 1\n",
    "an encoding of its own": b"# -*- coding: latin-1 -*-\n" + BEFORE + b"x = '\xe4'\n",
    "an encoding of Japan's": b"# coding: shift_jis\n" + BEFORE + "x = 'あ'\n".encode("shift_jis"),
    "a first line for the shell": b"#!/usr/bin/env python\n" + BEFORE,
    "backslashes": b"from nameko.rpc import \\\n    rpc\n",
}


@pytest.mark.parametrize("code", KEPT.values(), ids=list(KEPT))
def test_all_but_the_import_is_kept_of_a_file_with(code: bytes, put: Put) -> None:
    file = put("a.py", code)
    report = migrate([Path()], writes=True)
    assert (told(report), report.findings) == ([], [])
    assert file.read_bytes() == code.replace(b"nameko.rpc", b"rpcservice")
    assert migrate([Path()], writes=True).changes == []


LEFT_OUT = {
    "another encoding than it says": (b"# coding: ascii\n" + BEFORE + b"x = '\xe4'\n", "no Python: "),
    "bytes that are no UTF-8": (BEFORE + b"x = '\xe4'\n", "no Python: "),
    "an encoding that nobody knows": (b"# coding: klingon\n" + BEFORE, "no Python: "),
    "Python 2": (BEFORE + b"print 'x'\n", "no Python: "),
    "an open parenthesis": (b"from nameko.rpc import (rpc\n", "no Python: "),
    "tabs and spaces": (BEFORE + b"if 1:\n\tx = 1\n        y = 1\n", "no Python: "),
    "a deep expression": (BEFORE + b"x = " + b"+".join([b"1"] * 1200) + b"\n", "is nested too deeply"),
}


@pytest.mark.parametrize(("code", "what"), LEFT_OUT.values(), ids=list(LEFT_OUT))
def test_it_is_told_and_left_as_it_is_when_a_file_has(code: bytes, what: str, put: Put) -> None:
    file = put("a.py", code)
    put("b.py")
    report = migrate([Path()], writes=True)
    (broken,) = report.broken
    assert broken.path == file and broken.what.startswith(what) and "\n" not in broken.what
    assert file.read_bytes() == code
    assert Path("b.py").read_bytes() == AFTER


def test_an_empty_file_is_nothing(put: Put) -> None:
    put("a.py", b"")
    put("test_b.py", b"")
    report = migrate([Path()], writes=True)
    assert (told(report), report.changes, report.findings) == ([], [], [])


def test_the_diff_shows_letters_of_the_files_encoding(put: Put) -> None:
    put("a.py", b"# coding: latin-1\nx = '\xe4'\n" + BEFORE)
    (change,) = migrate([Path()], writes=False).changes
    assert " x = 'ä'" in list(change.diff())


def test_stubs_are_rewritten(put: Put) -> None:
    file = put("a.pyi", b"from nameko.rpc import RpcProxy\nx: RpcProxy\n")
    migrate([Path()], writes=True)
    assert file.read_bytes() == b"from rpcservice import ServiceRpc as RpcProxy\nx: RpcProxy\n"


def test_notebooks_are_left_alone(put: Put) -> None:
    put("a.ipynb", b'{"cells": ["from nameko.rpc import rpc"]}')
    report = migrate([Path()], writes=True)
    assert (told(report), report.changes, report.findings) == ([], [], [])


def test_a_file_of_another_kind_that_is_asked_for_is_a_mistake(put: Put) -> None:
    """It would look as if there were nothing to do."""
    report = migrate([put("a.ipynb")], writes=True)
    assert told(report) == ["a.ipynb:1: is no Python"]


def test_permissions_stay(put: Put) -> None:
    file = put("a.py")
    file.chmod(0o751)
    migrate([Path()], writes=True)
    assert (file.stat().st_mode & 0o7777, file.read_bytes()) == (0o751, AFTER)


def test_a_file_that_is_read_only_is_told(put: Put) -> None:
    file = put("a.py")
    file.chmod(0o444)
    report = migrate([Path()], writes=True)
    assert (told(report), report.broken[0].mend) == (["a.py:1: cannot be written"], "it is read-only")
    assert (report.changes, file.read_bytes()) == ([], BEFORE)


def test_a_file_that_changes_nothing_is_not_written(put: Put) -> None:
    file = put("a.py", b"import nameko_mine, rpcservice\n")
    put("nameko_mine.py", b"")
    os.utime(file, (1, 1))
    migrate([Path()], writes=True)
    assert file.stat().st_mtime == 1


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ended"])
def test_no_file_is_half_written(step: str, error: BaseException, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put("a.py")

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(files.os, step, fail)
    if isinstance(error, OSError):
        assert migrate([Path()], writes=True).broken[0].mend == "No space left on device"
    else:
        with pytest.raises(KeyboardInterrupt):
            migrate([Path()], writes=True)
    assert file.read_bytes() == BEFORE
    assert os.listdir() == ["a.py"]


def test_a_link_goes_on_leading_to_its_file(put: Put) -> None:
    file = put("lib/a.py")
    Path("b.py").symlink_to("lib/a.py")
    assert len(migrate([Path()], writes=True).changes) == 1
    assert (Path("b.py").is_symlink(), file.read_bytes()) == (True, AFTER)


def test_links_in_a_circle_are_no_trap(put: Put) -> None:
    put("shop/a.py")
    Path("shop/shop").symlink_to(".", target_is_directory=True)
    Path("shop/b.py").symlink_to("b.py")
    report = migrate([Path("shop")], writes=True)
    assert [change.path for change in report.changes] == [Path("shop/a.py")]
    assert told(report) == ["shop/b.py:1: cannot be read"]


def test_a_pipe_is_not_waited_for(put: Put) -> None:
    put("a.py")
    os.mkfifo("b.py")
    assert told(migrate([Path()], writes=True)) == []


def test_a_folder_that_cannot_be_read_is_told(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything: the operating system's answer is made up."""
    put("shop/a.py")
    put("b.py")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "shop":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = migrate([Path()], writes=True)
    assert (told(report), report.broken[0].mend) == (["shop:1: cannot be read"], "Permission denied")
    assert Path("b.py").read_bytes() == AFTER


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", ".gitlab/ci.yml", ".gitlab-ci.yml", "Dockerfile"])
def test_what_starts_services_is_looked_into(path: str, put: Put) -> None:
    put(path, b"run: nameko run shop\n")
    assert [str(finding) for finding in migrate([Path()], writes=False).findings] == [f"{path}:1: run: nameko run shop"]


def test_it_tells_how_far_it_is(put: Put) -> None:
    put("a.py")
    put("b.py", b"")
    steps: list[tuple[int, int]] = []
    project.migrate([Path()], writes=False, tell=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
