"""The reference bench measures what it says: a straight plan leads straight on, constant velocity is the policy to beat."""

import numpy as np
import pytest

from bench.reference import positions_m, run


def test_a_plan_leads_where_its_speeds_and_turns_add_up_to() -> None:
    straight = positions_m(np.zeros((64, 2), np.float32), 10.0)
    assert straight[-1] == pytest.approx([64.0, 0.0])
    braking = positions_m(np.tile(np.array([-5.0, 0.0], np.float32), (64, 1)), 10.0)
    assert braking[-1, 0] == pytest.approx(9.5, abs=0.6)
    assert (np.diff(braking[:, 0]) >= 0).all()
    left = positions_m(np.tile(np.array([0.0, 0.05], np.float32), (64, 1)), 5.0)
    assert left[-1, 1] > 10


def test_constant_velocity_drives_into_what_the_policy_stops_for() -> None:
    figures = run(["--seeds", "2", "--only", "stop sign", "--variants", "float32,constant-velocity"])
    policy, constant = figures["float32"], figures["constant-velocity"]
    assert isinstance(policy, dict)
    assert isinstance(constant, dict)
    assert (policy["success_nominal"], constant["success_nominal"]) == (1.0, 0.0)
    assert policy["min_ade_m"] < constant["min_ade_m"]
    assert policy["tokens_per_decision"] > 3
    assert policy["bytes"] > 1_000_000
