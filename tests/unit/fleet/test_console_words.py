"""What the console says is true of what a device sent."""

from msgspec.structs import replace

from fleet.console.charts import power_points
from fleet.console.words import NONE, Bar, card_words, digits_of, grouped, power_bar, update_bar
from fleet.registry import Registry
from models.wire.messages import Connection, ConnectionKind, HostFigures, UpdatePhase, UpdateStatus
from tests.fakes.fleet_messages import BOOT, RELEASE, START_UTC_NS, state
from tests.fakes.fleet_world import SetClock


def registry_with_thor() -> tuple[Registry, SetClock]:
    clock = SetClock()
    registry = Registry(clock)
    registry.observe_connection("thor-1", Connection(ConnectionKind.ONLINE, BOOT, "thor-t5000", "0.1"))
    return registry, clock


def test_a_driving_device_shows_its_release_loop_and_power() -> None:
    registry, _ = registry_with_thor()
    registry.observe_state("thor-1", state(), retained=False)
    words = card_words(registry.sight("thor-1"), "mini")
    assert words.presence == "online"
    assert words.release.startswith("mini 1.0.0 · nvfp4 · ")
    assert words.power.text == "96.5 of 120 W"
    assert words.loop == "driving · 11.4 m/s"
    assert words.lateness == "91 µs"
    assert words.update is None


def test_watts_and_degrees_that_no_hardware_measured_say_so() -> None:
    registry, _ = registry_with_thor()
    registry.observe_state("thor-1", replace(state(), emulated=True), retained=False)
    words = card_words(registry.sight("thor-1"), "mini")
    assert words.power.text == "96.5 of 120 W (emulated)"
    assert words.temperature == "61.2 °C (emulated)"


def test_a_limit_that_is_not_the_devices_own_says_whose_it_is() -> None:
    power = state().power
    assert power is not None
    for source, text in (
        ("fleet", "96.5 of 120 W, by the fleet"),
        ("local", "96.5 of 120 W, set there"),
        ("configuration", "96.5 of 120 W"),
    ):
        assert power_bar(replace(state(), power=replace(power, envelope_source=source))).text == text


def test_half_a_watt_of_an_envelope_is_shown() -> None:
    power = state().power
    assert power is not None
    assert power_bar(replace(state(), power=replace(power, envelope_w=62.5))).text == "96.5 of 62.5 W"


def test_energy_and_the_host_are_shown_where_the_device_says_them() -> None:
    registry, _ = registry_with_thor()
    known = state().power
    assert known is not None
    power = replace(known, joules_per_decision=9.84, joules_per_m=11.55)
    host = HostFigures(0.253, 12_345_678_901, 134_140_059_648, 512_000_000_000)
    registry.observe_state("thor-1", replace(state(), power=power, host=host, emulated=True), retained=False)
    words = card_words(registry.sight("thor-1"), "mini")
    assert words.energy == "9.8 J/decision · 11.6 J/m (emulated)"
    assert words.host == "CPU 25% · 12.3 of 134 GB · 512 GB free"
    standing = replace(power, joules_per_m=None)
    on_gpu = replace(host, gpu_share=0.875)
    registry.observe_state("thor-1", replace(state(), power=standing, host=on_gpu), retained=False)
    words = card_words(registry.sight("thor-1"), "mini")
    assert (words.energy, words.host[:18]) == ("9.8 J/decision", "CPU 25% · GPU 88% ")


def test_a_device_that_has_said_nothing_shows_dashes_and_does_not_fail() -> None:
    registry, _ = registry_with_thor()
    words = card_words(registry.sight("thor-1"), "")
    assert (words.release, words.lateness, words.power.text) == ("no release", "–", "–")
    assert (words.energy, words.host) == (NONE, NONE)


def test_a_silent_device_says_for_how_long() -> None:
    registry, clock = registry_with_thor()
    registry.observe_state("thor-1", state(), retained=False)
    clock.pass_s(25)
    words = card_words(registry.sight("thor-1"), "")
    assert words.presence == "silent"
    assert "silent for 25 s" in words.subtitle


def test_power_above_the_envelope_is_an_alarm() -> None:
    power = state().power
    assert power is not None
    bar = power_bar(replace(state(), power=replace(power, module_w=121.0)))
    assert bar.alarm
    assert bar.share == 1.0


def test_what_no_sensor_says_is_unknown_and_not_nothing() -> None:
    power = state().power
    assert power is not None
    blind = replace(state(), power=replace(power, module_w=None, hottest_c=None))
    assert power_bar(blind) == Bar(0.0, f"unknown, of {power.envelope_w:.0f} W")
    registry, _ = registry_with_thor()
    registry.observe_state("thor-1", blind, retained=False)
    sight = registry.sight("thor-1")
    assert card_words(sight, "").temperature == NONE
    assert power_points(registry.samples("thor-1"))[0][0][1] is None


def test_an_update_shows_phase_share_and_the_last_refusal() -> None:
    bar = update_bar(UpdateStatus(UpdatePhase.FETCHING, RELEASE, 12_000_000, 48_000_000))
    assert bar is not None
    assert bar.share == 0.25
    assert bar.text.startswith("fetching ")
    registry, _ = registry_with_thor()
    refused = UpdateStatus(UpdatePhase.IDLE, RELEASE, reason="golden-mismatch", detail="by 0.4")
    registry.observe_state("thor-1", replace(state(START_UTC_NS), update=refused), retained=False)
    failed = card_words(registry.sight("thor-1"), "").update_failed
    assert failed == f"release {digits_of(RELEASE)} was not taken: golden-mismatch · by 0.4"


def test_counts_are_grouped_for_people() -> None:
    assert grouped(1234567) == "1\u202f234\u202f567"
