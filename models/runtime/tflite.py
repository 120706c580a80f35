"""Runs a release's three TFLite graphs on the processor.

Owns: opening the graphs from verified bytes, the cache of fixed size, and feeding both.
Must not know: files, how a decision is made of what the graphs say.

An interpreter never sees the bytes that came: what the inspection understood is written anew, one file for each
subgraph, so nothing that the two could read differently reaches native code.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import PolicyContract
from models.digest import Digest
from models.errors import ConfigurationError, ModelNotAllowedError, PolicyFailedError
from models.runtime import tflite_schema as tfl
from models.runtime.decide import Decider, Floats
from models.runtime.inspect_tflite import check_cut, inspect_tflite
from models.runtime.signature import GraphRole

INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
"""The first that works is taken. The second's last wheels are for Python 3.11 and NumPy 1."""
_NUMPY_1_ONLY = "tflite_runtime.interpreter"
_MEMORY_FACTOR = 2
"""Times the bytes of a file and of all its tensors at once. Each of the reference policy's graphs was opened in less."""
_HIDDEN = np.float32(-1e9)
_Feed = Mapping[str, NDArray[np.generic]]


def usable_interpreters(
    modules: Sequence[str] = INTERPRETERS, numpy_version: str = np.__version__
) -> tuple[str, ...]:
    """Those of `modules` that would work beside NumPy `numpy_version`, installed or not."""
    # The old one imports beside NumPy 2, and then fails on every model.
    return tuple(each for each in modules if each != _NUMPY_1_ONLY or numpy_version.startswith("1."))


def interpreter_class(modules: Sequence[str] = INTERPRETERS, numpy_version: str = np.__version__) -> Any:
    """`Interpreter` of the first of `modules` that is installed and works beside NumPy `numpy_version`.

    Raises:
        ConfigurationError: there is none; the message says what to install.
    """
    for module in usable_interpreters(modules, numpy_version):
        try:
            return importlib.import_module(module).Interpreter
        except ImportError:
            continue
    raise ConfigurationError(
        f"no TFLite interpreter works here (NumPy {numpy_version}): install ai-edge-litert, "
        "or Roskva with the extra 'tflite'"
    )


def interpreter_package() -> str:
    """The package that `interpreter_class` is of, as installers name it. Raises `ConfigurationError` as that does."""
    package: str = interpreter_class().__module__.partition(".")[0]
    return package.replace("_", "-")


@dataclass(frozen=True, slots=True)
class _Cache:
    """Keys and values, each (L, T, D), of which the first `filled` positions hold something; `mask` hides the rest."""

    key: Floats
    value: Floats
    mask: Floats
    filled: int

    def grown(self, key: Floats, value: Floats) -> "_Cache":
        """The same buffers with new positions (L, n, D) behind those filled."""
        end = self.filled + key.shape[1]
        self.key[:, self.filled : end] = key
        self.value[:, self.filled : end] = value
        self.mask[:, self.filled : end] = 0.0
        return replace(self, filled=end)


