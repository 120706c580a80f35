"""Bench `power`: an emulated Thor inside its envelope, whatever others take and sensors say, beside fixed power modes.

Owns: which drives are made and compared, and the figures. Everything is emulated and runs in emulated time; the governor is
the device's own power process, over its own sensors' adapter. Must not know: how a drive is stepped.

With `--picture FILE` there is one drive in real time instead, and a picture of it (`bench.power_picture`).
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from agent.emulator.calibration import calibration
from agent.emulator.faults import Fault
from agent.emulator.profile import Profile, ProfileName, profile_named
from agent.power.envelope import Terms
from bench import power_picture
from bench.power_drive import Driven, fixed, governed
from bench.power_script import burst_w_for, drive_script, fault_script, order_script
from bench.progress import progress

T = TypeVar("T")
Row = dict[str, Any]
ENVELOPES_W = (130.0, 120.0, 90.0, 70.0, 55.0, 40.0)
_RATES_HZ = tuple(tenths / 10 for tenths in range(5, 101, 5))
_SLOW_FAULTS = (Fault.FAN_FAILURE, Fault.HOT_AMBIENT)
"""Heat takes minutes to show."""


def run(arguments: list[str]) -> dict[str, object]:
    """Drive and compare; the figures by name. Everything in them is emulated, but for a picture's lateness."""
    options = _options(arguments)
    if options.picture is not None:
        return power_picture.run(options.picture)
    profile = profile_named(ProfileName(options.profile))
    with ProcessPoolExecutor(options.jobs) as pool:
        envelopes = _by_envelope(pool, profile, options)
        faults = _by_fault(pool, profile, options)
        orders = _orders(pool, profile, options)
    return {
        "emulated": True,
        "profile": options.profile,
        "seconds": options.seconds,
        "seed": options.seed,
        "max_1s_mean_over_envelope": max(
            figures["max_1s_mean_over_envelope"] for figures in envelopes.values()
        ),
        "max_1s_mean_over_envelope_faults": max(
            max(row.values()) for row in faults["over_envelope"].values()
        ),
        "max_1s_mean_over_envelope_orders": max(orders.values()),
        "up_w_per_s": max(figures["up_w_per_s"] for figures in envelopes.values()),
        "down_w_per_s": max(figures["down_w_per_s"] for figures in envelopes.values()),
        "ramp_limits_w_per_s": [Terms().up_w_per_s, Terms().down_w_per_s],
        "decisions_vs_best_static": _least(envelopes, "decisions_vs_best_static"),
        "decisions_vs_best_fixed_rate": _least(envelopes, "decisions_vs_best_fixed_rate"),
        "envelopes": envelopes,
        "faults": faults,
        "orders": orders,
        "calibration": [asdict(anchor) for anchor in calibration()],
    }


def _least(envelopes: dict[str, Row], figure: str) -> float | None:
    """The least of those envelopes in which there is one: where nothing to compare with stays inside, there is none."""
    return min((row[figure] for row in envelopes.values() if row[figure] is not None), default=None)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench power", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="length of each drive, in emulated time")
    parser.add_argument("--fault-seconds", type=float, default=90.0, help="length of each drive with a fault")
    parser.add_argument(
        "--profile", choices=[name.value for name in ProfileName], default=ProfileName.R39.value
    )
    parser.add_argument("--seed", type=int, default=1, help="device, bursts and thoughts follow from it")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--envelopes", type=float, nargs="+", default=list(ENVELOPES_W), help="in watts")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="make this picture, SVG, of one drive in real time instead",
    )
    return parser.parse_args(arguments)


def _by_envelope(pool: ProcessPoolExecutor, profile: Profile, options: argparse.Namespace) -> dict[str, Row]:
    envelopes_w, seconds, seed = options.envelopes, options.seconds, options.seed
    drives = partial(_governed, profile, seconds, seed)
    driven = _told("governed drives", pool.map(drives, envelopes_w), len(envelopes_w))
    pairs = [(envelope_w, mode.number) for envelope_w in envelopes_w for mode in profile.modes]
    modes = partial(_in_mode, profile, seconds, seed)
    static = _told("fixed modes", pool.map(modes, pairs), len(pairs))
    found = {}
    for envelope_w, drive in zip(envelopes_w, driven, strict=True):
        beside = {pair[1]: rows for pair, rows in zip(pairs, static, strict=True) if pair[0] == envelope_w}
        found[f"{envelope_w:g}"] = _compared(envelope_w, drive, beside, profile)
    return found


