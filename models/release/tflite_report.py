"""What int8 weights in TFLite graphs cost, read from the graphs that ship.

Owns: which stored tensors are weights, why one was left alone, and the report.
Must not know: how the graphs were made, who runs them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.quantise.apply import MIN_WEIGHTS
from models.quantise.int8 import Int8Weight
from models.quantise.report import TOOL, TOOL_VERSION, LayerReport, QuantisationReport, weight_error
from models.release.precision import ReleasePrecision
from models.runtime import tflite_schema as tfl
from models.runtime.tflite_schema import Kernel

SCHEME = (
    "int8 weights, symmetric, one scale an output channel, made float32 by DEQUANTIZE in the graph; "
    "activations float32"
)
ROUNDING = "to nearest, the largest weight sets the scale; no calibration set"
_CODES = ".codes"


@dataclass(frozen=True, slots=True)
class TfliteExport:
    """Graphs by role, and the float32 weights that they store, by name.

    A tensor that stores a weight has the weight's name, and `.codes` behind it where it stores int8 codes.
    """

    graphs: Mapping[str, tfl.Model]
    weights: Mapping[str, NDArray[np.float32]]


def report_on(export: TfliteExport, bytes_before: int, bytes_after: int) -> QuantisationReport:
    """The report, its output difference still open; bytes are those of the float32 graphs and of the graphs' files."""
    layers = [layer for role, model in export.graphs.items() for layer in _layers(role, model, export)]
    return QuantisationReport(
        tool=TOOL,
        version=TOOL_VERSION,
        precision=str(ReleasePrecision.TFLITE_INT8),
        scheme=SCHEME,
        layers=tuple(layers),
        bytes_before=bytes_before,
        bytes_after=bytes_after,
        rounding=ROUNDING,
    )


@dataclass(slots=True)
class _Stored:
    """A weight's tensor, its int8 one where there are both, and every operator that reads it."""

    tensor: tfl.Tensor
    readers: set[str]


def _layers(role: str, model: tfl.Model, export: TfliteExport) -> Iterator[LayerReport]:
    for name, stored in _stored(model, export.weights).items():
        weight = export.weights[name]
        if stored.tensor.quantisation is None:
            yield LayerReport(role, name, weight.shape, _reason(weight.size, stored.readers))
            continue
        error = weight_error(weight, _dequantised(model, stored.tensor))
        yield LayerReport(role, name, weight.shape, "", error.maximum, error.rms, error.relative)


def _stored(model: tfl.Model, weights: Mapping[str, NDArray[np.float32]]) -> dict[str, _Stored]:
    """Weights of two dimensions or more, each once, however many subgraphs read it."""
    found: dict[str, _Stored] = {}
    for subgraph in model.subgraphs:
        for number, tensor in enumerate(subgraph.tensors):
            name = tensor.name.removesuffix(_CODES)
            if name in weights and weights[name].ndim > 1:
                known = found.setdefault(name, _Stored(tensor, set()))
                if known.tensor.quantisation is None:
                    known.tensor = tensor
                known.readers.update(_readers(model, subgraph, number))
    return found


def _readers(model: tfl.Model, subgraph: tfl.Subgraph, number: int) -> Iterator[str]:
    for operator in subgraph.operators:
        if number in operator.inputs:
            yield Kernel(model.codes[operator.code].code).name


def _reason(size: int, readers: set[str]) -> str:
    """Why a weight of `size` elements stays float32."""
    others = sorted(readers - {Kernel.FULLY_CONNECTED.name})
    if others or not readers:
        return f"read by {', '.join(others) or 'nothing'}"
    return f"fewer than {MIN_WEIGHTS} weights" if size < MIN_WEIGHTS else "left alone by its exporter"


def _dequantised(model: tfl.Model, tensor: tfl.Tensor) -> NDArray[np.float32]:
    assert tensor.quantisation is not None
    codes = np.asarray(tfl.stored(model, tensor), np.int8)
    scales = np.array(tensor.quantisation.scales, np.float32)
    return Int8Weight(codes, scales, tensor.quantisation.axis).dequantised()
