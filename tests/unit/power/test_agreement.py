"""A sensor that stands still or contradicts the others is not believed."""

from agent.power.agreement import CONTRADICTED, STUCK, Agreement
from agent.power.device import PowerSample

TENTH = 100_000_000


def _sample(module_w: float | None, gpu_w: float = 30.0, soc_w: float = 10.0) -> PowerSample:
    return PowerSample(module_w, gpu_w, soc_w, ())


def test_module_power_that_stands_still_to_the_last_digit_is_doubted() -> None:
    agreement = Agreement()
    said = [agreement.doubt(_sample(60.0), tenth * TENTH) for tenth in range(1, 31)]
    assert said[18] == ""
    assert said[-1] == STUCK


def test_a_figure_that_stands_still_for_a_moment_is_suspected_before_it_is_doubted() -> None:
    agreement = Agreement()
    assert not agreement.moves(0)
    for tenth in range(1, 8):
        agreement.doubt(_sample(60.0 + min(tenth, 4)), tenth * TENTH)
        assert agreement.moves(tenth * TENTH) == (tenth < 7)
    agreement.doubt(_sample(None), 8 * TENTH)
    assert not agreement.moves(8 * TENTH)


def test_an_idle_device_whose_last_digit_moves_is_believed() -> None:
    agreement = Agreement()
    said = {agreement.doubt(_sample(60.0 + 1e-6 * (tenth % 2)), tenth * TENTH) for tenth in range(1, 200)}
    assert said == {""}


def test_module_power_below_its_rails_is_doubted_after_three_samples_not_after_one() -> None:
    agreement = Agreement()
    said = [agreement.doubt(_sample(30.0 + tenth / 100), tenth * TENTH) for tenth in range(3)]
    assert said == ["", "", CONTRADICTED]


def test_rails_read_at_slightly_other_times_do_not_contradict() -> None:
    agreement = Agreement()
    assert {agreement.doubt(_sample(38.5 + t / 100), t * TENTH) for t in range(40)} == {""}


def test_it_is_believed_again_once_it_agreed_for_two_seconds() -> None:
    agreement = Agreement()
    for tenth in range(3):
        agreement.doubt(_sample(30.0 + tenth), tenth * TENTH)
    said = [agreement.doubt(_sample(60.0 + tenth), (3 + tenth) * TENTH) for tenth in range(20)]
    assert set(said[:19]) == {CONTRADICTED}
    assert said[19] == ""


def test_a_missing_figure_is_no_contradiction() -> None:
    agreement = Agreement()
    assert agreement.doubt(_sample(None), 0) == ""
    sample = PowerSample(10.0, None, 40.0, ("VDD_GPU",))
    assert {agreement.doubt(sample, tenth * TENTH) for tenth in range(9)} == {""}


def test_a_sensor_that_comes_back_with_the_digits_it_had_is_believed() -> None:
    agreement = Agreement()
    agreement.doubt(_sample(60.0), 0)
    said = [agreement.doubt(_sample(None), tenth * TENTH) for tenth in range(1, 40)]
    assert {*said, agreement.doubt(_sample(60.0), 40 * TENTH)} == {""}
