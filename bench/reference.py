"""The reference policy in every precision, driven closed loop over evaluation seeds, beside its baselines.

Owns: the workload, its division among processes, and the figures. Must not know: how a drive is judged
(`models.reference.evaluate`), how variants are made (`bench.variants`).

For each variant: success by class, over nominal and over long-tail drives; `min_ade_m`, the mean distance over the
horizon between where the plan leads and where the expert's would (one sample, so the least of one); bytes of the three
graphs; latency of a decision; words a decision; of every tenth decision whether the plan does what the words decide,
and whether it follows another decision that is forced. Seeds from `EVALUATION_SEED` on, which no training sees.

Hours of work at 300 seeds: `--keep FOLDER` holds every class of every variant as soon as it is done, and what stands
there, of the same checkpoint and number of seeds, isn't driven again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.drives import Drives
from bench.variants import CHECKPOINT, VARIANTS
from models.digest import digest_of
from models.errors import PolicyFailedError, UsageError
from models.reference.world.classes import CLASSES, ScenarioClass
from models.threads import single_threaded

Figures = dict[str, object]


def run(arguments: Sequence[str]) -> Figures:
    """Drive the variants; returns the figures by variant."""
    options = _options(arguments)
    classes = [one for one in CLASSES if any(word in one.name for word in options.only.split(","))]
    variants = _named(options.variants)
    work = list(product(variants, classes))
    with (
        _kept(options.keep) as folder,
        ThreadPoolExecutor(options.jobs) as pool,
        _progress(len(work)) as tell,
    ):

        def drive(item: tuple[str, ScenarioClass]) -> Drives:
            found = _driven(folder, options.checkpoint, item[0], item[1], options.seeds)
            tell(found, item[1])
            return found

        found = list(pool.map(drive, work))
    by_variant = {name: [each for each in found if each.variant == name] for name in variants}
    return {
        "seeds_per_class": options.seeds,
        **{name: figures(each, classes) for name, each in by_variant.items()},
    }


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


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Drives, ScenarioClass], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("driving", total=total)

        def tell(found: Drives, one: ScenarioClass) -> None:
            passed = found.score.passed if found.score else "skipped"
            progress.console.print(f"{found.variant:18} {one.name:22} {passed} of {found.seeds}")
            progress.advance(task)

        yield tell


def _driven(folder: Path, checkpoint: Path, name: str, one: ScenarioClass, seeds: int) -> Drives:
    """What stands in `folder`, or is driven now by a process of its own."""
    path = folder / f"{name}.{one.name.replace(' ', '-')}.json"
    digest = digest_of((checkpoint / "model.safetensors").read_bytes())
    if path.exists():
        found = msgspec.json.decode(path.read_bytes(), type=Drives)
        if (found.checkpoint, found.seeds, found.skipped) == (digest, seeds, ""):
            return found
    command = [
        sys.executable,
        "-m",
        "bench.drives",
        str(checkpoint),
        name,
        one.name,
        str(seeds),
        str(path),
    ]
    alone = single_threaded(os.environ)
    if subprocess.run(command, stdin=subprocess.DEVNULL, env=alone, check=False).returncode != 0:
        raise PolicyFailedError(
            f"the drives of {name} in {one.name} ended early; what they said stands above"
        )
    return msgspec.json.decode(path.read_bytes(), type=Drives)


def figures(found: list[Drives], classes: Sequence[ScenarioClass]) -> Figures:
    """The summary of one variant's drives, one of them a class."""
    if any(each.skipped for each in found):
        return {"skipped": found[0].skipped}
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
    asked, forced = sum(each.decisions for each in answers), sum(each.interventions for each in answers)
    return {
        "decisions_asked": asked,
        "plan_does_what_was_decided": round(sum(each.faithful for each in answers) / max(asked, 1), 4),
        "interventions": forced,
        "plan_follows_forced_decision": round(sum(each.followed for each in answers) / max(forced, 1), 4),
        "undone": _together([each.unfaithful for each in answers]),
        "disobeyed": _together([each.disobeyed for each in answers]),
    }


def _together(counts: list[dict[str, int]]) -> dict[str, int]:
    names = {name for each in counts for name in each}
    sums = {name: sum(each.get(name, 0) for each in counts) for name in names}
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))
