"""The boards of a change of release: what `manage` asks of `control`, what became of it, the update under way.

Owns: these records, their layouts and their file names; the table of all boards stands in `agent.board.records`.
Must not know: how boards are stored, when a release is changed.
"""

from enum import IntEnum
from typing import NamedTuple

from agent.board.layout import Layout


class CandidateState(IntEnum):
    """How far `control` is with the release that `manage` asked it to take over."""

    NONE = 0
    LOADING = 1
    READY = 2
    """Loaded, warmed, golden outputs reproduced, latency admitted; it takes over when told to go."""
    REFUSED = 3
    DRIVING = 4
    """It drives; the old one stays loaded until `manage` says keep or go back."""
    FAILED = 5
    """It broke its contract in the trial and the old one drives again."""
    SHADOW = 6
    """Between `LOADING` and `READY`: loaded, and decides in shadow until its latency is admitted."""


class PolicyRecord(NamedTuple):
    """Which worker drives, and the candidate. `request` echoes the number of the swap request that is served."""

    worker: int
    epoch: int
    digest: bytes
    driving: int
    request: int
    candidate: int
    candidate_digest: bytes
    restarts: int
    reason: bytes
    detail: bytes


POLICY = Layout("policy", PolicyRecord, "qq32sqqq32sq48s160s")


class SwapOrder(IntEnum):
    """What `manage` asks of `control`."""

    NONE = 0
    LOAD = 1
    """Load, warm and check this slot in the background, and let it decide in shadow until its latency is admitted."""
    GO = 2
    """The slot is durably live: let it drive from the next plan on."""
    KEEP = 3
    """The trial is passed: the old one may be unloaded."""
    RETURN = 4
    """Go back to the one before."""
    DROP = 5
    """Forget the candidate."""


class SwapRecord(NamedTuple):
    """A numbered order; `slot` is the name of the slot directory."""

    request: int
    order: int
    digest: bytes
    slot: bytes


SWAP = Layout("swap", SwapRecord, "qq32s16s")


class UpdateRecord(NamedTuple):
    """The update under way, for status: `phase` and `reason` as in `models.wire.messages.UpdateStatus`."""

    phase: bytes
    digest: bytes
    bytes_done: int
    bytes_total: int
    reason: bytes
    detail: bytes
    broker_connected: int


UPDATE = Layout("update", UpdateRecord, "16s32sqq48s160sq")

POLICY_BOARD = "policy.board"
SWAP_BOARD = "swap.board"
UPDATE_BOARD = "update.board"
