"""The REST interface: typed answers, clear refusals, orders only with the token, a reference page without a network."""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fleet.adapters.repository import RepositoryFiles
from fleet.api import views
from fleet.api.answers import describe, install
from fleet.api.desk import Desk
from fleet.api.reference import page
from fleet.api.routes import make_router
from fleet.director import Director, DirectorParts
from fleet.envelopes import EnvelopeParts, Envelopes
from fleet.lineage import ancestry
from fleet.registry import Registry
from models.digest import digest_of
from models.wire.messages import Connection, ConnectionKind, EnvelopeOrder, decode
from tests.fakes.fleet_messages import BOOT, RELEASE, decision, parcel, state
from tests.fakes.fleet_store import MemoryEnvelopeStore, MemoryInventoryStore, MemoryTelemetryStore
from tests.fakes.fleet_world import (
    CLAIMS,
    SIGNATURE,
    ObedientSigner,
    SentMessages,
    SetClock,
    catalogue_of,
)

TOKEN = "a-token-for-tests"
ORDER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Front:
    client: TestClient
    app: FastAPI
    digest: str
    telemetry: MemoryTelemetryStore
    signer: ObedientSigner
    registry: Registry
    sent: SentMessages
    clock: SetClock


@pytest.fixture
def front(tmp_path: Path) -> Front:
    clock, signer, sent = SetClock(), ObedientSigner(), SentMessages()
    catalogue, registry = catalogue_of(tmp_path, 1), Registry(clock)
    telemetry, inventory = MemoryTelemetryStore(), MemoryInventoryStore()
    release = catalogue.releases()[0]
    inventory.put_release(release, ancestry(release), 1)
    registry.observe_connection("thor-1", Connection(ConnectionKind.ONLINE, BOOT, "thor-t5000", "0.1"))
    registry.observe_state("thor-1", state(live_digest=release.digest), retained=False)
    director = Director("demo", DirectorParts(inventory, catalogue, registry, signer, SentMessages(), clock))
    files = RepositoryFiles(tmp_path, tmp_path / "state")
    envelopes = Envelopes("demo", EnvelopeParts(MemoryEnvelopeStore(), registry, sent, clock))
    desk = Desk(registry, catalogue, telemetry, inventory, director, files, envelopes)
    app = FastAPI(title="Roskva fleet", version="1", docs_url=None, redoc_url=None)
    install(app)
    app.include_router(make_router(desk, healthy, TOKEN))
    return Front(TestClient(app), app, release.digest, telemetry, signer, registry, sent, clock)


def healthy() -> views.HealthView:
    numbers = dict.fromkeys(views.HealthView.__struct_fields__, 0)
    return msgspec.convert(
        numbers | {"status": "ok", "fleet": "demo", "broker_connected": True}, views.HealthView
    )


def test_devices_carry_their_state_as_the_wire_has_it(front: Front) -> None:
    (device,) = msgspec.json.decode(
        front.client.get("/api/v1/devices").content, type=tuple[views.DeviceView, ...]
    )
    assert (device.device, device.connection, device.presence) == ("thor-1", "online", "online")
    assert device.state == state(live_digest=front.digest)
    one = front.client.get("/api/v1/devices/thor-1")
    assert msgspec.json.decode(one.content, type=views.DeviceView) == device


def test_a_decision_is_found_by_its_id(front: Front) -> None:
    front.telemetry.take([parcel("thor-1", 0)], [])
    listed = front.client.get("/api/v1/decisions", params={"device": "thor-1", "limit": 1}).json()
    answer = front.client.get(f"/api/v1/decisions/{listed[0]['id']}").json()
    assert answer == listed[0]
    assert (answer["device"], answer["boot"]) == ("thor-1", BOOT)
    assert answer["record"] == msgspec.to_builtins(decision(4), str_keys=True) | {
        "plan": [list(step) for step in decision(4).plan]
    }


