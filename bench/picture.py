"""A drive in one picture: what happened, and under it power, heat, decisions and lateness on one axis of time.

Owns: the drive's record, the strips, and what is worked out for them, second by second. Must not know: files, clocks, where the
record comes from.

Colours are those of Okabe and Ito, which the colour-blind tell apart; lines that cross differ in their dashes too.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from typing import NamedTuple

import numpy as np

from models.reference.svg import INK, Axis, Point, area, box, document, line, rule, steps, text, with_gaps

_WIDTH_PX, _LEFT_PX, _RIGHT_PX = 960, 60, 16
_LETTER_PX, _CAPITAL_PX, _FONT_PX = 6.3, 8.4, 11
_ROW_PX, _TITLE_PX, _APART_PX = 15, 18, 14
_ORANGE, _SKY, _GREEN, _BLUE, _VERMILION, _PURPLE = (
    "#e69f00",
    "#8fcaf0",
    "#009e73",
    "#0072b2",
    "#d55e00",
    "#aa3377",
)
_GREY, _PALE, _FAINT = "#8c8c8c", "#d9d9d9", "#b0b0b0"
_SILENT_S = 0.5
"""Where the governor says nothing for longer, nothing is known."""
_LATE_MS = (0.01, 100.0)
STRIPS = (
    "what happened",
    "power, W (emulated)",
    "hottest junction, °C (emulated)",
    "decisions a second",
    "lateness of the loop's ticks, ms (measured; logarithmic axis)",
)


@dataclass(frozen=True, slots=True)
class PowerSample:
    """What the governor said at `at_s` of the drive; NaN for what it did not know. `module_w` is the 1 s mean."""

    at_s: float
    envelope_w: float
    module_w: float
    gpu_w: float
    soc_w: float
    hottest_c: float
    rate_hz: float
    is_held: bool
    sensors: str


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that lasted from one second of the drive to another."""

    name: str
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Drive:
    """What is drawn. `decided_s` has an entry for each decision, `ticks` when each was due and how many ms later it began;
    `machine` and `loop` say where and how the loop ran."""

    seconds: float
    power: tuple[PowerSample, ...]
    decided_s: tuple[float, ...]
    ticks: tuple[tuple[float, float], ...]
    happenings: tuple[Happening, ...]
    machine: str
    loop: str


class _Strip(NamedTuple):
    """Where one of them is: its axes, below `title`."""

    title: str
    time: Axis
    values: Axis
    marks: tuple[float, ...]

    def place(self, point: Point) -> Point:
        return self.time.px(point[0]), self.values.px(point[1])

    def places(self, points: Iterable[Point]) -> list[Point]:
        return [self.place(point) for point in points]


class _Entry(NamedTuple):
    """One of a legend."""

    name: str
    colour: str
    dash: str = ""
    filled: bool = False


def svg_of_drive(drive: Drive) -> str:
    """The picture, as SVG; without any record its axes stand alone."""
    time = Axis(0.0, max(drive.seconds, 1.0), _LEFT_PX, _WIDTH_PX - _RIGHT_PX)
    rows = _rows(drive, time)
    top_px = 2.0 * _TITLE_PX + _ROW_PX * len(rows) + _APART_PX
    parts: list[str] = []
    for title, height_px, draw in zip(STRIPS[1:], _HEIGHTS_PX, _DRAWN, strict=True):
        axis, marks = _values(title, drive, top_px + _TITLE_PX, height_px)
        strip = _Strip(title, time, axis, marks)
        parts += [*_ground(strip), *draw(drive, strip), *_edges(drive, strip)]
        top_px += _TITLE_PX + height_px + _APART_PX
    foot_px = top_px + 4
    return document(
        _WIDTH_PX,
        round(foot_px + 60),
        [*_happened(rows, time), *parts, *_seconds(time, foot_px), *_caption(drive, foot_px + 18)],
        _FONT_PX,
    )


# --- figures second by second


