"""The cameras show what driving needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.reference.world.boxes import Box, paint
from models.reference.world.drive import World
from models.reference.world.rig import CAMERAS
from models.reference.world.road import circuit
from models.reference.world.scenario import Scenario
from models.reference.world.things import StoppedCar, TrafficLight

SEED = 1
ROAD = circuit(SEED)
LONG = max(ROAD.straights, key=lambda straight: straight.length_m)
START = LONG.start_s_m + 1
_, WIDE, _, TELE = (camera.name for camera in CAMERAS)


def _seen(**scene: object) -> dict[str, NDArray[np.uint8]]:
    return World(1, Scenario(SEED, start_s_m=START, **scene)).render()  # type: ignore[arg-type]


def _red(image: NDArray[np.uint8]) -> int:
    r, g, b = (image[..., channel].astype(int) for channel in range(3))
    return int(((r > 150) & (g < 90) & (b < 90)).sum())


def _lit_for(phase_s: float) -> TrafficLight:
    return TrafficLight(START + 4.1 + 60.0, offset_s=phase_s)


def test_images_have_the_contracts_shape_and_are_the_same_every_time() -> None:
    first, again = _seen(), _seen()
    for camera in CAMERAS:
        assert first[camera.name].shape == (camera.height_px, camera.width_px, 3)
        assert first[camera.name].dtype == np.uint8
        assert np.array_equal(first[camera.name], again[camera.name])


def test_a_red_lamp_is_plain_in_the_tele_camera_at_60_m_and_a_green_one_is_not_red() -> None:
    assert _red(_seen(lights=(_lit_for(20.0),))[TELE]) >= 2
    assert _red(_seen(lights=(_lit_for(0.0),))[TELE]) == 0


def test_a_car_ahead_fills_more_of_the_view_the_nearer_it_is() -> None:
    empty = _seen()[TELE].astype(int)

    def changed(gap_m: float) -> int:
        car = StoppedCar(START + 4.1 + gap_m, 5.0, (200.0, 200.0, 30.0))
        return int((np.abs(_seen(cars=(car,))[TELE].astype(int) - empty).max(axis=2) > 20).sum())

    assert changed(10) > changed(25) > changed(60) > 3


def test_ten_centimetres_off_centre_change_the_picture() -> None:
    centre, beside = _seen()[WIDE].astype(int), _seen(offset_m=0.1)[WIDE].astype(int)
    assert np.abs(centre - beside).max() > 10


def test_the_stop_line_is_in_view_until_the_bumper_is_on_it() -> None:
    with_line = TrafficLight(START + 4.1 + 0.5)
    near = _seen(lights=(with_line,))[WIDE].astype(int) - _seen()[WIDE].astype(int)
    assert np.abs(near[-10:, 20:44]).max() > 60


_EDGE_PX = st.floats(-40.0, 104.0)


@given(_EDGE_PX, _EDGE_PX, _EDGE_PX, _EDGE_PX)
def test_what_is_painted_covers_as_much_as_it_measures_however_small(
    left: float, right: float, top: float, bottom: float
) -> None:
    camera, away_m = CAMERAS[1], 20.0
    (left, right), (top, bottom) = sorted((left, right)), sorted((top, bottom))
    to_m = away_m / camera.focal_px
    across = [(camera.width_px / 2 - u) * to_m for u in (left, right)]
    up = [(camera.height_px / 2 - v) * to_m for v in (bottom, top)]
    face = [(away_m, y_m, z_m) for z_m in up for y_m in across]
    image = np.zeros((camera.height_px, camera.width_px, 3), np.float32)
    paint(image, camera, [Box(0, 0, 0.1, 1, 0, 1, (1.0, 1.0, 1.0))], np.array([face * 2]))
    in_view = [np.clip(edges, 0, most) for edges, most in (((left, right), 64), ((top, bottom), 32))]
    assert image.sum() / 3 == pytest.approx(float(np.prod([high - low for low, high in in_view])), abs=1e-3)
    assert 0 <= image.min() <= image.max() <= 1 + 1e-6
