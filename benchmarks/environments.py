"""The peers' virtual environments, made once and kept, and what is installed in them."""

import compileall
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import OURS, ROOT, Peer


class EnvironmentMissing(Exception):
    """Raised when a peer's environment cannot be made; the message says why."""


def prepare(peer: Peer) -> None:
    """Make sure that a peer's environment is there with what the peer requires.

    Raises:
        EnvironmentMissing: The Python that it needs is missing, or a package could not be installed.
    """
    if peer.is_ours:
        # As pip compiles what it installs: else it is done at each start, where Python is told to keep no bytecode.
        compileall.compile_dir(ROOT / OURS, quiet=1)
    if not peer.requirements:
        return
    python = peer.interpreter()
    stamp = python.parent.parent / "requirements.json"
    # What rpcservice itself requires is in its setup.cfg.
    wanted = json.dumps([*peer.requirements, *([(ROOT / "setup.cfg").read_text()] if peer.is_ours else [])])
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    folder = python.parent.parent
    print(f"making {folder.relative_to(ROOT)} with {', '.join(peer.requirements)} ...", file=sys.stderr, flush=True)
    run_command([_find_python(peer), "-m", "venv", "--clear", str(folder)])
    run_command([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements])
    stamp.write_text(wanted)


def versions(peer: Peer) -> dict[str, str]:
    """Give the versions in a peer's environment: "python", the peer's package first, then its libraries."""
    script = (
        "import json, sys, platform, importlib.metadata as m\n"
        "print(json.dumps({'python': platform.python_version(), **{n: m.version(n) for n in sys.argv[1:]}}))"
    )
    found: dict[str, str] = json.loads(
        run_command([str(peer.interpreter()), "-c", script, peer.package, *peer.libraries], cwd=Path("/"))
    )
    return found


def _find_python(peer: Peer) -> str:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if peer.python in ("", running):
        return sys.executable
    found = shutil.which(f"python{peer.python}")
    if found is None:
        raise EnvironmentMissing(f"{peer.name} needs Python {peer.python}, and there is no python{peer.python}")
    return found


def run_command(command: list[str], cwd: Path = ROOT) -> str:
    """Run a command, and give what it prints.

    Raises:
        EnvironmentMissing: It failed; the message holds the end of what it says.
    """
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise EnvironmentMissing(f"{' '.join(command[:4])} ... failed:\n    {reason}")
    return done.stdout
