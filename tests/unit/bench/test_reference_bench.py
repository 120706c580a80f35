"""The reference bench measures what it says: a straight plan leads straight on, constant velocity is the policy to beat."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.reference import run
from models.errors import UsageError
from models.reference.displacement import positions_m


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
    assert policy["plan_does_what_was_decided"] > 0.8
    assert policy["interventions"] > 5
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
