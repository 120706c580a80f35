"""The fleet server as it runs: its own process, a real broker, real files, real signatures."""

import html
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest
from tuf.api.metadata import Metadata, Targets  # type: ignore[attr-defined]

from fleet.adapters.api_client import ApiClient
from fleet.demo.processes import Processes, await_port, free_port, mosquitto, program
from models.digest import Digest, digest_of
from models.release.manifest import bytes_from_manifest
from models.trust.image import ImageRepository
from models.trust.keyset import init_development_keys
from models.wire.messages import (
    MetadataRequest,
    RangeRequest,
    Refusal,
    RefusalCode,
    Repository,
    UpdatePhase,
    UpdateStatus,
)
from models.wire.topics import Channel
from tests.fakes.fleet_device import WireDevice
from tests.fakes.fleet_messages import BOOT, batch, decision, state
from tests.fakes.fleet_world import CLAIMS, list_releases, publish_release

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed"),
]

FLEET = "demo"
STOP_TIMEOUT_S = 5.0
"""As in the unit."""


@dataclass
class Site:
    folder: Path
    processes: Processes
    mqtt_port: int
    digest: Digest
    url: str = ""
    starts: int = 0

    def start_broker(self) -> None:
        path = mosquitto()
        assert path is not None
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        )
        self.processes.start("broker", [path, "-c", str(configuration)])
        await_port(self.mqtt_port, self.processes)

    def start_server(self) -> None:
        command = [program("roskva-fleet"), "serve", "--fleet", FLEET, "--http-port", "0"]
        for name in ("state", "repo", "keys"):
            command += [f"--{name}", str(self.folder / name)]
        child = self.processes.start("server", [*command, "--mqtt-port", str(self.mqtt_port)])
        assert child.process.stdout is None
        self.url = self._announced()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}/api/v1/{path}", timeout=10)

    def await_health(self, **wanted: object) -> None:
        look_until(lambda: wanted.items() <= self.get("health").json().items())

    def device(self, name: str) -> WireDevice:
        return WireDevice(FLEET, name, self.mqtt_port).online()

    def _announced(self) -> str:
        log = self.folder / "logs" / "server.log"
        self.starts += 1
        found: list[str] = []

        def look() -> bool:
            self.processes.check()
            found[:] = re.findall(r"^roskva-fleet: console at (\S+)/$", log.read_text(), re.MULTILINE)
            return len(found) >= self.starts

        look_until(look, 60.0)
        return found[-1]


