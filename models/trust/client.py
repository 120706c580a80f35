"""One TUF repository as a client sees it: tuf's own updater, held to our limits, our clock and our errors.

Owns: the adapter between `tuf.ngclient` and a `MetadataSource`, and the floor under metadata versions.
Must not know: what the targets mean.

tuf 7.0.1 has no clock parameter, so its private reference time is set here; the version is pinned and a test holds it.
It also takes a damaged cache for an empty one and so forgets what it has seen: `versions.floor`, written durably beside
the cache, does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import IO

import msgspec
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import TargetFile, Targets  # type: ignore[attr-defined] # public names, without an __all__
from tuf.ngclient import (  # type: ignore[attr-defined] # public names, without an __all__
    FetcherInterface,
    Updater,
    UpdaterConfig,
)

from models.digest import hex_of
from models.errors import (
    ExpiredMetadataError,
    MetadataError,
    RoskvaError,
    TransferError,
    UnknownObjectError,
    disk_error,
)
from models.trust.atomic import write_atomically
from models.trust.source import MetadataSource
from models.trust.targets import prefixed, sha256_of
from models.wire.messages import Repository

METADATA_LIMITS = UpdaterConfig(
    max_root_rotations=32,
    max_delegations=4,
    root_max_length=64_000,
    timestamp_max_length=16_384,
    snapshot_max_length=256_000,
    targets_max_length=1_000_000,
)
_BASE = "metadata/"
_FLOOR_NAME = "versions.floor"
"""No `.json`: tuf keeps each role as `<role>.json` in the same folder, whatever a repository calls its roles."""


class _Fetcher(FetcherInterface):
    """Asks a `MetadataSource`; every answer is held in memory, at most as long as was asked for."""

    def __init__(self, source: MetadataSource, repository: Repository) -> None:
        self._source, self._repository = source, repository

    def _fetch(self, url: str) -> Iterator[bytes]:
        # No generator: what it raised would pass tuf's wrapping by.
        return iter([self._get(url, METADATA_LIMITS.targets_max_length)])

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """The bytes at `url`; the caller's own limit reaches the source, and no temporary file is made."""
        data = self._get(url, max_length)
        if len(data) > max_length:
            raise tuf_errors.DownloadLengthMismatchError(f"{url}: more than the {max_length} bytes allowed")
        return data

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """As `download_bytes`, as a file."""
        yield BytesIO(self.download_bytes(url, max_length))

    def _get(self, url: str, max_bytes: int) -> bytes:
        try:
            return self._source.metadata(self._repository, url.removeprefix(_BASE), max_bytes)
        except UnknownObjectError as error:
            raise tuf_errors.DownloadHTTPError(str(error), 404) from error
        except TransferError as error:
            raise tuf_errors.SlowRetrievalError(str(error)) from error
        except Exception as error:
            raise tuf_errors.DownloadError(f"{url}: {error}") from error


