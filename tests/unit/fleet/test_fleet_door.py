"""A page of another site cannot read the fleet through the browser of somebody who may."""

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fleet.door import Door

NAMES = ("fleet.example.com",)


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()

    @app.get("/")
    def get_front() -> str:
        return "the fleet"

    @app.post("/")
    def post_front() -> str:
        return "changed"

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("live")

    app.add_middleware(Door, names=NAMES)
    return TestClient(app, base_url="http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8080",
        "localhost",
        "LOCALHOST:1",
        "[::1]:8080",
        "10.1.2.3",
        "fleet.example.com",
        "Fleet.Example.com:443",
    ],
)
def test_the_server_answers_to_its_addresses_and_its_names(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).json() == "the fleet"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "[::1",
        "@127.0.0.1@evil.example",
    ],
)
def test_a_rebound_name_reads_nothing(client: TestClient, host: str) -> None:
    refused = client.get("/", headers={"Host": host})
    assert (refused.status_code, refused.json()["code"]) == (421, "wrong-door")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live", headers={"Host": host}):
        pass


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9", "https://10.9.9.9", "http://["]
)
def test_a_page_of_another_site_reads_nothing_changes_nothing_and_opens_no_socket(
    client: TestClient, origin: str
) -> None:
    assert client.get("/", headers={"Origin": origin}).status_code == 403
    assert client.post("/", headers={"Origin": origin}).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://127.0.0.1:8080/live", headers={"Origin": origin}),
    ):
        pass


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "https://fleet.example.com"])
def test_the_servers_own_pages_are_live_also_behind_a_proxy(client: TestClient, origin: str) -> None:
    assert client.post("/", headers={"Origin": origin}).json() == "changed"
    with client.websocket_connect("ws://127.0.0.1:8080/live", headers={"Origin": origin}) as socket:
        assert socket.receive_text() == "live"


def test_no_page_is_framed_or_guessed_at(client: TestClient) -> None:
    headers = client.get("/").headers
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
