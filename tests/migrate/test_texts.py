"""What is left to a person in files that are no Python."""

from pathlib import Path

import pytest

from rpcservice.migrate.texts import find_in_text, is_text_to_read

LINES = {
    "nameko>=2.14,<3": "require rpcservice",
    "nameko": "require rpcservice",
    'install_requires=["nameko==2.14.1"],': "require rpcservice",
    "nameko-sqlalchemy==1.5": "it is made for nameko",
    "CMD nameko run --config config.yaml shop.orders": "write rpcservice in the place of nameko",
    'CMD ["nameko", "run", "shop.orders"]': "write rpcservice in the place of nameko",
    "command: ['nameko','run','shop.orders']": "write rpcservice in the place of nameko",
    "command: [nameko, run, shop.orders]": "write rpcservice in the place of nameko",
    "ENTRYPOINT exec nameko run shop": "write rpcservice in the place of nameko",
    "command=/opt/venv/bin/nameko run shop": "write rpcservice in the place of nameko",
    "python -m nameko run shop": "write rpcservice in the place of nameko",
    'nameko = "^2.14"': "require rpcservice",
    '  "nameko (>=2.14,<3.0)",': "require rpcservice",
    "nameko ; python_version < '3.12'": "require rpcservice",
    "nameko~=2.14": "require rpcservice",
    "nameko[examples]>=2": "require rpcservice",
    "-e git+https://github.com/nameko/nameko.git#egg=nameko": "require rpcservice",
    "    nameko shell": "write rpcservice in the place of nameko",
    "SERVICE_CONTAINER_CLS: shop.Container": "its class has to be a subclass of rpcservice.ServiceContainer",
    "    nameko.containers:": "name the logger rpcservice",
    "  loggers: {nameko: {level: INFO}}": "name the logger rpcservice",
    "  - nameko is here": "see what it means here",
    "# nameko run": None,
    "tsunameko==1": None,
    "AMQP_URI: amqp://localhost": None,
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_told_with_what_to_do(line: str) -> None:
    found = [finding.mend for finding in find_in_text(f"first\n{line}\n", Path("x"))]
    mend = LINES[line]
    assert not found if mend is None else found[0].startswith(mend)


def test_the_place_is_told() -> None:
    (finding,) = find_in_text("a\n  nameko==2\n", Path("some/requirements.txt"))
    assert str(finding) == "some/requirements.txt:2: nameko==2"


@pytest.mark.parametrize(
    ("path", "is_read"),
    [
        ("requirements.txt", True),
        ("dev-requirements.in", True),
        ("requirements/base.txt", True),
        ("setup.cfg", True),
        ("pyproject.toml", True),
        ("setup.py", True),
        ("config.yaml", True),
        ("Dockerfile.dev", True),
        ("notes.txt", False),
        ("shop.py", False),
    ],
)
def test_files_are_told_by_their_names(path: str, is_read: bool) -> None:
    assert is_text_to_read(Path("project", path)) is is_read
