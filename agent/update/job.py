"""The update under way: what is known of it, and how that is told.

Owns: the facts that one step of the machine leaves for the next, and the sentence for a refusal.
Must not know: how steps are done.
"""

from dataclasses import dataclass

from agent.update.machine import On
from agent.update.slots import Slot, StagedSlot
from models.digest import Digest, digest_of
from models.errors import NotNowError, RoskvaError
from models.release.manifest import ReleaseManifest
from models.trust.admit import AdmittedRelease
from models.wire.messages import UpdatePhase, UpdateStatus


@dataclass(slots=True)
class Job:
    """Facts, in the order in which they become known."""

    digest: Digest | None = None
    admitted: AdmittedRelease | None = None
    staged: StagedSlot | None = None
    manifest: ReleaseManifest | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    reason: str = ""
    detail: str = ""
    shadow: str = ""
    """How its plans in shadow differed from those driven on, in words."""

    @property
    def slot(self) -> Slot:
        """The slot that the candidate is in."""
        assert self.staged is not None
        return self.staged.slot

    @property
    def order(self) -> str:
        """What names the order that was admitted: the release, and the keys that it is to be verified by."""
        assert self.admitted is not None
        return f"{self.admitted.digest} {digest_of(self.admitted.policy_bytes)}"

    def blame(self, error: Exception) -> On:
        """Note why it did not work; refused, or only not now."""
        if isinstance(error, RoskvaError):
            self.reason, self.detail = error.code, str(error)
            return On.NOT_NOW if isinstance(error, NotNowError) else On.REFUSED
        self.reason, self.detail = "disk", str(error)
        return On.NOT_NOW

    def status(self, phase: UpdatePhase) -> UpdateStatus:
        """The wire's view."""
        return UpdateStatus(
            phase, self.digest or "", self.bytes_done, self.bytes_total, self.reason, self.detail[:160]
        )
