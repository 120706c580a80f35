"""Pictures without a library: a few shapes as the text of SVG, and axes that map values to places.

Owns: the shapes, where a line has gaps, escaping. Must not know: what is drawn.

Colours and the white ground are always said, so that a picture is the same on a light page and on a dark one.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape

GRID, INK = "#dddddd", "#1a1a1a"
Point = tuple[float, float]


class Axis(NamedTuple):
    """Values from `low` to `high` on places from `from_px` to `until_px`; a logarithmic one takes none below zero.

    A clipped axis puts what is beyond its ends at its ends.
    """

    low: float
    high: float
    from_px: float
    until_px: float
    is_log: bool = False
    is_clipped: bool = False

    def px(self, value: float) -> float:
        """The place of `value`; NaN where that is no number, or has no logarithm and the axis is not clipped."""
        if self.is_clipped and not math.isnan(value):
            value = min(max(value, self.low), self.high)
        if self.is_log and value <= 0:
            return math.nan
        low, high, at = (map(math.log10, (self.low, self.high, value))) if self.is_log else (*self[:2], value)
        return self.from_px + (at - low) / (high - low) * (self.until_px - self.from_px)


def document(width_px: int, height_px: int, parts: Iterable[str], font_px: int = 12) -> str:
    """The picture, on white."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px} {height_px}" '
        f'font-family="sans-serif" font-size="{font_px}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def text(
    at: Point,
    said: str,
    *,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = INK,
) -> str:
    """One line of text."""
    x_px, y_px = at
    return (
        f'<text x="{x_px:.1f}" y="{y_px:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{colour}">{escape(said)}</text>'
    )


def rule(start: Point, end: Point, colour: str = GRID, dash: str = "") -> str:
    """A straight line, as of a grid."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}"{dashed}/>'
    )


def box(at: Point, width_px: float, height_px: float, colour: str) -> str:
    """A filled rectangle; `at` is its upper left corner."""
    return (
        f'<rect x="{at[0]:.1f}" y="{at[1]:.1f}" width="{width_px:.1f}" height="{height_px:.1f}" '
        f'fill="{colour}"/>'
    )


def line(places: Sequence[Point], colour: str, width_px: float = 1.5, dash: str = "") -> list[str]:
    """A line through `places`, with a gap at each that is no number."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return [
        f'<polyline points="{_said(run if len(run) > 1 else run * 2)}" fill="none" stroke="{colour}" '
        f'stroke-width="{width_px:g}" stroke-linejoin="round" stroke-linecap="round"{dashed}/>'
        for run in runs(places)
    ]


def area(upper: Sequence[Point], lower: Sequence[Point], colour: str) -> list[str]:
    """What lies between two lines through the same times, with a gap where either is no number."""
    both = [(*above, below[1]) for above, below in zip(upper, lower, strict=True)]
    return [
        f'<polygon points="{_said([(x, y) for x, y, _ in run] + [(x, y) for x, _, y in reversed(run)])}" '
        f'fill="{colour}"/>'
        for run in runs(both)
    ]


def steps(points: Sequence[Point], until: float) -> list[Point]:
    """The corners of a line that keeps each value until the next one's time, and the last one `until` then."""
    ends = [*(at for at, _ in points[1:]), until][: len(points)]
    corners = [
        corner
        for (at, value), end in zip(points, ends, strict=True)
        for corner in ((at, value), (end, value))
    ]
    return [corner for corner, before in zip(corners, [None, *corners], strict=False) if corner != before]


def with_gaps(points: Sequence[Point], most_apart: float) -> list[Point]:
    """`points`, and one that is no number wherever two are further apart than `most_apart`: nothing is known between them."""
    found: list[Point] = list(points[:1])
    for (before, _), point in pairwise(points):
        if point[0] - before > most_apart:
            found.append((before, math.nan))
        found.append(point)
    return found


def runs(places: Iterable[tuple[float, ...]]) -> list[list[tuple[float, ...]]]:
    """The stretches in which every number is one."""
    found: list[list[tuple[float, ...]]] = [[]]
    for place in places:
        if all(map(math.isfinite, place)):
            found[-1].append(place)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _said(places: Iterable[tuple[float, ...]]) -> str:
    return " ".join(f"{x_px:.1f},{y_px:.1f}" for x_px, y_px in places)
