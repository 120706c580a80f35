"""A folder of TUF metadata, kept by the one who signs it.

Owns: which versions are current (what `timestamp.json` leads to), and the order of writing: each file whole, the
timestamp last, so that a reader sees the old state or the new one, and a power cut leaves the old one.
Must not know: what the roles mean, or which of the two repositories this is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import Signer  # type: ignore[attr-defined] # public names, without an __all__
from tuf.api.metadata import (  # type: ignore[attr-defined] # public names, without an __all__
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from models.trust.atomic import write_atomically

KEPT_VERSIONS = 8
"""Old versions that stay for clients in the middle of a refresh; roots stay for ever."""
_COMPACT = JSONSerializer(compact=True)

Role = TypeVar("Role", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class OnlineSigning:
    """Who signs snapshot and timestamp, and for how long."""

    snapshot: Signer
    timestamp: Signer
    snapshot_life: timedelta
    timestamp_life: timedelta


def utc_now() -> datetime:
    """The wall clock, for commands that people run; everything else passes its time in."""
    return datetime.now(UTC)


def expiry(now: datetime, life: timedelta) -> datetime:
    """`life` after `now`, in whole seconds as TUF has it."""
    return (now + life).replace(microsecond=0)


def is_due(signed: Signed, now: datetime, life: timedelta) -> bool:
    """Whether less than half of `life` is left to `signed`."""
    return signed.expires - now < life / 2


def signed_bytes(signed: Role, signers: Sequence[Signer]) -> bytes:
    """`signed` with the signatures of all `signers`."""
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(_COMPACT)


class MetadataFolder:
    """Metadata files `<version>.<role>.json` and `timestamp.json` in one folder."""

    def __init__(self, path: Path) -> None:
        """Use `path`, which need not exist before the first `commit`."""
        self.path = path

    @property
    def is_empty(self) -> bool:
        """Whether nothing was committed yet."""
        return not (self.path / "timestamp.json").exists()

    def timestamp(self) -> Timestamp:
        """The current timestamp."""
        return Metadata[Timestamp].from_bytes((self.path / "timestamp.json").read_bytes()).signed

    def snapshot(self) -> Snapshot:
        """The snapshot that the current timestamp names."""
        version = self.timestamp().snapshot_meta.version
        return Metadata[Snapshot].from_bytes((self.path / f"{version}.snapshot.json").read_bytes()).signed

    def targets(self, role: str = Targets.type) -> Targets:
        """The targets file of `role` that the current snapshot names."""
        version = self.snapshot().meta[f"{role}.json"].version
        return Metadata[Targets].from_bytes((self.path / f"{version}.{role}.json").read_bytes()).signed

    def write_root(self, version: int, data: bytes) -> None:
        """Add a root; roots are found by their number, not by the snapshot."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / f"{version}.root.json", [data])

    def commit(
        self, changed: Mapping[str, tuple[Targets, Signer]], online: OnlineSigning, now: datetime
    ) -> None:
        """Write the `changed` targets files, then a new snapshot of all, then the timestamp that makes them current."""
        self.path.mkdir(parents=True, exist_ok=True)
        snapshot = Snapshot(version=1, meta={}) if self.is_empty else self.snapshot()
        snapshot.version += 0 if self.is_empty else 1
        for role, (targets, signer) in changed.items():
            snapshot.meta[f"{role}.json"] = self._write(role, targets, signer)
        snapshot.expires = expiry(now, online.snapshot_life)
        self._write_timestamp(self._write(Snapshot.type, snapshot, online.snapshot), online, now)
        self._prune(snapshot)

    def renew_timestamp(self, online: OnlineSigning, now: datetime) -> None:
        """A new timestamp over the current snapshot."""
        self._write_timestamp(self.timestamp().snapshot_meta, online, now)

    def _write(self, role: str, signed: Role, signer: Signer) -> MetaFile:
        data = signed_bytes(signed, [signer])
        write_atomically(self.path / f"{signed.version}.{role}.json", [data])
        return MetaFile.from_data(signed.version, data, ["sha256"])

    def _write_timestamp(self, snapshot_meta: MetaFile, online: OnlineSigning, now: datetime) -> None:
        version = 1 if self.is_empty else self.timestamp().version + 1
        timestamp = Timestamp(
            version, expires=expiry(now, online.timestamp_life), snapshot_meta=snapshot_meta
        )
        write_atomically(self.path / "timestamp.json", [signed_bytes(timestamp, [online.timestamp])])

    def _prune(self, snapshot: Snapshot) -> None:
        current = {name: meta.version for name, meta in snapshot.meta.items()} | {
            "snapshot.json": snapshot.version
        }
        for path in self.path.glob("*.*.json"):
            version, _, name = path.name.partition(".")
            if version.isdecimal() and int(version) <= current.get(name, 0) - KEPT_VERSIONS:
                path.unlink()
