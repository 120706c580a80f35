"""Where metadata comes from: the port, and the source that is a folder on this machine.

Owns: what a source must do, and reading a repository's files within bounds.
Must not know: TUF; nothing that a source returns is believed by anyone.
"""

import re
from pathlib import Path
from typing import Protocol

from models.errors import HostileNameError, TransferError, UnknownObjectError
from models.release.names import check_name
from models.wire.messages import Repository

_METADATA_NAME = re.compile(r"[0-9]{1,9}\.(root|targets|release|policy|snapshot)\.json|timestamp\.json")


class MetadataSource(Protocol):
    """Fetches small objects of the two repositories."""

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """The file `name`, for example `2.root.json`; a source need not fetch more than `max_bytes`.

        Raises:
            UnknownObjectError: the repository answers that there is none. Not for silence.
            TransferError: no answer.
        """
        ...

    def target(self, path: str, max_bytes: int) -> bytes:
        """The target of the Image repository at the prefixed `path`; raises as `metadata`."""
        ...


class FolderSource:
    """The files of an Image repository, and of one device's Director metadata where there is some."""

    def __init__(self, repo: Path, director_metadata: Path | None = None) -> None:
        """Read below `repo`; `director_metadata` as `DirectorRepository.metadata_of` gives it."""
        self._targets = repo / "image" / "targets"
        self._folders = {Repository.IMAGE: repo / "image" / "metadata"}
        if director_metadata is not None:
            self._folders[Repository.DIRECTOR] = director_metadata

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """As `MetadataSource.metadata`."""
        folder = self._folders.get(repository)
        if folder is None or not _METADATA_NAME.fullmatch(name):
            raise UnknownObjectError(f"no {name[:80]!r} in the {repository} repository")
        return _read(folder / name, max_bytes)

    def target(self, path: str, max_bytes: int) -> bytes:
        """As `MetadataSource.target`."""
        try:
            check_name(path)
        except HostileNameError as error:
            raise UnknownObjectError(f"no target {path[:80]!r}") from error
        return _read(self._targets / path, max_bytes)


class RecordedSource:
    """Another source whose answers are kept, so that the same question has the same answer again."""

    def __init__(self, source: MetadataSource) -> None:
        """Record what `source` answers."""
        self._source = source
        self._answers: dict[tuple[Repository, str], bytes | UnknownObjectError] = {}

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """As `MetadataSource.metadata`."""
        if (repository, name) not in self._answers:
            self._answers[repository, name] = self._ask(repository, name, max_bytes)
        answer = self._answers[repository, name]
        if isinstance(answer, UnknownObjectError):
            raise answer
        return answer

    def target(self, path: str, max_bytes: int) -> bytes:
        """As `MetadataSource.target`; not recorded."""
        return self._source.target(path, max_bytes)

    def _ask(self, repository: Repository, name: str, max_bytes: int) -> bytes | UnknownObjectError:
        try:
            return self._source.metadata(repository, name, max_bytes)
        except UnknownObjectError as error:
            return error


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than asked, so that the reader sees that there is too much.
            return file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UnknownObjectError(f"no {path.name[:80]!r} here") from error
    except OSError as error:
        raise TransferError(f"{path.name[:80]!r} cannot be read ({error.strerror})") from error
