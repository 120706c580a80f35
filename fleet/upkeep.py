"""Upkeep: what the server does by itself, every few seconds, in one thread.

Owns: the order of the rounds: new releases, changed devices, greetings, the Director's refresh,
envelope orders that are not kept yet.
Must not know: how each is done.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fleet.catalogue import Catalogue
from fleet.director import Director
from fleet.envelopes import Envelopes
from fleet.lineage import ancestry
from fleet.ports import Clock, InventoryStore
from fleet.registry import Registry
from models.errors import RoskvaError

ROUND_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpkeepParts:
    """What upkeep looks after."""

    catalogue: Catalogue
    registry: Registry
    director: Director
    envelopes: Envelopes
    store: InventoryStore
    clock: Clock


class Upkeep:
    """One thread in `run`."""

    def __init__(self, parts: UpkeepParts) -> None:
        self._parts = parts
        self._changed = threading.Condition()
        self._greetings: dict[str, None] = {}
        self._kept: set[str] = set()
        self._closing = False

    def greet(self, device: str) -> None:
        """A device came online; it is greeted at once, in upkeep's own thread."""
        with self._changed:
            self._greetings[device] = None
            self._changed.notify()

    def run(self) -> None:
        """Until `close`; a round that fails is logged and comes again."""
        while not self._closing:
            greetings = self._await_round()
            for step in (
                self.look_for_releases,
                self._keep_devices,
                self._parts.director.refresh_due,
                self._parts.envelopes.remind,
            ):
                _attempt(step)
            for device in greetings:
                _attempt(partial(self._parts.director.greet, device))

    def close(self) -> None:
        """End `run` after one last round."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _await_round(self) -> tuple[str, ...]:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._greetings, ROUND_S)
            greetings, self._greetings = tuple(self._greetings), {}
            return greetings

    def look_for_releases(self) -> None:
        """Find new releases and keep them with their ancestry."""
        self._parts.catalogue.refresh()
        for release in self._parts.catalogue.releases():
            if release.digest not in self._kept:
                self._parts.store.put_release(release, ancestry(release), self._parts.clock.utc_ns())
                self._kept.add(release.digest)

    def _keep_devices(self) -> None:
        if not (changed := self._parts.registry.drain_changed()):
            return
        try:
            self._parts.store.put_devices(changed)
        except RoskvaError:
            self._parts.registry.mark_changed(device.device for device in changed)
            raise


def _attempt(step: Callable[[], None]) -> None:
    try:
        step()
    except RoskvaError as error:
        _log.warning("upkeep: %s", error)
