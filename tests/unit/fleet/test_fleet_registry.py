"""The registry tells who is there, who fell silent, and does not grow without end."""

import pytest

from fleet.records import Presence
from fleet.registry import MAX_DEVICES, Registry
from models.errors import MalformedMessageError, UnknownObjectError
from models.wire.messages import Connection, ConnectionKind
from tests.fakes.fleet_messages import BOOT, START_UTC_NS, state
from tests.fakes.fleet_world import SetClock

ONLINE = Connection(ConnectionKind.ONLINE, BOOT, "thor-t5000", "0.1.0")
BROKEN = Connection(ConnectionKind.BROKEN, BOOT, "thor-t5000", "0.1.0")


def test_a_connected_device_that_says_nothing_for_ten_seconds_is_silent() -> None:
    clock = SetClock()
    registry = Registry(clock)
    assert registry.observe_connection("thor-1", ONLINE)
    registry.observe_state("thor-1", state(), retained=False)
    clock.pass_s(9.9)
    assert registry.sight("thor-1").presence is Presence.ONLINE
    clock.pass_s(0.2)
    assert registry.sight("thor-1").presence is Presence.SILENT
    registry.observe_state("thor-1", state(), retained=False)
    assert registry.sight("thor-1").presence is Presence.ONLINE


def test_a_state_that_the_broker_kept_does_not_make_a_dead_device_look_alive() -> None:
    registry = Registry(SetClock())
    registry.observe_connection("thor-1", ONLINE)
    registry.observe_state("thor-1", state(), retained=True)
    sight = registry.sight("thor-1")
    assert sight.presence is Presence.SILENT
    assert sight.state == state()


def test_a_last_will_shows_as_broken() -> None:
    registry = Registry(SetClock())
    registry.observe_state("thor-1", state(), retained=False)
    registry.observe_connection("thor-1", BROKEN)
    assert registry.sight("thor-1").presence is Presence.BROKEN
    assert registry.sight("thor-1").connection is ConnectionKind.BROKEN


def test_the_decision_rate_is_measured_from_states() -> None:
    registry = Registry(SetClock())
    registry.observe_connection("thor-1", ONLINE)
    for second in range(5):
        made = state(START_UTC_NS + second * 1_000_000_000, decisions=100 + 8 * second)
        registry.observe_state("thor-1", made, retained=False)
    assert registry.sight("thor-1").decision_rate_hz == pytest.approx(8.0)


def test_a_restarted_worker_does_not_make_a_negative_rate() -> None:
    registry = Registry(SetClock())
    registry.observe_connection("thor-1", ONLINE)
    registry.observe_state("thor-1", state(START_UTC_NS, decisions=1000), retained=False)
    registry.observe_state("thor-1", state(START_UTC_NS + 10**9, decisions=2), retained=False)
    assert registry.sight("thor-1").decision_rate_hz == 0.0


def test_a_change_of_release_starts_the_rate_anew_instead_of_showing_none() -> None:
    registry = Registry(SetClock())
    registry.observe_connection("thor-1", ONLINE)
    for second, decisions in enumerate((900, 905, 910, 5, 10)):
        made = state(START_UTC_NS + second * 1_000_000_000, decisions=decisions)
        registry.observe_state("thor-1", made, retained=False)
    assert registry.sight("thor-1").decision_rate_hz == pytest.approx(5.0)


def test_only_changed_devices_go_to_the_store_and_come_back_at_the_next_start() -> None:
    clock = SetClock()
    registry = Registry(clock)
    registry.observe_connection("thor-1", ONLINE)
    registry.observe_state("thor-1", state(), retained=False)
    stored = registry.drain_changed()
    assert [one.device for one in stored] == ["thor-1"]
    assert registry.drain_changed() == ()
    again = Registry(clock, stored)
    assert again.sight("thor-1").state == state()
    assert again.sight("thor-1").presence is Presence.OFFLINE


def test_invented_device_ids_stop_at_a_bound() -> None:
    registry = Registry(SetClock())
    for number in range(MAX_DEVICES):
        registry.observe_connection(f"d{number}", ONLINE)
    with pytest.raises(MalformedMessageError, match="registry holds"):
        registry.observe_connection("one-more", ONLINE)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UnknownObjectError, match="nobody"):
        Registry(SetClock()).sight("nobody")
