"""`roskva-agent status`: what the boards say, for people and for programs.

Owns: the table. Must not know: anything but boards and the pointer; it asks no process.
"""

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from agent.adapters.clock import MonotonicClock
from agent.adapters.files import FileDisk
from agent.adapters.jetson import is_emulated
from agent.app.manage import boot_id
from agent.config import AgentConfig
from agent.power.limits import Limits
from agent.telemetry.state import Identity, StateReader
from models.digest import Digest, short
from models.wire.messages import DeviceState


def show(root: Path, config: AgentConfig, *, as_json: bool, console: Console) -> None:
    """Print the state of the device below `root`."""
    run, disk = root / config.paths.run, FileDisk(root / config.paths.state, read_only=True)
    reader = StateReader(run, disk, MonotonicClock(), Limits(run, config.power.envelope_w))
    state = reader.state(Identity(boot_id(root), config.device.hardware, is_emulated(root)))
    connected = reader.broker_connected()
    reader.close()
    if as_json:
        document = {"device": config.device.id, "broker_connected": connected, **msgspec.to_builtins(state)}
        console.out(msgspec.json.encode(document).decode(), highlight=False)
        return
    console.print(_table(config.device.id, state, connected))


def _table(device: str, state: DeviceState, connected: bool | None) -> Table:
    table = Table(title=f"{device} ({state.hardware})", show_header=False, title_justify="left")
    broker = {None: "manage does not run", True: "connected", False: "not connected"}[connected]
    for name, text in (
        ("broker", broker),
        ("live", _release(state.live_digest) + (" on trial" if state.on_trial else "")),
        ("fallback", _release(state.fallback_digest)),
        ("update", _update(state)),
        ("policy", _policy(state)),
        ("loop", _loop(state)),
        ("power", _power(state)),
    ):
        table.add_row(name, text)
    return table


def _release(digest: str) -> str:
    return short(Digest(digest)) if digest else "none"


def _update(state: DeviceState) -> str:
    update = state.update
    share = f" {update.bytes_done / update.bytes_total:.0%}" if update.bytes_total else ""
    why = f" [{update.reason}] {update.detail}" if update.reason else ""
    return f"{update.phase.value}{share}{why}"


def _policy(state: DeviceState) -> str:
    policy = state.policy
    if policy is None:
        return "no worker"
    stages = {
        "queue": policy.queue_p99_ns,
        "visual": policy.visual_p99_ns,
        "reason": policy.reason_p99_ns,
        "action": policy.action_p99_ns,
    }
    parts = ", ".join(f"{name} {p99_ns / 1e6:.1f}" for name, p99_ns in stages.items())
    return (
        f"{policy.version} {policy.precision}, {policy.decisions} decisions, "
        f"p50 {policy.latency_p50_ns / 1e6:.1f} ms, p99 {policy.latency_p99_ns / 1e6:.1f} ms ({parts}): {policy.reasoning}"
    )


def _loop(state: DeviceState) -> str:
    loop = state.loop
    if loop is None:
        return "control does not run"
    return (
        f"{loop.state}, {loop.speed_mps:.1f} m/s, {loop.ticks} ticks, {loop.ticks_missed} missed, "
        f"p99 {loop.lateness_p99_ns / 1e3:.0f} µs late, {loop.gate_interventions} interventions, {loop.realtime}"
    )


def _power(state: DeviceState) -> str:
    power = state.power
    if power is None:
        return "power does not run"
    mark = ", emulated" if state.emulated else ""
    return (
        f"{_said(power.module_w, 1)} of {power.envelope_w:.4g} W ({power.envelope_source}), {_said(power.hottest_c, 0)} °C{mark}, "
        f"{power.decision_rate_hz:.1f} decisions/s, mode {power.power_mode}, sensors {power.sensors}"
    )


def _said(figure: float | None, digits: int) -> str:
    return "unknown" if figure is None else f"{figure:.{digits}f}"
