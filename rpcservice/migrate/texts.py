"""Finds nameko in what is no Python: requirements, configurations, start scripts. None of it is rewritten."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from rpcservice.migrate.finding import Finding

PATTERNS = (
    "*.cfg",
    "*.conf",
    "*.dockerfile",
    "*.ini",
    "*.mk",
    "*.service",
    "*.sh",
    "*.toml",
    "*.yaml",
    "*.yml",
    "Containerfile*",
    "Dockerfile*",
    "Jenkinsfile",
    "Makefile",
    "Pipfile",
    "Procfile*",
    "justfile",
    "setup.py",
)
"""Which files are looked into, by their names."""

_REQUIREMENTS = ("*requirements*.txt", "*requirements*.in", "*constraints*.txt")

_RULES = (
    (
        re.compile(r"\bnameko(?:['\"]?,\s*['\"]?|\s+)(?:run|shell|test|show-config|backdoor)\b"),
        "write rpcservice in the place of nameko; the options are the same",
    ),
    (
        re.compile(r"\bnameko[-_]\w+"),
        "it is made for nameko, and imports it: it needs `rpcservice run --nameko`, until it is replaced",
    ),
    (re.compile(r"\bSERVICE_CONTAINER_CLS\b"), "its class has to be a subclass of rpcservice.ServiceContainer"),
    (
        re.compile(r"(?:^|[{,])\s*['\"]?nameko(?:\.\w+)*['\"]?\s*:"),
        "name the logger rpcservice; those below it are named after their modules, such as rpcservice.core.worker",
    ),
    (re.compile(r"\bnameko\b(?:\[\w+\])?\s*(?:[<>=!~;(@]|['\"]|$)"), "require rpcservice"),
    (re.compile(r"\bnameko\b"), "see what it means here"),
)


def is_text_to_read(path: Path) -> bool:
    """Say whether a file is looked into."""
    with_folder = "/".join(path.parts[-2:])
    return any(fnmatch(path.name, pattern) for pattern in PATTERNS) or any(
        fnmatch(with_folder, pattern) for pattern in _REQUIREMENTS
    )


def find_in_text(text: str, path: Path) -> Iterator[Finding]:
    """Give the lines that name nameko, or a setting that means another class; comments are left out."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        for pattern, mend in _RULES:
            if pattern.search(line):
                yield Finding(path, number, line.strip(), mend)
                break
