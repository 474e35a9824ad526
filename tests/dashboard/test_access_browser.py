"""Sign-in, roles, tenants and hostile words in a real browser against the real dashboard process."""

from __future__ import annotations

import datetime as dt
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from spanfold.reading import open_state
from spanfold.state.deploys import Deploy
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.dashboard.driving import PATIENCE, act, browsing, chromium, serving, settled, until, visit
from tests.flow.sending import NOON, SECOND, chat, product, span, traces
from tests.spanfold import two_tenants
from tests.spanfold.two_tenants import CANARY, MINE, MY_TRACE, SHARED, THEIR_TRACE, THEIRS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(chromium() is None, reason="NOT TESTED IN A BROWSER: install chromium"),
]
expect.set_options(timeout=PATIENCE)
PHRASE = "a long enough phrase"
HOSTILE_TRACE = f"{7:032x}"
SCREENS = ("", "traces", "conversations", "review", "costs", "quality")


class _Canary(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def canary() -> Iterator[http.server.ThreadingHTTPServer]:
    """A server on loopback that remembers who asked it: words that call out would reach it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Canary) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hostile(port: int) -> list[str]:
    """Texts that try to be more than text; each would ask the canary server."""
    at = f"http://127.0.0.1:{port}"
    return [
        f"<script>fetch('{at}/script')</script><img src={at}/img onerror=\"fetch('{at}/onerror')\">",
        f"![pixel]({at}/markdown) [click](javascript:fetch('{at}/click')) <{at}/auto>",
        f"<svg onload=fetch('{at}/svg')></svg><iframe src={at}/frame></iframe><link rel=stylesheet href={at}/css>",
        f'\x1b]8;;{at}/osc\x07click\x1b]8;;\x07 \x1b[31mred =HYPERLINK("{at}/formula") $\\href{{{at}/latex}}{{x}}$',
        f":red[color] :material/home: `{{{{7*7}}}}` </style><style>@import '{at}/import';</style> \u202egnp.exe",
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, canary: http.server.ThreadingHTTPServer) -> Path:
    folder = tmp_path_factory.mktemp("signed") / "data"
    two_tenants.fill(folder)
    words = hostile(canary.server_address[1])
    spans = [span(7, 70, name=words[0], start=NOON, ms=9_000, user__id=words[1], note=words[2])]
    for at, text in enumerate(words):
        call = chat(
            7, 71 + at, 70, name=text, model=text, start=NOON + (at + 1) * SECOND, session__id=text, user__id=text,
            history=[two_tenants.message("user", text)], answer=[two_tenants.message("assistant", text)],
            gen_ai__agent__name=text, spanfold__project=text, spanfold__key=text, deployment__environment=text,
        )  # fmt: skip
        call.status.code, call.status.message = 2, text
        spans.append(call)
    with product(folder) as running:
        running.send(traces(spans, service=words[0], scope=words[1]), tenant=MINE)
        running.fold()
    with open_state(folder) as state:
        for name, roles, tenants in (
            ("me", ["review", "export"], [MINE]), ("them", ["review"], [THEIRS]), ("looker", ["read"], [MINE]),
            ("rev", ["review"], [MINE]), ("exp", ["export"], [MINE]), ("chief", ["admin"], None),
        ):  # fmt: skip
            state.users.add(name, roles, tenants=tenants, password=PHRASE, who="test")
        done = dt.datetime.fromtimestamp(NOON / 1e9, dt.UTC)
        for at, text in enumerate(words):
            state.keys.add(text, tenant=MINE, who=text)
            deploy = Deploy(tenant=MINE, title=text, service=text, version=text, completed_at=done)
            state.deploys.add([deploy], who=text)
            target = Target.trace(HOSTILE_TRACE, tenant=MINE)
            state.reviews.decide([target], "flagged", who=text, batch_id=f"b-{at}", comment=text)
    return folder


@pytest.fixture(scope="module")
def address(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(data, tmp_path_factory.mktemp("log") / "dashboard.log", SPANFOLD_AUTH="login") as url:
        yield url


def sign_in(page: Page, address: str, name: str, path: str = "/") -> None:
    page.goto(address + path)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PHRASE)
    page.get_by_role("button", name="Sign in").click()
    settled(page)


@pytest.fixture
def me(address: str) -> Iterator[Page]:
    with browsing() as context:
        page = context.new_page()
        sign_in(page, address, "me")
        yield page


_ALL_WORDS = """() => {
  const inside = root => [...root.querySelectorAll('*')].filter(e => e.shadowRoot)
    .map(e => e.shadowRoot.innerHTML + inside(e.shadowRoot)).join('');
  return document.documentElement.outerHTML + inside(document);
}"""


def words_of(page: Page) -> str:
    """Everything that a page holds, what is folded away and what lies inside components too."""
    return str(page.evaluate(_ALL_WORDS))


def test_sign_in_leads_to_the_link(address: str) -> None:
    """[10, 77] A deep link asks for sign-in, refuses a wrong password, then shows what was linked; a reload stays."""
    with browsing() as context:
        page = context.new_page()
        page.goto(f"{address}/trace?trace={MY_TRACE}")
        expect(page).to_have_url(f"{address}/login?next=/trace%3Ftrace%3D{MY_TRACE}")
        page.get_by_label("Name").fill("me")
        page.get_by_label("Password").fill("not my password at all")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
        page.get_by_label("Name").fill("me")
        page.get_by_label("Password").fill(PHRASE)
        page.get_by_role("button", name="Sign in").click()
        settled(page)
        assert f"trace={MY_TRACE}" in page.url
        expect(page.get_by_text("root mine").first).to_be_visible()
        page.reload()
        settled(page)
        expect(page.get_by_text("root mine").first).to_be_visible()


def test_screens_and_links_hold_own_tenant_only(address: str) -> None:
    """[11, 12] Right after the other tenant looked at the same screens, no screen or link shows a word of it."""
    with browsing() as context:
        theirs = context.new_page()
        sign_in(theirs, address, "them")
        for screen in SCREENS:
            visit(theirs, f"{address}/{screen}?range=all")
            if screen in ("traces", "conversations"):
                expect(theirs.get_by_text(CANARY).first).to_be_visible()
        visit(theirs, f"{address}/trace?trace={THEIR_TRACE}")
        theirs.wait_for_function(f"({_ALL_WORDS})().includes('{CANARY}')")
    with browsing() as context:
        me = context.new_page()
        sign_in(me, address, "me")
        for screen in SCREENS:
            visit(me, f"{address}/{screen}?range=all")
            assert CANARY not in words_of(me), screen
            assert THEIR_TRACE not in words_of(me), screen
        for link in (
            f"trace?trace={THEIR_TRACE}", f"trace?trace={MY_TRACE}&span={21:016x}",
            f"conversation?conversation=s-{CANARY}", f"traces?range=all&service=service-{CANARY}",
        ):  # fmt: skip
            visit(me, f"{address}/{link}")
            seen = words_of(me).replace(f"s-{CANARY}", "").replace(f"service-{CANARY}", "")
            assert CANARY not in seen, link
        visit(me, f"{address}/trace?trace={MY_TRACE}&span={11:016x}")
        expect(me.get_by_text(SHARED).first).to_be_visible()


def test_roles_on_screen(address: str) -> None:
    """[13, TB-037] Who may only read is offered no decision and no administration."""
    with browsing() as context:
        page = context.new_page()
        sign_in(page, address, "looker", "/review?range=all")
        expect(page.get_by_text("You may look here, but not decide")).to_be_visible()
        visit(page, f"{address}/trace?trace={MY_TRACE}")
        page.get_by_role("button", name="Review").click()
        expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        assert page.get_by_role("link", name="Access").count() == 0
        visit(page, f"{address}/access")
        assert "Begins with" not in words_of(page)
        assert page.get_by_role("tab", name="Users").count() == 0


SEEN = {  # user -> may decide, may export, administers
    "looker": (False, False, False), "rev": (True, False, False), "exp": (False, True, False),
    "chief": (True, True, True),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_every_screen_by_role(address: str, data: Path, name: str) -> None:
    """[13, TB-035] Each role is shown every screen whole, offered only what it may do, and refused the rest by the
    server, whatever the screen offers."""
    decides, exports, administers = SEEN[name]
    with browsing() as context:
        page = context.new_page()
        sign_in(page, address, name)
        for screen in (*SCREENS, f"trace?trace={MY_TRACE}&span={11:016x}", "conversation?conversation=s-mine"):
            visit(page, f"{address}/{screen}" + ("" if "?" in screen else "?range=all"))
            assert page.get_by_text("could not be drawn").count() == 0, screen
            assert page.get_by_text("closed to you").count() == 0, screen
            assert page.get_by_role("link", name="Access").count() == int(administers), screen
            if screen == "traces":
                assert bool(page.get_by_role("checkbox").count() > 1) is decides
            if screen == "review":
                assert page.get_by_text("but not decide").count() == int(not decides)
        visit(page, f"{address}/access")
        assert page.get_by_role("tab", name="Users").count() == int(administers)
        asked = context.request
        assert asked.get(f"{address}/api/v1/calls").status == (200 if exports else 403)
        assert asked.post(f"{address}/api/v1/sql", data={"query": "SELECT 1"}).status == (200 if exports else 403)
        target = {"kind": "trace", "trace_id": MY_TRACE, "tenant": MINE}
        told = asked.post(f"{address}/api/v1/reviews", data={"targets": [target], "state": "approved"})
        assert told.status == (200 if decides else 403)
        assert context.request.get(f"{address}/api/v1/traces", headers={"host": "evil.example"}).status == 403
    with StateStore.open(data) as state:
        newest = state.reviews.get([Target.trace(MY_TRACE, tenant=MINE)]).popitem()[1]
        assert (newest.who == name) is decides


def test_signed_out_everywhere(address: str, data: Path) -> None:
    """[77] Sign-out, and an administrator's disabling, close what is open in another tab within seconds."""
    with browsing() as context:
        page = context.new_page()
        sign_in(page, address, "looker", "/traces?range=all")
        with StateStore.open(data) as state:
            state.users.disable("looker", who="test")
        expect(page.get_by_text("This page is closed to you")).to_be_visible()
        assert "root mine" not in words_of(page)
        with StateStore.open(data) as state:
            state.users.enable("looker", who="test")
        sign_in(page, address, "looker", "/login")
        other = context.new_page()
        visit(other, f"{address}/traces?range=all")
        page.get_by_role("link", name="Sign out").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading")).to_have_text("Sign in to Spanfold")
        expect(other.get_by_text("This page is closed to you")).to_be_visible()


def test_administration(address: str, data: Path) -> None:
    """An administrator adds a user on screen, who can then sign in; keys show their prefix; the log tells of it."""
    with StateStore.open(data) as state:
        new = state.keys.add("prod-frontend", tenant=MINE, who="test")
    with browsing() as context:
        page = context.new_page()
        sign_in(page, address, "chief", "/access")
        expect(page.get_by_role("heading", name="Access")).to_be_visible()
        page.get_by_role("button", name="Add user").click()
        form = page.get_by_test_id("stForm")
        form.get_by_label("Name").fill("novice")
        form.get_by_label("Tenants, by commas").fill(MINE)
        form.get_by_role("textbox", name="Password").fill(PHRASE)
        act(page, lambda: form.get_by_role("button", name="Add").click())
        expect(page.get_by_text("novice").first).to_be_visible()
        act(page, lambda: page.get_by_role("tab", name="Sender keys").click())
        expect(page.get_by_text(new.info.prefix).first).to_be_visible()
        assert new.secret not in words_of(page)
        act(page, lambda: page.get_by_role("tab", name="Audit log").click())
        expect(page.get_by_text("users add").first).to_be_visible()
        act(page, lambda: page.get_by_role("button", name="Verify the chain").click())
        expect(page.get_by_text("unbroken; newest hash")).to_be_visible()
    with StateStore.open(data) as state:
        (novice,) = [user for user in state.users.all() if user.name == "novice"]
        assert (novice.roles, novice.tenants, novice.has_password) == ({"read"}, {MINE}, True)
        assert state.users.check("novice", PHRASE)
        assert state.audit.changes("users", limit=1)[0].who == "chief"


def test_redaction_rules_on_screen(address: str, data: Path) -> None:
    """An administrator adds a rule; one that RE2 cannot run is refused with its reason; the change is in the audit log
    under the name of who signed in."""
    with browsing() as context:
        page = context.new_page()
        sign_in(page, address, "chief", "/access")
        act(page, lambda: page.get_by_role("tab", name="Redaction").click())
        expect(page.get_by_text("A baseline: patterns find")).to_be_visible()
        for pattern in (r"(?<=id )\d", r"\bEMP-\d{5}\b"):
            page.get_by_role("button", name="Add rule").click()
            form = page.get_by_test_id("stForm")
            form.get_by_label("Rule name").fill("employee")
            form.get_by_label("Pattern (RE2)").fill(pattern)
            form.get_by_label("Becomes").fill("[EMPLOYEE]")
            act(page, lambda form=form: form.get_by_role("button", name="Add").click())
            if "?<=" in pattern:
                expect(page.get_by_text("no look-around")).to_be_visible()
                visit(page, f"{address}/access")
                act(page, lambda: page.get_by_role("tab", name="Redaction").click())
        expect(page.get_by_text("[EMPLOYEE]").first).to_be_visible()
    with StateStore.open(data) as state:
        assert [(rule.name, rule.enabled) for rule in state.rules.all()] == [("employee", True)]
        assert [line.who for line in state.audit.changes("rules")] == ["chief"]
        state.rules.remove("employee", who="test")


def test_hostile_words_stay_words(me: Page, address: str, canary: http.server.ThreadingHTTPServer) -> None:
    """[34, 35] Names, models, users, messages and errors that try to be markup, script or links are shown as text: no
    request leaves the page, nothing runs, nothing becomes an element."""
    words = hostile(canary.server_address[1])
    alerts: list[str] = []
    asked: list[str] = []
    me.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    me.on("request", lambda request: asked.append(request.url))
    for path in (
        *(f"{screen}?range=all" for screen in SCREENS), f"trace?trace={HOSTILE_TRACE}",
        *(f"trace?trace={HOSTILE_TRACE}&span={71 + at:016x}" for at in range(5)),
        *(f"conversation?conversation={quote(text)}" for text in words),
        *(f"traces?range=all&service={quote(text)}" for text in words[:2]),
    ):  # fmt: skip
        visit(me, f"{address}/{path}")
        for tab in ("Attributes", "Raw", "Explain", "History"):
            if path.startswith("trace?") and me.get_by_role("tab", name=tab).count():
                me.get_by_role("tab", name=tab).click()
                settled(me)
        assert me.get_by_text("could not be drawn").count() == 0, path
    visit(me, f"{address}/trace?trace={HOSTILE_TRACE}&span={73:016x}")
    until(lambda: "&lt;iframe src=http" in words_of(me))
    me.context.clear_cookies()
    sign_in(me, address, "chief", "/access")
    for tab in ("Sender keys", "Audit log"):
        act(me, lambda tab=tab: me.get_by_role("tab", name=tab).click())  # type: ignore[misc]
        until(lambda: "&lt;iframe src=http" in words_of(me))
    own = f"http://127.0.0.1:{canary.server_address[1]}"
    assert [url for url in asked if url.startswith(own)] == []
    assert canary.asked == []  # type: ignore[attr-defined]
    assert alerts == []
    for planted in (f"img[src^='{own}']", f"iframe[src^='{own}']", f"a[href^='{own}']", "a[href^='javascript:']"):
        assert me.locator(planted).count() == 0
    assert all(url.startswith((address, "data:", "blob:", address.replace("http", "ws"))) for url in asked)


def test_reading_on_screen_is_in_the_audit_log(me: Page, address: str, data: Path) -> None:
    """[90] Words shown on screen are in the log under the name of who signed in, once for a while."""
    visit(me, f"{address}/trace?trace={MY_TRACE}&span={11:016x}")
    expect(me.get_by_text(SHARED).first).to_be_visible()

    def noted() -> int:
        with StateStore.open(data) as state:
            lines = state.audit.changes("content", limit=1000)
        return sum((c.who, c.subject) == ("me", f"span {11:016x}") for c in lines)

    before = noted()
    assert before >= 1
    me.get_by_role("tab", name="Attributes").click()
    expect(me.get_by_text("gen_ai.request.model").first).to_be_visible()
    assert noted() == before


def test_context_of_the_browser(me: Page) -> None:
    """[77] No script of a page can read the session."""
    assert "spanfold_session" not in me.evaluate("() => document.cookie")
    context: BrowserContext = me.context
    (cookie,) = [cookie for cookie in context.cookies() if cookie["name"] == "spanfold_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
