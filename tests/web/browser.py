"""Browser, Debian's chromium without a screen, driven by its DevTools protocol."""

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Self

import websocket
from waiting import wait_until

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--renderer-process-limit=1",
    "--remote-debugging-port=0",
)


class Browser:
    """One page of a browser of its own; a context manager, at whose end the browser is gone.

    Args:
        folder: An empty folder for what the browser keeps.
    """

    def __init__(self, folder: Path) -> None:
        program = os.environ.get("CHROMIUM") or shutil.which("chromium")
        assert program, (
            "no chromium is installed; as root, run: apt-get install -y --no-install-recommends chromium "
            '(or name another one in CHROMIUM, or leave these tests out with -m "not browser")'
        )
        self._folder = folder
        self._ids = 0
        self._devtools: Any = None
        self._log = folder / "log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [program, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            (target,) = wait_until(self._pages, "the browser's first page", 30)
            self._devtools = websocket.create_connection(
                target["webSocketDebuggerUrl"], timeout=15, suppress_origin=True
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._devtools is not None:
            self._devtools.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _pages(self) -> list[Any]:
        assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
        port_file = self._folder / "DevToolsActivePort"
        if not port_file.exists() or not (lines := port_file.read_text().splitlines()):
            return []
        with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
            return [target for target in json.load(answer) if target["type"] == "page"]

    def _ask(self, method: str, **params: Any) -> Any:
        self._ids += 1
        self._devtools.send(json.dumps({"id": self._ids, "method": method, "params": params}))
        while True:
            answer = json.loads(self._devtools.recv())
            if answer.get("id") == self._ids:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page."""
        result = self._ask("Page.navigate", url=url)
        assert "errorText" not in result, result
        wait_until(lambda: self.evaluate("document.readyState === 'complete' && location.href") == url, url)

    def evaluate(self, expression: str) -> Any:
        """Give the value of an expression of JavaScript in the page; of a promise, what it is resolved with."""
        result = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """Give the texts of the elements that fit a CSS selector, as a reader of the page sees them."""
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(element => element.innerText)"
        )
        return found
