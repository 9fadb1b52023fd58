"""The examples in nameko's documentation, and nameko's own tests of them, fetched once from PyPI and kept."""

import fcntl
import shutil
import tarfile
from pathlib import Path

from nameko_environment import HOME as NAMEKO
from nameko_environment import _pip, nameko_python

VERSIONS = {2: "2.14.1", 3: "3.0.0rc11"}
# What the examples import; the tests of those that talk to Amazon are left out, and so is what they import.
NEEDED = ("bcrypt", "mock", "pyjwt<2", "requests", "six")
AWS = {"boto3": "", "moto": "mock_sqs = None\n"}
HOME = Path(f"{NAMEKO}-documentation")


def nameko_documentation(version: int) -> tuple[Path, Path]:
    """Give the folder that has the examples, and the one with what they need; the first time this takes seconds."""
    nameko_python(2)
    with open(f"{NAMEKO}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = HOME / "made-with"
        wanted = f"{(VERSIONS, NEEDED)}"
        if not (made.exists() and made.read_text() == wanted):
            shutil.rmtree(HOME, ignore_errors=True)
            _fetch()
            made.write_text(wanted)
    return HOME / f"nameko-{VERSIONS[version]}" / "docs", HOME / "needed"


def _fetch() -> None:
    _pip("install", "--target", str(HOME / "needed"), *NEEDED)
    for name, text in AWS.items():
        (HOME / "needed" / f"{name}.py").write_text(text)
    # pip builds what it downloads, to see what it depends on.
    _pip("install", "wheel")
    for version in VERSIONS.values():
        options = ("--no-deps", "--no-binary", "nameko", "--no-build-isolation", "--dest", str(HOME))
        _pip("download", *options, f"nameko=={version}")
        with tarfile.open(HOME / f"nameko-{version}.tar.gz") as archive:
            archive.extractall(HOME, filter="data")
