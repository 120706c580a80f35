"""The graphs that a release ships, and how each precision makes them.

Owns: the table from a precision to its graphs, and where graphs lie in a release.
Must not know: claims, manifests, what opens a graph.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx

from models.quantise.apply import Precision, quantise
from models.quantise.calibrate import Calibration
from models.quantise.report import QuantisationReport
from models.release.family import ModelFamily, UnknownFamilyError
from models.release.precision import GraphFormat, ReleasePrecision, format_of
from models.release.tflite_report import TfliteExport, report_on
from models.runtime.signature import GraphRole
from models.runtime.tflite_schema import bytes_from_model


def path_of(role: GraphRole, graph_format: GraphFormat) -> str:
    """Where the graph of `role` lies in a release."""
    return f"model/{role}.{graph_format}"


@dataclass(frozen=True, slots=True)
class GraphFiles:
    """Three graphs as files of one format, by role."""

    format: GraphFormat
    contents: Mapping[GraphRole, bytes]

    def by_path(self) -> dict[str, bytes]:
        """The same bytes by their path in a release."""
        return {path_of(role, self.format): self.contents[role] for role in GraphRole}

    @property
    def size_bytes(self) -> int:
        """Bytes of the three together."""
        return sum(map(len, self.contents.values()))


@dataclass(frozen=True, slots=True)
class Material:
    """What graphs are made of: a checkpoint of `family`, its float32 graphs by role, and a calibration of those."""

    family: ModelFamily
    checkpoint: Path
    floats: Mapping[str, onnx.ModelProto]
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class MadeGraphs:
    """The graphs as they ship, and the report, whose output difference is still open."""

    files: GraphFiles
    report: QuantisationReport


def check_makeable(family: ModelFamily, precision: ReleasePrecision) -> None:
    """Raise `UnknownFamilyError` where nothing makes graphs of `precision` for `family`."""
    if format_of(precision) is GraphFormat.TFLITE:
        _tflite_exporter(family)


def make_graphs(precision: ReleasePrecision, material: Material) -> MadeGraphs:
    """The graphs of `precision`. Raises `UnknownFamilyError` as `check_makeable` does."""
    return _MAKERS[precision](material)


def onnx_files(graphs: Mapping[str, onnx.ModelProto]) -> GraphFiles:
    """ONNX graphs by role as files; the same graphs give the same bytes."""
    contents = {role: bytes(graphs[role].SerializeToString(deterministic=True)) for role in GraphRole}
    return GraphFiles(GraphFormat.ONNX, contents)


def _onnx(precision: Precision, material: Material) -> MadeGraphs:
    made = quantise(material.floats, precision, material.family.heads, material.calibration)
    return MadeGraphs(onnx_files(made.graphs), made.report)


def _tflite(material: Material) -> MadeGraphs:
    export = _tflite_exporter(material.family)(material.checkpoint)
    contents = {role: bytes_from_model(export.graphs[role]) for role in GraphRole}
    files = GraphFiles(GraphFormat.TFLITE, contents)
    bytes_before = sum(model.ByteSize() for model in material.floats.values())
    return MadeGraphs(files, report_on(export, bytes_before, files.size_bytes))


def _tflite_exporter(family: ModelFamily) -> Callable[[Path], TfliteExport]:
    if family.tflite is None:
        raise UnknownFamilyError(
            f"nothing here exports checkpoints of the family {family.name!r} to TFLite; other precisions can be built"
        )
    return family.tflite


_MAKERS: dict[ReleasePrecision, Callable[[Material], MadeGraphs]] = {
    **{ReleasePrecision(precision): partial(_onnx, precision) for precision in Precision},
    ReleasePrecision.TFLITE_INT8: _tflite,
}
