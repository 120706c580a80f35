"""What a device can tell of a release by its contract alone, before any of its content is asked for.

Owns: whether this device could drive a contract at all: its plant, its loop, its runtimes.
Must not know: where the contract comes from, and that there is content.

A worker finds the same things out when it loads; by then gigabytes have been fetched.
"""

from agent.board.records import HORIZON_MAX
from models.contract import PlantSpec, PolicyContract, UnicycleActions, check_fits, check_sampling
from models.errors import ContractMismatchError

WAYPOINT_S = (0.001, 1.0)
"""The follower takes plans whose waypoints are this far apart, in seconds."""


def check_drivable(contract: PolicyContract, plant: PlantSpec) -> None:
    """Raise `ContractMismatchError`, naming the first reason, where this device could not drive a policy of `contract`."""
    check_fits(contract, plant)
    check_sampling(contract)
    if not isinstance(contract.action_space, UnicycleActions):
        raise ContractMismatchError(
            f"policy {contract.name} moves joints; this loop drives acceleration and curvature"
        )
    if contract.horizon_steps > HORIZON_MAX:
        raise ContractMismatchError(
            f"policy {contract.name} plans {contract.horizon_steps} waypoints; {HORIZON_MAX} are followed at most"
        )
    low_s, high_s = WAYPOINT_S
    if not low_s <= contract.dt_s <= high_s:
        raise ContractMismatchError(
            f"policy {contract.name} plans waypoints {contract.dt_s} s apart; {low_s} to {high_s} s are followed"
        )
