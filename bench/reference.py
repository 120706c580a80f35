"""The reference policy in every precision, driven closed loop over evaluation seeds, beside its baselines.

Owns: the workload, its division among processes, and the figures. Must not know: how a drive is judged
(`models.reference.evaluate`), how variants are made (`bench.variants`).

For each variant: success by class, over nominal and over long-tail drives; `min_ade_m`, the mean distance over the
horizon between where the plan leads and where the expert's would (one sample, so the least of one); bytes of the three
graphs; latency of a decision, beside as many other drives as there are jobs; words a decision; of every tenth decision
whether the plan does what the words decide, whether it follows another decision that is forced, how often it would have
passed for that unforced, and how far it lies from the expert's plan for what was decided or forced. Seeds from `EVALUATION_SEED` on, which no training sees.

Hours of work at 300 seeds: `--keep FOLDER` holds every class of every variant as soon as it is done, and what stands
there, of the same checkpoint, sources and number of seeds, isn't driven again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import msgspec
import numpy as np

from bench.drives import Drives, what_is_driven
from bench.progress import progress
from bench.variants import CHECKPOINT, VARIANTS
from models.errors import PolicyFailedError, UsageError
from models.reference.faithful import Answers
from models.reference.world.classes import CLASSES, ScenarioClass
from models.threads import single_threaded

Figures = dict[str, object]


def run(arguments: Sequence[str]) -> Figures:
    """Drive the variants; returns the figures by variant. Raises `UsageError` where nothing would be driven."""
    options = _options(arguments)
    classes, variants = _classes(options.only), _named(options.variants)
    _check(options)
    work = list(product(variants, classes))
    with (
        _kept(options.keep) as folder,
        _driving(options.jobs) as drives,
        progress("driving", len(work)) as tell,
    ):

        def drive(item: tuple[str, ScenarioClass]) -> Drives:
            """One class of one variant, on a thread of the pool."""
            found = drives.driven(folder, options.checkpoint, item, options.seeds)
            passed = found.score.passed if found.score else "skipped"
            tell(f"{found.variant:18} {item[1].name:22} {passed} of {found.seeds}")
            return found

        found = list(drives.pool.map(drive, work))
    by_variant = {name: [each for each in found if each.variant == name] for name in variants}
    return {
        "seeds_per_class": options.seeds,
        "jobs": options.jobs,
        **{name: figures(each, classes) for name, each in by_variant.items()},
    }


def _check(options: argparse.Namespace) -> None:
    if options.seeds < 1 or options.jobs < 1:
        raise UsageError(f"{options.seeds} seeds in {options.jobs} jobs: one of each is the least")
    if not (options.checkpoint / "model.safetensors").is_file():
        raise UsageError(f"{options.checkpoint} holds no model.safetensors: name a checkpoint folder")


def _classes(only: str) -> list[ScenarioClass]:
    found = [one for one in CLASSES if any(word in one.name for word in only.split(","))]
    if not found:
        raise UsageError(
            f"no class has {only!r} in its name; there are {', '.join(one.name for one in CLASSES)}"
        )
    return found


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench reference", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--seeds", type=int, default=300, help="drives of each class")
    parser.add_argument("--only", default="", help="words in the names of the classes to drive, by comma")
    parser.add_argument("--variants", default="", help=f"of {', '.join(VARIANTS)}, by comma; all without")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes that drive at a time"
    )
    parser.add_argument("--keep", type=Path, help="a folder for what is done; go on from what it holds")
    return parser.parse_args(arguments)


def _named(variants: str) -> list[str]:
    wanted = variants.split(",") if variants else list(VARIANTS)
    if unknown := set(wanted) - set(VARIANTS):
        raise UsageError(f"no such variant: {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    return [name for name in VARIANTS if name in wanted]


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as own:
        yield Path(own)


@dataclass(frozen=True, slots=True)
class _Driving:
    """Processes that drive, a few at a time."""

    pool: ThreadPoolExecutor
    running: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def driven(self, folder: Path, checkpoint: Path, item: tuple[str, ScenarioClass], seeds: int) -> Drives:
        """What stands in `folder`, or is driven now by a process of its own."""
        name, one = item
        path = folder / f"{name}.{one.name.replace(' ', '-')}.json"
        kept = _read(path)
        if kept is not None and (kept.of, kept.seeds) == (what_is_driven(name, checkpoint), seeds):
            return kept
        words = ["-m", "bench.drives", str(checkpoint), name, one.name, str(seeds), str(path)]
        process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.DEVNULL, env=single_threaded(os.environ)
        )
        self.running[process.pid] = process
        status = process.wait()
        del self.running[process.pid]
        found = _read(path)
        if status != 0 or found is None:
            raise PolicyFailedError(
                f"the drives of {name} in {one.name} ended early; what they said stands above"
            )
        return found


def _read(path: Path) -> Drives | None:
    """Nothing where there is no such file, or one of another layout."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Drives)
    except (OSError, msgspec.DecodeError):
        return None


