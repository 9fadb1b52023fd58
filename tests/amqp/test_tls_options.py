"""What AMQP_SSL means: verified unless told otherwise, and a line in the log when it is not."""

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.amqp.tls import tls_options
from rpcservice.errors import ConfigError
from rpcservice.testing import FakeHost


def options_for(setting: Any, hostname: str = "localhost") -> dict[str, Any]:
    options = tls_options(setting, hostname)
    assert options is not None
    return options


@pytest.mark.parametrize("setting", [None, False, {}])
def test_no_setting_is_no_tls(setting: Any) -> None:
    assert tls_options(setting, "localhost") is None


def test_true_verifies_the_certificate_and_the_host() -> None:
    assert options_for(True) == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost"}


@pytest.mark.parametrize("given", ["none", "NONE", "CERT_NONE", ssl.CERT_NONE, 0])
def test_only_none_turns_verification_off(given: Any) -> None:
    assert options_for({"cert_reqs": given}) == {"cert_reqs": ssl.CERT_NONE}


def test_the_host_to_verify_comes_from_the_uri_unless_it_is_set() -> None:
    assert options_for({"ciphers": "HIGH"}, "broker.example")["server_hostname"] == "broker.example"
    assert options_for({"server_hostname": "other.example"}, "broker.example")["server_hostname"] == "other.example"


@pytest.mark.parametrize("given", ["yes", 7, None])
def test_a_wrong_cert_reqs_is_named(given: Any) -> None:
    with pytest.raises(ConfigError, match=f"AMQP_SSL: cert_reqs is {given!r}; give none, optional or required"):
        tls_options({"cert_reqs": given}, "localhost")


def test_an_option_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"AMQP_SSL has ca_cert; give some of ca_certs, cert_reqs"):
        tls_options({"ca_cert": "ca.pem"}, "localhost")


@pytest.mark.parametrize("key", ["ca_certs", "certfile", "keyfile"])
def test_a_file_that_cannot_be_read_is_named(key: str, tmp_path: Path) -> None:
    """OpenSSL says only that some file is not there, and it would be tried again until the start gives up."""
    path = tmp_path / "missing.pem"
    with pytest.raises(ConfigError, match=f"AMQP_SSL: {key} is '{path}', which cannot be read: .*No such file"):
        tls_options({key: str(path)}, "localhost")
    path.touch()
    assert options_for({key: str(path)})[key] == str(path)


@pytest.mark.parametrize("given", [7.5, ["ca.pem"]])
def test_what_is_no_path_is_named(given: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"AMQP_SSL: ca_certs is .*, which cannot be read: .*give the path of a PEM file"
    ):
        tls_options({"ca_certs": given}, "localhost")


def test_a_broker_that_is_not_verified_is_named_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    host = FakeHost(config={"AMQP_SSL": {"cert_reqs": "none"}})
    key = connection_key(host.config, uri="amqp://me:secret@broker.example//", ssl={"cert_reqs": "none"})
    host.resource(AmqpConnection, key)
    host.resource(AmqpConnection, key)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the broker at amqp://me:***@broker.example// is not verified, since cert_reqs is none" in caplog.text


@pytest.mark.parametrize("setting", [None, False, True, {"ca_certs": "ca.pem"}])
def test_a_verified_connection_says_nothing(caplog: pytest.LogCaptureFixture, setting: Any) -> None:
    host = FakeHost(config={"AMQP_SSL": setting})
    host.resource(AmqpConnection, connection_key(host.config))
    assert caplog.text == ""
