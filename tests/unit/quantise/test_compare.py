"""The comparison of precisions: every one, without and with a set, on observations that are not of it."""

from pathlib import Path

from models import reference
from models.quantise.apply import Precision
from models.quantise.calibrate import observations_digest
from models.quantise.compare import reports
from models.release.family import family_of

_CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"


def test_every_precision_is_compared_without_and_with_a_set_of_other_observations() -> None:
    found = list(reports(_CHECKPOINT, calibration_cases=2, compared_cases=3))
    below = [str(each) for each in Precision if each is not Precision.FLOAT32]
    assert [(each.precision, each.calibration is not None) for each in found] == [
        (precision, calibrated) for precision in below for calibrated in (False, True)
    ]
    family = family_of(_CHECKPOINT)
    digest = observations_digest(family.observe(family.contract(_CHECKPOINT), 2))
    assert {each.calibration.digest for each in found if each.calibration} == {digest}
    assert all(each.difference is not None and each.difference.cases == 3 for each in found)
