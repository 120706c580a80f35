"""What the console says of a device, as text and proportions. Pure.

Owns: units, roundings and wording. Must not know: NiceGUI, the store.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from fleet.records import Presence
from fleet.registry import DeviceSight
from models.wire.messages import DeviceState, UpdatePhase, UpdateStatus

NONE = "–"
_DIGITS = 12
_NOTABLE_SILENCE_NS = 3_000_000_000
_WHOSE_LIMIT = {"fleet": ", by the fleet", "local": ", set there"}
"""Said of a limit that is not the device's own configuration."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A proportion from 0 to 1 with its text; `alarm` where it is above what it should be."""

    share: float
    text: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class CardWords:
    """One device's card; `stale` where the figures are the last ones of a device that is not there."""

    presence: str
    stale: bool
    subtitle: str
    release: str
    trial: bool
    ticks: str
    ticks_alarm: bool
    lateness: str
    rate: str
    temperature: str
    loop: str
    realtime: str
    energy: str
    host: str
    power: Bar
    update: Bar | None
    update_failed: str
    reasoning: str


def card_words(sight: DeviceSight, release_name: str) -> CardWords:
    """The card of a device; `release_name` is empty where the live release is unknown here."""
    state = sight.state
    loop = state.loop if state else None
    policy = state.policy if state else None
    return CardWords(
        presence=sight.presence.value,
        stale=sight.presence is not Presence.ONLINE,
        subtitle=_subtitle(sight),
        release=_release(state, release_name),
        trial=bool(state and state.on_trial),
        ticks=f"{grouped(loop.ticks)} · {grouped(loop.ticks_missed)} missed" if loop else NONE,
        ticks_alarm=bool(loop and loop.ticks_missed * 1000 > loop.ticks),
        lateness=microseconds(loop.lateness_p99_ns) if loop else NONE,
        rate=f"{sight.decision_rate_hz:.1f} Hz" if policy else NONE,
        temperature=_temperature(state),
        loop=f"{loop.state} · {loop.speed_mps:.1f} m/s" if loop else NONE,
        realtime=loop.realtime if loop else NONE,
        energy=_energy(state),
        host=_host(state),
        power=power_bar(state),
        update=update_bar(state.update) if state else None,
        update_failed=_failure(state.update) if state else "",
        reasoning=policy.reasoning[:300] if policy else "",
    )


def power_bar(state: DeviceState | None) -> Bar:
    """The 1 s mean of module power against the envelope."""
    if state is None or state.power is None:
        return Bar(0.0, NONE)
    module_w, envelope_w = state.power.module_w, state.power.envelope_w
    whose = _WHOSE_LIMIT.get(state.power.envelope_source, "")
    if module_w is None:
        return Bar(0.0, f"unknown, of {envelope_w:.4g} W{whose}")
    share = module_w / envelope_w if envelope_w > 0 else 0.0
    return Bar(
        min(1.0, max(0.0, share)),
        f"{module_w:.1f} of {envelope_w:.4g} W{whose}{emulated_mark(state)}",
        share > 1.0,
    )


def update_bar(update: UpdateStatus) -> Bar | None:
    """The update under way, if any."""
    if update.phase is UpdatePhase.IDLE:
        return None
    share = update.bytes_done / update.bytes_total if update.bytes_total > 0 else 0.0
    sizes = (
        f" · {megabytes(update.bytes_done)} of {megabytes(update.bytes_total)}" if update.bytes_total else ""
    )
    return Bar(min(1.0, max(0.0, share)), f"{update.phase.value} {digits_of(update.release_digest)}{sizes}")


def emulated_mark(state: DeviceState | None) -> str:
    """What stands behind a figure that no hardware made."""
    return " (emulated)" if state and state.emulated else ""


def digits_of(digest: str) -> str:
    """The first digits of a digest, for people."""
    return digest.removeprefix("sha256:")[:_DIGITS]


def grouped(count: int) -> str:
    """A count with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def microseconds(duration_ns: int) -> str:
    """A duration in the unit of the loop's deadlines."""
    return f"{duration_ns / 1e3:,.0f} µs".replace(",", "\u202f")


def megabytes(size_bytes: int) -> str:
    """A size."""
    return f"{size_bytes / 1e6:.1f} MB"


def clock_text(utc_ns: int) -> str:
    """The time of day in UTC."""
    return datetime.fromtimestamp(utc_ns / 1e9, tz=UTC).strftime("%H:%M:%S.%f")[:-5]


def _temperature(state: DeviceState | None) -> str:
    hottest_c = state.power.hottest_c if state and state.power else None
    return NONE if hottest_c is None else f"{hottest_c:.1f} °C{emulated_mark(state)}"


def _energy(state: DeviceState | None) -> str:
    power = state.power if state else None
    figures = (power.joules_per_decision, power.joules_per_m) if power else (None, None)
    texts = [
        f"{figure:.1f} J{unit}"
        for figure, unit in zip(figures, ("/decision", "/m"), strict=True)
        if figure is not None
    ]
    return " · ".join(texts) + emulated_mark(state) if texts else NONE


def _host(state: DeviceState | None) -> str:
    host = state.host if state else None
    if host is None:
        return NONE
    gpu = f" · GPU {host.gpu_share:.0%}" if host.gpu_share is not None else ""
    memory = f"{host.memory_used_bytes / 1e9:.1f} of {host.memory_total_bytes / 1e9:.0f} GB"
    return f"CPU {host.cpu_share:.0%}{gpu} · {memory} · {host.disk_free_bytes / 1e9:.0f} GB free"


def _subtitle(sight: DeviceSight) -> str:
    stored, silence_ns = sight.stored, sight.silence_ns or 0
    parts = [
        stored.hardware or "hardware unknown",
        f"agent {stored.agent_version}" if stored.agent_version else "",
        f"last seen {clock_text(stored.last_seen_utc_ns)} UTC"
        if sight.presence is not Presence.ONLINE
        else "",
        f"silent for {silence_ns / 1e9:.0f} s" if silence_ns > _NOTABLE_SILENCE_NS else "",
        f"{sight.malformed} unreadable messages" if sight.malformed else "",
    ]
    return " · ".join(part for part in parts if part)


def _release(state: DeviceState | None, name: str) -> str:
    if state is None or not state.live_digest:
        return "no release"
    policy = state.policy
    known = policy is not None and policy.release_digest == state.live_digest
    version = f"{policy.version} · {policy.precision}" if policy and known else "not loaded"
    return " ".join(part for part in (name, f"{version} · {digits_of(state.live_digest)}") if part)


def _failure(update: UpdateStatus) -> str:
    if not update.reason:
        return ""
    what = f"release {digits_of(update.release_digest)}" if update.release_digest else "the last release"
    return " · ".join(part for part in (f"{what} was not taken: {update.reason}", update.detail) if part)[
        :200
    ]
