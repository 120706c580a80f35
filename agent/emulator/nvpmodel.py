"""The emulated `nvpmodel`: `-q`, `-m`, `-p --verbose`, with the vendor's words and its traps.

Owns: what the command prints, and which modes need a reboot (those of another GPU mask than the running one).
Must not know: watts; a mode enforces none.
"""

import sys
from pathlib import Path

from agent.emulator.places import CONF, CPU, FAULTS, GPU, MODE_PENDING, MODE_STATUS
from agent.power.modes import PowerMode, modes_from_text


def main(arguments: list[str]) -> int:
    """Run the command below the root that is the first argument; returns its exit status."""
    root, options = Path(arguments[0]), arguments[1:]
    modes = modes_from_text((root / CONF).read_text())
    running = modes.numbered(int((root / MODE_STATUS).read_text().split(":")[1]))
    if options[:1] == ["-q"]:
        return _say(f"NV Power Mode: {running.name}\n{running.number}")
    if options[:1] == ["-p"]:
        _say(f"NVPM VERB: PM_CONFIG: DEFAULT={modes.default}({modes.default})")
        for mode in modes.modes:
            _say(f"NVPM VERB: POWER_MODEL: ID={mode.number} NAME={mode.name}")
            _say(f"NVPM VERB: PARAM GPU: ARG MAX_FREQ: PATH /{GPU}/max_freq: VAL: {mode.gpu_max_hz}")
        return 0
    if len(options) == 2 and options[0] == "-m" and options[1].isdigit():
        if (root / FAULTS / "mode-ignored").exists():
            return _say("Running in chroot, ignoring request.")
        wanted = [mode for mode in modes.modes if mode.number == int(options[1])]
        if wanted:
            return _set(root, running, wanted[0])
    return _say("NVPM ERROR: optMask is 0, no request for power mode", 1)


def _set(root: Path, running: PowerMode, wanted: PowerMode) -> int:
    if wanted.gpu_mask == running.gpu_mask:
        return _set_live(root, wanted)
    _say(f"NVPM WARN: Reboot required for changing to this power mode: {wanted.number}")
    _say("DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:")
    if sys.stdin.readline().strip() in {"YES", "yes"}:
        (root / MODE_PENDING).write_text(f"pmode:{wanted.number:04d}\n")
        return 0
    _say("NVPM ERROR: bad input!")
    return _say("NVPM ERROR: optMask is 1, no request for power mode", 1)


def _set_live(root: Path, wanted: PowerMode) -> int:
    """Clock caps and cores first: a mode that could not be set does not stand in the status."""
    policies = sorted((root / CPU / "cpufreq").glob("policy*/scaling_max_freq"))
    try:
        (root / GPU / "max_freq").write_text(f"{wanted.gpu_max_hz}\n")
        for policy in policies:
            policy.write_text(f"{wanted.cpu_max_khz}\n")
        for cpu in range(1, len(policies)):  # the first core cannot go offline
            (root / CPU / f"cpu{cpu}/online").write_text(f"{int(cpu < wanted.cpus_online)}\n")
    except OSError as error:
        return _say(f"NVPM ERROR: failed to write: {error.strerror}", 1)
    (root / MODE_STATUS).write_text(f"pmode:{wanted.number:04d}\n")
    return 0


def _say(text: str, status: int = 0) -> int:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
