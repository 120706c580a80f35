"""What `precision` in `release.json` may say of a release that is built here, and which files that means.

Owns: the names, and the table from a name to the format of the graphs.
Must not know: how weights are quantised, what opens a graph.
"""

from enum import StrEnum


class ReleasePrecision(StrEnum):
    """How a release stores its weights."""

    FLOAT32 = "float32"
    INT8 = "int8"
    INT4 = "int4"
    NVFP4 = "nvfp4"
    TFLITE_INT8 = "tflite-int8"


class GraphFormat(StrEnum):
    """What a graph's file is; the values are its suffix."""

    ONNX = "onnx"
    TFLITE = "tflite"


_FORMATS: dict[str, GraphFormat] = {ReleasePrecision.TFLITE_INT8: GraphFormat.TFLITE}


def format_of(precision: str) -> GraphFormat:
    """The format that a manifest's `precision` promises: ONNX unless the table says otherwise.

    A promise and no more: whoever opens the graphs inspects them as that format first.
    """
    return _FORMATS.get(precision, GraphFormat.ONNX)
