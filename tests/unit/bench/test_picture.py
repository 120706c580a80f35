"""A picture of a drive shows what was recorded, where it was, and nothing where nothing was known."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.picture import (
    STRIPS,
    Drive,
    Happening,
    PowerSample,
    held_share,
    lateness,
    means_1s,
    per_second,
    said,
    svg_of_drive,
)
from models.reference.svg import Axis, area, line, runs, steps, text, with_gaps

NAN = math.nan
SAMPLE = PowerSample(0.0, 90.0, 80.0, 30.0, 20.0, 45.0, 6.0, is_held=False, sensors="ok")


def drive(seconds: float = 20.0, **changes: object) -> Drive:
    """One in which nothing happens: 90 W, 80 W taken, five decisions a second, ticks 0.1 ms late."""
    whole = Drive(
        seconds=seconds,
        power=tuple(replace(SAMPLE, at_s=n / 10) for n in range(round(seconds * 10))),
        decided_s=tuple(n / 5 for n in range(round(seconds * 5))),
        ticks=tuple((n / 100, 0.1) for n in range(round(seconds * 100))),
        happenings=(Happening("an order", 5.0, 10.0),),
        machine="a machine",
        loop="fifo",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def polylines(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """The corners of each line of one colour, legends left out."""
    root = ET.fromstring(svg)
    found = [
        e.get("points", "") for e in root.iter() if e.tag.endswith("polyline") and e.get("stroke") == colour
    ]
    lines = [[tuple(map(float, corner.split(","))) for corner in each.split()] for each in found]
    return [each for each in lines if max(x for x, _ in each) - min(x for x, _ in each) != 20.0]  # type: ignore[misc]


# --- axes and shapes


def test_an_axis_maps_its_ends_to_its_ends_and_its_middle_between() -> None:
    axis = Axis(0.0, 120.0, 60.0, 300.0)
    assert [axis.px(value) for value in (0.0, 60.0, 120.0)] == [60.0, 180.0, 300.0]


def test_on_a_logarithmic_axis_tenfold_is_as_far_everywhere() -> None:
    axis = Axis(0.01, 100.0, 100.0, 0.0, is_log=True)
    assert [axis.px(value) for value in (0.01, 0.1, 1.0, 10.0, 100.0)] == pytest.approx([100, 75, 50, 25, 0])


def test_what_is_beyond_a_clipped_axis_is_drawn_at_its_end() -> None:
    axis = Axis(0.01, 100.0, 100.0, 0.0, is_log=True, is_clipped=True)
    assert [axis.px(value) for value in (-1.0, 0.0, 0.001, 500.0)] == pytest.approx([100, 100, 100, 0])


def test_a_value_that_is_no_number_or_has_no_logarithm_has_no_place() -> None:
    assert math.isnan(Axis(0.01, 100.0, 100.0, 0.0, is_log=True).px(0.0))
    assert math.isnan(Axis(0.01, 100.0, 100.0, 0.0, is_log=True, is_clipped=True).px(NAN))


def test_a_step_goes_level_until_the_next_value_and_then_straight_up() -> None:
    assert steps([(0.0, 90.0), (40.0, 55.0)], 80.0) == [(0.0, 90.0), (40.0, 90.0), (40.0, 55.0), (80.0, 55.0)]


def test_a_line_has_a_gap_where_a_number_is_none_and_a_lone_point_is_a_dot() -> None:
    found = line([(0.0, 1.0), (1.0, 1.0), (2.0, NAN), (3.0, 1.0)], "red")
    assert [re.findall(r'points="([^"]*)"', each)[0] for each in found] == [
        "0.0,1.0 1.0,1.0",
        "3.0,1.0 3.0,1.0",
    ]


def test_an_area_has_a_gap_where_either_of_its_sides_is_unknown() -> None:
    upper = [(0.0, 1.0), (1.0, NAN), (2.0, 1.0), (3.0, 1.0)]
    lower = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (3.0, NAN)]
    assert len(area(upper, lower, "red")) == 2


def test_between_two_points_too_far_apart_nothing_is_known() -> None:
    found = with_gaps([(0.0, 1.0), (0.1, 1.0), (2.0, 1.0)], 0.5)
    assert [len(run) for run in runs(found)] == [2, 1]


def test_words_that_mean_something_in_xml_are_only_words() -> None:
    assert ET.fromstring(text((0.0, 0.0), "a < b & c")).text == "a < b & c"


# --- what is worked out


def test_a_mean_is_over_the_second_before_and_unknown_where_any_of_it_is() -> None:
    samples = [replace(SAMPLE, at_s=n / 10, gpu_w=0.0 if n < 10 else 10.0) for n in range(20)]
    assert means_1s(samples, lambda s: s.gpu_w)[9::5] == pytest.approx([0.0, 5.0, 10.0])
    samples[3] = replace(samples[3], gpu_w=NAN)
    assert [math.isnan(mean) for mean in means_1s(samples, lambda s: s.gpu_w)] == [
        3 <= n < 13 for n in range(20)
    ]


def test_decisions_are_counted_in_whole_seconds_and_a_second_that_is_not_over_is_left_out() -> None:
    assert per_second([-0.1, 0.0, 0.9, 2.5, 3.1], 3.6) == [(0.0, 2.0), (1.0, 0.0), (2.0, 1.0)]


def test_lateness_of_a_second_is_its_median_and_its_largest_and_unknown_without_ticks() -> None:
    median, largest = lateness([(0.1, 1.0), (0.2, 2.0), (0.3, 9.0), (2.0, 4.0)], 3.0)
    assert [at for at, _ in median] == [0.5, 1.5, 2.5]
    assert [value for _, value in median] == pytest.approx([2.0, NAN, 4.0], nan_ok=True)
    assert [value for _, value in largest] == pytest.approx([9.0, NAN, 4.0], nan_ok=True)


def test_the_share_that_was_held_back_is_unknown_in_a_second_without_a_word() -> None:
    samples = [replace(SAMPLE, at_s=n / 4, is_held=n == 1) for n in range(4)]
    assert [share for _, share in held_share(samples, 2.0)] == pytest.approx([0.25, NAN], nan_ok=True)


def test_what_the_sensors_were_said_to_be_lasts_until_something_else_is_said() -> None:
    words = ["ok", "failing: VIN", "failing: VIN", "ok"]
    samples = [replace(SAMPLE, at_s=float(n), sensors=each) for n, each in enumerate(words)]
    assert said(samples, 4.0) == [Happening("“failing: VIN”", 1.0, 3.0)]
    assert said(samples[:3], 3.5) == [Happening("“failing: VIN”", 1.0, 3.5)]


# --- the picture


def test_a_picture_names_its_strips_what_is_emulated_and_where_lateness_was_measured() -> None:
    said_words = " ".join(ET.fromstring(svg_of_drive(drive())).itertext())
    assert [title for title in STRIPS if title not in said_words] == []
    assert all(words in said_words for words in ("are emulated", "is measured: a machine", "an order"))


def test_an_envelope_that_is_lowered_is_a_step_at_that_second() -> None:
    power = tuple(replace(s, envelope_w=55.0 if s.at_s >= 10 else 90.0) for s in drive().power)
    (envelope,) = polylines(svg_of_drive(drive(power=power)), "#d55e00")[:1]
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(envelope))
    high, low = envelope[0][1], envelope[-1][1]
    assert high < low
    assert {x for x, y in envelope if y == high} & {x for x, y in envelope if y == low} == {502.0}


def test_rails_and_the_rest_are_stacked_from_nothing_up_to_module_power() -> None:
    svg = svg_of_drive(drive())
    root, (module,) = ET.fromstring(svg), polylines(svg, "#1a1a1a")
    found = []
    for colour in ("#e69f00", "#8fcaf0", "#d9d9d9"):
        (shape,) = (e for e in root.iter() if e.tag.endswith("polygon") and e.get("fill") == colour)
        heights = [float(corner.split(",")[1]) for corner in shape.get("points", "").split()]
        found.append((max(heights), min(heights)))
    assert found[0][1] == found[1][0]
    assert found[1][1] == found[2][0]
    assert found[2][1] == module[0][1]
    tall = [low - high for low, high in found]
    assert tall == pytest.approx([tall[0], tall[0] * 2 / 3, tall[0]], abs=0.2)


def test_module_power_that_was_unknown_is_a_gap_and_not_a_line_across() -> None:
    power = tuple(replace(s, module_w=NAN if 5 <= s.at_s < 15 else s.module_w) for s in drive().power)
    whole, broken = (
        polylines(svg_of_drive(drive()), "#1a1a1a"),
        polylines(svg_of_drive(drive(power=power)), "#1a1a1a"),
    )
    assert (len(whole), len(broken)) == (1, 2)
    assert broken[1][0][0] - broken[0][-1][0] > 440.0


def test_a_governor_that_said_nothing_for_a_while_leaves_a_gap() -> None:
    power = tuple(s for s in drive().power if not 5 <= s.at_s < 8)
    assert len(polylines(svg_of_drive(drive(power=power)), "#aa3377")) == 2


@given(st.data())
def test_whatever_was_unknown_a_picture_is_well_formed_and_has_no_place_that_is_no_number(
    data: st.DataObject,
) -> None:
    figure = st.sampled_from([NAN, 0.0, 55.0, 1e3])
    names = ("envelope_w", "module_w", "gpu_w", "soc_w", "hottest_c", "rate_hz")
    samples = [
        replace(SAMPLE, at_s=n / 2, sensors="a & b", **{name: data.draw(figure) for name in names})  # type: ignore[arg-type]
        for n in range(data.draw(st.integers(0, 6)))
    ]
    ticks = tuple(
        (0.5, data.draw(st.sampled_from([0.0, 0.1, 1e6]))) for _ in range(data.draw(st.integers(0, 2)))
    )
    svg = svg_of_drive(drive(data.draw(st.sampled_from([0.0, 0.4, 3.0])), power=tuple(samples), ticks=ticks))
    ET.fromstring(svg)
    assert re.findall(r'="[^"]*\b(?:nan|inf)\b[^"]*"', svg) == []
