"""Learning curves as a picture: losses over the time of training.

Owns: the drawing, SVG on a logarithmic axis. Must not know: what the losses are of, files.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

_WIDTH_PX, _HEIGHT_PX, _LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 720, 360, 64, 16, 40, 44
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
_FONT = 'font-family="sans-serif" font-size="12"'


class Curve(NamedTuple):
    """One line: its name, and (minutes, value) in order of time. Values that no logarithm has are left out."""

    name: str
    points: Sequence[tuple[float, float]]


class _Frame(NamedTuple):
    """What the axes span: minutes from 0, and powers of ten."""

    minutes: float
    low: int
    high: int

    def x_px(self, minutes: float) -> float:
        return _LEFT_PX + minutes / self.minutes * (_WIDTH_PX - _LEFT_PX - _RIGHT_PX)

    def y_px(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return _HEIGHT_PX - _BOTTOM_PX - share * (_HEIGHT_PX - _TOP_PX - _BOTTOM_PX)


def svg_from_curves(title: str, curves: Sequence[Curve]) -> str:
    """The picture; without any point its axes stand alone."""
    drawn = [Curve(each.name, [point for point in each.points if point[1] > 0]) for each in curves]
    frame = _frame_of([point for each in drawn for point in each.points])
    parts = [_text(_LEFT_PX, 18, title, weight="bold"), *_axes(frame)]
    for index, each in enumerate(drawn):
        parts += _line(each, frame, index)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH_PX} {_HEIGHT_PX}" {_FONT}>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _frame_of(points: Sequence[tuple[float, float]]) -> _Frame:
    if not points:
        return _Frame(1.0, -1, 0)
    values = [math.log10(value) for _, value in points]
    low, high = math.floor(min(values)), math.ceil(max(values))
    return _Frame(max(minutes for minutes, _ in points) or 1.0, low, max(high, low + 1))


def _axes(frame: _Frame) -> list[str]:
    parts = []
    for power in range(frame.low, frame.high + 1):
        y_px = frame.y_px(10.0**power)
        parts.append(_rule((_LEFT_PX, y_px), (_WIDTH_PX - _RIGHT_PX, y_px)))
        parts.append(_text(_LEFT_PX - 6, y_px + 4, f"{10.0**power:g}", anchor="end"))
    for part in range(5):
        minutes = frame.minutes * part / 4
        x_px = frame.x_px(minutes)
        parts.append(_rule((x_px, _TOP_PX), (x_px, _HEIGHT_PX - _BOTTOM_PX)))
        parts.append(_text(x_px, _HEIGHT_PX - _BOTTOM_PX + 18, f"{minutes:.3g}", anchor="middle"))
    return [*parts, _text(_WIDTH_PX / 2, _HEIGHT_PX - 6, "minutes", anchor="middle")]


def _line(curve: Curve, frame: _Frame, index: int) -> list[str]:
    colour = _COLOURS[index % len(_COLOURS)]
    places = " ".join(f"{frame.x_px(minutes):.1f},{frame.y_px(value):.1f}" for minutes, value in curve.points)
    legend_px = _LEFT_PX + 8 + index * 200
    return [
        f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        f'<text x="{legend_px}" y="34" fill="{colour}">{curve.name}</text>',
    ]


def _rule(start: tuple[float, float], end: tuple[float, float]) -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" stroke="#ddd"/>'
    )


def _text(x_px: float, y_px: float, said: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x_px:.1f}" y="{y_px:.1f}" text-anchor="{anchor}" font-weight="{weight}">{said}</text>'
