"""The Director: which release each device is ordered to run, signed for that device alone.

Owns: one small TUF repository a device, kept on disk, so that versions go on after a restart.
Must not know: why a release is assigned (rollouts), how metadata reaches the device (depot), or the Image keys.

STATE/director/<device>/metadata. Every targets file names its device, the empty one too: metadata of one device,
replayed to another, is refused by what it says and not by a key. There are no delegations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from fcntl import LOCK_EX, flock
from pathlib import Path

from tuf.api.metadata import (  # type: ignore[attr-defined] # public names, without an __all__
    Metadata,
    Root,
    TargetFile,
    Targets,
)

from models.digest import hex_of
from models.trust.keyset import KeyDirectory
from models.trust.metadata import MetadataFolder, OnlineSigning, expiry, is_due
from models.trust.targets import DEVICE_FIELD, DirectorCustom, DirectorTarget, custom_of, described, sha256_of
from models.wire.topics import check_id

LIFE = timedelta(days=1)


class DirectorRepository:
    """Assignments of all devices of one fleet server."""

    def __init__(self, state: Path, keys: KeyDirectory, root_bytes: bytes) -> None:
        """Keep everything below `state`; `root_bytes` is the Director root that devices pin, or a later one.

        Raises:
            UnknownObjectError, MalformedError: the key `director-online` is missing or damaged.
        """
        self._state = state / "director"
        self._root_bytes = root_bytes
        self._root_version = Metadata[Root].from_bytes(root_bytes).signed.version
        self._signer = keys.signer("director-online")

    def metadata_of(self, device: str) -> Path:
        """The folder of the device's metadata. Raises `ConfigurationError` for an id that is none."""
        return self._state / check_id(device, "device") / "metadata"

    def assign(self, device: str, hardware: str, target: DirectorTarget | None, now: datetime) -> None:
        """Order `device`, of class `hardware`, to run `target`; `None` takes the order back.

        Raises:
            ConfigurationError: `device` is no id.
        """
        files = {target.path: _target_file(device, hardware, target)} if target else {}
        with self._writing(device) as folder:
            self._commit(folder, device, files, now)

    def assignment(self, device: str) -> DirectorTarget | None:
        """What `device` is ordered to run."""
        folder = MetadataFolder(self.metadata_of(device))
        if folder.is_empty:
            return None
        for target in folder.targets().targets.values():
            return DirectorTarget(
                target.path, sha256_of(target), target.length, custom_of(target, DirectorCustom).counter
            )
        return None

    def refresh(self, device: str, now: datetime) -> bool:
        """See that the device's metadata exists and has at least half of its life left; whether anything was signed.

        A device never seen before gets an empty targets file.

        Raises:
            ConfigurationError: `device` is no id.
        """
        with self._writing(device) as folder:
            if folder.is_empty:
                self._commit(folder, device, {}, now)
                return True
            if not is_due(folder.timestamp(), now, LIFE) and self._has_root(folder):
                return False
            self._commit(folder, device, folder.targets().targets, now)
            return True

    @contextmanager
    def _writing(self, device: str) -> Iterator[MetadataFolder]:
        path = self.metadata_of(device)
        path.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            yield MetadataFolder(path)

    def _has_root(self, folder: MetadataFolder) -> bool:
        return (folder.path / f"{self._root_version}.root.json").exists()

    def _commit(
        self, folder: MetadataFolder, device: str, files: dict[str, TargetFile], now: datetime
    ) -> None:
        if not self._has_root(folder):
            folder.write_root(self._root_version, self._root_bytes)
        version = 1 if folder.is_empty else folder.targets().version + 1
        targets = Targets(
            version, expires=expiry(now, LIFE), targets=files, unrecognized_fields={DEVICE_FIELD: device}
        )
        online = OnlineSigning(self._signer, self._signer, LIFE, LIFE)
        folder.commit({Targets.type: (targets, self._signer)}, online, now)


def _target_file(device: str, hardware: str, target: DirectorTarget) -> TargetFile:
    file = TargetFile(target.length_bytes, {"sha256": hex_of(target.digest)}, target.path)
    return described(file, DirectorCustom(device, hardware, target.counter))
