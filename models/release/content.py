"""What a loader needs of a release: its identity, its manifest, the bytes of a role.

Owns: the port `ReleaseContent`, which `models.release.verify.VerifiedRelease` fulfils.
Must not know: where the bytes lie or how they were verified.
"""

from typing import Protocol

from models.digest import Digest
from models.release.manifest import ReleaseManifest


class ReleaseContent(Protocol):
    """A release whose bytes may be believed."""

    @property
    def digest(self) -> Digest:
        """Identity of the release."""
        ...

    @property
    def manifest(self) -> ReleaseManifest:
        """What `release.json` says."""
        ...

    def read(self, role: str) -> bytes:
        """The bytes of the one file of `role`."""
        ...
