"""Real clients: the packages websockets, in a process of its own, and websocket-client, in a thread."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websocket
from json_process import JsonProcess

from rpcservice import WebSocketHubProvider, websocket_rpc

Serve = Callable[..., Any]
CLIENT = Path(__file__).with_name("websocket_client.py")


class Rooms:
    name = "rooms"
    hub = WebSocketHubProvider()

    @websocket_rpc
    def join(self, socket_id: str, room: str) -> Any:
        self.hub.subscribe(socket_id, room)
        return self.hub.get_subscriptions(socket_id)

    @websocket_rpc
    def say(self, socket_id: str, room: str, text: str) -> int:
        self.hub.broadcast(room, "said", text)
        return len(text)


@pytest.fixture
def site(serve: Serve) -> Any:
    return serve(Rooms)


@pytest.mark.parametrize("compression", ["compressed", "plain"])
def test_websockets_calls_and_hears(site: Any, tmp_path: Path, compression: str) -> None:
    """With long messages in both directions, which are compressed where that was agreed upon."""
    url = f"ws://{site.address[0]}:{site.address[1]}/ws"
    text = "".join(f"{number} " for number in range(20_000))
    with JsonProcess([sys.executable, str(CLIENT), url, compression], tmp_path / "log") as client:
        connected = client.wait_until(lambda: client.lines, "the first frame")[0]["frame"]
        assert connected["event"] == "connected"
        for number, (method, data) in enumerate([("join", {"room": "tea"}), ("say", {"room": "tea", "text": text})]):
            write(client, {"method": method, "data": data, "correlation_id": number})
        client.wait_for(frame={"type": "result", "success": True, "data": ["tea"], "correlation_id": 0})
        client.wait_for(frame={"type": "event", "event": "said", "data": text})
        client.wait_for(frame={"type": "result", "success": True, "data": len(text), "correlation_id": 1})
        write(client, None)
        end = client.wait_until(lambda: [line for line in client.lines if "code" in line], "the close")[0]
        assert end == {"code": 1000, "extensions": ["permessage-deflate"] * (compression == "compressed")}
        assert client.wait() == 0


def test_websockets_is_told_of_the_stop(site: Any, tmp_path: Path) -> None:
    url = f"ws://{site.address[0]}:{site.address[1]}/ws"
    with JsonProcess([sys.executable, str(CLIENT), url, "compressed"], tmp_path / "log") as client:
        client.wait_until(lambda: client.lines, "the first frame")
        site.container.stop()
        client.wait_for(code=1001)


def write(client: JsonProcess, frame: Any) -> None:
    assert client._process.stdin is not None
    client._process.stdin.write(json.dumps(frame).encode() + b"\n")
    client._process.stdin.flush()


def test_websocket_client_calls(site: Any, background: Callable[..., Any]) -> None:
    """It sends an origin, which is that of the host that it connects to."""

    def run() -> list[Any]:
        client = websocket.create_connection(f"ws://{site.address[0]}:{site.address[1]}/ws", timeout=10)
        frames = [json.loads(client.recv())]
        client.send(json.dumps({"method": "join", "data": {"room": "tea"}, "correlation_id": 7}))
        frames.append(json.loads(client.recv()))
        client.ping("there?")
        assert client.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"there?")
        client.close()
        return frames

    connected, result = background(run).result()
    assert connected["event"] == "connected"
    assert result == {"type": "result", "success": True, "data": ["tea"], "correlation_id": 7}
