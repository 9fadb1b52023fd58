from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rpcservice.cli import main
from rpcservice.config import KEYS


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def show(*args: str) -> str:
    result = CliRunner().invoke(main, ["show-config", *args])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_it_prints_yaml_with_variables_replaced(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "7")
    (here / "my.yaml").write_text("max_workers: ${WORKERS}\nDB:\n  urls: [a, b]\n")
    assert show("-c", "my.yaml") == "max_workers: 7\nDB:\n  urls:\n  - a\n  - b\n"


def test_it_reads_config_yaml_where_there_is_one(here: Path) -> None:
    (here / "config.yaml").write_text("max_workers: 3\n")
    assert show() == "max_workers: 3\n"


def test_nothing_given_is_an_empty_mapping() -> None:
    assert show() == "{}\n"


def test_defines_are_yaml_and_alone_true() -> None:
    shown = yaml.safe_load(show("-d", "max_workers=4", "-d", "feature", "-d", "list=[1, two]", "-d", "empty="))
    assert shown == {"max_workers": 4, "feature": True, "list": [1, "two"], "empty": None}


def test_defines_take_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOR", "red")
    assert show("-d", "color=${COLOR}") == "color: red\n"


def test_the_broker_wins_over_the_file(here: Path) -> None:
    (here / "config.yaml").write_text("AMQP_URI: amqp://one\n")
    assert show("--broker", "memory://") == "AMQP_URI: memory://\n"


def test_passwords_in_uris_are_hidden_wherever_they_stand(here: Path) -> None:
    (here / "config.yaml").write_text(
        "AMQP_URI: amqp://me:secret@one;amqp://me:secret@two\nDB:\n  - postgresql://me:secret@db/x\n"
    )
    shown = show()
    assert "secret" not in shown
    assert yaml.safe_load(shown) == {
        "AMQP_URI": "amqp://me:***@one;amqp://me:***@two",
        "DB": ["postgresql://me:***@db/x"],
    }


def test_all_shows_every_key_with_its_default() -> None:
    shown = yaml.safe_load(show("--all", "-d", "max_workers=4", "-d", "mine=1"))
    assert set(shown) == {key.name for key in KEYS} | {"mine"}
    assert (shown["max_workers"], shown["rpc_timeout"], shown["services"]) == (4, 60, [])
    assert shown["AMQP_URI"] == "pyamqp://guest:***@localhost"


def test_a_slip_warns_on_standard_error(caplog: pytest.LogCaptureFixture) -> None:
    assert show("-d", "max_worker=4") == "max_worker: 4\n"
    assert "command line: max_worker is no known key; is max_workers meant?" in caplog.messages
