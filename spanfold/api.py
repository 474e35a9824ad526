"""The read API under /api, on the dashboard's port: thin over the read surface and the control plane.

Bound to loopback like the dashboard. A request whose Host is not this machine's name is refused (DNS rebinding), and a
change must come as application/json, which no foreign page can send without being asked first (CSRF).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from spanfold import openapi
from spanfold.analytics.errors import NoSnapshot
from spanfold.api_operations import Api, NotThere, operations
from spanfold.api_reviews import review_json
from spanfold.errors import SpanfoldError
from spanfold.exporter.errors import KeyMissing
from spanfold.openapi import BadRequest, Operation
from spanfold.reading import NoDataDirectory
from spanfold.settings import Settings
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.reviews import RevisionConflict

TITLE = "Spanfold API"
MAX_BODY = 4 << 20
_JSON = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


def api_routes(settings: Settings) -> list[Route]:
    """The routes for the dashboard's server."""
    table = operations(Api(settings))
    described = orjson.dumps(openapi.document(TITLE, version("spanfold"), table))
    page = openapi.docs_page(TITLE, table)

    async def send_document(request: Request) -> Response:
        return Response(described, media_type="application/json")

    async def send_page(request: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    routes = [Route(o.path, _endpoint(o, settings.host), methods=[o.method]) for o in table]
    return [*routes, Route("/api/openapi.json", send_document), Route("/api/docs", send_page), Route("/api", send_page)]


def _endpoint(operation: Operation, host: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        if not is_ours(request.headers.get("host", ""), host):
            return _error(403, "the host name of this request is not this machine's")
        try:
            values = operation.parse(request.path_params, request.query_params.multi_items())
            if operation.body is not None:
                values["body"] = await _read_body(request, operation.body)
            result = await run_in_threadpool(operation.run, **values)
        except tuple(_STATUS) as error:
            return _refused(error)
        if operation.media == "application/x-ndjson":
            return StreamingResponse(result, media_type=operation.media)
        return Response(orjson.dumps(result, default=str, option=_JSON), media_type=operation.media)

    return answer


def is_ours(header: str, host: str) -> bool:
    """Is this Host header a name of this machine's loopback, or the address we were told to listen on?"""
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    name = name.strip("[]").lower()
    try:
        return name in ("localhost", host) or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _TooLarge(Exception):
    """The body is too large."""


class _WrongType(Exception):
    """The body must be application/json."""


async def _read_body(request: Request, model: type[Any]) -> Any:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise _WrongType
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise _TooLarge
    return model.model_validate_json(bytes(body))


_STATUS: dict[type[Exception], int] = {
    BadRequest: 400, Invalid: 400, ValidationError: 400, KeyMissing: 403, NotThere: 404, NotFound: 404,
    RevisionConflict: 409, _TooLarge: 413, _WrongType: 415, NoSnapshot: 503, NoDataDirectory: 503, SpanfoldError: 400,
}  # fmt: skip


def _refused(error: Exception) -> Response:
    status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return _error(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    extra = {"current": [review_json(r) for r in error.current]} if isinstance(error, RevisionConflict) else {}
    return _error(status, str(error) or type(error).__doc__ or "", extra)


def _error(status: int, message: str, extra: dict[str, Any] | None = None) -> Response:
    headers = {"retry-after": "1"} if status == 503 else {}
    content = orjson.dumps({"error": message, **(extra or {})}, default=str, option=_JSON)
    return Response(content, status, headers, media_type="application/json")
