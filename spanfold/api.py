"""The API under /api, on the dashboard's port: thin over the read surface and the control plane.

`gate.py` has checked host, origin and caller before a request comes here; what the caller may see is asked of the
policy once a request. A change must come as application/json, which no foreign page can send unasked (CSRF).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from spanfold import openapi
from spanfold.access import Forbidden, NotSignedIn
from spanfold.analytics.errors import DatabaseFailed, FileUnreadable, NoSnapshot, QueryAbandoned, QueryTooSlow
from spanfold.analytics.errors import QueryRefused as AnalyticsRefused
from spanfold.api_operations import House, NotThere, Seen, health, operations
from spanfold.api_reviews import review_json
from spanfold.api_sql import TooBusy
from spanfold.errors import SpanfoldError
from spanfold.exporter.errors import KeyMissing
from spanfold.gate import caller_of
from spanfold.openapi import BadRequest, Operation
from spanfold.query_client import QueryError
from spanfold.reading import NoDataDirectory
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.reviews import RevisionConflict

TITLE = "Spanfold API"
MAX_BODY = 4 << 20
_WATCH_SECONDS = 0.25
_JSON = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


def api_routes(house: House) -> list[Route]:
    """The routes for the dashboard's server, behind its gate."""
    table = operations()
    described = orjson.dumps(openapi.document(TITLE, version("spanfold"), table))
    page = openapi.docs_page(TITLE, table)

    async def send_document(request: Request) -> Response:
        return Response(described, media_type="application/json")

    async def send_page(request: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    routes = [Route(o.path, _endpoint(o, house), methods=[o.method]) for o in table]
    return [*routes, Route("/api/openapi.json", send_document), Route("/api/docs", send_page), Route("/api", send_page)]


def _endpoint(operation: Operation, house: House) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            values = operation.parse(request.path_params, request.query_params.multi_items())
            if operation.run is health:
                return _json(health(house))
            if operation.body is not None:
                values["body"] = await _read_body(request, operation.body)
            caller = caller_of(request)
            seen = await run_in_threadpool(house.seen_by, caller, operation.action, request.url.path)
            result = await _while_awaited(request, seen, lambda: operation.run(seen, **values))
        except tuple(_STATUS) as error:
            return _refused(error)
        if operation.media == "application/x-ndjson":
            return StreamingResponse(_streamed(request, seen, result), media_type=operation.media)
        return _json(result)

    return answer


async def _while_awaited(request: Request, seen: Seen, work: Callable[[], Any]) -> Any:
    """The result of `work`, in a thread; what it runs is ended when the caller goes away meanwhile."""

    watching = asyncio.create_task(_watch(request, seen))
    try:
        return await run_in_threadpool(work)
    finally:
        watching.cancel()


async def _streamed(request: Request, seen: Seen, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The parts as they come. A part that takes long is ended, too, when the caller goes away meanwhile."""
    watching = asyncio.create_task(_watch(request, seen))
    try:
        async for part in iterate_in_threadpool(parts):
            yield part
    except (QueryAbandoned, QueryError):
        if seen.cancellation.awaited():
            raise
    finally:
        watching.cancel()
        seen.cancellation.cancel()


async def _watch(request: Request, seen: Seen) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(_WATCH_SECONDS)
    seen.cancellation.cancel()


def _json(result: Any) -> Response:
    content = orjson.dumps(result, default=str, option=_JSON)
    return Response(content, headers={"cache-control": "no-store"}, media_type="application/json")


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
    BadRequest: 400, Invalid: 400, ValidationError: 400, QueryError: 400, AnalyticsRefused: 400, QueryTooSlow: 400,
    NotSignedIn: 401, Forbidden: 403, KeyMissing: 403, TooBusy: 429, NotThere: 404, NotFound: 404,
    RevisionConflict: 409, _TooLarge: 413, _WrongType: 415, NoSnapshot: 503, NoDataDirectory: 503,
    QueryAbandoned: 503, DatabaseFailed: 503, FileUnreadable: 503, SpanfoldError: 400,
}  # fmt: skip


def _refused(error: Exception) -> Response:
    status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return _error(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    extra = {"current": [review_json(r) for r in error.current]} if isinstance(error, RevisionConflict) else {}
    return _error(status, str(error) or type(error).__doc__ or "", extra)


def _error(status: int, message: str, extra: dict[str, Any] | None = None) -> Response:
    headers = {"retry-after": "1"} if status in (429, 503) else {}
    content = orjson.dumps({"error": message, **(extra or {})}, default=str, option=_JSON)
    return Response(content, status, headers, media_type="application/json")