def means_1s(samples: Sequence[PowerSample], figure: Callable[[PowerSample], float]) -> list[float]:
    """The mean of `figure` over the second up to each sample; NaN where one of them is."""
    at_s, values = [sample.at_s for sample in samples], [figure(sample) for sample in samples]
    first = np.searchsorted(at_s, np.array(at_s) - 1.0 + 1e-6)
    return [float(np.mean(values[since : number + 1])) for number, since in enumerate(first)]


def per_second(at_s: Iterable[float], seconds: float) -> list[Point]:
    """How many there are in each whole second of the drive."""
    seen = np.array([int(at) for at in at_s if 0 <= at < int(seconds)], dtype=np.int64)
    counts = np.bincount(seen, minlength=int(seconds))
    return [(float(second), float(count)) for second, count in enumerate(counts)]


def lateness(ticks: Iterable[tuple[float, float]], seconds: float) -> tuple[list[Point], list[Point]]:
    """The median and the largest lateness in ms of each whole second, in its middle; NaN where no tick was due."""
    by_second: list[list[float]] = [[] for _ in range(int(seconds))]
    for due_s, late_ms in ticks:
        if 0 <= due_s < int(seconds):
            by_second[int(due_s)].append(late_ms)
    middles = [second + 0.5 for second in range(len(by_second))]
    medians = [float(np.median(late)) if late else math.nan for late in by_second]
    largest = [max(late, default=math.nan) for late in by_second]
    return list(zip(middles, medians, strict=True)), list(zip(middles, largest, strict=True))


def held_share(samples: Sequence[PowerSample], seconds: float) -> list[Point]:
    """The share of each whole second's samples by which no decision might begin; NaN where there are none."""
    all_of = dict(per_second((sample.at_s for sample in samples), seconds))
    held = per_second((sample.at_s for sample in samples if sample.is_held), seconds)
    return [(second, count / all_of[second] if all_of[second] else math.nan) for second, count in held]


def said(samples: Sequence[PowerSample], seconds: float) -> list[Happening]:
    """When the governor's `sensors` were something else than `ok`, and what."""
    ends = [*(sample.at_s for sample in samples[1:]), seconds][: len(samples)]
    found = []
    for words, group in groupby(zip(samples, ends, strict=True), lambda pair: pair[0].sensors):
        spans = list(group)
        if words != "ok":
            found.append(Happening(f"“{words}”", spans[0][0].at_s, spans[-1][1]))
    return found


# --- strips


def _values(title: str, drive: Drive, top_px: float, height_px: float) -> tuple[Axis, tuple[float, ...]]:
    """The axis of one strip, and where it is marked."""
    bottom_px = top_px + height_px
    if title == STRIPS[1]:
        high = _above([x for s in drive.power for x in (s.envelope_w, s.module_w)], 20.0)
        return Axis(0.0, high, bottom_px, top_px), tuple(np.arange(0.0, high + 1, 20.0))
    if title == STRIPS[2]:
        known = _known(sample.hottest_c for sample in drive.power)
        low, high = 10.0 * math.floor(min(known, default=40.0) / 10), _above(known, 10.0)
        high = max(high, low + 10)
        return Axis(low, high, bottom_px, top_px), tuple(np.arange(low, high + 1, 10.0))
    if title == STRIPS[3]:
        high = _above([count for _, count in per_second(drive.decided_s, drive.seconds)], 5.0)
        return Axis(0.0, max(high, 10.0), bottom_px - _ROW_PX, top_px), tuple(np.arange(0.0, high + 1, 5.0))
    return Axis(*_LATE_MS, bottom_px, top_px, is_log=True, is_clipped=True), (0.01, 0.1, 1.0, 10.0, 100.0)


