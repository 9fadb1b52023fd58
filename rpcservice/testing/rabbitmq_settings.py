"""The lines of ``rabbitmq.conf`` of a private node."""

from collections.abc import Mapping

from rpcservice.testing.certificates import Certificates

HOST = "127.0.0.1"


def node_settings(port: int, distribution_port: int, user: str, password: str) -> dict[str, str]:
    """Give what every node has: its ports, its user, and limits that suit tests."""
    return {
        "default_user": user,
        "default_pass": password,
        "listeners.tcp.default": f"{HOST}:{port}",
        "distribution.listener.port_range.min": str(distribution_port),
        "distribution.listener.port_range.max": str(distribution_port),
        "log.console": "false",
        "log.file.level": "info",
        "disk_free_limit.absolute": "1MB",
        "vm_memory_high_watermark.absolute": "2GB",
    }


def tls_settings(port: int | None, certificates: Certificates | None) -> dict[str, str]:
    """Give what a node needs that listens with TLS; nothing without certificates."""
    if certificates is None:
        return {}
    return {
        "listeners.ssl.default": f"{HOST}:{port}",
        "ssl_options.cacertfile": str(certificates.ca),
        "ssl_options.certfile": str(certificates.server_cert),
        "ssl_options.keyfile": str(certificates.server_key),
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "false",
    }


def management_settings(port: int | None) -> dict[str, str]:
    """Give what a node needs that serves the management API; nothing without a port."""
    return {} if port is None else {"management.tcp.ip": HOST, "management.tcp.port": str(port)}


def cluster_settings(node: str, peer: str | None) -> dict[str, str]:
    """Give what a node needs that joins the cluster of another one; nothing without a peer."""
    if peer is None:
        return {}
    formation = "cluster_formation.classic_config.nodes"
    return {
        "cluster_formation.peer_discovery_backend": "classic_config",
        f"{formation}.1": peer,
        f"{formation}.2": node,
    }


def render(settings: Mapping[str, str]) -> str:
    """Give settings as the text of the file."""
    return "".join(f"{key} = {value}\n" for key, value in settings.items())
