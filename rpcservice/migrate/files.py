"""Finds the files of a code base, reads them and writes them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from errno import EACCES
from fnmatch import fnmatch
from pathlib import Path
from tempfile import NamedTemporaryFile

from rpcservice.migrate.finding import Finding
from rpcservice.migrate.texts import is_text_to_read

SKIPPED = (
    ".*",
    "*.dist-info",
    "*.egg-info",
    "__pycache__",
    "build",
    "dist",
    "env",
    "node_modules",
    "site-packages",
    "venv",
)
"""Folders that are not gone into, unless they are asked for."""

NOT_SKIPPED = (".buildkite", ".circleci", ".devcontainer", ".github", ".gitlab")
"""Folders that start services, or their tests, and are gone into."""


class Files:
    """The files of a code base that may be looked into."""

    def __init__(self) -> None:
        self.broken: list[Finding] = []
        """What could not be read, with the reasons."""

    def read(self, paths: Sequence[Path]) -> dict[Path, bytes]:
        """Give the contents of files, and of those below folders; a file with several names is taken once.

        Args:
            paths: Files and folders.
        """
        files = {os.path.realpath(file): file for path in reversed(paths) for file in reversed(self._below(path))}
        return dict(self._contents(reversed(files.values())))

    def _below(self, path: Path) -> list[Path]:
        if path.is_dir():
            return list(self._walk(path))
        if is_python(path) or is_text_to_read(path):
            return [path]
        self.broken.append(Finding(path, 1, "is no Python", "give files of Python's, or a folder"))
        return []

    def _walk(self, path: Path) -> Iterator[Path]:
        for folder, folders, names in os.walk(path, onerror=self._note_error):
            folders[:] = sorted(name for name in folders if name in NOT_SKIPPED or not _is_skipped(name))
            for file in (Path(folder) / name for name in sorted(names)):
                if is_python(file) or is_text_to_read(file):
                    yield file

    def _note_error(self, error: OSError) -> None:
        self.broken.append(Finding(Path(error.filename), 1, "cannot be read", str(error.strerror or error)))

    def _contents(self, files: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
        for file in files:
            if file.exists() and not file.is_file():
                continue  # A pipe would never end.
            try:
                yield file, file.read_bytes()
            except OSError as exc:
                self._note_error(OSError(exc.errno, exc.strerror, str(file)))


def is_python(path: Path) -> bool:
    """Say whether a file is a module, or the stub of one."""
    return path.suffix in (".py", ".pyi")


def _is_skipped(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in SKIPPED)


def write(path: Path, code: bytes) -> None:
    """Put something else into a file, all of it or nothing; permissions stay, and a link goes on leading to the file.

    Raises:
        OSError: It cannot be written, or is read-only; then it is as it was.
    """
    file = Path(os.path.realpath(path))
    status = file.stat()
    if not status.st_mode & 0o222 or not os.access(file, os.W_OK):  # Replacing it would be possible all the same.
        raise PermissionError(EACCES, "it is read-only", str(path))
    with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", suffix=".tmp", delete=False) as new:
        try:
            new.write(code)
            new.flush()
            os.fsync(new.fileno())
            with suppress(PermissionError):  # Only root may give files away; for others it is theirs then.
                os.chown(new.name, status.st_uid, status.st_gid)
            os.chmod(new.name, status.st_mode & 0o7777)
            os.replace(new.name, file)
        except BaseException:
            os.unlink(new.name)
            raise
