"""The other side of the depot for tests: releases that are only bytes, and a responder that serves and misbehaves."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.ports import Inbound
from agent.update.fetch import WantedRelease
from models.contract import EgoHistorySpec, PolicyContract, ReasoningSpec, UnicycleActions
from models.digest import Digest, digest_of
from models.errors import UnknownObjectError
from models.release.manifest import ReleaseFile, ReleaseLimits, ReleaseManifest, bytes_from_manifest
from models.wire.messages import (
    ContentRequest,
    MetadataRequest,
    RangeRequest,
    Refusal,
    RefusalCode,
    Repository,
    TargetRequest,
    decode,
    encode,
)
from models.wire.topics import Channel, address_from_topic, topic

CONTRACT = PolicyContract(
    name="test",
    cameras=(),
    ego_history=EgoHistorySpec(4, 0.1),
    instructions=("go",),
    reasoning=ReasoningSpec(("a", "b"), 0, 1, 4),
    action_space=UnicycleActions(2.0, 6.0, 0.2, 2.0, 0.1),
    horizon_steps=8,
    dt_s=0.1,
    flow_steps=4,
)
LIMITS = ReleaseLimits(100.0, 10.0, 3.0, 5.0, 0.01, 0.001, (40.0, 130.0))


@dataclass(frozen=True)
class PlainRelease:
    """A release nobody signed: enough for what fetches and stores."""

    wanted: WantedRelease
    contents: dict[Digest, bytes]


def plain_release(
    seed: int = 1, sizes: tuple[int, ...] = (300, 0, 129), chunk_bytes: int = 64
) -> PlainRelease:
    """A release of files of these sizes, with content drawn from `seed`."""
    draw = random.Random(seed)
    signature = draw.randbytes(50)
    contents = {digest_of(signature): signature}
    files = []
    for number, size in enumerate(sizes):
        data = draw.randbytes(size)
        contents[digest_of(data)] = data
        chunks = tuple(digest_of(data[at : at + chunk_bytes]) for at in range(0, size, chunk_bytes))
        files.append(ReleaseFile(f"model/part{number}", "visual", size, digest_of(data), chunk_bytes, chunks))
    blank = digest_of(b"")
    manifest = ReleaseManifest(
        name="test",
        version=f"1.0.{seed}",
        counter=seed,
        hardware=("thor-t5000",),
        precision="fp32",
        contract=CONTRACT,
        limits=LIMITS,
        files=tuple(files),
        model_digest=blank,
        checkpoint_digest=blank,
        ancestors=(blank,),
        created_utc="2026-01-01T00:00:00Z",
    )
    data = bytes_from_manifest(manifest)
    return PlainRelease(
        WantedRelease(digest_of(data), manifest, data, digest_of(signature), len(signature)), contents
    )


class Store:
    """Where a responder looks things up; tests make others."""

    def metadata(self, repository: Repository, name: str, device: str) -> bytes:
        raise UnknownObjectError(name)

    def target(self, path: str) -> bytes:
        raise UnknownObjectError(path)

    def content(self, digest: Digest) -> bytes:
        raise UnknownObjectError(digest)


@dataclass
class PlainStore(Store):
    contents: dict[Digest, bytes]

    def content(self, digest: Digest) -> bytes:
        if digest not in self.contents:
            raise UnknownObjectError(digest)
        return self.contents[digest]


@dataclass
class DepotResponder:
    """Answers requests through `publish`. `mangle` may change an answer; None swallows it."""

    store: Store
    publish: Callable[[str, bytes], None]
    mangle: Callable[[RangeRequest, bytes], bytes | Refusal | None] = lambda _ask, data: data
    ranges: list[RangeRequest] = field(default_factory=list)
    timestamps: int = 0
    """How often the Director's timestamp was asked for: once an admission."""

    @property
    def bytes_served(self) -> int:
        return sum(ask.length_bytes for ask in self.ranges)

    def hear(self, message: Inbound) -> None:
        """Take in whatever is on the broker; answer what is a request."""
        address = address_from_topic(message.topic)
        if address.channel is not Channel.REQUEST:
            return
        request = decode(message.payload, ContentRequest)
        content = self._content(request.ask, address.device)
        if content is None:
            return
        refused = isinstance(content, Refusal)
        channel = Channel.REFUSAL if refused else Channel.REPLY
        name = topic(address.fleet, address.device, channel, request.id)
        self.publish(name, encode(content) if isinstance(content, Refusal) else content)

    def _content(
        self, ask: MetadataRequest | TargetRequest | RangeRequest, device: str
    ) -> bytes | Refusal | None:
        try:
            if isinstance(ask, MetadataRequest):
                self.timestamps += (ask.repository, ask.name) == (Repository.DIRECTOR, "timestamp.json")
                return self.store.metadata(ask.repository, ask.name, device)
            if isinstance(ask, TargetRequest):
                return self.store.target(ask.path)
            data = self.store.content(Digest(ask.digest))
        except UnknownObjectError as error:
            return Refusal(RefusalCode.UNKNOWN, str(error))
        self.ranges.append(ask)
        return self.mangle(ask, data[ask.offset_bytes : ask.offset_bytes + ask.length_bytes])
