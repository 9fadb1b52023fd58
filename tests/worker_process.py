"""What can be seen of ``rpcservice run --workers`` from outside."""

import re
import urllib.request
from pathlib import Path

from command_process import Running

UP = "restarts them in turn"
HERE = ("-d", "WEB_SERVER_ADDRESS=127.0.0.1:0")


def url_of(running: Running) -> str:
    return running.wait_for("Web server: ").removeprefix("Web server: ")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        text: str = response.read().decode()
    return text


def said(running: Running, text: str) -> int:
    """How often something was printed; two processes may write to one line."""
    return "".join(running.out).count(text)


def pids(running: Running) -> list[int]:
    """The process ids of all workers that came up so far."""
    return [int(match[1]) for line in running.err if (match := re.search(r"worker \d+ is up \(pid (\d+)\)", line))]


def workers_of(running: Running) -> dict[int, int]:
    """The process ids of the workers that came up last, by number."""
    return {
        int(match[1]): int(match[2])
        for line in running.err
        if (match := re.search(r"worker (\d+) is up \(pid (\d+)\)", line))
    }


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
