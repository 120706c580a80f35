"""The vendor's `nvpmodel` below a root: which modes there are, which is in force, and asking for another.

Owns: how the command is run and its words read; it is believed only where it reads back. A reboot is always declined.
Must not know: when a mode is wished. Setting one is root's: where `roskva-nvpmodel.socket` listens, it is asked to.
"""

import socket
import subprocess
from pathlib import Path

from agent.errors import KnobError, SensorError
from agent.power.modes import ModeAnswer, PowerModes, modes_from_text

HELPER_SOCKET = "run/roskva-nvpmodel.sock"
_CONF = "etc/nvpmodel.conf"
_NVPMODEL = "usr/sbin/nvpmodel"
_QUERY_TIMEOUT_S = 2.0
_SET_TIMEOUT_S = 15.0
_HELPER_TIMEOUT_S = _SET_TIMEOUT_S + 5.0
_REBOOT_WORDS = "Reboot required"
_DECLINED = "NO\n"
_ANSWER_BYTES = 16_384


class Nvpmodel:
    """The command and its configuration below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def modes(self) -> PowerModes:
        """The modes of `nvpmodel.conf`; raises `SensorError`."""
        try:
            return modes_from_text((self._root / _CONF).read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise SensorError(f"nvpmodel.conf cannot be read: {error}") from error

    def running(self) -> int:
        """Number of the mode in force, asked of `nvpmodel -q`; raises `SensorError`. May take a second."""
        try:
            said = self._run(["-q"], "", _QUERY_TIMEOUT_S).stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SensorError(f"nvpmodel cannot be asked: {error}") from error
        words = said.split()
        if not said.startswith("NV Power Mode:") or not words[-1].isdigit():
            raise SensorError(f"nvpmodel answered {said.strip()[:80]!r}")
        return int(words[-1])

    def set(self, number: int) -> ModeAnswer:
        """Ask for mode `number`; raises `KnobError` where the command refuses, does not end or cannot be run."""
        helper = self._root / HELPER_SOCKET
        try:
            status, said = _through(helper, number) if helper.is_socket() else self.set_here(number)
            taken = self.running() == number
        except (OSError, ValueError, subprocess.TimeoutExpired, SensorError) as error:
            raise KnobError(f"mode {number} cannot be set: {error}") from error
        if taken:
            return ModeAnswer.TAKEN
        if _REBOOT_WORDS in said:
            return ModeAnswer.REBOOT
        if status != 0:
            last = next(reversed(said.strip().splitlines()), "")
            raise KnobError(f"nvpmodel -m {number} ended with {status}: {last[:80]!r}")
        return ModeAnswer.IGNORED

    def set_here(self, number: int) -> tuple[int, str]:
        """Run `nvpmodel -m` as this user: its exit status and words. Raises `OSError` and `subprocess.TimeoutExpired`."""
        done = self._run(["-m", str(number)], _DECLINED, _SET_TIMEOUT_S)
        return done.returncode, done.stdout + done.stderr

    def _run(self, options: list[str], answer: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._root / _NVPMODEL), *options],
            input=answer,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )


def _through(helper: Path, number: int) -> tuple[int, str]:
    """As `set_here`, by the helper that may (`agent.app.set_mode`). Raises `OSError`, `ValueError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(_HELPER_TIMEOUT_S)
        peer.connect(str(helper))
        peer.sendall(f"{number}\n".encode())
        peer.shutdown(socket.SHUT_WR)
        said = b""
        while len(said) < _ANSWER_BYTES and (piece := peer.recv(_ANSWER_BYTES)):
            said += piece
    status, _, words = said.decode("utf-8", "replace").partition("\n")
    return int(status), words
