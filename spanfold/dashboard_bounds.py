"""Bounds on the dashboard's port for which neither Streamlit nor uvicorn has an option: how many connections there may
be, how large headers are, how long headers and bodies may take. Sizes of bodies are bounded where they are read."""

from __future__ import annotations

import asyncio
import resource

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from spanfold.collector.http_connection import BoundedConnection

MOST_CONNECTIONS = 1024  # a page that is looked at holds one, and a few for a moment
BODY_SECONDS = 60.0
_OTHER_FILES = 512  # that this process has open: snapshots, lake files, state


class PageConnection(BoundedConnection):
    """One connection to the dashboard's port."""

    def most(self) -> int:
        return MOST_CONNECTIONS


def bound_connections() -> None:
    """Every uvicorn server that this process starts from now on, Streamlit's too, has bounded connections."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{PageConnection.__name__}"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


class TimelyBodies:
    """ASGI middleware: a body that is not whole in time is answered with 408, and its connection ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        until = asyncio.get_running_loop().time() + BODY_SECONDS
        whole = late = answering = False

        async def timely() -> Message:
            nonlocal whole, late
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                late = not answering
                return {"type": "http.disconnect"}
            whole = not message.get("more_body", False)
            return message

        async def unless_late(message: Message) -> None:
            nonlocal answering
            if not late:
                answering = True
                await send(message)

        try:
            await self._app(scope, timely, unless_late)
        except ClientDisconnect:
            if not late:
                raise
        if late:
            content = orjson.dumps({"error": f"the body took longer than {BODY_SECONDS:g} s"})
            await Response(content, 408, {"connection": "close"}, "application/json")(scope, receive, send)
