"""The reference bench measures what it says: a straight plan leads straight on, constant velocity is the policy to beat."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.drives import Drives
from bench.reference import figures, run
from models.errors import UsageError
from models.reference.displacement import positions_m
from models.reference.evaluate import Score
from models.reference.faithful import Answers
from models.reference.world.classes import CLASSES


def test_a_plan_leads_where_its_speeds_and_turns_add_up_to() -> None:
    straight = positions_m(np.zeros((64, 2), np.float32), 10.0)
    assert straight[-1] == pytest.approx([64.0, 0.0])
    braking = positions_m(np.tile(np.array([-5.0, 0.0], np.float32), (64, 1)), 10.0)
    assert braking[-1, 0] == pytest.approx(9.5, abs=0.6)
    assert (np.diff(braking[:, 0]) >= 0).all()
    left = positions_m(np.tile(np.array([0.0, 0.05], np.float32), (64, 1)), 5.0)
    assert left[-1, 1] > 10


def _figures(figures: object) -> dict[str, Any]:
    assert isinstance(figures, dict)
    return figures


def test_constant_velocity_drives_into_what_the_policy_stops_for(tmp_path: Path) -> None:
    words = ["--seeds", "2", "--only", "stop sign", "--keep", str(tmp_path)]
    both = run([*words, "--variants", "float32,constant-velocity"])
    policy, constant = _figures(both["float32"]), _figures(both["constant-velocity"])
    assert (policy["success_nominal"], constant["success_nominal"]) == (1.0, 0.0)
    assert policy["min_ade_m"] < constant["min_ade_m"]
    assert policy["tokens_per_decision"] > 3
    assert policy["bytes"] > 1_000_000
    assert policy["interventions"] > 5
    assert policy["plan_does_what_was_decided"] >= 0.95
    assert policy["plan_follows_forced_decision"] >= 0.9 > policy["plan_would_have_anyway"]
    assert "interventions" not in constant


def test_what_was_driven_is_not_driven_again_and_what_differs_is(tmp_path: Path) -> None:
    words = ["--only", "stop sign", "--variants", "constant-velocity", "--keep", str(tmp_path)]
    first = run([*words, "--seeds", "2"])
    (kept,) = tmp_path.iterdir()
    before = kept.stat().st_mtime_ns
    assert run([*words, "--seeds", "2"]) == first
    assert kept.stat().st_mtime_ns == before
    run([*words, "--seeds", "1"])
    assert kept.stat().st_mtime_ns > before


def test_a_variant_that_is_none_is_named_and_nothing_driven() -> None:
    with pytest.raises(UsageError, match="no such variant: float64"):
        run(["--variants", "float64,int8"])


def _drives(name: str, passed: int, answers: Answers | None = None, skipped: str = "") -> Drives:
    score = Score(name, 4, passed, {}, 0.1, ())
    return Drives("sha256:0", "int8", 4, skipped, score, 100, (1.0, 3.0), (10, 12), (0.2, 0.4), answers)


def test_figures_are_shares_of_all_drives_and_of_all_that_was_asked() -> None:
    nominal, long_tail = (next(one for one in CLASSES if one.long_tail is tail) for tail in (False, True))
    first = Answers(8, 6, 1, 4.0, 5, 4, 1, 1.0, {"stop": 2}, {"stop → go": 1})
    second = Answers(2, 1, 0, 1.0, 0, 0, 0, 0.0, {"go": 1}, {})
    found = figures([_drives("a", 4, first), _drives("b", 3, second)], [nominal, long_tail])
    assert (found["success_nominal"], found["success_long_tail"]) == (1.0, 0.75)
    assert found["success"] == {nominal.name: 1.0, long_tail.name: 0.75}
    assert (found["min_ade_m"], found["decision_ms_p50"], found["tokens_per_decision"]) == (0.3, 2.0, 11.0)
    assert (found["plan_does_what_was_decided"], found["plan_from_decided_m"]) == (0.7, 0.5)
    assert (found["plan_follows_forced_decision"], found["plan_would_have_anyway"]) == (0.8, 0.2)
    assert found["undone"] == {"stop": 2, "go": 1}
    assert found["disobeyed"] == {"stop → go": 1}


def test_what_was_never_asked_has_no_share() -> None:
    found = figures([_drives("a", 4, Answers())], [CLASSES[0]])
    assert found["plan_does_what_was_decided"] is None
    assert found["success_long_tail"] is None


def test_a_variant_that_lacks_what_it_takes_says_so_whichever_class_found_out() -> None:
    found = [_drives("a", 4), _drives("b", 0, skipped="no interpreter")]
    assert figures(found, CLASSES[:2]) == {"skipped": "no interpreter"}


@pytest.mark.parametrize(
    "words", [["--seeds", "0"], ["--jobs", "0"], ["--only", "no such class"], ["--checkpoint", "/nowhere"]]
)
def test_what_would_drive_nothing_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        run(words)


def test_drives_of_another_layout_are_driven_again(tmp_path: Path) -> None:
    words = [
        "--only",
        "stop sign",
        "--variants",
        "constant-velocity",
        "--keep",
        str(tmp_path),
        "--seeds",
        "1",
    ]
    kept = tmp_path / "constant-velocity.stop-sign.json"
    kept.write_text('{"checkpoint": "of an older bench"}')
    assert _figures(run(words)["constant-velocity"])["success_nominal"] == 0.0
