"""A fleet server's REST API on loopback, over the files of a `Site`; it serves what it is told to, true or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

import msgspec

from models.digest import Digest, hex_of
from models.errors import UnknownObjectError
from models.release.manifest import SIGNATURE_NAME, ReleaseManifest, manifest_from_bytes
from models.wire.messages import DecisionRecord, Repository
from tests.fakes.repositories import Site

_PREFIX = "/api/v1/"
_MAX_BYTES = 1 << 24


def decision_record(
    release: Digest, sequence: int = 7, reasoning: str = "red light ahead, stop"
) -> DecisionRecord:
    """A decision that drove ten ticks."""
    return DecisionRecord(
        sequence=sequence,
        release_digest=release,
        observed_utc_ns=1_763_900_000_000_000_000,
        latency_ns=41_500_000,
        visual_ns=9_000_000,
        reason_ns=20_000_000,
        action_ns=12_000_000,
        tokens=6,
        reasoning=reasoning,
        plan=((-1.25, 0.001),) * 4,
        flow_steps=4,
        seed=1,
        ticks=10,
        first_tick_utc_ns=1_763_900_000_050_000_000,
        applied_acceleration_mps2=-1.25,
        applied_curvature_per_m=0.001,
        interventions=0,
        energy_j=4.2,
    )


@dataclass
class FakeFleetApi:
    """Answers by path below /api/v1; `lies` are served instead of the truth."""

    site: Site
    decisions: dict[str, DecisionRecord] = field(default_factory=dict)
    descent: dict[str, dict[str, Any]] = field(default_factory=dict)
    lies: dict[str, bytes] = field(default_factory=dict)

    def content(self, path: str) -> bytes:
        """The answer to a path. Raises `UnknownObjectError`."""
        if path in self.lies:
            return self.lies[path]
        kind, _, rest = path.partition("/")
        answers = {
            "decisions": self._decision,
            "lineage": self._descent,
            "releases": self._file,
            "image": self._image,
        }
        if kind not in answers:
            raise UnknownObjectError(path)
        return answers[kind](rest)

    def _decision(self, identity: str) -> bytes:
        if identity not in self.decisions:
            raise UnknownObjectError(identity)
        device, boot, _ = identity.split(":")
        return msgspec.json.encode(
            {"id": identity, "device": device, "boot": boot, "record": self.decisions[identity]}
        )

    def _descent(self, path: str) -> bytes:
        digest = path.removeprefix("checkpoints/")
        nothing: dict[str, Any] = {"digest": digest, "releases": [], "devices": []}
        return msgspec.json.encode(self.descent.get(digest, nothing))

    def _file(self, path: str) -> bytes:
        digest, _, name = path.partition("/files/")
        if name == SIGNATURE_NAME:
            [release] = [found for found in self.site.root.glob("releases/*") if _digest(found) == digest]
            return (release / name).read_bytes()
        return self._stored(self._manifest(digest).file_of("claims").digest)

    def _manifest(self, digest: str) -> ReleaseManifest:
        [path] = self.site.repo.glob(
            f"image/targets/releases/*/*/{digest.removeprefix('sha256:')}.release.json"
        )
        return manifest_from_bytes(path.read_bytes())[0]

    def _stored(self, digest: str) -> bytes:
        return (self.site.repo / "content" / hex_of(Digest(digest))).read_bytes()

    def _image(self, path: str) -> bytes:
        kind, _, name = path.partition("/")
        source = self.site.source("nobody")
        if kind == "metadata":
            return source.metadata(Repository.IMAGE, name, _MAX_BYTES)
        return source.target(name, _MAX_BYTES)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The address of a server on a free port of loopback, for as long as the context lasts."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _digest(release: Any) -> str:
    return manifest_from_bytes((release / "release.json").read_bytes())[1]


def _handler_for(api: FakeFleetApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                status, body = 200, api.content(unquote(self.path).removeprefix(_PREFIX))
            except UnknownObjectError as error:
                status, body = 404, msgspec.json.encode({"code": "unknown", "detail": str(error)})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    return Handler
