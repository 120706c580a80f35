"""From a release to a policy: the one place that chooses a runtime.

Owns: the table from the format of graphs to what opens them, and the refusal where that is not installed.
Must not know: how a release was verified, how a runtime works, who wants the policy.

A runtime is imported when it is asked for: a device pays for the one that its release needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from models.contract import PolicyContract
from models.digest import Digest
from models.errors import ConfigurationError, RefusedError
from models.release.content import ReleaseContent
from models.release.precision import GraphFormat, format_of
from models.runtime.policy import Policy

if TYPE_CHECKING:
    from models.runtime.signature import GraphRole

Opener = Callable[[Digest, PolicyContract, Mapping["GraphRole", bytes], int], Policy]
"""Inspects graphs, then opens them for a number of threads.

Raises `ModelNotAllowedError` before a runtime sees a byte of what isn't allowed, `ConfigurationError` without a runtime.
"""


class RuntimeMissingError(RefusedError):
    """The runtime that the release's graphs need is not installed on this device."""

    code = "runtime-missing"


@dataclass(frozen=True, slots=True)
class Runtime:
    """How graphs of one format are opened, the name of the package that does (`ConfigurationError` without), and the
    packages that could, to look for without importing them."""

    open: Opener
    package: Callable[[], str]
    packages: Callable[[], tuple[str, ...]]


def _open_onnx(
    release: Digest, contract: PolicyContract, graphs: Mapping["GraphRole", bytes], threads: int
) -> Policy:
    from models.runtime.onnx import OnnxPolicy

    return OnnxPolicy(release, contract, graphs, threads)


def _open_tflite(
    release: Digest, contract: PolicyContract, graphs: Mapping["GraphRole", bytes], threads: int
) -> Policy:
    from models.runtime.tflite import TflitePolicy

    return TflitePolicy(release, contract, graphs, threads)


def _interpreter_package() -> str:
    from models.runtime.tflite import interpreter_package

    return interpreter_package()


def _interpreter_packages() -> tuple[str, ...]:
    from models.runtime.tflite import usable_interpreters

    return tuple(module.partition(".")[0] for module in usable_interpreters())


RUNTIMES: Mapping[GraphFormat, Runtime] = {
    GraphFormat.ONNX: Runtime(_open_onnx, lambda: "onnxruntime", lambda: ("onnxruntime",)),
    GraphFormat.TFLITE: Runtime(_open_tflite, _interpreter_package, _interpreter_packages),
}


def check_runtime(precision: str, runtimes: Mapping[GraphFormat, Runtime] = RUNTIMES) -> None:
    """Raise `RuntimeMissingError` where nothing that could open a release in `precision` is installed here.

    It looks, and imports no runtime: what will run a policy is another process, and starts later.
    """
    wanted = runtimes[format_of(precision)].packages()
    if not any(find_spec(package) for package in wanted):
        raise RuntimeMissingError(
            f"a release in {precision} cannot run here: install {' or '.join(map(_as_installed, wanted))}"
        )


def _as_installed(package: str) -> str:
    return package.replace("_", "-")


def load_policy(
    release: ReleaseContent, threads: int, runtimes: Mapping[GraphFormat, Runtime] = RUNTIMES
) -> Policy:
    """Open `release` in the runtime that its precision asks for, to run on `threads` threads.

    A precision that isn't known here is taken for ONNX.

    Raises:
        ModelNotAllowedError: the graphs are not what the precision says, or not allowed.
        RuntimeMissingError: this device lacks the runtime; the message says what to install.
        DigestMismatchError, DiskError: as `release.read`.
    """
    from models.runtime.signature import GraphRole

    manifest = release.manifest
    graphs = {role: release.read(role) for role in GraphRole}
    runtime = runtimes[format_of(manifest.precision)]
    try:
        return runtime.open(release.digest, manifest.contract, graphs, threads)
    except ConfigurationError as error:
        raise RuntimeMissingError(f"a release in {manifest.precision} cannot run here: {error}") from error
