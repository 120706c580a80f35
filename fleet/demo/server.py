"""The demo's view of the fleet server: its REST API, as any client sees it.

Owns: the few requests that the demo makes. Must not know: the server's code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from models.digest import Digest
from models.errors import NotNowError
from models.wire.messages import ConnectionKind, DecisionRecord, DeviceState

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device as the server knows it."""

    id: str
    connection: ConnectionKind
    state: DeviceState | None


@dataclass(frozen=True, slots=True)
class SeenDecision:
    """One decision in the server's store."""

    id: str
    device: str
    record: DecisionRecord


@dataclass(frozen=True, slots=True)
class Server:
    """A client of one fleet server."""

    url: str
    client: httpx.Client

    @classmethod
    def connect(cls, url: str, token_file: Path) -> "Server":
        """A client with the operator's token."""
        headers = {"Authorization": f"Bearer {token_file.read_text().strip()}"}
        return cls(url, httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=_TIMEOUT_S))

    def devices(self) -> list[DeviceStatus]:
        """All devices, by id."""
        return [_device(entry) for entry in self._get("devices")]

    def assign(self, device: str, digest: Digest) -> None:
        """Order `device` to run the release."""
        wanted = {"device": device, "release_digest": digest}
        try:
            answer = self.client.post("assignments", json=wanted)
        except httpx.HTTPError as error:
            raise NotNowError(f"the server does not answer assignments: {error}") from error
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise NotNowError(f"the server refused the assignment of {device}: {answer.text[:300]}")

    def decisions(self, device: str = "", release: str = "", limit: int = 100) -> list[SeenDecision]:
        """The latest decisions, newest first."""
        query = (
            {"limit": str(limit)}
            | ({"device": device} if device else {})
            | ({"release": release} if release else {})
        )
        return [
            SeenDecision(e["id"], e["device"], msgspec.convert(e["record"], DecisionRecord))
            for e in self._get("decisions", query)
        ]

    def get(self, path: str) -> Any:
        """Any other answer, as JSON."""
        return self._get(path)

    def _get(self, path: str, query: dict[str, str] | None = None) -> Any:
        try:
            answer = self.client.get(path, params=query)
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise NotNowError(f"the server does not answer {path}: {error}") from error


def _device(entry: dict[str, Any]) -> DeviceStatus:
    state = entry.get("state")
    return DeviceStatus(
        entry["device"],
        ConnectionKind(entry["connection"]),
        msgspec.convert(state, DeviceState) if state else None,
    )
