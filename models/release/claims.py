"""The claims that building a release makes: converted, quantised, bundled.

Owns: what each of the three steps says, who signs it, and their order behind the checkpoint's own claim.
Must not know: how graphs are made, where files lie.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from models.contract import JointActions, PolicyContract
from models.digest import Digest
from models.lineage.claim import (
    BundleParameters,
    Claim,
    ConvertParameters,
    Parameters,
    Parent,
    ParentRole,
    QuantiseParameters,
    Step,
    sign_claim,
)
from models.lineage.facts import Facts, Measurement, Tool
from models.quantise import int4, nvfp4
from models.quantise.report import QuantisationReport
from models.release.precision import ReleasePrecision
from models.trust.keyset import KeyDirectory

_BUILDERS = {Step.CONVERT: "converter", Step.QUANTISE: "quantiser", Step.BUNDLE: "bundler"}
_GROUP_SIZES = {ReleasePrecision.INT4: int4.BLOCK, ReleasePrecision.NVFP4: nvfp4.BLOCK}
_TOOLS = ("onnx", "onnxruntime", "numpy")
"""Packages that every build works with: float32 graphs are ONNX, whatever ships."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """What exists at each stage: the checkpoint, the float graphs, the quantised graphs, the model files."""

    checkpoint: Digest
    floats: Digest
    quantised: Digest
    leaf: Digest


@dataclass(frozen=True, slots=True)
class Occasion:
    """When and as part of which run: RFC 3339 with `Z`, and the run's name."""

    created_utc: str
    invocation: str


def check_keys(keys: KeyDirectory) -> None:
    """Raise `UnknownObjectError` where a key that building needs is not in `keys`: better now than after an hour."""
    for builder in _BUILDERS.values():
        keys.private_key(f"builder-{builder}")


class ClaimWriter:
    """Signs the claims of one build. `runtime` is the package whose runtime opened the graphs that ship."""

    def __init__(self, keys: KeyDirectory, occasion: Occasion, subjects: Subjects, runtime: str) -> None:
        self._keys, self._occasion, self._runtime = keys, occasion, runtime
        self.subjects = subjects

    def convert(self, opset: int) -> bytes:
        """The float graphs come from the checkpoint."""
        subjects = self.subjects
        return self._signed(
            Step.CONVERT,
            (subjects.floats, "graphs in float32"),
            (_source(subjects.checkpoint),),
            ConvertParameters(opset=opset),
            Facts(tools=_tools()),
        )

    def quantise(
        self, precision: ReleasePrecision, report: QuantisationReport, contract: PolicyContract
    ) -> bytes:
        """The quantised graphs come from the float ones and the calibration set; nothing where `precision` is float32."""
        if precision is ReleasePrecision.FLOAT32:
            return b""
        excluded = tuple(f"{layer.graph}/{layer.weight}" for layer in report.left_alone)
        parameters = QuantiseParameters(
            scheme=str(precision),
            group_size=_GROUP_SIZES.get(precision),
            excluded=excluded[:1024],
            calibration_samples=report.calibration.observations if report.calibration else None,
        )
        subjects = self.subjects
        return self._signed(
            Step.QUANTISE,
            (subjects.quantised, f"graphs in {precision}"),
            (_source(subjects.floats), *_calibration_of(report)),
            parameters,
            Facts(
                tools=(*_tools(self._runtime), Tool(report.tool, report.version)),
                measurements=tuple(_measurements(report, contract)),
            ),
        )

    def bundle(self, parameters: BundleParameters) -> bytes:
        """The release's model files come from the quantised graphs."""
        subjects = self.subjects
        title = f"{parameters.name} {parameters.version}"
        return self._signed(
            Step.BUNDLE,
            (subjects.leaf, title),
            (_source(subjects.quantised),),
            parameters,
            Facts(tools=_tools(self._runtime)),
        )

    def _signed(
        self,
        step: Step,
        subject: tuple[Digest, str],
        parents: Iterable[Parent],
        parameters: Parameters,
        facts: Facts,
    ) -> bytes:
        builder = _BUILDERS[step]
        claim = Claim(
            step=step,
            subject_digest=subject[0],
            subject_name=subject[1],
            parents=tuple(parents),
            parameters=parameters,
            started_utc=self._occasion.created_utc,
            finished_utc=self._occasion.created_utc,
            invocation=self._occasion.invocation,
            internal=facts,
        )
        return sign_claim(claim, self._keys.private_key(f"builder-{builder}"), builder)


def _tools(*more: str) -> tuple[Tool, ...]:
    return tuple(Tool(name, version(name)) for name in dict.fromkeys((*_TOOLS, *more)))


def _source(digest: Digest) -> Parent:
    return Parent(ParentRole.SOURCE_MODEL, digest)


def _calibration_of(report: QuantisationReport) -> Iterable[Parent]:
    """The calibration set as what went in, so that it can be traced, and recalled."""
    used = report.calibration
    if used is not None:
        yield Parent(ParentRole.CALIBRATION, used.digest, f"{used.observations} observations")


def _measurements(report: QuantisationReport, contract: PolicyContract) -> Iterable[Measurement]:
    yield Measurement("bytes_before", float(report.bytes_before))
    yield Measurement("bytes_after", float(report.bytes_after))
    yield Measurement("worst_relative_weight_error", report.worst_relative_error)
    difference = report.difference
    if difference is None:
        return
    yield Measurement("compared_cases", float(difference.cases))
    yield Measurement("token_agreement", difference.token_agreement)
    means = zip(column_names(contract), difference.mean_difference, strict=True)
    for name, value in means:
        yield Measurement(f"plan_mean_difference_{name}", value)


def column_names(contract: PolicyContract) -> tuple[str, ...]:
    """The columns of a plan with their units."""
    space = contract.action_space
    if isinstance(space, JointActions):
        return tuple(f"{name}_{unit}" for name, unit in zip(space.names, space.units, strict=True))
    return ("acceleration_mps2", "curvature_per_m")
