"""A real manage process and a real broker: outages, kills, ends, what it takes of the machine."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.control import FakeControl
from tests.fakes.manage import (
    DEVICE,
    SETTINGS,
    ManagedDevice,
    Rig,
    large,
    managed_device,
    site_now,
)
from tests.fakes.mosquitto import PROGRAM, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_without_a_broker_it_waits_and_telemetry_is_kept(rig: Rig) -> None:
    rig.broker.stop()
    with FakeControl(rig.device.run):
        rig.device.start()
        wait_until(lambda: any((rig.device.state / "spool").glob("*-*-*")), 20, "a batch in the spool")
        rig.broker.start()
        rig.wait_for_event("manage-started")
        wait_until(lambda: not list((rig.device.state / "spool").glob("*-*-*")), 20, "the spool is empty")


def test_what_is_not_acknowledged_is_sent_again_by_the_next_process(rig: Rig) -> None:
    rig.server.acknowledges = False
    with FakeControl(rig.device.run):
        rig.device.start()
        rig.wait_for_event("manage-started")
        rig.device.kill()
        rig.server.batches.clear()
        rig.server.acknowledges = True
        rig.device.start()
        wait_until(lambda: rig.server.events().count("manage-started") == 2, 20, "both starts")
    sequences = [sequence for _, sequence in rig.server.batches]
    assert len(set(sequences)) == len(sequences) >= 2


def test_it_ends_within_two_seconds_and_says_offline(rig: Rig) -> None:
    rig.device.start()
    wait_until(lambda: bool(rig.server.states), what="first state")
    process = rig.device.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert process.wait(2) == 0
    wait_until(lambda: b'"offline"' in rig.server.connections[-1], what="offline")


def test_it_ends_within_two_seconds_in_the_middle_of_a_download(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SETTINGS.replace("[update]\n", "[update]\nmax_bytes_per_s = 50000\n"))
    release = rig.site.publish(recipe=large())
    rig.site.assign(DEVICE, release.digest)
    try:
        with FakeControl(rig.device.run):
            rig.device.start()
            wait_until(lambda: rig.server.depot.bytes_served > 20_000, 20, "some of it served")
            process = rig.device.process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            assert process.wait(2) == 0
    finally:
        rig.close()


def test_it_ends_within_two_seconds_when_the_broker_accepts_but_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = site_now(tmp_path / "site")
        device = managed_device(tmp_path / "device", site, silent.getsockname()[1], SETTINGS)
        device.start()
        wait_until((device.run / "update.board").exists, 20, "manage runs")
        silent.accept()
        assert device.process is not None
        device.process.send_signal(signal.SIGTERM)
        try:
            assert device.process.wait(2) == 0
        finally:
            device.kill()


def test_a_second_manage_on_the_same_device_is_refused(rig: Rig) -> None:
    rig.device.start()
    wait_until(lambda: bool(rig.server.states), what="first state")
    second = ManagedDevice(rig.device.root)
    second.start()
    assert second.process is not None
    assert second.process.wait(20) == 5


def test_a_killed_process_is_said_to_be_broken(rig: Rig) -> None:
    rig.device.start()
    wait_until(lambda: bool(rig.server.states), what="first state")
    rig.device.kill()
    wait_until(lambda: b'"broken"' in rig.server.connections[-1], what="broken")


def test_manage_stays_small(rig: Rig) -> None:
    rig.device.start()
    wait_until(lambda: len(rig.server.states) > 1, what="two states")
    assert rig.device.process is not None
    process = psutil.Process(rig.device.process.pid)
    assert process.memory_info().rss < 120 << 20
    loaded = {Path(mapping.path).name for mapping in process.memory_maps()}
    assert not any("onnx" in name or "torch" in name for name in loaded)
