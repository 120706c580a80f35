"""Learning curves as a picture: losses over the time of training.

Owns: the drawing, on a logarithmic axis. Must not know: what the losses are of, files.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from models.reference.svg import Axis, document, line, rule, text

_WIDTH_PX, _HEIGHT_PX, _LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 720, 360, 64, 16, 40, 44
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


class Curve(NamedTuple):
    """One line: its name, and (minutes, value) in order of time. Values that no logarithm has are left out."""

    name: str
    points: Sequence[tuple[float, float]]


class _Frame(NamedTuple):
    """Minutes from 0, and values between powers of ten."""

    minutes: Axis
    values: Axis


def svg_from_curves(title: str, curves: Sequence[Curve]) -> str:
    """The picture; without any point its axes stand alone."""
    drawn = [Curve(each.name, [point for point in each.points if point[1] > 0]) for each in curves]
    frame = _frame_of([point for each in drawn for point in each.points])
    parts = [text((_LEFT_PX, 18), title, weight="bold"), *_axes(frame)]
    for index, each in enumerate(drawn):
        parts += _curve(each, frame, index)
    return document(_WIDTH_PX, _HEIGHT_PX, parts)


def _frame_of(points: Sequence[tuple[float, float]]) -> _Frame:
    longest, low, high = 1.0, -1, 0
    if points:
        values = [math.log10(value) for _, value in points]
        low, high = math.floor(min(values)), math.ceil(max(values))
        longest = max(minutes for minutes, _ in points) or 1.0
    top = max(high, low + 1)
    return _Frame(
        Axis(0.0, longest, _LEFT_PX, _WIDTH_PX - _RIGHT_PX),
        Axis(10.0**low, 10.0**top, _HEIGHT_PX - _BOTTOM_PX, _TOP_PX, is_log=True),
    )


def _axes(frame: _Frame) -> list[str]:
    parts = []
    powers = (round(math.log10(end)) for end in frame.values[:2])
    for power in range(next(powers), next(powers) + 1):
        y_px = frame.values.px(10.0**power)
        parts.append(rule((_LEFT_PX, y_px), (_WIDTH_PX - _RIGHT_PX, y_px)))
        parts.append(text((_LEFT_PX - 6, y_px + 4), f"{10.0**power:g}", anchor="end"))
    for part in range(5):
        minutes = frame.minutes.high * part / 4
        x_px = frame.minutes.px(minutes)
        parts.append(rule((x_px, _TOP_PX), (x_px, _HEIGHT_PX - _BOTTOM_PX)))
        parts.append(text((x_px, _HEIGHT_PX - _BOTTOM_PX + 18), f"{minutes:.3g}", anchor="middle"))
    return [*parts, text((_WIDTH_PX / 2, _HEIGHT_PX - 6), "minutes", anchor="middle")]


def _curve(curve: Curve, frame: _Frame, index: int) -> list[str]:
    colour = _COLOURS[index % len(_COLOURS)]
    places = [(frame.minutes.px(minutes), frame.values.px(value)) for minutes, value in curve.points]
    return [
        *line(places, colour),
        text((_LEFT_PX + 8 + index * 200, 34), curve.name, colour=colour),
    ]
