import ssl
from pathlib import Path
from typing import Any

import pytest

from rpcservice.testing.certificates import Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Shake hands in memory; raises what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not waiting


def _server(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    return context


def test_the_server_certificate_is_good_for_localhost(certificates: Certificates) -> None:
    _handshake(_server(certificates), ssl.create_default_context(cafile=str(certificates.ca)), "localhost")


def test_the_server_certificate_is_good_for_no_other_host(certificates: Certificates) -> None:
    client = ssl.create_default_context(cafile=str(certificates.ca))
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(_server(certificates), client, "example.org")


def test_a_client_that_does_not_know_the_authority_refuses(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(_server(certificates), ssl.create_default_context(), "localhost")


def test_the_client_certificate_is_accepted_where_one_is_required(certificates: Certificates) -> None:
    server = _server(certificates)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(certificates.ca))
    client.load_cert_chain(certificates.client_cert, certificates.client_key)
    _handshake(server, client, "localhost")


def test_keys_are_readable_by_their_owner_alone(certificates: Certificates) -> None:
    paths: list[Path] = [certificates.server_key, certificates.client_key]
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)


@pytest.mark.parametrize(("options", "reason"), [({"host": "other.example"}, "mismatch"), ({"days": -1}, "expired")])
def test_a_server_certificate_can_be_made_that_is_refused(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    certificates = make_certificates(tmp_path, **options)
    client = ssl.create_default_context(cafile=str(certificates.ca))
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        _handshake(_server(certificates), client, "localhost")
