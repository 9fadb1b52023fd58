"""TLS to a broker, verified unless told otherwise, and the methods of logging in."""

import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpcservice.config import hide_password
from rpcservice.errors import ConfigError

_CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_OPTIONS = (
    "ca_certs",
    "cert_reqs",
    "certfile",
    "ciphers",
    "keyfile",
    "server_hostname",
    "ssl_version",
    "tls_maximum_version",
    "tls_minimum_version",
)
"""What py-amqp takes."""
_FILES = ("ca_certs", "certfile", "keyfile")
"""Those of them that are paths."""

LOGIN_METHODS = ("PLAIN", "AMQPLAIN", "EXTERNAL")
"""SASL mechanisms; None stands for the first."""

_log = logging.getLogger(__name__)


def tls_options(setting: bool | Mapping[str, Any] | None, hostname: str | None) -> dict[str, Any] | None:
    """Turn ``AMQP_SSL`` into what py-amqp wants: the broker's certificate is verified unless told otherwise.

    Args:
        setting: True, or a mapping with ``ca_certs``, ``certfile``, ``keyfile``, ``cert_reqs`` ("none", "optional",
            "required"), ``server_hostname`` ...; false or None for no TLS.
        hostname: Who the certificate must be made out to, unless ``server_hostname`` says otherwise.

    Raises:
        ConfigError: There is no such option, ``cert_reqs`` is none of the three, or a file cannot be read.
    """
    if not setting:
        return None
    options = dict(setting) if isinstance(setting, Mapping) else {}
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise ConfigError(f"AMQP_SSL has {', '.join(unknown)}; give some of {', '.join(_OPTIONS)}")
    for key in _FILES:
        _check_file(key, options.get(key))
    options["cert_reqs"] = _requirement(options)
    if options["cert_reqs"] != ssl.CERT_NONE:
        options.setdefault("server_hostname", hostname)
    return options


def _check_file(key: str, path: Any) -> None:
    """See whether a file is there and can be read, which OpenSSL says without its name."""
    if path is None:
        return
    try:
        Path(path).open("rb").close()
    except (OSError, TypeError) as exc:
        raise ConfigError(
            f"AMQP_SSL: {key} is {str(path)!r}, which cannot be read: {exc}; give the path of a PEM file"
        ) from exc


def _requirement(options: Mapping[str, Any]) -> ssl.VerifyMode:
    given = options.get("cert_reqs", "required")
    known: Any = _CERT_REQS.get(given.lower().removeprefix("cert_")) if isinstance(given, str) else given
    if known not in _CERT_REQS.values():
        raise ConfigError(f"AMQP_SSL: cert_reqs is {given!r}; give none, optional or required")
    return ssl.VerifyMode(known)


def warn_when_unverified(setting: bool | Mapping[str, Any] | None, uri: str) -> None:
    """Say in the log that a broker's certificate is not going to be verified, where that is so."""
    if isinstance(setting, Mapping) and setting and _requirement(setting) == ssl.CERT_NONE:
        _log.warning(
            "the certificate of the broker at %s is not verified, since cert_reqs is none: whoever sits in between "
            "can read and change all messages; give ca_certs instead",
            hide_password(uri),
        )


def check_login_method(method: str | None, *more: str) -> None:
    """See whether there is such a login method.

    Args:
        method: Its name; None leaves it to the transport.
        more: Further ones that the link knows.

    Raises:
        ConfigError: There is none.
    """
    known = (*LOGIN_METHODS, *more)
    if method is not None and method not in known:
        raise ConfigError(f"LOGIN_METHOD is {method!r}; give {', '.join(known[:-1])} or {known[-1]}")
