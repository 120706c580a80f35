"""What each precision costs on one checkpoint, with and without calibration: `python -m models.quantise.compare`.

Owns: which policies are compared, over which observations, and the table that comes out.
Must not know: how precisions work, how releases are built.

The observations are the family's own; those that are compared on come after those of the calibration set.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import onnx

from models.contract import PolicyContract
from models.digest import digest_of
from models.quantise.apply import Precision, quantise
from models.quantise.calibrate import Calibration, calibrate
from models.quantise.report import QuantisationReport, output_difference
from models.release.family import family_of
from models.runtime.onnx import OnnxPolicy
from models.runtime.policy import Decision, Knobs, Observation
from models.runtime.signature import GraphRole


def reports(checkpoint: Path, calibration_cases: int, compared_cases: int) -> Iterator[QuantisationReport]:
    """One report for each precision below float32, without and then with calibration.

    Raises:
        UsageError, UnknownFamilyError: `checkpoint` is none that releases are built from, or no set was asked for.
    """
    family = family_of(checkpoint)
    contract, floats = family.contract(checkpoint), family.export(checkpoint)
    observations = family.observe(contract, calibration_cases + compared_cases)
    calibration = calibrate(floats, contract, observations[:calibration_cases])
    compared = observations[calibration_cases:]
    reference = _decisions(floats, contract, compared)
    for precision in Precision:
        choices: tuple[Calibration | None, ...] = (None, calibration)
        for choice in choices if precision is not Precision.FLOAT32 else ():
            made = quantise(floats, precision, family.heads, choice)
            decisions = _decisions(made.graphs, contract, compared)
            difference = output_difference(reference, decisions, contract)
            yield msgspec.structs.replace(made.report, difference=difference)


def _decisions(
    graphs: Mapping[str, onnx.ModelProto], contract: PolicyContract, observations: tuple[Observation, ...]
) -> list[Decision]:
    contents = {GraphRole(role): model.SerializeToString() for role, model in graphs.items()}
    policy = OnnxPolicy(digest_of(b"".join(contents.values())), contract, contents, threads=1)
    knobs = Knobs(contract.reasoning.max_tokens, contract.flow_steps)
    return [policy.decide(each, knobs, seed=index + 1) for index, each in enumerate(observations)]


def _line(report: QuantisationReport) -> str:
    difference = report.difference
    if difference is None:
        return report.precision
    used = report.calibration
    return " | ".join(
        (
            report.precision,
            f"{used.observations} observations" if used else "none",
            f"{report.bytes_after:,}",
            f"{report.worst_relative_error:.4f}",
            ", ".join(f"{value:.4g}" for value in difference.mean_difference),
            ", ".join(f"{value:.4g}" for value in difference.max_difference),
            f"{difference.token_agreement:.4f}",
        )
    )


def main() -> None:
    """`python -m models.quantise.compare --checkpoint DIR [--calibration 24] [--cases 100]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--calibration", type=int, default=24)
    parser.add_argument("--cases", type=int, default=100)
    arguments = parser.parse_args()
    sys.stdout.write("precision | calibration | bytes | worst relative error | mean | max | tokens agree\n")
    for report in reports(arguments.checkpoint, arguments.calibration, arguments.cases):
        sys.stdout.write(_line(report) + "\n")


if __name__ == "__main__":
    main()
