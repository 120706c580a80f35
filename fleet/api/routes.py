"""The REST interface under /api/v1.

Owns: paths, parameters, who may change things. Must not know: how answers are found (`Desk`).
Reading is open to whoever reaches the port (loopback unless configured otherwise); an order needs the token.
"""

import secrets
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from fleet.api import views
from fleet.api.answers import answer, raw, shows, shows_bytes, takes
from fleet.api.desk import Desk
from fleet.errors import UnauthorisedError
from models.errors import MalformedMessageError, UnknownObjectError

MAX_BODY_BYTES = 64 << 10
_Limit = Annotated[int, Query(description="1 to 1000")]
V = TypeVar("V", bound=views.View)


def make_router(desk: Desk, health: Callable[[], views.HealthView], token: str) -> APIRouter:
    """All routes."""
    router = APIRouter(prefix="/api/v1")
    _add_fleet(router, desk, health)
    _add_releases(router, desk)
    _add_decisions(router, desk)
    _add_orders(router, desk, token)
    _add_envelopes(router, desk, token)

    @router.get("/{path:path}", include_in_schema=False)
    def get_nothing(path: str) -> Response:
        raise UnknownObjectError(f"no such request: {path[:80]!r}; /docs lists them")

    return router


def _add_fleet(router: APIRouter, desk: Desk, health: Callable[[], views.HealthView]) -> None:
    @router.get("/health", responses=shows(views.HealthView))
    def get_health() -> Response:
        """Whether the server does its work, and what it has done since its start."""
        return answer(health())

    @router.get("/devices", responses=shows(views.DeviceView, many=True))
    def get_devices() -> Response:
        """All devices that were ever seen, by name."""
        return answer(desk.devices())

    @router.get("/devices/{device}", responses=shows(views.DeviceView))
    def get_device(device: str) -> Response:
        """One device."""
        return answer(desk.device(device))

    @router.get("/events", responses=shows(views.EventView, many=True))
    def get_events(device: str = "", limit: _Limit = 100) -> Response:
        """What happened on devices, newest first."""
        return answer(desk.events(device, limit))

    @router.get("/rejected", responses=shows(views.RejectionView, many=True))
    def get_rejected() -> Response:
        """The last messages that could not be read, newest first."""
        return answer(desk.rejections())


def _add_releases(router: APIRouter, desk: Desk) -> None:
    @router.get("/releases", responses=shows(views.ReleaseView, many=True))
    def get_releases() -> Response:
        """All published releases, highest counter first."""
        return answer(desk.releases())

    @router.get("/releases/{digest}", responses=shows(views.ReleaseView))
    def get_release(digest: str) -> Response:
        """One release by its digest."""
        return answer(desk.release(digest))

    @router.get("/releases/{digest}/energy", responses=shows(views.ReleaseEnergyView))
    def get_release_energy(digest: str) -> Response:
        """The joules that this release's decisions took, by device."""
        return answer(desk.release_energy(digest))

    @router.get("/releases/{digest}/files/{path}", responses=shows_bytes("The file as published."))
    def get_release_file(digest: str, path: str) -> Response:
        """`release.json`, `model.oms.sig` or `claims.jsonl`, for whoever verifies them."""
        return raw(desk.release_file(digest, path))

    @router.get("/image/metadata/{name}", responses=shows_bytes("TUF metadata as published."))
    def get_image_metadata(name: str) -> Response:
        """A metadata file of the Image repository."""
        return raw(desk.image_metadata(name))

    @router.get("/image/targets/{path:path}", responses=shows_bytes("The target as published."))
    def get_image_target(path: str) -> Response:
        """A target of the Image repository."""
        return raw(desk.image_target(path))


def _add_decisions(router: APIRouter, desk: Desk) -> None:
    @router.get("/decisions", responses=shows(views.DecisionView, many=True))
    def get_decisions(device: str = "", release: str = "", limit: _Limit = 100) -> Response:
        """The latest decisions, newest first."""
        return answer(desk.decisions(device, release, limit))

    @router.get("/decisions/{identity}", responses=shows(views.DecisionView))
    def get_decision(identity: str) -> Response:
        """The decision named `device:boot:sequence`."""
        return answer(desk.decision(identity))

    @router.get("/lineage/checkpoints/{digest}", responses=shows(views.LineageView))
    def get_lineage(digest: str) -> Response:
        """Releases that descend from a checkpoint, dataset or other parent, and the devices that drove with them."""
        return answer(desk.lineage(digest))


def _add_orders(router: APIRouter, desk: Desk, token: str) -> None:
    @router.get("/assignments", responses=shows(views.AssignmentView, many=True))
    def get_assignments(limit: _Limit = 100) -> Response:
        """The latest orders, newest first."""
        return answer(desk.assignments(limit))

    @router.post(
        "/assignments",
        status_code=201,
        responses=shows(views.AssignmentView, status=201),
        openapi_extra=takes(views.AssignmentRequest),
    )
    async def post_assignment(request: Request) -> Response:
        """Order that a device runs a release; needs the operator's token."""
        check_token(request.headers.get("authorization", ""), token)
        wanted = _decoded(await _read_body(request), views.AssignmentRequest)
        return answer(await run_in_threadpool(desk.assign, wanted), status=201)


def _add_envelopes(router: APIRouter, desk: Desk, token: str) -> None:
    @router.get("/envelopes", responses=shows(views.EnvelopeView, many=True))
    def get_envelopes(limit: _Limit = 100) -> Response:
        """The latest envelope orders, newest first."""
        return answer(desk.envelope_orders(limit))

    @router.post(
        "/envelopes",
        status_code=201,
        responses=shows(views.EnvelopeView, many=True, status=201),
        openapi_extra=takes(views.EnvelopeRequest),
    )
    async def post_envelope(request: Request) -> Response:
        """Order how many watts devices may take at most; needs the operator's token."""
        check_token(request.headers.get("authorization", ""), token)
        wanted = _decoded(await _read_body(request), views.EnvelopeRequest)
        return answer(await run_in_threadpool(desk.order_envelope, wanted), status=201)


def check_token(header: str, token: str) -> None:
    """Raise `UnauthorisedError` unless `header` is `Bearer <token>`; compares in constant time."""
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), token.encode()):
        raise UnauthorisedError("an order needs the operator's token: Authorization: Bearer <operator.token>")


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise MalformedMessageError(f"a body above {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _decoded(body: bytes, kind: type[V]) -> V:
    try:
        return msgspec.json.decode(body, type=kind, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessageError(f"{kind.__name__}: {error}") from error
