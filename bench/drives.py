"""The drives of one variant in one class: `python -m bench.drives CHECKPOINT VARIANT CLASS SEEDS OUT`.

Owns: what is measured on the way, and the file that holds it. Must not know: other variants, summaries.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import bench
import models
from bench.variants import Variant, folder_of, variant
from models.errors import ConfigurationError
from models.reference import expert
from models.reference.displacement import displacement_m
from models.reference.evaluate import EVALUATION_SEED, Pace, Score, evaluate, score
from models.reference.faithful import Answers, Interrogation
from models.reference.world.classes import CLASSES
from models.reference.world.drive import World
from models.runtime.decide import Decider
from models.runtime.policy import Decision, Observation
from models.trust.atomic import write_atomically

_ASKED_EVERY = 10


class Drives(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of them: the score, every decision's time and words, every tenth's displacement and answers.

    Of a variant that cannot be made here there is only `skipped`: why.
    """

    of: str
    """What decides the outcome: see `what_is_driven`."""
    variant: str
    seeds: int
    skipped: str = ""
    score: Score | None = None
    size_bytes: int = 0
    decision_ms: tuple[float, ...] = ()
    words: tuple[int, ...] = ()
    displacement_m: tuple[float, ...] = ()
    answers: Answers | None = None


@dataclass
class _Watch:
    """Compares every tenth decision with the expert's, and asks about it."""

    asked: Interrogation | None
    metres: list[float] = field(default_factory=list)
    _seen: int = 0

    def __call__(self, world: World, observation: Observation, decision: Decision) -> None:
        self._seen += 1
        if self._seen % _ASKED_EVERY:
            return
        right = expert.plan(world.situation, world.road)
        self.metres.append(displacement_m(decision.plan, right, world.ego.speed_mps))
        if self.asked is not None:
            self.asked.ask(world, observation, decision)


def what_is_driven(name: str, checkpoint: Path) -> str:
    """A digest of the checkpoint behind a variant and of all sources that decide how it drives and is judged."""
    folder = folder_of(name, checkpoint)
    paths = [folder / each for each in ("model.safetensors", "config.json") if (folder / each).exists()]
    for package in (models, bench):
        root = Path(next(iter(package.__path__)))
        paths += sorted(root.rglob("*.py"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()}"


def driven(checkpoint: Path, name: str, scenario_class: str, seeds: int) -> Drives:
    """Drive one class at the first `seeds` evaluation seeds."""
    digest = what_is_driven(name, checkpoint)
    try:
        made = variant(name, checkpoint)
    except ConfigurationError as error:
        return Drives(digest, name, seeds, skipped=str(error))
    one = next(one for one in CLASSES if one.name == scenario_class)
    watch = _Watch(_asked(made))
    chosen = range(EVALUATION_SEED, EVALUATION_SEED + seeds)
    results = evaluate(made.policy, one, chosen, Pace(knobs=made.knobs), watch)
    journeys = [journey for _, _, journey in results]
    return Drives(
        digest,
        name,
        seeds,
        score=score(one.name, results),
        size_bytes=made.size_bytes,
        decision_ms=tuple(round(ms, 3) for journey in journeys for ms in journey.decision_ms),
        words=tuple(words for journey in journeys for words in journey.words),
        displacement_m=tuple(round(metres, 4) for metres in watch.metres),
        answers=watch.asked.answers if watch.asked else None,
    )


def _asked(made: Variant) -> Interrogation | None:
    """Nothing to ask of a policy that says nothing."""
    if isinstance(made.policy, Decider) and made.knobs.max_reasoning_tokens > 0:
        return Interrogation(made.policy, made.knobs)
    return None


def main(arguments: Sequence[str]) -> None:
    """Drive, and leave the file."""
    checkpoint, name, scenario_class, seeds, out = arguments
    found = driven(Path(checkpoint), name, scenario_class, int(seeds))
    write_atomically(Path(out), [msgspec.json.encode(found)])


if __name__ == "__main__":
    main(sys.argv[1:])
