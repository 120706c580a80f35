"""An envelope order on its way: a real broker, a real manage process, and the boards that the governor reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.power.limits import Limit, Limits, LimitSource
from models.wire.messages import EnvelopeOrder, encode
from models.wire.topics import Channel, topic
from tests.fakes.manage import DEVICE, FLEET, Rig
from tests.fakes.mosquitto import PROGRAM, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
]
CONFIG_W = 90.0
FROM_FLEET = Limit(60.0, LimitSource.FLEET)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, f"[power]\nenvelope_w = {CONFIG_W}\n[telemetry]\nbatch_s = 0.2\n")
    yield made
    made.close()


def limit_of(rig: Rig) -> Limit:
    limits = Limits(rig.device.run, CONFIG_W)
    limit = limits.limit(1)
    limits.close()
    return limit


def send(rig: Rig, payload: bytes) -> None:
    rig.server.peer.publish(topic(FLEET, DEVICE, Channel.ENVELOPE), payload)


def test_an_order_reaches_the_governors_board_and_holds_after_a_restart_without_a_broker(rig: Rig) -> None:
    rig.device.start()
    wait_until(lambda: bool(rig.server.states), 30, what="first state")
    send(rig, encode(EnvelopeOrder(7, 60.0)))
    wait_until(lambda: rig.server.states[-1].envelope_sequence == 7, what="the device says that it keeps it")
    rig.wait_for_event("envelope-ordered")
    wait_until(lambda: rig.server.states[-1].host is not None, what="figures of the host")
    assert limit_of(rig) == FROM_FLEET
    rig.device.kill()
    rig.broker.stop()
    (rig.device.run / "envelope.board").unlink()
    rig.device.start()
    wait_until(lambda: limit_of(rig) == FROM_FLEET, 30, what="the order is back without a network")


def test_absurd_and_stale_orders_are_reported_and_change_nothing(rig: Rig) -> None:
    rig.device.start()
    wait_until(lambda: bool(rig.server.states), 30, what="first state")
    send(rig, encode(EnvelopeOrder(7, 60.0)))
    wait_until(lambda: limit_of(rig) == FROM_FLEET, what="the order")
    for payload in (
        b'{"sequence":8,"envelope_w":NaN}',
        b'{"sequence":8,"envelope_w":1e999}',
        b'{"sequence":9,"envelope_w":5.0}',
        b'{"sequence":9223372036854775807,"envelope_w":50.0}',
        bytes(1 << 20),
        encode(EnvelopeOrder(6, None)),
    ):
        send(rig, payload)
    rig.wait_for_event("malformed-message")
    rig.wait_for_event("envelope-stale")
    assert limit_of(rig) == FROM_FLEET
    assert rig.server.states[-1].envelope_sequence == 7
