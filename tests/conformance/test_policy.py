"""What every policy promises, whoever computes it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import reference
from models.contract import PolicyContract
from models.digest import digest_of
from models.errors import ConfigurationError
from models.quantise.apply import Precision, quantise
from models.reference.checkpoint import read_checkpoint
from models.reference.export import export_graphs
from models.reference.export_tflite import export_tflite
from models.runtime.decide import Decider
from models.runtime.load import load_policy
from models.runtime.onnx import OnnxPolicy
from models.runtime.policy import Decision, Knobs, Observation, Policy
from models.runtime.signature import GraphRole, action_limits, action_width
from models.runtime.simulated import SimulatedPolicy, SimulatedSettings
from models.runtime.tflite import TflitePolicy, interpreter_class
from models.runtime.tflite_schema import bytes_from_model
from tests.fakes.tiny_policy import tiny_contract, tiny_graphs, tiny_observation, tiny_release

Maker = Callable[[], Policy]
_CHECKPOINT = Path(next(iter(reference.__path__))) / "checkpoint"


def _reference_contract() -> PolicyContract:
    return read_checkpoint(_CHECKPOINT)[0].contract


def _simulated() -> Policy:
    return SimulatedPolicy(tiny_contract(), digest_of(b"simulated"), SimulatedSettings(noise=0.3))


def _tiny(precision: Precision) -> Maker:
    return lambda: load_policy(tiny_release(quantise(tiny_graphs(), precision).graphs), threads=1)


def _reference(precision: Precision) -> Maker:
    def make() -> Policy:
        graphs = quantise(export_graphs(_CHECKPOINT), precision).graphs
        contents = {GraphRole(role): model.SerializeToString() for role, model in graphs.items()}
        return OnnxPolicy(digest_of(b"reference"), _reference_contract(), contents, threads=1)

    return make


def _tflite() -> Policy:
    try:
        interpreter_class()
    except ConfigurationError as error:
        pytest.skip(str(error))
    contents = {
        GraphRole(role): bytes_from_model(model) for role, model in export_tflite(_CHECKPOINT).items()
    }
    return TflitePolicy(digest_of(b"reference"), _reference_contract(), contents, threads=1)


_MAKERS: dict[str, Maker] = (
    {"simulated": _simulated, "reference tflite": _tflite}
    | {f"tiny {each}": _tiny(each) for each in Precision}
    | {f"reference {each}": _reference(each) for each in Precision}
)


@pytest.fixture(scope="module", params=list(_MAKERS))
def policy(request: pytest.FixtureRequest) -> Policy:
    return _MAKERS[request.param]()


@pytest.fixture(scope="module")
def contract(policy: Policy) -> PolicyContract:
    return policy.contract


@pytest.fixture
def observation(contract: PolicyContract) -> Observation:
    return tiny_observation(3, contract)


@pytest.fixture
def knobs(contract: PolicyContract) -> Knobs:
    return Knobs(contract.reasoning.max_tokens, contract.flow_steps)


def test_a_decision_names_its_release_and_its_observation(
    policy: Policy, observation: Observation, knobs: Knobs
) -> None:
    decision = policy.decide(observation, knobs, seed=5)
    assert decision.release_digest == policy.release_digest
    assert decision.observation_sequence == observation.sequence
    assert decision.observation_ns == observation.mono_ns
    assert decision.seed == 5


def test_the_same_observation_knobs_and_seed_give_the_same_plan(
    policy: Policy, observation: Observation, knobs: Knobs
) -> None:
    first, second = (policy.decide(observation, knobs, seed=5) for _ in range(2))
    assert np.array_equal(first.plan, second.plan)
    assert first.tokens == second.tokens


def test_another_seed_draws_another_plan(policy: Policy, observation: Observation, knobs: Knobs) -> None:
    few_steps = replace(knobs, flow_steps=2)
    one, other = (policy.decide(observation, few_steps, seed=seed) for seed in (5, 6))
    assert not np.array_equal(one.plan, other.plan)


def test_a_plan_has_the_contracts_shape_type_and_limits(
    policy: Policy, contract: PolicyContract, observation: Observation, knobs: Knobs
) -> None:
    lowest, highest = action_limits(contract)
    for seed in range(20):
        plan = policy.decide(observation, knobs, seed).plan
        assert plan.shape == (contract.horizon_steps, action_width(contract))
        assert plan.dtype == np.float32
        assert bool(((plan >= lowest) & (plan <= highest)).all())


@pytest.mark.parametrize("most", [0, 1, 2, 10_000])
def test_reasoning_stays_within_the_knob_and_the_contract(
    policy: Policy, contract: PolicyContract, observation: Observation, most: int
) -> None:
    tokens = policy.decide(observation, Knobs(most, 1), seed=0).tokens
    assert len(tokens) <= min(most, contract.reasoning.max_tokens)
    assert contract.reasoning.eos not in tokens[:-1]


def test_reasoning_is_its_tokens_in_words_without_the_end(
    policy: Policy, contract: PolicyContract, observation: Observation, knobs: Knobs
) -> None:
    decision = policy.decide(observation, knobs, seed=0)
    spoken = [contract.reasoning.vocabulary[t] for t in decision.tokens if t != contract.reasoning.eos]
    assert decision.reasoning == " ".join(spoken)


@pytest.mark.parametrize(("asked", "done"), [(-1, 1), (0, 1), (2, 2), (10_000, None)])
def test_flow_steps_are_at_least_one_and_at_most_the_contracts(
    policy: Policy, observation: Observation, asked: int, done: int | None
) -> None:
    wanted = policy.contract.flow_steps if done is None else done
    assert policy.decide(observation, Knobs(1, asked), seed=0).flow_steps == wanted


@pytest.mark.parametrize("asked", [-1, 0, 1, 10_000])
def test_where_the_contract_has_one_plan_no_knob_draws_another(
    policy: Policy, observation: Observation, knobs: Knobs, asked: int
) -> None:
    decision = policy.decide(observation, replace(knobs, plan_samples=asked), seed=5)
    assert decision.plan_samples == policy.contract.sampled.samples == 1
    assert np.array_equal(decision.plan, policy.decide(observation, knobs, seed=5).plan)


def test_stage_latencies_are_never_negative(policy: Policy, observation: Observation, knobs: Knobs) -> None:
    latency = policy.decide(observation, knobs, seed=0).latency
    assert min(latency.visual_ns, latency.reason_ns, latency.action_ns) >= 0


_DECIDERS = [name for name in _MAKERS if name != "simulated"]
"""Those whose plans follow from words; the simulated one's doesn't."""


@pytest.fixture(scope="module", params=_DECIDERS)
def decider(request: pytest.FixtureRequest) -> Decider[Any]:
    made = _MAKERS[request.param]()
    assert isinstance(made, Decider)
    return made


def _asked(decider: Decider[Any], said: tuple[int, ...]) -> Decision:
    contract = decider.contract
    knobs = Knobs(contract.reasoning.max_tokens, contract.flow_steps)
    return decider.imagine(tiny_observation(3, contract), said, knobs, seed=4)


def _words(decider: Decider[Any]) -> list[int]:
    spec = decider.contract.reasoning
    return [token for token in range(len(spec.vocabulary)) if token not in (spec.bos, spec.eos)]


def test_the_same_words_said_again_give_the_same_plan(decider: Decider[Any]) -> None:
    contract = decider.contract
    knobs = Knobs(contract.reasoning.max_tokens, contract.flow_steps)
    decision = decider.decide(tiny_observation(3, contract), knobs, seed=4)
    again = _asked(decider, decision.tokens)
    assert np.array_equal(again.plan, decision.plan)
    assert (again.tokens, again.reasoning) == (decision.tokens, decision.reasoning)


def test_other_words_than_it_would_say_are_heard(decider: Decider[Any]) -> None:
    one, other = (_asked(decider, (word,)).plan for word in _words(decider)[:2])
    assert not np.array_equal(one, other)


def test_what_stands_behind_the_end_is_not_heard(decider: Decider[Any]) -> None:
    spec, word = decider.contract.reasoning, _words(decider)[0]
    short, long = (_asked(decider, said).plan for said in ((spec.eos,), (spec.eos, word)))
    assert np.array_equal(short, long)


def test_words_that_the_contract_does_not_have_cannot_be_imagined(decider: Decider[Any]) -> None:
    spec = decider.contract.reasoning
    for said in ((len(spec.vocabulary),), (-1,), (spec.bos,) * (spec.max_tokens + 1)):
        with pytest.raises(ValueError, match="the contract has"):
            _asked(decider, said)
