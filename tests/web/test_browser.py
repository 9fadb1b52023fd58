"""A real browser opens the page of docs/examples/chat.py; processes of the same service share a RabbitMQ."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from command_process import Running
from waiting import wait_until

from rpcservice.testing import VirtualSocket

pytestmark = [pytest.mark.broker, pytest.mark.browser]

Serve = Callable[..., Any]

CHAT = Path(__file__).parents[2] / "docs" / "examples" / "chat.py"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def url(rabbitmq_uri: str) -> Iterator[str]:
    """The URL of a process of its own that serves the page."""
    command = [sys.executable, "-m", "rpcservice", "run", str(CHAT), "--broker", rabbitmq_uri]
    process = Running([*command, "-d", "WEB_SERVER_ADDRESS=127.0.0.1:0"])
    try:
        line = process.wait_for("Web server: http")
        process.wait_for("services are up")
        yield line.split("Web server: ")[1]
        process.process.terminate()
        assert process.wait() == 0
    finally:
        process.close()


@pytest.fixture
def here(serve: Serve) -> Any:
    """This process, as another instance of the service."""
    spec = util.spec_from_file_location("chat_of_this_process", CHAT)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return serve(module.Chat)


def test_a_page_calls_a_method(browser: Browser, url: str) -> None:
    """The first line of the page shows what the method gave."""
    browser.open(f"{url}/?name=ann")
    wait_until(lambda: browser.texts("#state") == ["in lobby"], "the result of the call")


def test_a_page_hears_what_is_broadcast_by_another_process(browser: Browser, url: str, here: Any) -> None:
    browser.open(f"{url}/?name=ann")
    wait_until(lambda: browser.texts("#state") == ["in lobby"], "the subscription")
    with VirtualSocket(*here.address, "/ws?name=bob") as bob:
        bob.rpc("say", room="lobby", text="<b>hello</b> from afar \u2615")
        wait_until(lambda: browser.texts("#heard li") == ["<b>hello</b> from afar \u2615"], "the event")


def test_what_a_page_says_is_heard_in_another_process(browser: Browser, url: str, here: Any) -> None:
    """And by the page itself, once."""
    browser.open(f"{url}/?name=ann")
    wait_until(lambda: browser.texts("#state") == ["in lobby"], "the subscription")
    with VirtualSocket(*here.address, "/ws?name=bob") as bob:
        bob.rpc("join", room="lobby")
        text = "a long story, " * 500
        browser.evaluate(
            f"document.getElementById('text').value = {json.dumps(text)}; document.querySelector('button').click()"
        )
        assert bob.wait_for_event("said") == ("said", {"room": "lobby", "text": text})
    wait_until(lambda: browser.texts("#heard li") == [text.strip()], "the page's own words")


def test_a_page_sees_why_it_is_refused(browser: Browser, url: str) -> None:
    browser.open(f"{url}/?name=")
    reason = "closed: 4001 say who you are: /ws?name=..."
    wait_until(lambda: browser.texts("#state") == [reason], "the code and the reason")


def test_a_page_of_another_origin_is_kept_out(browser: Browser, url: str, here: Any) -> None:
    """The same host, another port."""
    browser.open(f"{here.server.url}/?name=ann")
    outcome = browser.evaluate(
        f"""new Promise(resolve => {{
            const socket = new WebSocket({json.dumps(url.replace("http", "ws") + "/ws?name=eve")});
            socket.onopen = () => resolve("open");
            socket.onclose = event => resolve(event.code);
        }})"""
    )
    assert outcome == 1006


def test_a_page_sees_that_the_service_stops(browser: Browser, here: Any) -> None:
    browser.open(f"{here.server.url}/?name=ann")
    wait_until(lambda: browser.texts("#state") == ["in lobby"], "the subscription")
    here.container.stop()
    wait_until(lambda: browser.texts("#state") == ["closed: 1001"], "the close code")
