"""The door of the HTTP side: whose requests are heard.

Owns: which `Host` and `Origin` are answered, and the headers that every page carries. Must not know: routes, pages.

Reading needs no token, so a page of another site must not read through the browser of somebody who may. Browsers keep
it from reading other origins, unless its name resolves to this machine (DNS rebinding), and put no such bound on a
WebSocket. A rebound page names itself in `Host`, and what another page asks for by script names that page in `Origin`.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.api.answers import problem

MISDIRECTED = 421
FORBIDDEN = 403
_POLICY_VIOLATION = 1008
_HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}


def hears_host(host: str, names: Iterable[str]) -> bool:
    """Whether `host` (a `Host` header) is an IP address, `localhost` or one of `names`: nobody can rebind those."""
    name = _name_of(f"//{host}")
    return name == "localhost" or _is_address(name) or (name != "" and name in _lower(names))


def hears_origin(origin: str, host: str, names: Iterable[str]) -> bool:
    """Whether a page of `origin` may ask: it is a page of this server, by any of its names."""
    own = urlsplit(origin).netloc.lower() == host.lower() if _name_of(origin) else False
    return own or _name_of(origin) in _lower(names)


class Door:
    """ASGI middleware in front of everything; `names` are the server's own beside its addresses."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = tuple(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or turn away."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
        elif (refused := self._refusal(scope)) == 0:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await problem(refused, "wrong-door", _WHY[refused])(scope, receive, send)

    def _refusal(self, scope: Scope) -> int:
        """The status of the refusal, 0 where there is none."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not hears_host(host, self._names):
            return MISDIRECTED
        return 0 if origin is None or hears_origin(origin, host, self._names) else FORBIDDEN


_WHY = {
    MISDIRECTED: "this server does not go by that name: add it to [http] names, or use its address",
    FORBIDDEN: "a page of another site asks for this",
}


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}
