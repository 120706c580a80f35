"""The demo's training site and its operator: a checkpoint, its claim, two releases.

Owns: which commands make them, in which folders. Must not know: servers and devices.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.commands import Commands
from models import reference
from models.digest import Digest
from models.release.manifest import MANIFEST_NAME, ReleaseManifest, manifest_from_bytes

NAME = "reference-drive"
HARDWARE = "thor-t5000"
CHASSIS_SERIAL = "EMU7200000042"
"""Thirteen characters, as NVML gives them for a rack; made up, and the claim says `emulated`."""
_TRAYS, _GPUS = 18, 4


@dataclass(frozen=True, slots=True)
class BuiltRelease:
    """A release on the operator's disk, signed and published."""

    folder: Path
    digest: Digest
    manifest: ReleaseManifest

    @property
    def size_bytes(self) -> int:
        """Bytes that a device fetches, `release.json` and the signature apart."""
        return self.manifest.size_bytes


def rack_platform() -> dict[str, object]:
    """What a platform file says of an emulated NVL72: 18 compute trays of 4 GPUs."""
    trays = [
        {
            "slot": slot,
            "tray_index": slot,
            "host_id": 1,
            "gpus": [
                {"module_id": module, "uuid": f"GPU-emulated-{slot:02d}-{module}"}
                for module in range(1, _GPUS + 1)
            ],
        }
        for slot in range(_TRAYS)
    ]
    return {
        "system": "Vera Rubin NVL72",
        "chassis_serial": CHASSIS_SERIAL,
        "cluster_uuid": "e0d1c2b3-a495-4867-9978-8a9bacbdcedf",
        "clique_id": 1,
        "trays": trays,
        "emulated": True,
    }


def _dataset(facts: dict[str, object]) -> dict[str, object]:
    """What names the training data: made, not collected, so the maker's version, seed and counts say all of it."""
    named = ("code_version", "seed", "samples", "student_samples")
    return {"made_by": "models.reference.world"} | {name: facts[name] for name in named}


@dataclass(frozen=True, slots=True)
class Site:
    """The folders of the training site and the operator, below one."""

    folder: Path
    commands: Commands

    @property
    def keys(self) -> Path:
        """The development key set."""
        return self.folder / "keys"

    @property
    def repo(self) -> Path:
        """What the operator publishes and the server serves."""
        return self.folder / "repo"

    @property
    def trust(self) -> Path:
        """The roots that devices and auditors pin."""
        return self.repo / "trust"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint directory, as training left it."""
        return self.folder / "checkpoint"

    @property
    def claim(self) -> Path:
        """The signed claim of how the checkpoint came to be."""
        return self.folder / _claim_of(self.checkpoint.name)

    def record(self) -> None:
        """Make the keys, and record the checkpoint on the emulated rack."""
        shutil.copytree(
            Path(reference.__file__).parent / "checkpoint",
            self.checkpoint,
            ignore=shutil.ignore_patterns("*.py"),
        )
        platform = self.folder / "nvl72.json"
        platform.write_text(json.dumps(rack_platform(), indent=1), encoding="utf-8")
        facts = json.loads((self.checkpoint / "training.json").read_text(encoding="utf-8"))
        dataset = self.folder / "dataset.json"
        dataset.write_text(json.dumps(_dataset(facts), indent=1), encoding="utf-8")
        self.commands.run("roskva", "keys", "init", "keys")
        self.sign_for(
            self.checkpoint.name,
            f"reference-seed-{facts['seed']}",
            *("--platform", "nvl72.json", "--dataset", f"reference-world={dataset.name}"),
        )

    def sign_for(self, checkpoint: str, run_name: str, *sources: str) -> None:
        """Sign how the folder `checkpoint` came to be; `sources` are options of `roskva lineage record`."""
        self.commands.run(
            *("roskva", "lineage", "record", checkpoint, *sources, "--run-name", run_name),
            *("--key", "keys/builder-trainer.pem", "--builder", "trainer", "--out", _claim_of(checkpoint)),
        )

    def release(self, precision: str, version: str, counter: int) -> BuiltRelease:
        """Build, sign, publish and verify one release of the checkpoint."""
        return self.release_of(self.checkpoint.name, NAME, precision, version, counter)

    def release_of(
        self, checkpoint: str, name: str, precision: str, version: str, counter: int
    ) -> BuiltRelease:
        """The same of the folder `checkpoint`, which was signed for, in the line `name`; no two of one `version`."""
        out = f"releases/{version}"
        self.commands.run(
            *("roskva", "release", "build", checkpoint, "--claim", _claim_of(checkpoint)),
            *("--precision", precision, "--name", name, "--version", version, "--counter", str(counter)),
            *("--hardware", HARDWARE, "--keys", "keys", "--out", out),
        )
        self.commands.run("roskva", "release", "sign", out, "--keys", "keys")
        self.commands.run("roskva", "release", "publish", out, "--repo", "repo", "--keys", "keys")
        self.commands.run("roskva", "release", "verify", out, "--repo", "repo")
        folder = self.folder / out
        manifest, digest = manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())
        return BuiltRelease(folder, digest, manifest)


def _claim_of(checkpoint: str) -> str:
    return f"{checkpoint}.claim.jsonl"