def test_a_verifier_gets_the_very_bytes_that_were_published(front: Front) -> None:
    base = f"/api/v1/releases/{front.digest}/files"
    assert digest_of(front.client.get(f"{base}/release.json").content) == front.digest
    assert front.client.get(f"{base}/model.oms.sig").content == SIGNATURE
    assert front.client.get(f"{base}/claims.jsonl").content == CLAIMS
    assert front.client.get("/api/v1/image/metadata/1.release.json").status_code == 200


def test_an_order_needs_the_token_and_is_signed(front: Front) -> None:
    wanted = {"device": "thor-1", "release_digest": front.digest}
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": "Basic eDp5"},
    ):
        refused = front.client.post("/api/v1/assignments", json=wanted, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["code"] == "unauthorised"
    assert front.signer.assigned == []
    made = front.client.post("/api/v1/assignments", json=wanted, headers=ORDER)
    assert (made.status_code, made.json()["state"]) == (201, "signed")
    assert front.signer.assigned == [("thor-1", front.digest)]
    assert front.client.get("/api/v1/assignments").json() == [made.json()]
    assert front.client.get("/api/v1/devices/thor-1").json()["assigned_digest"] == front.digest


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed-message"),
        (b'{"device":"thor-1"}', 400, "malformed-message"),
        (b'{"device":"thor-1","release_digest":"x"}', 400, "malformed"),
        (b'{"device":"thor-1","release_digest":"sha256:' + b"0" * 64 + b'"}', 404, "unknown"),
        (b'{"device":"../x","release_digest":"sha256:' + b"0" * 64 + b'"}', 404, "unknown"),
        (b"[" * 70_000, 400, "malformed-message"),
    ],
)
def test_a_bad_order_is_refused_with_a_code(front: Front, body: bytes, status: int, code: str) -> None:
    answer = front.client.post("/api/v1/assignments", content=body, headers=ORDER)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_envelope_order_needs_the_token_is_written_down_and_goes_to_the_device(front: Front) -> None:
    wanted = {"devices": ["thor-1"], "envelope_w": 62.5}
    assert front.client.post("/api/v1/envelopes", json=wanted).status_code == 401
    assert front.sent.sent == []
    made = front.client.post("/api/v1/envelopes", json=wanted, headers=ORDER)
    (order,) = made.json()
    assert (made.status_code, order["device"], order["envelope_w"], order["kept"]) == (
        201,
        "thor-1",
        62.5,
        False,
    )
    ((topic, payload),) = front.sent.sent
    assert topic == "roskva/v1/demo/thor-1/envelope"
    assert decode(payload, EnvelopeOrder) == EnvelopeOrder(order["sequence"], 62.5)
    assert front.client.get("/api/v1/envelopes").json() == [order]
    device = front.client.get("/api/v1/devices/thor-1").json()
    assert (device["ordered_envelope_w"], device["envelope_kept"]) == (62.5, False)


def test_the_inventory_says_when_a_device_keeps_its_order_and_when_the_order_is_over(front: Front) -> None:
    wanted = {"devices": ["thor-1"], "envelope_w": 62, "expires_utc_ns": front.clock.utc + 60_000_000_000}
    (order,) = front.client.post("/api/v1/envelopes", json=wanted, headers=ORDER).json()
    keeping = msgspec.structs.replace(state(), envelope_sequence=order["sequence"])
    front.registry.observe_state("thor-1", keeping, retained=False)
    (device,) = front.client.get("/api/v1/devices").json()
    assert (device["ordered_envelope_w"], device["envelope_kept"]) == (62.0, True)
    assert front.client.get("/api/v1/envelopes").json()[0]["kept"]
    front.clock.pass_s(61)
    assert front.client.get("/api/v1/devices").json()[0]["ordered_envelope_w"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"devices":["thor-1"]}', 400, "malformed-message"),
        (b'{"devices":["thor-1"],"envelope_w":39.9}', 400, "malformed-message"),
        (b'{"devices":["thor-1"],"envelope_w":131}', 400, "malformed-message"),
        (b'{"devices":["thor-1"],"envelope_w":NaN}', 400, "malformed-message"),
        (b'{"devices":["thor-1"],"envelope_w":1e999}', 400, "malformed-message"),
        (b'{"devices":["thor-1"],"envelope_w":"60"}', 400, "malformed-message"),
        (b'{"devices":[],"envelope_w":60}', 400, "usage"),
        (b'{"devices":["thor-1","thor-1"],"envelope_w":60}', 400, "usage"),
        (b'{"devices":["thor-1"],"envelope_w":60,"expires_utc_ns":1}', 400, "usage"),
        (b'{"devices":["thor-1"],"envelope_w":60,"expires_utc_ns":-1}', 400, "usage"),
        (b'{"devices":["thor-1","nobody"],"envelope_w":60}', 404, "unknown"),
    ],
)
def test_a_bad_envelope_order_is_refused_with_a_code_and_no_device_hears_of_it(
    front: Front, body: bytes, status: int, code: str
) -> None:
    answer = front.client.post("/api/v1/envelopes", content=body, headers=ORDER)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert front.sent.sent == []
    assert front.client.get("/api/v1/envelopes").json() == []


