"""The energy of releases in SQL, added up as decisions come.

Owns: which decisions count, and the sums. Must not know: transactions, batches.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, insert, select, update

from fleet.records import ReleaseEnergy
from fleet.store import tables
from models.wire.messages import DecisionRecord

MOST_J = 100_000.0
"""Of one decision: 130 W for almost 13 minutes. What says more is kept, and not added up."""


def energy_of(decisions: Iterable[tuple[str, DecisionRecord]]) -> list[ReleaseEnergy]:
    """The sums by device and release of those (device, decision) that drove and say what they took."""
    sums: dict[tuple[str, str], tuple[int, float]] = {}
    for device, decision in decisions:
        if 0.0 < decision.energy_j <= MOST_J and decision.ticks > 0:
            count, energy_j = sums.get((device, decision.release_digest), (0, 0.0))
            sums[device, decision.release_digest] = (count + 1, energy_j + decision.energy_j)
    return [ReleaseEnergy(*key, *value) for key, value in sums.items()]


def add_energy(connection: Connection, decisions: Iterable[tuple[str, DecisionRecord]]) -> None:
    """Add decisions that were not there before."""
    table = tables.release_energy
    for more in energy_of(decisions):
        same = (table.c.device == more.device) & (table.c.release_digest == more.release_digest)
        sums = {
            "decisions": table.c.decisions + more.decisions,
            "energy_j": table.c.energy_j + more.energy_j,
        }
        if not connection.execute(update(table).where(same).values(sums)).rowcount:
            key = {"device": more.device, "release_digest": more.release_digest}
            first = {"decisions": more.decisions, "energy_j": more.energy_j}
            connection.execute(insert(table).values(key | first))


def energy_with(connection: Connection, release_digest: str) -> tuple[ReleaseEnergy, ...]:
    """What each device took with a release, by device."""
    table = tables.release_energy
    wanted = select(table).where(table.c.release_digest == release_digest).order_by(table.c.device)
    return tuple(ReleaseEnergy(*row) for row in connection.execute(wanted))
