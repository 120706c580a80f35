"""The Director's signatures, on `models.trust`. Implements `fleet.ports.DirectorSigner`.

Owns: opening the repositories and keys, and that a disk that fails and metadata that is damaged leave as ours.
Must not know: orders, offers, devices' states.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import RepositoryError

from fleet.records import KnownRelease
from models.errors import MetadataError, NotNowError, UnknownObjectError
from models.trust.director import DirectorRepository
from models.trust.image import DIRECTOR_ROOT_NAME, ImageRepository
from models.trust.keyset import KeyDirectory
from models.trust.targets import DirectorTarget


class RepositorySigner:
    """Signs with the keys in `keys`; only the online ones have to be there."""

    def __init__(self, repo: Path, state: Path, keys: Path) -> None:
        self._repo = repo
        self._keys = KeyDirectory(keys)
        self._state = state

    def assign(self, device: str, hardware: str, release: KnownRelease, now: datetime) -> None:
        """Sign that `device` runs `release`. Raises `RoskvaError`."""
        target = DirectorTarget(
            release.target_path, release.digest, release.size_bytes, release.manifest.counter
        )
        with _as_ours(f"the Director metadata of {device}"):
            self._director().assign(device, hardware, target, now)

    def refresh(self, device: str, now: datetime) -> None:
        """Sign the device's metadata anew, an empty order where it has none. Raises `RoskvaError`."""
        with _as_ours(f"the Director metadata of {device}"):
            self._director().refresh(device, now)

    def refresh_image(self, now: datetime) -> None:
        """Renew the Image repository's snapshot and timestamp where it is time. Raises `RoskvaError`."""
        with _as_ours("the Image metadata"):
            ImageRepository.open(self._repo, self._keys).refresh_online(now)

    def _director(self) -> DirectorRepository:
        path = self._repo / "trust" / DIRECTOR_ROOT_NAME
        try:
            root = path.read_bytes()
        except OSError as error:
            raise UnknownObjectError(f"the repository has no {path.name}: publish a release first") from error
        return DirectorRepository(self._state, self._keys, root)


@contextmanager
def _as_ours(what: str) -> Iterator[None]:
    """What the disk or TUF says, as ours. Damaged metadata is never replaced: devices refuse versions that go back."""
    try:
        yield
    except OSError as error:
        raise NotNowError(f"cannot write {what}: {error.strerror}") from error
    except RepositoryError as error:
        raise MetadataError(f"{what} is damaged, restore it from a backup: {error}") from error