def _power(drive: Drive, strip: _Strip) -> list[str]:
    at_s = [sample.at_s for sample in drive.power]
    gpu_w, soc_w = means_1s(drive.power, lambda s: s.gpu_w), means_1s(drive.power, lambda s: s.soc_w)
    module_w = [sample.module_w for sample in drive.power]
    both_w = [gpu + soc for gpu, soc in zip(gpu_w, soc_w, strict=True)]
    levels = [[0.0] * len(at_s), gpu_w, both_w, [max(*pair) for pair in zip(module_w, both_w, strict=True)]]
    known = [_gapped(zip(at_s, level, strict=True), strip) for level in levels]
    entries = (
        _Entry("envelope", _VERMILION, "7 3"),
        _Entry("module, 1 s mean", INK),
        _Entry("of it VDD_GPU", _ORANGE, filled=True),
        _Entry("VDD_CPU_SOC_MSS", _SKY, filled=True),
        _Entry("the rest", _PALE, filled=True),
    )
    envelope = steps([(s.at_s, s.envelope_w) for s in drive.power], drive.seconds)
    return [
        *_legend(strip, entries),
        *chain.from_iterable(
            area(known[n + 1], known[n], colour) for n, colour in enumerate((_ORANGE, _SKY, _PALE))
        ),
        *line(_gapped(zip(at_s, module_w, strict=True), strip), INK, 1.2),
        *line(strip.places(envelope), _VERMILION, 2.0, "7 3"),
    ]


def _heat(drive: Drive, strip: _Strip) -> list[str]:
    return line(_gapped(((s.at_s, s.hottest_c) for s in drive.power), strip), _PURPLE)


def _decisions(drive: Drive, strip: _Strip) -> list[str]:
    allowed = steps([(s.at_s, s.rate_hz) for s in drive.power], drive.seconds)
    made = steps(per_second(drive.decided_s, drive.seconds), float(int(drive.seconds)))
    entries = (
        _Entry("made, by both workers", _BLUE),
        _Entry("allowed by the governor", _GREEN, "2 3"),
        _Entry("share of the second held back", _GREY, filled=True),
    )
    return [
        *_legend(strip, entries),
        *line(strip.places(allowed), _GREEN, 1.5, "2 3"),
        *line(strip.places(made), _BLUE, 1.8),
        *_held(drive, strip),
    ]


def _held(drive: Drive, strip: _Strip) -> list[str]:
    """A row of bars under the axis: the higher, the longer no decision might begin."""
    floor_px = strip.values.from_px + _ROW_PX
    width_px = strip.time.px(1.0) - strip.time.px(0.0)
    found = [rule((_LEFT_PX, floor_px), (_WIDTH_PX - _RIGHT_PX, floor_px))]
    for second, share in held_share(drive.power, drive.seconds):
        if share > 0:
            height_px = share * (_ROW_PX - 3)
            found.append(box((strip.time.px(second), floor_px - height_px), width_px, height_px, _GREY))
    return found


def _lateness(drive: Drive, strip: _Strip) -> list[str]:
    median, largest = lateness(drive.ticks, drive.seconds)
    entries = (_Entry("largest of each second", _VERMILION, "5 2"), _Entry("median", _BLUE))
    return [
        *_legend(strip, entries),
        *line(strip.places(largest), _VERMILION, 1.5, "5 2"),
        *line(strip.places(median), _BLUE, 1.8),
    ]


_HEIGHTS_PX = (190.0, 80.0, 115.0, 110.0)
_DRAWN = (_power, _heat, _decisions, _lateness)


# --- what all strips share


def _gapped(points: Iterable[Point], strip: _Strip) -> list[Point]:
    return strip.places(with_gaps(list(points), _SILENT_S))


def _ground(strip: _Strip) -> list[str]:
    """Title, marks and their lines."""
    found = [text((_LEFT_PX, strip.values.until_px - 6), strip.title, weight="bold")]
    for mark in strip.marks:
        y_px = strip.values.px(mark)
        found += [
            rule((_LEFT_PX, y_px), (_WIDTH_PX - _RIGHT_PX, y_px)),
            text((_LEFT_PX - 6, y_px + 4), f"{mark:g}", anchor="end"),
        ]
    return found


def _edges(drive: Drive, strip: _Strip) -> list[str]:
    """Where something began or ended."""
    at_s = sorted({at for each in drive.happenings for at in (each.from_s, each.until_s)})
    ends_px = strip.values.from_px, strip.values.until_px
    return [
        rule((strip.time.px(at), ends_px[0]), (strip.time.px(at), ends_px[1]), _FAINT, "1 3") for at in at_s
    ]


