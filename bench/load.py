"""A device that is kept busy with fetching, hashing and staging a large release.

Owns: how the release comes to be, the orders that have it fetched again and again, and what was done of it.
Must not know: what is measured meanwhile.

The release (`bench.large`) is recorded, built, signed, published and verified as any other. Then the operator withdraws its
publisher, and a device that is ordered to run it does all but the last: it admits it, fetches every chunk over MQTT, checks it,
writes it in place and syncs it, hashes the whole slot once more, and refuses it at the model signature. It empties the slot,
and nothing of the release is ever loaded. Another order in between lets it ask for the same again at once.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.large import write_large
from fleet.demo.journey import Journey
from fleet.demo.site import BuiltRelease, Site
from models.digest import Digest
from models.errors import ConfigurationError, ModelSignatureError, NotNowError
from models.trust.image import ImageRepository
from models.trust.keyset import KeyDirectory
from models.wire.messages import UpdatePhase, UpdateStatus

Figures = dict[str, object]
_MIB = 1 << 20
_COPIES = 5
_SEED = 1
_FOLDER, _LINE, _VERSION = "large", "large", "1.0.0-large"
_TURN_S = 4.0
"""An order is seen within a second or two; after this long without a fetch the other one is given."""
_REFUSED = "update-refused"
_BEGUN = "update-fetching"
_STAGED = "update-verifying"
_EVENTS = 1000


def check_room(folder: Path, size_bytes: int) -> None:
    """Raise `ConfigurationError` where the disk of `folder` has no room for checkpoint, release, repository and slot."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _COPIES * size_bytes:
        raise ConfigurationError(
            f"{free_bytes / _MIB:.0f} MiB are free in {folder.parent}; a load of {size_bytes / _MIB:.0f} MiB needs "
            f"{_COPIES} times its size (--load-mib makes it smaller, TMPDIR puts it elsewhere)"
        )


def build_large(site: Site, size_bytes: int, tell: Callable[[str], None]) -> BuiltRelease:
    """A published release of float32 weights of at least `size_bytes`; what it was made of is removed."""
    tell(f"a checkpoint of {size_bytes / _MIB:.0f} MiB")
    checkpoint = site.folder / _FOLDER
    write_large(site.checkpoint, checkpoint, size_bytes, _SEED)
    tell("its release: record, build, sign, publish, verify (minutes)")
    site.sign_for(checkpoint.name, f"random-weights-seed-{_SEED}")
    release = site.release_of(checkpoint.name, _LINE, "float32", _VERSION, 1)
    shutil.rmtree(checkpoint)
    shutil.rmtree(release.folder)
    return release


def withdraw_publisher(site: Site) -> None:
    """From now on nobody's model signature counts. What a device runs already, it goes on running."""
    repository = ImageRepository.open(site.repo, KeyDirectory(site.keys))
    repository.publish_policy(msgspec.structs.replace(repository.policy(), publishers=()))


class Event(NamedTuple):
    """Something that happened on the device, by its clock."""

    utc_ns: int
    kind: str
    detail: str


class Round(NamedTuple):
    """The release once: fetched and durable, then hashed as a whole and refused."""

    fetched_s: float
    hashed_s: float
    why: str


def rounds_from(events: Iterable[Event]) -> list[Round]:
    """The rounds that came to their end; a fetch that was put off in between counts from its first beginning."""
    found: list[Round] = []
    begun_ns = staged_ns = 0
    for event in sorted(events):
        if event.kind == _BEGUN:
            begun_ns = begun_ns or event.utc_ns
        elif event.kind == _STAGED:
            staged_ns = event.utc_ns
        elif event.kind == _REFUSED and begun_ns and staged_ns:
            found.append(Round((staged_ns - begun_ns) / 1e9, (event.utc_ns - staged_ns) / 1e9, event.detail))
            begun_ns = staged_ns = 0
    return found


