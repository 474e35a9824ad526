"""The pages that sign people in and out: plain forms, no script, nothing fetched from anywhere."""

from __future__ import annotations

import html
import math
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from spanfold.access import Access, NotSignedIn
from spanfold.gate import COOKIE, caller_of
from spanfold.rate_limits import Buckets
from spanfold.settings import Settings
from spanfold.state.store import StateStore
from spanfold.state.tokens import SESSION

MAX_FORM = 16 << 10
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "cache-control": "no-store",
    "referrer-policy": "same-origin",  # with none at all, browsers would send the form with `Origin: null`
}
_STYLE = """
:root{color-scheme:light dark;--bg:#F5F6F8;--card:#fff;--text:#171A21;--soft:#4D5563;--line:#E1E4EA;
--go:#3B5BDB;--bad:#B3261E}
@media(prefers-color-scheme:dark){:root{--bg:#101318;--card:#191D25;--text:#E7EAF0;--soft:#B4BCC9;--line:#2B313C;
--go:#4C6EF5;--bad:#FF9B93}}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--bg);color:var(--text);
font:15px/1.5 system-ui,sans-serif}
main{box-sizing:border-box;width:min(24rem,92vw);padding:2rem;background:var(--card);border:1px solid var(--line);
border-radius:10px}
h1{margin:0 0 1.2rem;font-size:1.35rem}label{display:block;margin:.9rem 0 .3rem;color:var(--soft);font-size:.9rem}
input{box-sizing:border-box;width:100%;padding:.55rem .7rem;font:inherit;color:inherit;background:var(--bg);
border:1px solid var(--line);border-radius:7px}
button,a.go{display:block;box-sizing:border-box;width:100%;margin-top:1.3rem;padding:.6rem;border:0;border-radius:7px;
background:var(--go);color:#fff;font:600 15px system-ui,sans-serif;text-align:center;
text-decoration:none;cursor:pointer}
a.second{background:none;color:inherit;border:1px solid var(--line)}
p{margin:.6rem 0;color:var(--soft)}p.bad{color:var(--bad)}
:focus-visible{outline:2px solid var(--go);outline-offset:2px}
"""


class SignIn:
    """The routes /login and /logout, and what an OIDC provider's answer ends in."""

    def __init__(self, settings: Settings, access: Access, state: Callable[[], StateStore]) -> None:
        self._access, self._state = access, state
        self._secure = (settings.dashboard_url or "").startswith("https://")
        self._with_provider = settings.oidc_issuer is not None
        # a burst of honest mistakes is free; then one guess in six seconds for an account, one in two for an address
        self._accounts, self._addresses = Buckets(10, 1 / 6), Buckets(30, 1 / 2)
        self._deriving = threading.Semaphore(2)  # each check of a password takes 32 MiB

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.form, methods=["GET"]), Route("/login", self.check, methods=["POST"]),
            Route("/logout", self.ask_to_leave, methods=["GET"]), Route("/logout", self.leave, methods=["POST"]),
        ]  # fmt: skip

    async def form(self, request: Request) -> Response:
        return self.page(following(request.query_params.get("next")))

    async def check(self, request: Request) -> Response:
        given = await _form(request)
        if given is None:
            return self.page("/", "The form is too large.", 413)
        name, password, after = (given.get(key, "") for key in ("username", "password", "next"))
        name, after = name.strip().lower()[:200], following(after)
        address = request.client.host if request.client else ""
        wait = max(self._addresses.take(address), self._accounts.take(name))
        if wait:
            refused = self.page(after, f"Too many attempts: try again in {math.ceil(wait)} s.", 429)
            refused.headers["retry-after"] = str(math.ceil(wait))
            return refused
        user = await run_in_threadpool(self._right, name, password)
        if user is None:
            await run_in_threadpool(self._state().audit.note, name or "?", "sessions", "refused", address)
            return self.page(after, "Name or password is wrong.", 401)
        self._accounts.give_back(name)
        self._addresses.give_back(address)
        return await run_in_threadpool(self.welcome, user, "password", after, request)

    def welcome(self, user: str, how: str, after: str, request: Request) -> Response:
        """Start a session under a new id and go on to the page asked for; an old session of the browser ends."""
        if old := request.cookies.get(COOKIE):
            self._end(old)
        answer = RedirectResponse(after, 303)
        answer.set_cookie(
            COOKIE, self._state().tokens.start_session(user, how=how), max_age=int(SESSION.total_seconds()), path="/",
            secure=self._secure, httponly=True, samesite="lax",
        )  # fmt: skip
        return answer

    async def ask_to_leave(self, request: Request) -> Response:
        try:
            name = caller_of(request).name
        except NotSignedIn:
            return self.page("/", "You are signed out.")
        form = '<form method="post" action="/logout"><button>Sign out</button></form>'
        body = f"<p>Signed in as {html.escape(name)}.</p>{form}"
        return _page("Sign out", body, 200)

    async def leave(self, request: Request) -> Response:
        if session := request.cookies.get(COOKIE):
            await run_in_threadpool(self._end, session)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, path="/", secure=self._secure, httponly=True, samesite="lax")
        return answer

    def page(self, after: str, problem: str = "", status: int = 200) -> Response:
        """The form."""
        body = f'<p class="bad" role="alert">{html.escape(problem)}</p>' if problem else ""
        body += (
            '<form method="post" action="/login"><label for="u">Name</label>'
            '<input id="u" name="username" autocomplete="username" autofocus required maxlength="200">'
            '<label for="p">Password</label>'
            '<input id="p" name="password" type="password" autocomplete="current-password" required maxlength="1024">'
            f'<input type="hidden" name="next" value="{html.escape(after)}"><button>Sign in</button></form>'
        )
        if self._with_provider:
            body += (
                f'<a class="go second" href="/auth/start?next={quote(after, safe="/")}">Sign in with your provider</a>'
            )
        return _page("Sign in to Spanfold", body, status)

    def _right(self, name: str, password: str) -> str | None:
        with self._deriving:
            user = self._state().users.check(name, password)
        return user.name if user else None

    def _end(self, session: str) -> None:
        self._state().tokens.end_session(session)
        self._access.forget(session)


def following(path: str | None) -> str:
    """Where to go after signing in: a path of this server, never another one's address."""
    path = path or "/"
    split = urlsplit(path)
    inside = path.startswith("/") and not path.startswith(("//", "/\\")) and not split.netloc and not split.scheme
    return path if inside and path.isprintable() and "\\" not in path else "/"


async def _form(request: Request) -> dict[str, str] | None:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            return None
    fields = parse_qs(bytes(body).decode("utf-8", "replace"), max_num_fields=10, keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _page(title: str, body: str, status: int) -> Response:
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><main><h1>{html.escape(title)}</h1>{body}</main>"
    )
    return HTMLResponse(text, status, PAGE_HEADERS)
