"""Small targets that came and held, so that the same order, asked about again, costs no transfer.

A release may be refused for what its `release.json` says, and stay ordered for weeks: the device asks every few
minutes, and whoever is at the broker can make it ask every second.

Owns: the few bytes that are kept, and the proof that they are what their name says.
Must not know: MQTT, releases, whether what they say is to be believed (TUF's metadata is asked for each time).
"""

from models.digest import digest_of, hex_of
from models.trust.admit import MetadataSource
from models.wire.messages import Repository

_KEPT = 2
"""`release.json` and the trust policy of one order."""


class RememberedTargets:
    """Another source, of whose targets the latest two are kept; implements `models.trust.admit.MetadataSource`."""

    def __init__(self, source: MetadataSource) -> None:
        """Remember what `source` answers."""
        self._source = source
        self._kept: dict[str, bytes] = {}

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """As `MetadataSource.metadata`; never remembered, since what is fresh is the question."""
        return self._source.metadata(repository, name, max_bytes)

    def target(self, path: str, max_bytes: int) -> bytes:
        """As `MetadataSource.target`. A prefixed path names its content; what does not have that digest is not kept."""
        data = self._kept.pop(path, None)
        if data is None or len(data) > max_bytes:
            data = self._source.target(path, max_bytes)
        if path.rpartition("/")[2].startswith(f"{hex_of(digest_of(data))}."):
            self._kept[path] = data
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return data