def _governed(profile: Profile, seconds: float, seed: int, envelope_w: float) -> Driven:
    return governed(envelope_w, profile, drive_script(envelope_w, seconds, seed), seed)


def _in_mode(
    profile: Profile, seconds: float, seed: int, pair: tuple[float, int]
) -> tuple[Driven, Driven | None]:
    """In one mode: at the full rate, and at the highest fixed rate that stays inside, None where none does."""
    envelope_w, mode = pair
    drive = partial(fixed, envelope_w, profile, drive_script(envelope_w, seconds, seed), seed, mode=mode)
    full = drive()
    if full.is_inside:
        return full, full
    low, high, best = 0, len(_RATES_HZ) - 1, None
    while low < high:
        middle = (low + high) // 2
        tried = drive(rate_hz=_RATES_HZ[middle])
        if tried.is_inside:
            low, best = middle + 1, tried
        else:
            high = middle
    return full, best


def _compared(
    envelope_w: float, drive: Driven, beside: dict[int, tuple[Driven, Driven | None]], profile: Profile
) -> Row:
    inside = {number: full for number, (full, _) in beside.items() if full.is_inside}
    slowed = {number: best for number, (_, best) in beside.items() if best is not None}
    static = max(inside, key=lambda number: inside[number].decisions_per_s, default=None)
    rate = max(slowed, key=lambda number: slowed[number].decisions_per_s, default=None)
    name = {mode.number: mode.name for mode in profile.modes}
    return {
        "max_1s_mean_over_envelope": drive.over_envelope,
        "up_w_per_s": drive.up_w_per_s,
        "down_w_per_s": drive.down_w_per_s,
        "decisions_per_s": drive.decisions_per_s,
        "best_static_mode": None if static is None else name[static],
        "best_static_decisions_per_s": None if static is None else inside[static].decisions_per_s,
        "decisions_vs_best_static": None
        if static is None
        else drive.decisions_per_s / inside[static].decisions_per_s,
        "best_fixed_rate_mode": None if rate is None else name[rate],
        "decisions_vs_best_fixed_rate": None
        if rate is None
        else drive.decisions_per_s / slowed[rate].decisions_per_s,
        "joules_per_decision": drive.joules_per_decision,
        "burst_w": burst_w_for(envelope_w),
        "hold_s": drive.hold_s,
        "throttled_s": drive.throttled_s,
        "hottest_c": drive.hottest_c,
        "clock_mhz": drive.clock_mhz,
        "static_over_envelope": {name[number]: full.over_envelope for number, (full, _) in beside.items()},
    }


def _by_fault(pool: ProcessPoolExecutor, profile: Profile, options: argparse.Namespace) -> dict[str, Row]:
    cases = [(fault, envelope_w) for fault in Fault for envelope_w in options.envelopes]
    drives = partial(_with_fault, profile, options.fault_seconds, options.seed)
    driven = _told("drives with a fault", pool.map(drives, cases), len(cases))
    found: dict[str, Row] = {"over_envelope": {}, "said_after_s": {}}
    for (fault, envelope_w), drive in zip(cases, driven, strict=True):
        found["over_envelope"].setdefault(fault.value, {})[f"{envelope_w:g}"] = drive.over_envelope
        found["said_after_s"].setdefault(fault.value, {})[f"{envelope_w:g}"] = drive.said_after_s
    return found


def _with_fault(profile: Profile, seconds: float, seed: int, case: tuple[Fault, float]) -> Driven:
    fault, envelope_w = case
    seconds *= 3 if fault in _SLOW_FAULTS else 1
    return governed(envelope_w, profile, fault_script(envelope_w, fault, seconds, seed), seed)


def _orders(pool: ProcessPoolExecutor, profile: Profile, options: argparse.Namespace) -> dict[str, float]:
    drives = partial(_ordered, profile, options.fault_seconds, options.seed)
    driven = _told("drives with an order", pool.map(drives, options.envelopes), len(options.envelopes))
    return {f"{w:g}": drive.over_envelope for w, drive in zip(options.envelopes, driven, strict=True)}


def _ordered(profile: Profile, seconds: float, seed: int, envelope_w: float) -> Driven:
    return governed(envelope_w, profile, order_script(envelope_w, seconds, seed), seed)


def _told(what: str, results: Iterable[T], count: int) -> list[T]:
    """The results, each told as it comes."""
    found = []
    with progress(what, count) as tell:
        for result in results:
            found.append(result)
            tell("")
    return found
