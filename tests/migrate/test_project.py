"""A code base: which files are taken, and what is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rpcservice.migrate.project import Report, migrate

BEFORE = "from nameko.rpc import rpc\n"
AFTER = "from rpcservice import rpc\n"

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Write a file of the code base, below the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(path: str, text: str = BEFORE) -> Path:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def changed(report: Report) -> list[str]:
    return [str(change.path) for change in report.changes]


def test_nothing_is_written_unless_it_is_asked_for(put: Put) -> None:
    file = put("shop.py")
    assert changed(migrate([Path()], writes=False)) == ["shop.py"]
    assert file.read_text() == BEFORE


def test_it_is_written_where_it_is_asked_for(put: Put) -> None:
    file = put("shop.py")
    assert changed(migrate([Path()], writes=True)) == ["shop.py"]
    assert file.read_text() == AFTER


def test_a_second_time_nothing_is_left(put: Put) -> None:
    put("shop.py")
    migrate([Path()], writes=True)
    report = migrate([Path()], writes=True)
    assert (report.changes, report.findings, report.broken) == ([], [], [])


def test_the_diff_is_a_unified_one(put: Put) -> None:
    put("shop/orders.py", f"import os\n{BEFORE}")
    (change,) = migrate([Path("shop")], writes=False).changes
    assert list(change.diff()) == [
        "--- a/shop/orders.py",
        "+++ b/shop/orders.py",
        "@@ -1,2 +1,2 @@",
        " import os",
        "-from nameko.rpc import rpc",
        "+from rpcservice import rpc",
    ]


def test_files_and_folders_are_taken_once(put: Put) -> None:
    put("shop/orders.py")
    assert changed(migrate([Path("shop"), Path("shop/orders.py")], writes=False)) == ["shop/orders.py"]


@pytest.mark.parametrize("folder", [".venv", "venv", "node_modules", "build", "x.egg-info", "__pycache__"])
def test_what_others_wrote_is_left_alone(folder: str, put: Put) -> None:
    put(f"{folder}/lib.py")
    put("sub/shop.py")
    assert changed(migrate([Path()], writes=False)) == ["sub/shop.py"]


def test_a_file_that_is_no_python_is_told_and_the_rest_goes_on(put: Put) -> None:
    put("a.py", f"{BEFORE}def (\n")
    put("b.py")
    report = migrate([Path()], writes=True)
    assert changed(report) == ["b.py"]
    (broken,) = report.broken
    assert str(broken).startswith("a.py:2: no Python: ")
    assert Path("a.py").read_text() == f"{BEFORE}def (\n"


def test_a_file_that_cannot_be_read_is_told_and_the_rest_goes_on(put: Put) -> None:
    Path(put("b.py").parent, "a.py").symlink_to("nowhere")
    report = migrate([Path()], writes=False)
    assert changed(report) == ["b.py"]
    assert [str(broken) for broken in report.broken] == ["a.py:1: cannot be read"]


def test_findings_have_the_lines_of_what_is_on_disk(put: Put) -> None:
    put("shop.py", "import nameko.rpc\nfrom nameko.testing.utils import get_extension, ResourcePipeline\n")
    place = "goes on working, from the compatibility layer"
    (before,) = migrate([Path()], writes=False).findings
    (after,) = migrate([Path()], writes=True).findings
    assert (before.line, after.line) == (2, 3)
    assert place in before.what and place in after.what


def test_other_files_are_looked_into(put: Put) -> None:
    put("requirements.txt", "nameko==2.14.1\n")
    put("setup.py", "setup(install_requires=['nameko>=2'])\n")
    put("README.txt", "nameko\n")
    report = migrate([Path()], writes=True)
    assert [str(finding) for finding in report.findings] == [
        "requirements.txt:1: nameko==2.14.1",
        "setup.py:1: setup(install_requires=['nameko>=2'])",
    ]


def test_a_line_that_is_python_and_a_requirement_is_told_once(put: Put) -> None:
    """As the requirement that it is."""
    put("setup.py", "from setuptools import setup\nsetup(install_requires=['nameko'])\n")
    (finding,) = migrate([Path()], writes=True).findings
    assert (finding.line, finding.mend) == (2, "require rpcservice")


def test_packages_and_fixtures_of_the_code_base_are_its_own(put: Put) -> None:
    put("nameko_mine/__init__.py", "")
    put("tests/conftest.py", "import pytest\n@pytest.fixture\ndef rabbit_config(): return {}\n")
    put("tests/test_it.py", "import nameko_mine\ndef test_it(rabbit_config, web_session): pass\n")
    (finding,) = migrate([Path()], writes=False).findings
    assert finding.what == "the fixture web_session is nameko's"