@contextmanager
def _driving(jobs: int) -> Iterator[_Driving]:
    """Ends what runs where the block is left early."""
    with ThreadPoolExecutor(jobs) as pool:
        drives = _Driving(pool)
        try:
            yield drives
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(drives.running.values()):
                process.terminate()
            raise


def figures(found: list[Drives], classes: Sequence[ScenarioClass]) -> Figures:
    """The summary of one variant's drives, one of them a class."""
    skipped = [each.skipped for each in found if each.skipped]
    if skipped:
        return {"skipped": skipped[0]}
    nominal = [each for each, one in zip(found, classes, strict=True) if not one.long_tail]
    long_tail = [each for each, one in zip(found, classes, strict=True) if one.long_tail]
    times = np.concatenate([each.decision_ms for each in found])
    metres = [metre for each in found for metre in each.displacement_m]
    return {
        "success": {one.name: _share([each]) for each, one in zip(found, classes, strict=True)},
        "success_nominal": _share(nominal),
        "success_long_tail": _share(long_tail),
        "min_ade_m": round(float(np.mean(metres)), 3) if metres else None,
        "bytes": found[0].size_bytes,
        "decision_ms_p50": round(float(np.percentile(times, 50)), 2),
        "decision_ms_p99": round(float(np.percentile(times, 99)), 2),
        "tokens_per_decision": round(float(np.mean(np.concatenate([each.words for each in found]))), 2),
        **_answers(found),
    }


def _share(found: list[Drives]) -> float | None:
    passed = sum(each.score.passed for each in found if each.score)
    return round(passed / sum(each.seeds for each in found), 4) if found else None


def _answers(found: list[Drives]) -> Figures:
    """How faithful the reasoning is, and what of it is not, most often first."""
    answers = [each.answers for each in found if each.answers]
    if not answers:
        return {}
    asked, forced = int(_sum(answers, "decisions")), int(_sum(answers, "interventions"))
    return {
        "decisions_judged": asked,
        "decisions_without_rival": int(_sum(answers, "without_rival")),
        "plan_does_what_was_decided": _ratio(_sum(answers, "faithful"), asked),
        "plan_from_decided_m": _ratio(_sum(answers, "own_m"), asked),
        "interventions": forced,
        "plan_follows_forced_decision": _ratio(_sum(answers, "followed"), forced),
        "plan_would_have_anyway": _ratio(_sum(answers, "anyway"), forced),
        "plan_from_forced_m": _ratio(_sum(answers, "forced_m"), forced),
        "undone": _together([each.unfaithful for each in answers]),
        "disobeyed": _together([each.disobeyed for each in answers]),
    }


def _sum(answers: list[Answers], name: str) -> float:
    return sum(float(getattr(each, name)) for each in answers)


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _together(counts: list[dict[str, int]]) -> dict[str, int]:
    names = {name for each in counts for name in each}
    sums = {name: sum(each.get(name, 0) for each in counts) for name in names}
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))
