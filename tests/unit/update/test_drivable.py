"""What a device refuses by the contract alone, so that no content is fetched for it."""

import struct

import msgspec
import pytest

from agent.board.records import HORIZON_MAX, PlanRecord
from agent.control.plan import Plan, Rejection, Selected, plan_from_record
from agent.update.drivable import WAYPOINT_S, check_drivable
from models.contract import PlantSpec, PolicyContract
from models.errors import ContractMismatchError
from tests.fakes.alpamayo_contract import (
    alpamayo_contract,
    alpamayo_plant,
    arm_contract,
    arm_plant,
    greedy,
)

CAR = greedy(alpamayo_contract())
changed = msgspec.structs.replace


def test_alpamayos_contract_could_be_driven_here_were_its_words_not_drawn() -> None:
    check_drivable(CAR, alpamayo_plant())


@pytest.mark.parametrize(
    ("contract", "plant", "sentence"),
    [
        (changed(CAR, instructions=("park",)), alpamayo_plant(), r"instructions \['keep lane'\]"),
        (alpamayo_contract(), alpamayo_plant(), r"temperature 0\.6 and top_p 0\.98"),
        (arm_contract(), arm_plant(), "left-arm moves joints"),
        (changed(CAR, horizon_steps=HORIZON_MAX + 1), alpamayo_plant(), "129 waypoints; 128"),
        (changed(CAR, dt_s=1.1), alpamayo_plant(), r"1\.1 s apart"),
        (changed(CAR, dt_s=0.0009), alpamayo_plant(), r"0\.0009 s apart"),
    ],
)
def test_what_could_not_be_driven_is_refused_and_said(
    contract: PolicyContract, plant: PlantSpec, sentence: str
) -> None:
    with pytest.raises(ContractMismatchError, match=sentence):
        check_drivable(contract, plant)


@pytest.mark.parametrize("dt_s", WAYPOINT_S)
def test_the_follower_takes_the_plans_of_every_contract_that_is_accepted_and_no_longer_ones(
    dt_s: float,
) -> None:
    check_drivable(changed(CAR, horizon_steps=HORIZON_MAX, dt_s=dt_s), alpamayo_plant())
    dt_ns = round(dt_s * 1e9)
    beyond_ns = dt_ns - 1 if dt_s == WAYPOINT_S[0] else dt_ns + 1
    assert isinstance(taken(HORIZON_MAX, dt_ns), Plan)
    assert taken(HORIZON_MAX, beyond_ns) is Rejection.MALFORMED
    assert taken(HORIZON_MAX + 1, dt_ns) is Rejection.MALFORMED


def taken(steps: int, dt_ns: int) -> Plan | Rejection:
    """What the follower makes of a plan of zeros."""
    digest, zeros = b"d" * 32, struct.pack(f"<{2 * HORIZON_MAX}f", *[0.0] * 2 * HORIZON_MAX)
    record = PlanRecord(1, 1, 0, 0, dt_ns, steps, digest, zeros)
    return plan_from_record(record, Selected(1, digest), None, 1)
