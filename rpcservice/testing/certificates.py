"""Certificates that a test makes for itself: an authority, a server for localhost, a client."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpcservice.errors import MissingExtra


@dataclass(frozen=True)
class Certificates:
    """The paths of PEM files."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


def make_certificates(folder: Path, *, host: str = "localhost", days: float = 1) -> Certificates:
    """Write a fresh authority to a folder, with a server certificate and a client certificate.

    Args:
        folder: Made where it does not exist.
        host: Whom the server certificate is for; the one for localhost is for 127.0.0.1 too.
        days: How long the server certificate is valid; with a negative number it has expired.

    Raises:
        MissingExtra: The ``cryptography`` package is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = _Authority()
    certificates = Certificates(
        *(folder / name for name in ("ca.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem"))
    )
    certificates.ca.write_bytes(authority.pem)
    authority.issue(host, certificates.server_cert, certificates.server_key, days=days)
    authority.issue("rpcservice-client", certificates.client_cert, certificates.client_key)
    return certificates


class _Authority:
    """A certificate authority that lives for a day."""

    def __init__(self) -> None:
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError as exc:
            raise MissingExtra("certificates for tests need cryptography; run: pip install cryptography") from exc
        self._x509, self._hashes, self._serialization, self._ec = x509, hashes, serialization, ec
        self._name = self._named("rpcservice test authority")
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.pem = self._sign(builder.add_extension(usage, critical=True))

    def issue(self, common_name: str, cert_path: Path, key_path: Path, *, days: float = 1) -> None:
        """Write a key and a certificate for it."""
        x509, serialization = self._x509, self._serialization
        key = self._ec.generate_private_key(self._ec.SECP256R1())
        names = [x509.DNSName(common_name)]
        if common_name == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = self._builder(self._named(common_name), key, days)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert_path.write_bytes(self._sign(builder.add_extension(issuer, critical=False)))
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        key_path.chmod(0o600)

    def _named(self, common_name: str) -> Any:
        return self._x509.Name([self._x509.NameAttribute(self._x509.NameOID.COMMON_NAME, common_name)])

    def _builder(self, subject: Any, key: Any, days: float = 1) -> Any:
        now = datetime.datetime.now(datetime.UTC)
        identifier = self._x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return (
            self._x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(self._x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=max(0, -days), hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(identifier, critical=False)
        )

    def _sign(self, builder: Any) -> bytes:
        certificate = builder.sign(self._key, self._hashes.SHA256())
        pem: bytes = certificate.public_bytes(self._serialization.Encoding.PEM)
        return pem
