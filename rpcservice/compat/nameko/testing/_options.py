"""The options of nameko's pytest plugin."""

import ssl
from typing import Any

import pytest


def add_options(parser: pytest.Parser) -> None:
    """Add them to those of pytest."""
    parser.addoption(
        "--blocking-detection",
        action="store_true",
        dest="blocking_detection",
        default=False,
        help="find out what blocks eventlet's hub",
    )
    parser.addoption(
        "--suppress-nameko-eventlet-notification",
        action="store_true",
        dest="suppress_eventlet_notification",
        default=False,
        help="do not warn where the process is not patched for eventlet",
    )
    _add_those_of_rabbitmq(parser)


def _add_those_of_rabbitmq(parser: pytest.Parser) -> None:
    parser.addoption(
        "--amqp-uri",
        "--rabbit-amqp-uri",
        action="store",
        dest="RABBIT_AMQP_URI",
        default="pyamqp://guest:guest@localhost:5672/",
        help="the RabbitMQ broker; its virtual host is not used, for each test has one of its own",
    )
    parser.addoption(
        "--rabbit-api-uri",
        "--rabbit-ctl-uri",
        action="store",
        dest="RABBIT_API_URI",
        default="http://guest:guest@localhost:15672",
        help="RabbitMQ's management API",
    )
    parser.addoption(
        "--amqp-ssl-port", action="store", dest="AMQP_SSL_PORT", default=5671, help="the broker's port for TLS"
    )
    parser.addoption(
        "--amqp-ssl-option",
        type=_parse_option,
        action="append",
        dest="AMQP_SSL_OPTIONS",
        metavar="KEY=VALUE",
        default=[
            ("ca_certs", "certs/cacert.pem"),
            ("certfile", "certs/clientcert.pem"),
            ("keyfile", "certs/clientkey.pem"),
            ("cert_reqs", ssl.CERT_REQUIRED),
        ],
        help="an option of TLS, whose value is YAML; may be given more than once",
    )


def _parse_option(text: str) -> tuple[str, Any]:
    from rpcservice.envvars import load

    key, has_value, value = text.strip().partition("=")
    return key, load(value, f"--amqp-ssl-option {key}") if has_value else True
