"""The charts of a device page, on ECharts. Owns: their options. Must not know: where samples come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from nicegui import ui

from fleet.registry import Sample

_GREEN, _AMBER, _GREY = "#12a07a", "#e39a26", "#8a9894"

Points = list[list[float | None]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name, its colour, and whether it is a limit (dashed)."""

    name: str
    colour: str
    limit: bool = False


class LineChart:
    """Lines over the last five minutes."""

    def __init__(self, title: str, unit: str, lines: Sequence[Line]) -> None:
        with ui.element("div").classes("r-card"):
            self._title, self._label = title, ui.label(title).classes("r-title")
            self._chart = ui.echart(_options(unit, lines)).classes("r-chart")

    def show(self, points: Sequence[Points], mark: str = "") -> None:
        """Draw one list of [UTC ms, value] for each line; `mark` stands behind the title."""
        self._label.set_text(self._title + mark)
        for series, one in zip(self._chart.options["series"], points, strict=True):
            series["data"] = one
        self._chart.update()


def power_chart() -> LineChart:
    """Module power against the envelope."""
    return LineChart(
        "Module power against the envelope", "W", (Line("module", _GREEN), Line("envelope", _AMBER, True))
    )


def lateness_chart() -> LineChart:
    """How late the loop woke."""
    return LineChart("Loop lateness", "µs", (Line("p99", _GREEN), Line("max", _GREY)))


def power_points(samples: Sequence[Sample]) -> list[Points]:
    """[module, envelope] in watts; a gap where the module's are unknown."""
    return [
        [[sample.utc_ns / 1e6, _rounded(sample.module_w)] for sample in samples],
        [[sample.utc_ns / 1e6, sample.envelope_w] for sample in samples],
    ]


def lateness_points(samples: Sequence[Sample]) -> list[Points]:
    """[p99, max] in microseconds."""
    return [
        [[sample.utc_ns / 1e6, round(sample.lateness_p99_ns / 1e3, 1)] for sample in samples],
        [[sample.utc_ns / 1e6, round(sample.lateness_max_ns / 1e3, 1)] for sample in samples],
    ]


def _options(unit: str, lines: Sequence[Line]) -> dict[str, object]:
    grey = {"color": _GREY}
    return {
        "animation": False,
        "useUTC": True,
        "grid": {"left": 52, "right": 14, "top": 34, "bottom": 26},
        "legend": {"top": 0, "right": 0, "textStyle": grey},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", "axisLabel": {**grey, "hideOverlap": True}},
        "yAxis": {
            "type": "value",
            "name": unit,
            "nameTextStyle": grey,
            "axisLabel": grey,
            "splitLine": {"lineStyle": {"color": "#8884"}},
        },
        "series": [
            {
                "name": line.name,
                "type": "line",
                "showSymbol": False,
                "data": [],
                "color": line.colour,
                "lineStyle": {"width": 2, "type": "dashed" if line.limit else "solid"},
            }
            for line in lines
        ],
    }


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 2)