def is_busy(events: Iterable[Event]) -> bool:
    """Whether a round is under way, one that was put off included: the device goes on with that by itself."""
    told = [event.kind for event in sorted(events) if event.kind in (_BEGUN, _REFUSED)]
    return told[-1:] == [_BEGUN]


@dataclass
class Turns:
    """Orders the two releases in turn for as long as the device is not busy."""

    large: Digest
    live: Digest
    _ordered: Digest | None = None
    _since_s: float = 0.0
    _was_busy: bool = False

    def next(self, busy: bool, now_s: float) -> Digest | None:
        """What to order now, None where there is nothing to."""
        ended, self._was_busy = self._was_busy and not busy, busy
        waited = self._ordered is None or now_s - self._since_s >= _TURN_S
        if busy or not (ended or waited):
            return None
        self._ordered = self.live if self._ordered == self.large else self.large
        self._since_s = now_s
        return self._ordered


@dataclass
class Load:
    """Keeps the one device of `journey`, which drives with `live`, busy with `release`: `begin`, then `look` often."""

    journey: Journey
    release: BuiltRelease
    live: Digest
    _events: set[Event] = field(default_factory=set)
    _status: UpdateStatus | None = None

    def begin(self) -> None:
        """What is told later is told from here on."""
        self._turns = Turns(self.release.digest, self.live)
        self._since_utc_ns = time.time_ns()
        self._before = self.journey.server.get("health")

    def look(self) -> None:
        """Note what was done, and order what is due. Raises `NotNowError` where the release was refused for another reason."""
        for event in self.journey.server.get(f"events?limit={_EVENTS}"):
            if event["release_digest"] == self.release.digest and event["utc_ns"] >= self._since_utc_ns:
                self._events.add(Event(event["utc_ns"], event["kind"], event["detail"]))
        others = [e for e in self._events if e.kind == _REFUSED and ModelSignatureError.code not in e.detail]
        if others:
            raise NotNowError(f"the large release was refused for another reason: {others[0].detail}")
        device = self.journey.server.devices()[0]
        self._status = device.state.update if device.state else None
        due = self._turns.next(is_busy(self._events), time.monotonic())
        if due is not None:
            self.journey.server.assign(device.id, due)

    @property
    def status(self) -> UpdateStatus | None:
        """What the device said last of its update."""
        return self._status

    @property
    def rounds(self) -> list[Round]:
        """Those that are over."""
        return rounds_from(self._events)

    def figures(self) -> Figures:
        """What was fetched and hashed, and what the server sent for it."""
        return figures(
            self.rounds,
            self.release.size_bytes,
            self._open_bytes() if is_busy(self._events) else 0,
            self._before,
            self.journey.server.get("health"),
        )

    def _open_bytes(self) -> int:
        """How much is here of the round under way."""
        status = self._status
        if status is None or status.release_digest != self.release.digest:
            return 0
        return status.bytes_done if status.phase in (UpdatePhase.FETCHING, UpdatePhase.VERIFYING) else 0


def figures(
    rounds: list[Round], size_bytes: int, open_bytes: int, before: dict[str, Any], after: dict[str, Any]
) -> Figures:
    """What is printed: rates over whole rounds; `before` and `after` are the server's own counts."""
    fetched_s, hashed_s = sum(one.fetched_s for one in rounds), sum(one.hashed_s for one in rounds)
    return {
        "release_bytes": size_bytes,
        "loads": len(rounds),
        "load_bytes": len(rounds) * size_bytes + open_bytes,
        "load_mib_per_s": _mib_per_s(len(rounds) * size_bytes, fetched_s),
        "hash_mib_per_s": _mib_per_s(len(rounds) * size_bytes, hashed_s),
        "load_sent_bytes": after["content_sent_bytes"] - before["content_sent_bytes"],
    }


def _mib_per_s(size_bytes: int, seconds: float) -> float | None:
    return round(size_bytes / _MIB / seconds, 1) if seconds > 0 else None
