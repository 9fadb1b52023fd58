"""RabbitMQNode, a private RabbitMQ node for tests: its own home, data, ports and Erlang port mapper.

Nothing of it is shared with a RabbitMQ that runs on the machine, and nothing of it outlives the process that made it.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote, unquote, urlsplit

from rpcservice.errors import BrokerUnavailable
from rpcservice.testing import rabbitmq_settings as lines
from rpcservice.testing.certificates import Certificates, make_certificates
from rpcservice.testing.erlang import ErlangShell
from rpcservice.testing.ports import free_ports, is_open, speaks_amqp
from rpcservice.testing.rabbitmq_install import find_server

USER = "guest"
PASSWORD_PREFIX = "node-secret-"
"""What the password of all nodes of a process begins with; no other user of the machine can guess how it ends."""
_ACTOR = '<<"test">>'
_ALL_RIGHTS = f'<<".*">>, <<".*">>, <<".*">>, {_ACTOR}'
_READY_PAUSE = 0.05
_PASSWORD = f"{PASSWORD_PREFIX}{secrets.token_hex(8)}"


class RabbitMQNode:
    """One RabbitMQ server that belongs to this process; usable as a context manager.

    Args:
        tls: Also listen with TLS; :attr:`certificates` then holds what a client needs.
        management: Also serve the management API, at :attr:`api_uri`; the start takes two seconds longer.
        settings: Further lines of ``rabbitmq.conf``, by key.
        plugins: Plugins of RabbitMQ's own to enable.
        peer: A node that runs, whose cluster this one joins when it is started first; it is closed after this one.

    Attributes:
        name: The Erlang node name.
        port: The AMQP port, the same after a restart.
        tls_port: The AMQP port for TLS, None without ``tls``.
        management_port: The port of the management API, None without ``management``.
        folder: Where its data, logs and pid file are.
        certificates: The paths of the certificates that the node uses, None without ``tls``.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        management: bool = False,
        settings: Mapping[str, str] | None = None,
        plugins: Iterable[str] = (),
        peer: "RabbitMQNode | None" = None,
    ) -> None:
        self._server = find_server()
        self.port, self._distribution_port, mapper_port, tls_port, management_port = free_ports(5)
        # The nodes of a cluster find each other by one port mapper, and let each other in by one cookie.
        self._peer = peer
        self._mapper_port: int = peer._mapper_port if peer is not None else mapper_port
        self._cookie: str = peer._cookie if peer is not None else secrets.token_hex(16)
        self.name = f"rpcservice-{secrets.token_hex(4)}@localhost"
        self.folder = Path(tempfile.mkdtemp(prefix="rpcservice-rabbitmq-"))
        self.certificates: Certificates | None = self._make_certificates() if tls else None
        self.tls_port = tls_port if tls else None
        self.management_port = management_port if management else None
        self._settings = dict(settings or {})
        self._plugins = (*plugins, *(("rabbitmq_management",) if management else ()))
        self._process: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._write_files()
        self._shell = ErlangShell(self.name, self._environment(), self.folder, self._cookie)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Life

    @property
    def is_running(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = 90) -> None:
        """Start the server, or start it again with its data, and wait until it answers on its AMQP port.

        Raises:
            BrokerUnavailable: It ended, or did not answer in time; the message holds the end of its log.
        """
        if self.is_running:
            return
        self._start_mapper()
        with open(self.folder / "output.log", "ab") as output:
            self._process = self._spawn([str(self._server)], output)
        self._watch()
        deadline = time.monotonic() + timeout
        while not self._answers():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                why = "did not answer in time" if code is None else f"ended with exit code {code}"
                self.kill()
                raise BrokerUnavailable(
                    f"the private RabbitMQ node {self.name} {why}; its log ends:\n{self.log_tail(100)}"
                )
            time.sleep(_READY_PAUSE)

    def _answers(self) -> bool:
        others = (self.tls_port, self.management_port)
        return speaks_amqp(self.port) and all(port is None or is_open(port) for port in others)

    def _start_mapper(self) -> None:
        """Start a port mapper of the node's own; Erlang would start one that stays for ever when it found none."""
        if self._mapper is None and self._peer is None:
            command = ["epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper = self._spawn(command, subprocess.DEVNULL)
        failure = f"the Erlang port mapper does not answer on port {self._mapper_port}"
        _wait_until(lambda: is_open(self._mapper_port), 10, failure)

    def stop(self, timeout: float = 30) -> None:
        """Stop the server in good order, as ``rabbitmqctl stop`` does; clients get ``connection.close`` with 320."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """Kill the server process with SIGKILL and see it gone; its data stay for :meth:`start`."""
        self._end(signal.SIGKILL, 10)

    def restart(self) -> None:
        """Stop in good order and start again, on the same port and with the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the server and its helpers and remove its folder."""
        self.kill()
        for helper in (self._guard, self._mapper):
            if helper is not None:
                helper.kill()
                helper.wait()
                if helper.stdin is not None:
                    helper.stdin.close()
        self._guard = self._mapper = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals, timeout: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        pid_file = self.folder / "pid"
        pid = int(pid_file.read_text()) if pid_file.exists() else process.pid
        for target in {pid, process.pid}:
            if _is_alive(target):
                os.kill(target, how)
        try:
            process.wait(timeout)
            _wait_until(lambda: not _is_alive(pid), timeout, f"process {pid} of {self.name} outlived {how.name}")
        except subprocess.TimeoutExpired:
            self._process = process
            raise BrokerUnavailable(f"{self.name} did not end within {timeout:g} s after {how.name}") from None
        pid_file.unlink(missing_ok=True)

    def _spawn(self, command: list[str], output: int | IO[bytes], stdin: int = subprocess.DEVNULL) -> Any:
        # A session of its own, so that Ctrl-C reaches the tests and not the broker under them.
        return subprocess.Popen(
            command,
            env=self._environment(),
            cwd=self.folder,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _watch(self) -> None:
        """Keep a small shell that ends everything when this process dies, however it dies."""
        guarded = [process.pid for process in (self._process, self._mapper) if process is not None]
        (self.folder / "guarded").write_text(" ".join(map(str, guarded)))
        if self._guard is None:
            # The pipe closes with this process; nothing is ever written to it. What is killed writes for a moment more.
            script = 'read _; kill -9 $(cat guarded); cd /; sleep 1; rm -rf "$0"'
            self._guard = self._spawn(["sh", "-c", script, str(self.folder)], subprocess.DEVNULL, subprocess.PIPE)

    # Settings

    def _make_certificates(self) -> Certificates:
        try:
            return make_certificates(self.folder / "tls")
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def _write_files(self) -> None:
        for name in ("home", "log", "data"):
            (self.folder / name).mkdir()
        cookie_file = self.folder / "home" / ".erlang.cookie"
        cookie_file.write_text(self._cookie)
        cookie_file.chmod(0o400)
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
        settings = {
            **lines.node_settings(self.port, self._distribution_port, USER, _PASSWORD),
            **lines.tls_settings(self.tls_port, self.certificates),
            **lines.management_settings(self.management_port),
            **lines.cluster_settings(self.name, self._peer.name if self._peer is not None else None),
            **self._settings,
        }
        (self.folder / "rabbitmq.conf").write_text(lines.render(settings))

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +A 8",
            # Makes the script exec the Erlang VM: the process that is started is then the one in the pid file.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    # Addresses

    @property
    def uri(self) -> str:
        """The URI of the default virtual host."""
        return self.uri_for("/")

    @property
    def api_uri(self) -> str:
        """The URI of the management API."""
        if self.management_port is None:
            raise ValueError(f"{self.name} has no management API; make it with RabbitMQNode(management=True)")
        return f"http://{USER}:{_PASSWORD}@127.0.0.1:{self.management_port}"

    def uri_for(self, vhost: str, *, tls: bool = False) -> str:
        """Give the URI of a virtual host, for a plain connection or one with TLS."""
        if tls:
            if self.tls_port is None:
                raise ValueError(f"{self.name} does not listen with TLS; make it with RabbitMQNode(tls=True)")
            # By name, not by number: the host name is what the client verifies.
            return f"amqps://{USER}:{_PASSWORD}@localhost:{self.tls_port}/{quote(vhost, safe='')}"
        return f"amqp://{USER}:{_PASSWORD}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    def vhost(self, name: str | None = None, *, tls: bool = False) -> str:
        """Make a fresh virtual host and give its URI; takes some 10 ms."""
        name = name or f"test-{secrets.token_hex(6)}"
        binary = erlang_binary(name)
        made = self.evaluate(
            f'ok = rabbit_vhost:add({binary}, <<"test">>), ok = rabbit_auth_backend_internal:set_permissions('
            f'<<"{USER}">>, {binary}, <<".*">>, <<".*">>, <<".*">>, <<"test">>), true'
        )
        if made is not True:
            raise BrokerUnavailable(f"{self.name} did not make the virtual host {name}: {made}")
        return self.uri_for(name, tls=tls)

    def delete_vhost(self, vhost: str) -> None:
        """Delete a virtual host, by name or URI, with its queues; connections to it are closed."""
        self.evaluate(f"rabbit_vhost:delete({erlang_binary(vhost_name(vhost))}, {_ACTOR}), true")

    def reset(self) -> None:
        """Start the server where it does not run, close all connections, end alarms and empty it."""
        self.start()
        self.unblock_publishers()
        self.close_connections("the node is made ready for another test")
        permissions = f'rabbit_auth_backend_internal:set_permissions(<<"{USER}">>, <<"/">>, {_ALL_RIGHTS})'
        self.evaluate(
            f"[rabbit_vhost:delete(Name, {_ACTOR}) || Name <- rabbit_vhost:list_names()], "
            f'rabbit_vhost:add(<<"/">>, {_ACTOR}), {permissions}, true'
        )

    # A look inside, and trouble on demand

    def evaluate(self, expression: str) -> Any:
        """Evaluate an Erlang expression in the node; gives what JSON makes of its value. Takes some 10 ms.

        Raises:
            BrokerUnavailable: The node does not run, or the expression failed.
        """
        return self._shell.evaluate(expression)

    def ctl(self, *args: str, timeout: float = 60) -> str:
        """Run ``rabbitmqctl`` for this node and give its output; takes a second or two, unlike :meth:`evaluate`."""
        command = [str(self._server.with_name("rabbitmqctl")), "--node", self.name, "--quiet", *args]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise BrokerUnavailable(
                f"rabbitmqctl {' '.join(args)} failed: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def connections(self, vhost: str | None = None) -> list[dict[str, Any]]:
        """Give the open AMQP connections, of one virtual host (by name or URI) or of all."""
        rows = self._shell.rows(
            "rabbit_networking:connection_info_all([pid, name, vhost, user, state, channels, ssl, client_properties])"
        )
        return rows if vhost is None else [row for row in rows if row["vhost"] == vhost_name(vhost)]

    def channels(self, vhost: str) -> list[dict[str, Any]]:
        """Give the open channels of a virtual host, by name or URI."""
        items = "pid, number, vhost, confirm, consumer_count, messages_unacknowledged, messages_unconfirmed"
        rows = self._shell.rows(f"rabbit_channel:info_all([{items}, prefetch_count])")
        return [row for row in rows if row["vhost"] == vhost_name(vhost)]

    def queues(self, vhost: str = "/") -> dict[str, dict[str, Any]]:
        """Give the queues of a virtual host by name, with ``messages_ready``, ``consumers``, ``arguments`` ..."""
        items = "name, durable, auto_delete, exclusive, arguments, consumers"
        counts = "messages, messages_ready, messages_unacknowledged"
        rows = self._shell.rows(f"rabbit_amqqueue:info_all({erlang_binary(vhost_name(vhost))}, [{items}, {counts}])")
        return {row["name"]: row for row in rows}

    def consumers(self, vhost: str = "/") -> list[dict[str, Any]]:
        """Give the consumers of a virtual host: ``queue_name``, ``prefetch_count``, ``ack_required`` ..."""
        return self._shell.rows(f"rabbit_amqqueue:consumers_all({erlang_binary(vhost_name(vhost))})")

    def exchanges(self, vhost: str = "/") -> dict[str, dict[str, Any]]:
        """Give the exchanges of a virtual host by name."""
        items = "name, type, durable, auto_delete, internal, arguments"
        rows = self._shell.rows(f"rabbit_exchange:info_all({erlang_binary(vhost_name(vhost))}, [{items}])")
        return {row["name"]: row for row in rows}

    def bindings(self, vhost: str = "/") -> list[dict[str, Any]]:
        """Give the bindings of a virtual host: ``source_name``, ``destination_name``, ``routing_key`` ..."""
        return self._shell.rows(f"rabbit_binding:info_all({erlang_binary(vhost_name(vhost))})")

    def close_connections(self, reason: str = "closed by a test") -> None:
        """Have the broker close every connection, with 320 CONNECTION_FORCED."""
        self.evaluate(f'rabbit_networking:close_connections(rabbit_networking:connections(), "{reason}"), true')

    def block_publishers(self) -> None:
        """Raise the memory alarm: the broker reads no more from connections that publish."""
        self.evaluate("rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []}), true")

    def unblock_publishers(self) -> None:
        """End the memory alarm."""
        self.evaluate("rabbit_alarm:clear_alarm({resource_limit, memory, node()}), true")

    def sync(self) -> None:
        """Have the node write its definitions to disk.

        RabbitMQ says that a durable queue is declared some milliseconds before a SIGKILL can no longer undo it; a
        test that kills right after a declaration calls this in between.
        """
        self.evaluate("ok = mnesia:sync_log(), dumped = mnesia:dump_log(), true")

    def log_tail(self, lines: int = 40) -> str:
        """Give the last lines of what the server wrote."""
        written: list[str] = []
        for path in [self.folder / "output.log", *sorted((self.folder / "log").glob("*.log"))]:
            if path.exists():
                written += path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(written)


def vhost_name(vhost: str) -> str:
    """Give a virtual host's name, from the name itself or from a URI."""
    if "://" not in vhost:
        return vhost
    return unquote(urlsplit(vhost).path[1:]) or "/"


def erlang_binary(text: str) -> str:
    """Write text as an Erlang binary."""
    return f"<<{','.join(str(byte) for byte in text.encode())}>>"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until(holds: Callable[[], bool], timeout: float, failure: str) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise BrokerUnavailable(failure)
        time.sleep(_READY_PAUSE)