class _Versions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The highest versions that were accepted."""

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0


@dataclass(frozen=True)
class Anchor:
    """Which repository, the root bytes pinned for it, and what time it is."""

    repository: Repository
    root: bytes
    now: datetime


class RepositoryClient:
    """One repository, refreshed once; `state` keeps what was seen from run to run."""

    def __init__(self, source: MetadataSource, anchor: Anchor, state: Path) -> None:
        """Refresh all top-level roles from `source`, from the pinned root on.

        Raises:
            ExpiredMetadataError: a role is past its expiry at `anchor.now`.
            MetadataError: malformed, badly signed, rolled back, or too long.
            TransferError: the source did not answer, or withholds a file that must be there.
            NoSpaceError, DiskError: `state` cannot be written.
        """
        self._source, self._name = source, anchor.repository
        with _our_errors(self._name):
            state.mkdir(parents=True, exist_ok=True)
            self._updater = Updater(
                str(state),
                _BASE,
                fetcher=_Fetcher(source, anchor.repository),
                config=METADATA_LIMITS,
                bootstrap=anchor.root,
            )
            self._updater._trusted_set.reference_time = anchor.now  # noqa: SLF001 - see the charter
            self._updater.refresh()
            self._raise_floor(state / _FLOOR_NAME)

    @property
    def targets(self) -> Targets:
        """The top-level targets."""
        return self._updater._trusted_set.targets  # noqa: SLF001 - no public way to see all targets

    def find(self, path: str) -> TargetFile | None:
        """The target at `path`, through delegations; `None` where no trusted role knows it. Raises as the class."""
        with _our_errors(self._name):
            return self._updater.get_targetinfo(path)

    def delegated(self, role: str, path: str) -> Targets:
        """All targets of the delegated `role`, reached through a `path` that is its. Raises as the class."""
        self.find(path)
        with _our_errors(self._name):
            try:
                found = self._updater._trusted_set[role]  # noqa: SLF001 - no public way to see all targets
            except KeyError as error:
                raise MetadataError(f"the {self._name} repository delegates nothing to {role!r}") from error
        if not isinstance(found, Targets):
            raise MetadataError(f"{role!r} of the {self._name} repository is no targets role")
        return found

    def fetch(self, target: TargetFile, max_bytes: int) -> bytes:
        """The verified bytes of `target`, held in memory.

        Raises:
            MetadataError: it is longer than `max_bytes`, or the bytes are not those that were signed.
            TransferError: it did not arrive.
        """
        if target.length > max_bytes:
            raise MetadataError(
                f"target {target.path!r} of {target.length} bytes; at most {max_bytes} are read"
            )
        path = prefixed(target.path, hex_of(sha256_of(target)))
        try:
            data = self._source.target(path, target.length)
        except UnknownObjectError as error:
            raise TransferError(f"{target.path!r} is signed for, and its bytes are withheld") from error
        with _our_errors(self._name):
            target.verify_length_and_hashes(data)
        return data

    def _raise_floor(self, path: Path) -> None:
        trusted = self._updater._trusted_set  # noqa: SLF001 - no public way to see versions
        seen = _Versions(
            trusted.root.version, trusted.timestamp.version, trusted.snapshot.version, trusted.targets.version
        )
        floor = _floor(path)
        # A new root may start the counting anew: that is how TUF recovers from versions run up by a stolen key.
        if seen.root == floor.root and msgspec.structs.astuple(seen) != _highest(seen, floor):
            raise MetadataError(f"the {self._name} repository is older than one accepted before")
        if seen.root < floor.root:
            raise MetadataError(f"the root of the {self._name} repository is older than one accepted before")
        if seen != floor:
            write_atomically(path, [msgspec.json.encode(seen)])


def _highest(one: _Versions, other: _Versions) -> tuple[int, ...]:
    return tuple(map(max, msgspec.structs.astuple(one), msgspec.structs.astuple(other)))


def _floor(path: Path) -> _Versions:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Versions)
    except (FileNotFoundError, msgspec.DecodeError):
        # It is flushed before it counts, so damage means a failing disk: the release counter's floor, which the
        # caller keeps elsewhere, still stands.
        return _Versions()


@contextmanager
def _our_errors(repository: Repository) -> Iterator[None]:
    where = f"{repository} repository"
    try:
        yield
    except RoskvaError:
        raise
    except tuf_errors.ExpiredMetadataError as error:
        raise ExpiredMetadataError(f"{where}: {error}") from error
    except (tuf_errors.RepositoryError, tuf_errors.DownloadLengthMismatchError) as error:
        raise MetadataError(f"{where}: {str(error) or type(error).__name__}") from error
    except tuf_errors.DownloadHTTPError as error:
        raise TransferError(f"{where}: withholds a file that must be there: {error}") from error
    except tuf_errors.DownloadError as error:
        raise TransferError(f"{where}: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MetadataError(f"{where}: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise disk_error(error, f"{where}: what was seen cannot be kept") from error