def look_until(look: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Look again and again until it holds; fails at the deadline."""
    pause, deadline_s = threading.Event(), time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        pause.wait(0.05)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    ImageRepository.init(tmp_path / "repo", init_development_keys(tmp_path / "keys"))
    made = publish_release(tmp_path / "repo")
    list_releases(tmp_path / "repo", made)
    with Processes(tmp_path / "logs") as processes:
        site = Site(tmp_path, processes, free_port(), digest_of(bytes_from_manifest(made)))
        site.start_broker()
        site.start_server()
        site.await_health(broker_connected=True)
        yield site


def test_telemetry_is_acknowledged_found_by_id_and_survives_a_killed_server(site: Site) -> None:
    thor = site.device("thor-1")
    thor.deliver(batch(0), batch(1), batch(1))
    site.processes.kill("server")
    site.start_server()
    site.await_health(broker_connected=True)
    with ApiClient(site.url) as client:
        assert client.decision(f"thor-1:{BOOT}:7").record == decision(7)
        assert client.descent(digest_of(b"checkpoint")).releases[0].digest == site.digest
        assert digest_of(client.release_file(site.digest, "release.json", 1 << 20)) == site.digest
    assert len(site.get("decisions?device=thor-1").json()) == 10
    thor.deliver(batch(0))
    assert len(site.get("decisions?device=thor-1").json()) == 10
    thor.close()


def test_an_order_reaches_the_device_as_signed_metadata_of_its_own(site: Site) -> None:
    thor, other = site.device("thor-1"), site.device("thor-2")
    look_until((site.folder / "state/director/thor-2/metadata/timestamp.json").exists)
    token = (site.folder / "state/operator.token").read_text().strip()
    answer = httpx.post(
        f"{site.url}/api/v1/assignments",
        json={"device": "thor-1", "release_digest": site.digest},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 201, answer.text
    thor.wait(lambda: site.digest in thor.offers or None)
    assert targets_of(thor) == {"releases/mini/1.0.1/release.json": site.digest.removeprefix("sha256:")}
    assert targets_of(other) == {}
    thor.close()
    other.close()


def test_an_envelope_order_survives_a_killed_server_and_reaches_a_device_that_was_off(site: Site) -> None:
    thor = site.device("thor-1")
    thor.report(state())
    look_until(lambda: site.get("devices").json())
    thor.close()
    token = (site.folder / "state/operator.token").read_text().strip()
    answer = httpx.post(
        f"{site.url}/api/v1/envelopes",
        json={"devices": ["thor-1"], "envelope_w": 62.5},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 201, answer.text
    site.processes.kill("server")
    site.start_server()
    site.await_health(broker_connected=True)
    back = site.device("thor-1")
    back.report(state())
    order = back.wait(lambda: back.envelopes[0] if back.envelopes else None)
    assert (order.envelope_w, order.sequence) == (62.5, answer.json()[0]["sequence"])
    back.report(msgspec.structs.replace(state(), envelope_sequence=order.sequence))
    look_until(lambda: site.get("envelopes").json()[0]["kept"])
    back.close()


def targets_of(device: WireDevice) -> dict[str, str]:
    """The device's newest Director targets, asked from the depot."""
    for version in (3, 2, 1):
        answer = device.ask(f"t{version}", MetadataRequest(Repository.DIRECTOR, f"{version}.targets.json"))
        if isinstance(answer, bytes):
            signed = Metadata[Targets].from_bytes(answer).signed
            return {path: file.hashes["sha256"] for path, file in signed.targets.items()}
    raise AssertionError("the Director has nothing for this device")


def test_content_comes_in_ranges_and_what_is_not_published_is_unknown(site: Site) -> None:
    thor = site.device("thor-1")
    assert thor.ask("a", RangeRequest(digest_of(CLAIMS), 3, 4)) == CLAIMS[3:7]
    refused = thor.ask("b", RangeRequest(digest_of(b"something else"), 0, 1))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.UNKNOWN
    thor.close()


def test_a_flood_of_garbage_and_ten_megabytes_leave_the_server_working(site: Site) -> None:
    thor = site.device("thor-1")
    thor.report(state())
    for number in range(300):
        thor.send(Channel.TELEMETRY, b"\x00garbage %d" % number)
    thor.send(Channel.TELEMETRY, b"x" * (10 << 20))
    thor.send(Channel.STATE, b'{"utc_ns": "<script>"}')
    thor.deliver(batch(0))
    site.await_health(messages_malformed=302, batches=1)
    rejected = site.get("rejected").json()
    assert len(rejected) == 100
    assert max(one["size_bytes"] for one in rejected) == 10 << 20
    assert site.get("devices/thor-1").json()["messages_malformed"] >= 1
    thor.close()


def test_the_console_shows_hostile_text_as_text_and_asks_no_other_host(site: Site) -> None:
    thor = site.device("thor-1")
    policy = state().policy
    assert policy is not None
    hostile = msgspec.structs.replace(policy, reasoning="</script><script>alert(1)</script>")
    thor.report(msgspec.structs.replace(state(), policy=hostile))
    look_until(lambda: site.get("devices/thor-1").json()["state"] is not None)
    for path in ("/", "/devices/thor-1", "/devices/nobody", "/docs"):
        page = httpx.get(site.url + path, timeout=20).text
        assert "<script>alert(1)" not in page
        assert not re.search(r"""(?:src|href|from)\s*=?\s*["'](?:https?:)?//(?!127\.0\.0\.1)""", page)
    assert "alert(1)" in httpx.get(f"{site.url}/").text
    thor.close()


def test_the_front_page_says_how_far_a_download_is_and_why_a_release_was_not_taken(site: Site) -> None:
    fetching = UpdateStatus(UpdatePhase.FETCHING, site.digest, 12_000_000, 48_000_000)
    refused = UpdateStatus(UpdatePhase.IDLE, site.digest, reason="golden-mismatch", detail="off by 0.4")
    devices = [site.device("thor-1"), site.device("thor-2")]
    for device, update in zip(devices, (fetching, refused), strict=True):
        device.report(msgspec.structs.replace(state(), update=update))
    look_until(lambda: all(one["state"] for one in site.get("devices").json()))
    page = html.unescape(httpx.get(site.url, timeout=20).text)
    digits = site.digest.removeprefix("sha256:")[:12]
    assert f"fetching {digits} · 12.0 MB of 48.0 MB" in page
    assert "25.0%" in page
    assert f"release {digits} was not taken: golden-mismatch · off by 0.4" in page
    for device in devices:
        device.close()


def test_the_console_is_live_for_its_own_page_and_closed_to_a_page_of_another_site(site: Site) -> None:
    polling = f"{site.url}/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert httpx.get(polling, headers={"Origin": site.url}).status_code == 200
    assert httpx.get(polling, headers={"Origin": "http://evil.example"}).status_code == 403
    for path in ("/", "/docs", "/api/v1/devices"):
        assert httpx.get(site.url + path, headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "releases/..%2f..%2fx/files/release.json",
        "image/metadata/..%2f..%2ftrust%2fimage-root.json",
    ],
)
def test_a_request_that_does_not_exist_is_answered_like_every_other(site: Site, path: str) -> None:
    answer = site.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown")


