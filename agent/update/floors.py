"""What this device never goes below: the counter of the releases it has proven, and the latest time it has seen.

Owns: `trust/floors.json` and `trust/builders.json`, written by rename after a sync. The floors stand outside
the TUF caches, so that a lost or damaged cache does not lower them.
Must not know: how counters and times are checked.
"""

import msgspec

from agent.ports import Disk
from models.errors import MalformedError

FLOORS = "trust/floors.json"
BUILDERS = "trust/builders.json"
_TIME_STEP_NS = 3600 * 1_000_000_000
"""The time floor is written once an hour at most: flash wears."""


class Floors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`counter` of the newest release that passed its trial here, `utc_ns` of the latest time seen."""

    counter: int = 0
    utc_ns: int = 0


class FloorStore:
    """The only writer of both files."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        disk.make_directory("trust")
        disk.sync_directory("")

    def read(self) -> Floors:
        """The floors. Raises `MalformedError` where the file is damaged: then nothing new is admitted."""
        try:
            return msgspec.json.decode(self._disk.read(FLOORS), type=Floors, strict=True)
        except FileNotFoundError:
            return Floors()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedError(f"{FLOORS}: {error}; no release is admitted until it is repaired") from error

    def raise_counter(self, counter: int) -> None:
        """Never accept a lower counter again."""
        floors = self.read()
        if counter > floors.counter:
            self._write(FLOORS, msgspec.json.encode(msgspec.structs.replace(floors, counter=counter)))

    def trusted_utc_ns(self, clock_utc_ns: int) -> int:
        """The clock's time, or the floor where the clock was set back; raises the floor now and then."""
        floors = self.read()
        if clock_utc_ns > floors.utc_ns + _TIME_STEP_NS:
            self._write(FLOORS, msgspec.json.encode(msgspec.structs.replace(floors, utc_ns=clock_utc_ns)))
        return max(clock_utc_ns, floors.utc_ns)

    def store_builders(self, policy_bytes: bytes) -> None:
        """Keep the trust policy that the staged release was verified by, for whoever loads it."""
        if not self._disk.exists(BUILDERS) or self._disk.read(BUILDERS) != policy_bytes:
            self._write(BUILDERS, policy_bytes)

    def _write(self, name: str, data: bytes) -> None:
        fresh = f"{name}.new"
        self._disk.remove(fresh)
        self._disk.write_at(fresh, 0, data)
        self._disk.sync(fresh)
        self._disk.rename(fresh, name)
        self._disk.sync_directory("trust")
