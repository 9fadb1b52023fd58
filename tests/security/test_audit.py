"""``make audit`` says what it found, and fails where it could find out nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"
GOOD = {"name": "good", "version": "1", "vulns": []}
OWN = {"name": "rpcservice", "skip_reason": "distribution marked as editable"}
BAD = {"name": "bad", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2", "3"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited: unknown (1)"}


def audit(folder: Path, says: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run the script with a pip-audit that says something."""
    command = folder / "pip-audit"
    command.write_text(f"#!{sys.executable}\nprint({says!r})\nraise SystemExit({code})\n")
    command.chmod(0o755)
    return subprocess.run([sys.executable, str(SCRIPT), str(command)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("dependencies", "code", "words"),
    [
        ([GOOD, OWN], 0, "No known vulnerabilities in 2 packages."),
        ([GOOD, BAD, OWN], 1, "bad 1: CVE-1; update to 2 or 3"),
        ([GOOD, UNKNOWN, OWN], 2, "The audit tells nothing: 1 of 3 packages could not be looked up"),
        ([BAD, UNKNOWN], 1, "bad 1: CVE-1"),
    ],
)
def test_what_is_found_is_said(tmp_path: Path, dependencies: list[dict[str, Any]], code: int, words: str) -> None:
    done = audit(tmp_path, json.dumps({"dependencies": dependencies, "fixes": []}))
    assert done.returncode == code
    assert words in done.stdout + done.stderr


def test_an_audit_that_breaks_off_is_a_failure_that_names_what_it_needs(tmp_path: Path) -> None:
    done = audit(tmp_path, "connection refused", 1)
    assert done.returncode == 2
    assert "can it be reached from here?" in done.stderr
