"""A folder with nameko's community extensions, fetched once from PyPI and kept; put on the path they are importable."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

EXTENSIONS = (
    "nameko-amqp-retry==0.7.1",
    "nameko-atomicity==1.0.0",
    "nameko-cachetools==1.0.0",
    "nameko-cron==0.1.0",
    "nameko-eventlog-dispatcher==0.4.2",
    "nameko-http==0.1.7",
    "nameko-injector==1.1.2",
    "nameko-prometheus==1.6.0",
    "nameko-redis==1.1.0",
    "nameko-sentry==1.0.0",
    "nameko-sqlalchemy==1.5.0",
    "nameko-statsd==0.1.4",
    "nameko-structlog==0.2.2",
    "nameko-tracer==1.4.0",
    "opentelemetry-instrumentation-nameko==0.5.2",
)
# What they import, but for nameko, which is not to be found there. pkg_resources left setuptools with version 81.
NEEDED = (
    "croniter",
    "injector",
    "mock",
    "opentelemetry-api",
    "opentelemetry-instrumentation",
    "opentelemetry-instrumentation-wsgi",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "opentelemetry-util-http",
    "prometheus-client",
    "python-dateutil",
    "python-mimeparse",
    "pytz",
    "raven",
    "redis",
    "requests",
    "setuptools<81",
    "six",
    "sqlalchemy>=2,<3",
    "statsd",
    "structlog",
    "typing-extensions",
    "wrapt",
)
HOME = Path(__file__).parents[2] / f".venv-community-{sys.version_info.major}.{sys.version_info.minor}"


def community_path() -> str:
    """Give the folder; the first time this takes a quarter of a minute.

    Raises:
        RuntimeError: pip is not there, or could not fetch them.
    """
    # Two test runs at once, such as tox's, share the folder.
    with open(f"{HOME}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = HOME / "made-with"
        wanted = f"{(*EXTENSIONS, *NEEDED)}"
        if not (made.exists() and made.read_text() == wanted):
            shutil.rmtree(HOME, ignore_errors=True)
            _fetch()
            made.write_text(wanted)
    return str(HOME)


def _fetch() -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    command = (*pip, "--target", str(HOME), *EXTENSIONS, *NEEDED)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
