"""A client of the fleet server's REST API, for command lines on other machines.

Owns: requests, size bounds, deadlines, and turning HTTP's failures into ours; also TUF's bytes over HTTP.
Must not know: what an answer is worth. Nothing from the server is believed here; `models` verifies it.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from models.digest import Digest
from models.errors import MalformedError, RoskvaError, TransferError, UnknownObjectError, UsageError
from models.wire.messages import DecisionRecord, Repository

API_PATH = "/api/v1"
TIMEOUT_S = 10.0
"""Without a byte."""
ANSWER_S = 60.0
"""For a whole answer, however it trickles."""
MAX_ANSWER_BYTES = 16 << 20

T = TypeVar("T")


class DecisionView(msgspec.Struct, frozen=True):
    """One decision in the server's store; `id` is `device:boot:sequence`."""

    id: str
    device: str
    boot: str
    record: DecisionRecord


class DeviceUseView(msgspec.Struct, frozen=True):
    """What one device did with one release, as the server counts it."""

    device: str
    release_digest: str
    decisions: int
    first_utc_ns: int
    last_utc_ns: int
    live_now: bool


class ReleaseReference(msgspec.Struct, frozen=True):
    """A release by its digest; name and version are the server's word."""

    digest: str
    name: str = ""
    version: str = ""


class DescentView(msgspec.Struct, frozen=True):
    """Releases that the server says descend from a digest, and the devices that ran them."""

    releases: tuple[ReleaseReference, ...] = ()
    devices: tuple[DeviceUseView, ...] = ()


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""


class ApiClient:
    """One fleet server. Every call raises `TransferError` where the server can't be reached or fails."""

    def __init__(
        self,
        url: str,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Talk to the server at `url`; opens nothing yet. `transport` replaces the network, in tests.

        Raises:
            UsageError: `url` is no address of a server.
        """
        self._url, self._now_s = _checked(url).rstrip("/"), now_s
        self._http = httpx.Client(base_url=self._url + API_PATH, timeout=timeout_s, transport=transport)

    def __enter__(self) -> Self:
        """Use as a context, which closes its connections."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._http.close()

    def decision(self, identity: str) -> DecisionView:
        """The decision `device:boot:sequence`. Raises `UnknownObjectError`."""
        return self._decoded(f"decisions/{_quoted(identity)}", DecisionView)

    def descent(self, digest: Digest) -> DescentView:
        """What descends from `digest`, for all that the server knows. Raises `UnknownObjectError`."""
        return self._decoded(f"lineage/checkpoints/{_quoted(digest)}", DescentView)

    def release_file(self, digest: Digest, path: str, max_bytes: int) -> bytes:
        """One of the small files of a release, as it is: `release.json`, `model.oms.sig`, `claims.jsonl`."""
        return self._bytes(f"releases/{_quoted(digest)}/files/{quote(path)}", max_bytes)

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """TUF metadata of the Image repository (a Director speaks to its own device only)."""
        if repository is not Repository.IMAGE:
            raise UnknownObjectError("the REST API serves the Image repository only")
        return self._bytes(f"image/metadata/{_quoted(name)}", max_bytes)

    def target(self, path: str, max_bytes: int) -> bytes:
        """A small TUF target of the Image repository."""
        return self._bytes(f"image/targets/{quote(path)}", max_bytes)

    def _decoded(self, path: str, kind: type[T]) -> T:
        data = self._bytes(path, MAX_ANSWER_BYTES)
        try:
            return msgspec.json.decode(data, type=kind, strict=True)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedError(f"the server's answer to {path}: {error}") from error

    def _bytes(self, path: str, max_bytes: int) -> bytes:
        try:
            with self._http.stream("GET", path) as answer:
                body = self._bounded(answer, path, max_bytes)
        except httpx.HTTPError as error:
            raise TransferError(f"{self._url} does not answer: {error or type(error).__name__}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise UnknownObjectError(f"{self._url} knows no {path}")
        if answer.status_code != httpx.codes.OK:
            raise _failure(path, answer.status_code, body)
        return body

    def _bounded(self, answer: httpx.Response, path: str, max_bytes: int) -> bytes:
        body, end_s = bytearray(), self._now_s() + ANSWER_S
        for block in answer.iter_bytes():
            body += block
            if len(body) > max_bytes:
                raise TransferError(
                    f"the answer to {path} is longer than the {max_bytes} bytes that are read"
                )
            if self._now_s() > end_s:
                raise TransferError(f"the answer to {path} takes more than {ANSWER_S:.0f} seconds")
        return bytes(body)


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"the server {url[:80]!r} is no address: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UsageError(f"the server {url[:80]!r} is no address; write for example http://localhost:8080")
    return url


def _failure(path: str, status: int, body: bytes) -> RoskvaError:
    try:
        detail = msgspec.json.decode(body, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        detail = ""
    if status == httpx.codes.BAD_REQUEST:
        return UsageError(detail or f"the server does not understand {path}")
    return TransferError(f"the server answered {status} to {path}: {detail[:200]}")


def _quoted(text: str) -> str:
    return quote(text, safe=":")