def test_the_server_outlives_its_broker(site: Site) -> None:
    site.processes.kill("broker")
    site.await_health(broker_connected=False, status="degraded")
    site.start_broker()
    look_until(lambda: site.get("health").json()["broker_connected"], 60.0)
    thor = site.device("thor-1")
    thor.deliver(batch(0))
    thor.close()


def test_the_server_ends_before_systemd_loses_patience_and_takes_its_file_along(site: Site) -> None:
    announced = json.loads((site.folder / "state/server.json").read_text())
    assert announced["http_port"] == int(site.url.rpartition(":")[2])
    os.kill(announced["pid"], signal.SIGTERM)
    child = site.processes._children["server"]
    assert child.process.wait(STOP_TIMEOUT_S) == 0
    assert not (site.folder / "state/server.json").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [("[server]\nflet = 'x'\n", "flet"), ("[http]\nport = 'x'\n", "port"), ("[", "initial character")],
)
def test_a_mistake_in_the_configuration_is_one_line_and_exit_code_two(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    ended = subprocess.run(
        [
            program("roskva-fleet"),
            "serve",
            "--config",
            str(path),
            "--fleet",
            "x",
            "--state",
            "s",
            "--repo",
            "r",
            "--keys",
            "k",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("roskva-fleet: error [configuration]:")
    assert ended.stderr.count("\n") == 1
    assert named in ended.stderr


def test_the_embedded_broker_carries_64_kib_messages_both_ways(tmp_path: Path) -> None:
    with Processes(tmp_path / "logs") as processes:
        port = free_port()
        processes.start("broker", [program("roskva-fleet"), "broker", "--port", str(port)])
        await_port(port, processes)
        sender, receiver = WireDevice(FLEET, "thor-1", port), WireDevice(FLEET, "thor-2", port).online()
        payload = os.urandom(64 << 10)
        for number in range(50):
            sender.publish_to("thor-2", f"piece-{number}", payload)
        receiver.wait(lambda: len(receiver.answers) == 50 or None)
        assert set(receiver.answers.values()) == {payload}
        sender.close()
        receiver.close()
        assert processes.stop("broker") == 0
