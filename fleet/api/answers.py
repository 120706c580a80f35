"""Answers and problems: how views and errors become HTTP, and how OpenAPI describes them.

Owns: the media type, the status code of each error, the schemas. Must not know: routes.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from fleet.api.views import ALL, ProblemView, View
from fleet.errors import UnauthorisedError
from models.errors import (
    MalformedError,
    NotNowError,
    RefusedError,
    RoskvaError,
    UnknownObjectError,
    UsageError,
)

_JSON = "application/json"
_STATUS: tuple[tuple[type[RoskvaError], int], ...] = (
    (UnknownObjectError, 404),
    (UnauthorisedError, 401),
    (RefusedError, 409),
    (UsageError, 400),
    (MalformedError, 400),
    (NotNowError, 503),
    (RoskvaError, 500),
)
_REF = "#/components/schemas/{name}"

Description = dict[int | str, dict[str, Any]]


def answer(view: View | Sequence[View], status: int = 200) -> Response:
    """`view`, or a list of them, as JSON."""
    return Response(msgspec.json.encode(view), status_code=status, media_type=_JSON)


def raw(data: bytes) -> Response:
    """Published bytes as they are."""
    return Response(data, media_type="application/octet-stream")


def problem(status: int, code: str, detail: str) -> Response:
    """A 4xx or 5xx."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    content = msgspec.json.encode(ProblemView(code=code, detail=detail))
    return Response(content, status_code=status, media_type=_JSON, headers=headers)


def status_of(error: RoskvaError) -> int:
    """The HTTP status of an error, by blame."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def shows(view: type[View], many: bool = False, status: int = 200) -> Description:
    """How OpenAPI describes an answer of `view`, and the problems instead of it."""
    one = {"$ref": _REF.format(name=view.__name__)}
    schema = {"type": "array", "items": one} if many else one
    failed = {"$ref": _REF.format(name=ProblemView.__name__)}
    return {
        status: {"description": _summary(view), "content": {_JSON: {"schema": schema}}},
        "4XX": {"description": _summary(ProblemView), "content": {_JSON: {"schema": failed}}},
    }


def shows_bytes(what: str) -> Description:
    """How OpenAPI describes raw bytes."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": what, "content": {"application/octet-stream": binary}}}


def takes(view: type[View]) -> dict[str, Any]:
    """How OpenAPI describes a request body of `view`."""
    content = {_JSON: {"schema": {"$ref": _REF.format(name=view.__name__)}}}
    return {"requestBody": {"required": True, "content": content}, "security": [{"operator": []}]}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: the routes of `app`, the schemas of the views, the operator's token."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, schemas = msgspec.json.schema_components(ALL, ref_template=_REF)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas)
        components["securitySchemes"] = {"operator": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document
    return app.openapi_schema


def install(app: FastAPI) -> None:
    """Let `app` answer every error as a `ProblemView`."""
    app.add_exception_handler(RoskvaError, _ours)
    app.add_exception_handler(HTTPException, _theirs)
    app.add_exception_handler(RequestValidationError, _invalid)


def _ours(_: Request, error: Exception) -> Response:
    if not isinstance(error, RoskvaError):
        raise error
    return problem(status_of(error), error.code, str(error))


def _theirs(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, "http", str(error.detail))


def _invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ()))
    return problem(400, "usage", f"{where}: {first.get('msg', 'invalid')}")


def _summary(view: type[View]) -> str:
    return (view.__doc__ or "").splitlines()[0]