def test_the_joules_of_a_release_are_the_sum_of_its_decisions(front: Front) -> None:
    path = f"/api/v1/releases/{RELEASE}/energy"
    assert front.client.get(path).json()["joules_per_decision"] is None
    front.telemetry.take([parcel("thor-1", 0), parcel("thor-2", 1)], [])
    answer = front.client.get(path).json()
    assert (answer["decisions"], answer["joules_per_decision"]) == (10, pytest.approx(9.4))
    assert answer["energy_j"] == pytest.approx(94.0)
    assert [one["device"] for one in answer["devices"]] == ["thor-1", "thor-2"]
    assert front.client.get("/api/v1/releases/x/energy").status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("devices/nobody", 404),
        ("releases/sha256:0", 404),
        ("decisions/thor-1:b:9", 404),
        ("decisions/thor-1", 400),
        ("decisions/a:b:-1", 400),
        ("decisions/a:b:" + "9" * 40, 400),
        ("decisions?limit=0", 400),
        ("decisions?limit=100000", 400),
        ("decisions?limit=x", 400),
        ("decisions?release=x", 400),
        ("lineage/checkpoints/x", 400),
        ("image/metadata/..%2f..%2foperator.token", 404),
        ("image/metadata/operator.token", 400),
        ("image/targets/..%2f..%2f..%2fkeys", 400),
        ("nowhere", 404),
    ],
)
def test_every_refusal_has_a_code_and_a_sentence(front: Front, path: str, status: int) -> None:
    answer = front.client.get(f"/api/v1/{path}")
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "detail"}


def test_only_three_files_of_a_release_are_served(front: Front) -> None:
    assert front.client.get(f"/api/v1/releases/{front.digest}/files/model%2fvisual.onnx").status_code == 404
    assert front.client.get(f"/api/v1/releases/{front.digest}/files/golden.safetensors").status_code == 404


def test_a_checkpoint_leads_to_its_releases_and_devices(front: Front) -> None:
    checkpoint = digest_of(b"checkpoint")
    answer = front.client.get(f"/api/v1/lineage/checkpoints/{checkpoint}").json()
    assert [release["digest"] for release in answer["releases"]] == [front.digest]
    assert [(use["device"], use["live_now"]) for use in answer["devices"]] == [("thor-1", True)]
    unknown = front.client.get(f"/api/v1/lineage/checkpoints/{digest_of(b'other')}").json()
    assert (unknown["releases"], unknown["devices"]) == ([], [])


def test_the_openapi_document_describes_every_answer_with_our_own_types(front: Front) -> None:
    document = describe(front.app)
    assert {"DecisionView", "DecisionRecord", "DeviceState", "LineageView"} <= set(
        document["components"]["schemas"]
    )
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert references <= set(document["components"]["schemas"])
    assert document["paths"]["/api/v1/assignments"]["post"]["security"] == [{"operator": []}]


def test_the_reference_page_asks_nothing_of_the_network_and_runs_no_script(front: Front) -> None:
    html = page(describe(front.app))
    assert "/api/v1/lineage/checkpoints/{digest}" in html
    assert "<script" not in html
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", html)
