"""The depot: answers devices that ask for metadata, targets or ranges of content.

Owns: which asks are well-formed, and that a device gets only its own Director metadata.
Must not know: MQTT clients, where files lie. It carries no authority: devices verify all that it hands out.
"""

import logging
import re
from dataclasses import dataclass

from fleet.lanes import Lane, LaneLimits
from fleet.ports import Content, Publisher
from models.digest import digest_from_text
from models.errors import (
    HostileNameError,
    MalformedError,
    MalformedMessageError,
    NotNowError,
    RoskvaError,
    UnknownObjectError,
)
from models.wire.messages import (
    MAX_RANGE_BYTES,
    ContentRequest,
    MetadataRequest,
    RangeRequest,
    Refusal,
    RefusalCode,
    Repository,
    TargetRequest,
    encode,
)
from models.wire.topics import Channel, topic

LIMITS = LaneLimits(items=2048, size_bytes=8 << 20, items_per_sender=128)
_METADATA_NAME = re.compile(r"(?:[1-9][0-9]{0,8}\.)?(?:root|targets|release|policy|snapshot|timestamp)\.json")
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_COMPONENTS = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request with the device that sent it."""

    device: str
    request: ContentRequest


def answer(device: str, ask: MetadataRequest | TargetRequest | RangeRequest, content: Content) -> bytes:
    """The bytes that `device` asks for.

    Raises:
        UnknownObjectError: there is nothing of that name.
        MalformedMessageError: a hostile name, or a range that no content has.
        TransferError: the disk failed.
    """
    match ask:
        case MetadataRequest(Repository.IMAGE, name):
            return content.image_metadata(check_metadata_name(name))
        case MetadataRequest(_, name):
            return content.director_metadata(device, check_metadata_name(name))
        case TargetRequest(path):
            return content.target(check_path(path))
        case RangeRequest(digest, offset_bytes, length_bytes):
            if offset_bytes < 0 or not 0 < length_bytes <= MAX_RANGE_BYTES:
                raise MalformedMessageError(
                    f"a range of {length_bytes} bytes from {offset_bytes}; 1 to {MAX_RANGE_BYTES} may be asked for"
                )
            return content.content(digest_from_text(digest), offset_bytes, length_bytes)


def check_metadata_name(name: str) -> str:
    """`name`, where TUF has metadata of such a name. Raises `HostileNameError`."""
    if not _METADATA_NAME.fullmatch(name):
        raise HostileNameError(f"not a metadata file: {name[:80]!r}")
    return name


def check_path(path: str) -> str:
    """`path`, where it stays below the targets. Raises `HostileNameError`."""
    parts = path.split("/")
    if len(parts) > _MAX_COMPONENTS or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise HostileNameError(f"not a target path: {path[:80]!r}")
    return path


def refusal_of(error: RoskvaError) -> Refusal:
    """What the device is told; never more than the error's own sentence."""
    if isinstance(error, UnknownObjectError):
        return Refusal(RefusalCode.UNKNOWN, str(error)[:300])
    if isinstance(error, MalformedError):
        return Refusal(RefusalCode.MALFORMED, str(error)[:300])
    if isinstance(error, NotNowError):
        return Refusal(RefusalCode.BUSY, str(error)[:300])
    return Refusal(RefusalCode.FAILED, error.code)


class Depot:
    """The shell: a few threads that answer what waits, apart from ingest, so that a slow disk blocks nobody."""

    def __init__(self, fleet: str, content: Content, publisher: Publisher) -> None:
        self._fleet = fleet
        self._content = content
        self._publisher = publisher
        self._lane: Lane[Ask] = Lane(LIMITS)
        self.sent_bytes = 0

    def offer(self, device: str, request: ContentRequest) -> None:
        """Queue a request; where too many wait, the device is told `busy` at once."""
        if not self._lane.offer(device, len(request.id) + 200, Ask(device, request)):
            self._refuse(device, request, Refusal(RefusalCode.BUSY, "too many requests wait"))

    def run(self) -> None:
        """Until `close`; run it in as many threads as the disk likes."""
        while (asks := self._lane.take()) is not None:
            for ask in asks:
                self._serve(ask)

    def close(self) -> None:
        """Answer what waits and end `run`."""
        self._lane.close()

    def _serve(self, ask: Ask) -> None:
        try:
            payload = answer(ask.device, ask.request.ask, self._content)
        except RoskvaError as error:
            self._refuse(ask.device, ask.request, refusal_of(error))
            return
        if self._publisher.publish(topic(self._fleet, ask.device, Channel.REPLY, ask.request.id), payload):
            self.sent_bytes += len(payload)

    def _refuse(self, device: str, request: ContentRequest, refusal: Refusal) -> None:
        _log.debug("%s %s: %s", device, request, refusal)
        self._publisher.publish(topic(self._fleet, device, Channel.REFUSAL, request.id), encode(refusal))