def _legend(strip: _Strip, entries: Sequence[_Entry]) -> list[str]:
    """To the right of the title, the last one at the right edge."""
    widths_px = [36 + _words_px(each.name) for each in entries]
    x_px, y_px = _WIDTH_PX - _RIGHT_PX - sum(widths_px), strip.values.until_px - 6
    found = []
    for each, at_px in zip(entries, accumulate(widths_px, initial=x_px), strict=False):
        sample = (
            [box((at_px, y_px - 8), 20, 9, each.colour)]
            if each.filled
            else line([(at_px, y_px - 3), (at_px + 20, y_px - 3)], each.colour, 2.0, each.dash)
        )
        found += [*sample, text((at_px + 25, y_px), each.name)]
    return found


def _rows(drive: Drive, time: Axis) -> list[list[Happening]]:
    """What happened in rows, so that no two words meet; what the sensors were said to be in rows of its own below."""
    found: list[list[Happening]] = []
    for kind in (sorted(drive.happenings, key=lambda h: h.from_s), said(drive.power, drive.seconds)):
        rows: list[list[Happening]] = []
        for each in kind:
            free = next(
                (row for row in rows if _extent(row[-1], time)[1] + 10 < _extent(each, time)[0]), None
            )
            if free is None:
                rows.append([each])
            else:
                free.append(each)
        found += rows
    return found


def _extent(each: Happening, time: Axis) -> Point:
    """From where to where it goes with its words, which stand beside it or, near the right edge, before it."""
    words_px, ends_px = _words_px(each.name) + 6, (time.px(each.from_s), time.px(each.until_s))
    if ends_px[1] + words_px > time.until_px:
        return ends_px[0] - words_px, ends_px[1]
    return ends_px[0], ends_px[1] + words_px


def _happened(rows: Sequence[Sequence[Happening]], time: Axis) -> list[str]:
    found = [
        text(
            (_LEFT_PX, _TITLE_PX),
            f"{STRIPS[0]}; in quotes, what the board says of its sensors",
            weight="bold",
        )
    ]
    for number, row in enumerate(rows):
        y_px = 1.5 * _TITLE_PX + number * _ROW_PX
        for each in row:
            from_px, until_px = time.px(each.from_s), time.px(each.until_s)
            before = _extent(each, time)[0] < from_px
            at_px, anchor = (from_px - 4, "end") if before else (until_px + 4, "start")
            colour = _GREY if each.name.startswith("“") else _BLUE
            found += [
                box((from_px, y_px), max(until_px - from_px, 2.0), _ROW_PX - 5, colour),
                text((at_px, y_px + 9), each.name, anchor=anchor),
            ]
    return found


def _seconds(time: Axis, y_px: float) -> list[str]:
    every_s = 10.0 if time.high <= 240 else 60.0
    marks = np.arange(0.0, time.high + 1e-9, every_s)
    found = [text((time.px(mark), y_px), f"{mark:g} s", anchor="middle") for mark in marks[:-1]]
    return [*found, text((time.px(marks[-1]), y_px), f"{marks[-1]:g} s", anchor="end")]


def _caption(drive: Drive, y_px: float) -> list[str]:
    lines = (
        "Watts, degrees and clocks are emulated: a Jetson Thor that is made of files, and on it a policy of 2 billion parameters",
        "that decides as often as the real, smaller one does.",
        f"Lateness is measured: {drive.machine}. The loop in real time: {drive.loop}.",
    )
    return [text((_LEFT_PX, y_px + 15 * number), each) for number, each in enumerate(lines)]


def _words_px(words: str) -> float:
    """About how wide they are."""
    return sum(_CAPITAL_PX if letter.isupper() or letter == "_" else _LETTER_PX for letter in words)


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _above(values: Iterable[float], step: float) -> float:
    """The first whole `step` that no value is above."""
    return step * max(1, math.ceil(max(_known(values), default=step) / step))
