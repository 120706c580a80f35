"""Fetching a release into a slot: a windowed pull that goes on where it was, whatever happened.

Owns: the chunks of a release, and the loop of asking, checking, writing in place and syncing.
A chunk is written only after its digest held, and counted only after a sync; syncs are batched, one a window.
Must not know: MQTT, how the release was admitted, what the slot is for.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.ports import Clock
from agent.update.depot import Answer, Depot, Questions
from agent.update.slots import StagedFile, StagedSlot, Staging
from agent.update.window import Chunk, FetchLimits, FetchWindow
from models.digest import Digest, digest_from_text
from models.errors import MalformedError, NotNowError, TransferError
from models.release.manifest import MANIFEST_NAME, SIGNATURE_NAME, ReleaseFile, ReleaseManifest
from models.wire.messages import MAX_RANGE_BYTES, RangeRequest

_POLL_S = 0.5
"""How soon a stop is noticed while nothing arrives."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class WantedRelease:
    """What a slot is to hold: `release.json`, which is here already, the signature, and the manifest's files."""

    digest: Digest
    manifest: ReleaseManifest
    manifest_bytes: bytes
    signature_digest: Digest
    signature_size_bytes: int

    def files(self) -> tuple[StagedFile, ...]:
        """The files in order; the first is `release.json`, in one chunk."""
        own = StagedFile(MANIFEST_NAME, len(self.manifest_bytes), 1)
        signature = StagedFile(SIGNATURE_NAME, self.signature_size_bytes, 1)
        named = (StagedFile(file.path, file.size_bytes, len(file.chunks)) for file in self.manifest.files)
        return (own, signature, *named)

    def chunks(self) -> tuple[Chunk, ...]:
        """Every chunk but `release.json`. Raises `MalformedError` where one is larger than a request may be."""
        size_bytes = self.signature_size_bytes
        found = [Chunk(1, 0, 0, size_bytes, self.signature_digest, self.signature_digest)]
        for number, file in enumerate(self.manifest.files, start=2):
            found += _chunks_of(number, file)
        if max(chunk.length_bytes for chunk in found) > MAX_RANGE_BYTES:
            raise MalformedError(f"release {self.digest} has chunks of more than {MAX_RANGE_BYTES} bytes")
        return tuple(found)

    @property
    def size_bytes(self) -> int:
        """Bytes to fetch in all."""
        return self.signature_size_bytes + self.manifest.size_bytes


@dataclass(frozen=True, slots=True)
class FetchWorld:
    """What a fetch works with: depot, clock, limits, an order to stop, who wants to know."""

    depot: Depot
    clock: Clock
    limits: FetchLimits
    stopping: threading.Event = field(default_factory=threading.Event)
    progress: Progress = lambda _done, _total: None
    draw: random.Random = field(default_factory=random.Random)


def fetch(wanted: WantedRelease, staging: Staging, world: FetchWorld) -> StagedSlot:
    """Bring everything that `staging` misses into place, and return the complete slot.

    Raises:
        TransferError: no broker, no depot, too slow, or told to stop; what has arrived is durable.
        DigestMismatchError: somebody answers with other bytes than were signed for.
        NoSpaceError: the disk is full after all.
    """
    run = _Run(wanted, staging, world)
    try:
        with world.depot.questions(capacity=4 * world.limits.window) as series:
            run.loop(series)
    except NotNowError:
        staging.make_durable()
        raise
    return staging.complete()


class _Run:
    """One call of `fetch`."""

    def __init__(self, wanted: WantedRelease, staging: Staging, world: FetchWorld) -> None:
        self._staging, self._world = staging, world
        if (0, 0) not in staging.durable:
            staging.write(0, 0, 0, wanted.manifest_bytes)
        chunks = wanted.chunks()
        missing = [chunk for chunk in chunks if (chunk.file, chunk.index) not in staging.durable]
        self._total = wanted.size_bytes
        self._done = self._total - sum(chunk.length_bytes for chunk in missing)
        self._window = FetchWindow(missing, world.limits, world.draw, world.clock.mono_ns())

    def loop(self, series: Questions) -> None:
        self._world.progress(self._done, self._total)
        while not self._window.done:
            if self._world.stopping.is_set():
                raise TransferError("the fetch was told to stop; it goes on later where it was")
            self._window.expire(self._world.clock.mono_ns())
            self._fill(series)
            self._take_in(series)
        self._world.progress(self._done, self._total)

    def _fill(self, series: Questions) -> None:
        """Ask until the window is full; where nothing can be sent, wait a little for the connection."""
        while chunk := self._window.take(now_ns := self._world.clock.mono_ns()):
            try:
                request = series.ask(RangeRequest(chunk.content, chunk.offset_bytes, chunk.length_bytes))
            except TransferError:
                self._window.unsent(chunk)
                self._world.stopping.wait(_POLL_S if self._window.in_flight == 0 else 0)
                return
            self._window.sent(request, chunk, now_ns)

    def _take_in(self, series: Questions) -> None:
        """Store what has arrived; sync once a window of it is there, after the window is full again."""
        wait_s = min(self._window.wait_ns(self._world.clock.mono_ns()) / 1e9, _POLL_S)
        answer = series.next(wait_s)
        while answer is not None:
            self._store(answer)
            if self._staging.undurable >= self._world.limits.window:
                self._fill(series)
                self._staging.make_durable()
                self._world.progress(self._done, self._total)
                return
            answer = series.next(0)

    def _store(self, answer: Answer) -> None:
        now_ns = self._world.clock.mono_ns()
        if not isinstance(answer.content, bytes):
            self._window.refused(answer.id, answer.content, now_ns)
            return
        chunk = self._window.arrived(answer.id, answer.content, now_ns)
        if chunk is not None:
            self._staging.write(chunk.file, chunk.index, chunk.offset_bytes, answer.content)
            self._done += chunk.length_bytes


def _chunks_of(number: int, file: ReleaseFile) -> list[Chunk]:
    content = digest_from_text(file.digest)
    return [
        Chunk(
            number,
            index,
            index * file.chunk_bytes,
            min(file.chunk_bytes, file.size_bytes - index * file.chunk_bytes),
            digest_from_text(digest),
            content,
        )
        for index, digest in enumerate(file.chunks)
    ]