class _Graphs:
    """The `Graphs` port; a cache is filled in place."""

    def __init__(self, opened: Mapping[str, "_Opened"], sizes: Mapping[str, int]) -> None:
        self._opened = opened
        self._shape = sizes["L"], sizes["T"], sizes["D"]

    def see(self, frames: NDArray[np.uint8], ego_history: Floats, instruction: int) -> Floats:
        told = np.array([instruction], np.int64)
        feed: _Feed = {"frames": frames, "ego_history": ego_history, "instruction": told}
        return self._run("visual", feed)["prefix"]

    def begin(self, prefix: Floats, token: int) -> tuple[Floats, _Cache]:
        empty = _Cache(
            np.zeros(self._shape, np.float32),
            np.zeros(self._shape, np.float32),
            np.full((1, self._shape[1]), _HIDDEN, np.float32),
            filled=0,
        )
        made = self._run("prefill", {"prefix": prefix, "tokens": np.array([token], np.int64)})
        return made["logits"], empty.grown(made["key"], made["value"])

    def extend(self, token: int, cache: _Cache) -> tuple[Floats, _Cache]:
        feed: _Feed = {
            "tokens": np.array([token], np.int64),
            "position": np.array([cache.filled], np.int64),
            "mask": cache.mask,
            "past_key": cache.key,
            "past_value": cache.value,
        }
        made = self._run("step", feed)
        return made["logits"], cache.grown(made["key"], made["value"])

    def velocity(self, cache: _Cache, state: Floats, moment: float) -> Floats:
        time = np.array([moment], np.float32)
        feed: _Feed = {
            "key": cache.key,
            "value": cache.value,
            "mask": cache.mask,
            "state": state,
            "time": time,
        }
        return self._run("action", feed)["velocity"]

    def _run(self, name: str, feed: _Feed) -> dict[str, Floats]:
        opened = self._opened[name]
        try:
            return opened.run(feed)
        except (ValueError, RuntimeError) as error:  # what the interpreters raise
            _check_memory(opened.needed_bytes, error)
            raise PolicyFailedError(f"{name} graph: {str(error)[:300]}") from error


class _Opened:
    """One subgraph in an interpreter of its own."""

    def __init__(self, made: Any, model: tfl.Model, subgraph: tfl.Subgraph, threads: int) -> None:
        alone = tfl.bytes_from_model(replace(model, subgraphs=(subgraph,)))
        self.needed_bytes = _MEMORY_FACTOR * (len(alone) + sum(map(_bytes_of, subgraph.tensors)))
        try:
            self._interpreter = made(model_content=alone, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:  # what the interpreters raise
            _check_memory(self.needed_bytes, error)
            raise ModelNotAllowedError(
                f"{subgraph.name} graph: TFLite does not open it: {str(error)[:300]}"
            ) from error
        self._inputs = {each["name"]: each["index"] for each in self._interpreter.get_input_details()}
        self._outputs = {each["name"]: each["index"] for each in self._interpreter.get_output_details()}

    def run(self, feed: _Feed) -> dict[str, Floats]:
        """Outputs by name. Raises what the interpreter raises."""
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, feed[name])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _bytes_of(tensor: tfl.Tensor) -> int:
    return math.prod(tensor.shape) * tfl.Element(tensor.element).dtype.itemsize


def _check_memory(needed_bytes: int, error: Exception) -> None:
    """Raise `MemoryError` where so much is not to be had now: then no graph is to blame, whatever the interpreter says.

    Its words do not tell: without memory it cannot delegate some node, cannot create its runtime, or says nothing at all.
    """
    try:
        np.empty(needed_bytes, np.uint8)  # of which no page is touched
    except MemoryError:
        raise MemoryError(f"{needed_bytes} bytes for a graph are not there: {str(error)[:200]}") from error


class TflitePolicy(Decider[_Cache]):
    """A release, loaded into TFLite on the processor."""

    def __init__(
        self,
        release_digest: Digest,
        contract: PolicyContract,
        graphs: Mapping[GraphRole, bytes],
        threads: int,
        interpreter: Callable[[], Any] = interpreter_class,
    ) -> None:
        """Inspect `graphs`, then open them in what `interpreter` answers.

        Raises:
            ModelNotAllowedError: a graph is not allowed, or the interpreter does not open it.
            ConfigurationError: the graphs are allowed, and there is no interpreter.
        """
        reports = [inspect_tflite(graphs[role], role, contract) for role in GraphRole]
        sizes = check_cut(reports, contract)
        made = interpreter()
        opened = {
            subgraph.name: _Opened(made, report.model, subgraph, threads)
            for report in reports
            for subgraph in report.model.subgraphs
        }
        super().__init__(release_digest, contract, _Graphs(opened, sizes))
