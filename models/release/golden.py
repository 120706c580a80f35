"""Golden outputs: what the release decides on a few observations, carried in the release itself.

Owns: `golden.safetensors`, and the check that a loaded policy reproduces it on the device where it is to run.
Must not know: where observations come from, which runtime decides.

The plan may differ by the release's tolerances (processors round differently); the reasoning may not differ by a
word. Noise is drawn by NumPy from the case's seed: a NumPy that drew differently would be noticed here as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.contract import JointActions, PolicyContract
from models.errors import GoldenMismatchError, MalformedError
from models.release.content import ReleaseContent
from models.release.manifest import ReleaseLimits
from models.release.tensors import Tensors, bytes_from_tensors, tensors_from_bytes
from models.runtime.policy import Knobs, Observation, Policy

FORMAT = "roskva-golden"
VERSION = "1"
MAX_CASES = 64


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """An observation, the seed, and what must come of them with the contract's full knobs."""

    observation: Observation
    seed: int
    plan: NDArray[np.float32]
    tokens: tuple[int, ...]


def full_knobs(contract: PolicyContract) -> Knobs:
    """Everything that the contract allows."""
    return Knobs(contract.reasoning.max_tokens, contract.flow_steps)


def golden_bytes(policy: Policy, observations: Sequence[Observation]) -> bytes:
    """`golden.safetensors` for `policy`: its decisions on `observations`, seeds 1, 2, ….

    Raises:
        GoldenMismatchError: a plan is not finite; such a policy must not be released.
    """
    tensors: Tensors = {}
    for index, observation in enumerate(observations):
        decision = policy.decide(observation, full_knobs(policy.contract), seed=index + 1)
        if not np.isfinite(decision.plan).all():
            raise GoldenMismatchError(f"golden case {index}: the policy's own plan is not finite")
        tensors |= _tensors_of(index, GoldenCase(observation, index + 1, decision.plan, decision.tokens))
    metadata = {"format": FORMAT, "version": VERSION, "cases": str(len(observations))}
    return bytes_from_tensors(tensors, metadata)


def cases_from_bytes(data: bytes, contract: PolicyContract) -> tuple[GoldenCase, ...]:
    """The cases in `data`. Raises `MalformedError` where they are not exactly such as `contract` has."""
    tensors, metadata = tensors_from_bytes(data)
    said = metadata.get("cases", "")
    if metadata != {"format": FORMAT, "version": VERSION, "cases": said}:
        raise MalformedError(f"golden outputs: unknown metadata {sorted(metadata)[:8]}")
    # Compared as text: what Python takes for a number is more than what we write.
    count = next((number for number in range(1, MAX_CASES + 1) if str(number) == said), 0)
    if not count:
        raise MalformedError(f"golden outputs: {said[:20]!r} cases; between 1 and {MAX_CASES} are read")
    cases = tuple(_case(index, tensors, contract) for index in range(count))
    if len(tensors) != count * (5 + len(contract.cameras)):
        raise MalformedError("golden outputs: there are tensors of no case")
    return cases


def check(policy: Policy, release: ReleaseContent) -> None:
    """Let `policy` decide every golden case of `release`.

    Raises:
        GoldenMismatchError: a plan off by more than the release's tolerances, or other words.
        MalformedError: the golden file is not one.
    """
    limits = release.manifest.limits
    for index, case in enumerate(cases_from_bytes(release.read("golden"), policy.contract)):
        decision = policy.decide(case.observation, full_knobs(policy.contract), case.seed)
        _check_plan(index, decision.plan, case.plan, _tolerances(policy.contract, limits))
        if decision.tokens != case.tokens:
            raise GoldenMismatchError(
                f"golden case {index}: tokens {decision.tokens} instead of {case.tokens}"
            )


def _tolerances(contract: PolicyContract, limits: ReleaseLimits) -> NDArray[np.float32]:
    """One a column of the plan. Joints have no figure of their own: the first one counts for all, in their units."""
    if isinstance(contract.action_space, JointActions):
        return np.array([limits.golden_tolerance_acceleration_mps2], np.float32)
    return np.array(
        [limits.golden_tolerance_acceleration_mps2, limits.golden_tolerance_curvature_per_m], np.float32
    )


def _check_plan(
    index: int, found: NDArray[np.float32], wanted: NDArray[np.float32], tolerances: NDArray[np.float32]
) -> None:
    if found.shape != wanted.shape:
        raise GoldenMismatchError(f"golden case {index}: a plan of {found.shape} instead of {wanted.shape}")
    gaps = np.abs(found - wanted).max(axis=0)
    # Written so that a gap that is not a number is a mismatch too.
    if not (gaps <= tolerances).all():
        raise GoldenMismatchError(
            f"golden case {index}: the plan is off by {[float(f'{gap:.3g}') for gap in gaps]}; "
            f"{[float(f'{one:.3g}') for one in tolerances]} are tolerated"
        )


def _tensors_of(index: int, case: GoldenCase) -> Tensors:
    frames = {f"{index}.frames.{name}": each for name, each in case.observation.frames.items()}
    return {
        **frames,
        f"{index}.ego_history": case.observation.ego_history,
        f"{index}.instruction": np.array([case.observation.instruction], np.int64),
        f"{index}.seed": np.array([case.seed], np.int64),
        f"{index}.plan": case.plan,
        f"{index}.tokens": np.array(case.tokens, np.int64),
    }


def _case(index: int, tensors: Tensors, contract: PolicyContract) -> GoldenCase:
    frames = {
        camera.name: _taken(
            tensors,
            f"{index}.frames.{camera.name}",
            "u1",
            (camera.frames, camera.height_px, camera.width_px, 3),
        )
        for camera in contract.cameras
    }
    history = _taken(tensors, f"{index}.ego_history", "<f4", (contract.ego_history.steps, 4))
    instruction = int(_taken(tensors, f"{index}.instruction", "<i8", (1,))[0])
    seed = int(_taken(tensors, f"{index}.seed", "<i8", (1,))[0])
    if seed < 0 or not 0 <= instruction < len(contract.instructions):
        raise MalformedError(f"golden outputs: case {index} has an impossible seed or instruction")
    tokens = _taken(tensors, f"{index}.tokens", "<i8", None)
    return GoldenCase(
        observation=Observation(
            sequence=index,
            mono_ns=0,
            frames=cast("dict[str, NDArray[np.uint8]]", frames),
            ego_history=cast("NDArray[np.float32]", history),
            instruction=instruction,
        ),
        seed=seed,
        plan=cast("NDArray[np.float32]", _taken(tensors, f"{index}.plan", "<f4", None)),
        tokens=tuple(int(token) for token in tokens.ravel()),
    )


def _taken(tensors: Tensors, name: str, kind: str, shape: tuple[int, ...] | None) -> NDArray[np.generic]:
    array = tensors.get(name)
    if array is None or array.dtype != np.dtype(kind) or (shape is not None and array.shape != shape):
        raise MalformedError(f"golden outputs: {name!r} is missing, or not of the contract's type and shape")
    return array
