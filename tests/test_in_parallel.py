"""What runs the tests in several processes: each test once, and no failure goes unseen."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent

CONFTEST = """
import pathlib, pytest

pytest_plugins = ["taking_turns"]

@pytest.fixture(scope="module", autouse=True)
def once(request):
    with open("modules", "a") as modules:
        modules.write(f"{request.path.name}\\n")

@pytest.fixture(autouse=True)
def noted(request):
    with open("tests", "a") as tests:
        tests.write(f"{request.node.nodeid}\\n")
"""
PASSES = "def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass\n"
FAILS_ONCE = """
import pathlib
def test_passes(): pass
def test_fails_the_first_time():
    path = pathlib.Path("came-here")
    assert path.exists() or path.touch()
"""
FAILS = "def test_fails(): assert False\n"
FAILS_AFTERWARDS = """
import pathlib, pytest
@pytest.fixture
def resource():
    yield
    path = pathlib.Path("came-here")
    assert path.exists() or path.touch()
def test_passes(resource): pass
"""
DIES = "import os\ndef test_dies(): os._exit(9)\n"


def run(folder: Path, *arguments: str, **files: str) -> "subprocess.CompletedProcess[str]":
    """Run the tests of these files in two processes."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    return subprocess.run(
        [sys.executable, str(TESTS / "in_parallel.py"), "-n", "2", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def lines(path: Path) -> Counter[str]:
    return Counter(path.read_text().splitlines())


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return re.sub(r"[\d.]+s \(.*\)", "...", done.stdout.splitlines()[-1])


def test_each_test_runs_once_and_each_file_in_one_process(tmp_path: Path) -> None:
    done = run(tmp_path, **{f"file_{number}": PASSES for number in range(8)})
    assert (done.returncode, last_line(done)) == (0, "24 passed in ...")
    assert set(lines(tmp_path / "tests").values()) == {1} and len(lines(tmp_path / "tests")) == 24
    assert set(lines(tmp_path / "modules").values()) == {1}


def test_a_failure_is_shown_and_runs_once_more(tmp_path: Path) -> None:
    done = run(tmp_path, good=PASSES, once=FAILS_ONCE)
    assert (done.returncode, last_line(done)) == (0, "5 passed in ...")
    assert "FAILED test_once.py::test_fails_the_first_time" in done.stdout
    assert lines(tmp_path / "tests")["test_once.py::test_fails_the_first_time"] == 2


def test_what_cannot_be_torn_down_runs_once_more_and_counts_once(tmp_path: Path) -> None:
    done = run(tmp_path, good=PASSES, once=FAILS_AFTERWARDS)
    assert (done.returncode, last_line(done)) == (0, "4 passed in ...")


def test_what_fails_twice_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, good=PASSES, bad=FAILS)
    assert (done.returncode, last_line(done)) == (1, "1 failed, 3 passed in ...")


def test_a_process_that_dies_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, good=PASSES, dying=DIES)
    assert done.returncode == 9
    assert re.search(r"died with exit code 9, in one of: .*test_dying\.py", done.stdout)


def test_a_mistake_in_the_arguments_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, "--no-such-option", good=PASSES)
    assert done.returncode == 4
    assert "unrecognized arguments: --no-such-option" in done.stdout


def test_files_that_cannot_be_collected_fail_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, good=PASSES, broken="import nothing_of_that_name\n")
    assert done.returncode == 2
    assert "No module named 'nothing_of_that_name'" in done.stdout


def test_arguments_are_pytests(tmp_path: Path) -> None:
    done = run(tmp_path, "test_other.py::test_two", "test_good.py::test_two", good=PASSES, other=PASSES)
    assert (done.returncode, last_line(done)) == (0, "2 passed in ...")


def test_what_is_left_out_counts_once(tmp_path: Path) -> None:
    done = run(tmp_path, "-k", "two", good=PASSES, other=PASSES)
    assert last_line(done) == "4 deselected, 2 passed in ..."


def test_a_run_without_tests_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "-k", "nothing", good=PASSES)
    assert (done.returncode, last_line(done)) == (5, "3 deselected in ...")
