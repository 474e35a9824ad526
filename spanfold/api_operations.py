"""The operations of the API: what each takes, and which function of the read surface or the control plane answers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, TypeVar

from spanfold import api_sql
from spanfold.access import Access, Forbidden
from spanfold.analytics.errors import ContentWithheld, NoSnapshot
from spanfold.analytics.queries import Reader
from spanfold.analytics.snapshots import Snapshots
from spanfold.analytics.views import BASES
from spanfold.api_queries import attribution, cost, trace_page, where_of
from spanfold.api_reviews import ReviewRequest, act, review_json, trail
from spanfold.exports import json_line
from spanfold.openapi import Operation, Parameter
from spanfold.reading import NoDataDirectory, open_reader, open_state, run_sql
from spanfold.settings import Settings
from spanfold.shown import span_document, trace_document
from spanfold.state.access import CONTENT, EXPORT, REVIEW, SQL, Caller
from spanfold.state.store import StateStore, TenantState
from spanfold.state.tables import KINDS, STATES

T = TypeVar("T")
_NUMBER = {"type": "integer", "minimum": 1, "maximum": 1000}
_TIME = {"type": "string", "format": "date-time"}
_TRACE = Parameter("trace_id", "32 hex digits.", {"type": "string", "pattern": "[0-9a-f]{32}"})
_SPAN = Parameter("span_id", "16 hex digits.", {"type": "string", "pattern": "[0-9a-f]{16}"})
_RANGE = (Parameter("from", "Started at or after this time.", _TIME), Parameter("to", "Started before it.", _TIME))
_CONTENT = Parameter(
    "content", "With what people and models said, where the keys are here.", {"type": "boolean"}, default=False
)
_FILTERS = (
    *_RANGE,
    *(
        Parameter(name, meaning, many=True)
        for name, meaning in (
            ("service", "service.name."), ("environment", "Deployment environment."), ("project", "Project."),
            ("key", "Label of the API key."), ("provider", "Provider."), ("model", "Model that answered."),
            ("operation", "Operation, such as chat."), ("tag", "Tag."), ("tenant", "Tenant."),
        )
    ),
    Parameter("status", "Status of the call.", {"type": "string", "enum": ["success", "error", "canceled"]}, True),
)  # fmt: skip
_LIMIT = Parameter("limit", "How many, at most 1000.", _NUMBER, default=50)


class NotThere(Exception):
    """There is no such thing."""


class House:
    """What the operations work on; opened at first use, shared by all requests."""

    def __init__(self, settings: Settings, access: Access | None = None) -> None:
        self.settings = settings
        self.access = access or Access(settings, lambda: self.state)
        self.slots = api_sql.Slots()

    @cached_property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.settings.data)

    @cached_property
    def reader(self) -> Reader:
        return open_reader(self.settings.data, snapshots=self.snapshots, seconds=self.settings.query_seconds)

    @cached_property
    def state(self) -> StateStore:
        return open_state(self.settings.data)

    def seen_by(self, caller: Caller, action: str, resource: str) -> Seen:
        """What this caller may work on for this action. Raises Forbidden."""
        tenants = self.access.tenants(caller, action, resource, lambda: self.reader)
        return Seen(self, caller, tenants, resource)


class Seen:
    """What one request sees: the tenants in which its caller may do what it asks, and no others."""

    def __init__(self, house: House, caller: Caller, tenants: frozenset[str] | None, resource: str) -> None:
        self.house, self.caller, self.tenants, self._resource = house, caller, tenants, resource
        self.cancellation = api_sql.Cancellation()

    @property
    def _reader(self) -> Reader:
        """Its queries end when the caller goes away."""
        return self.house.reader.while_awaited(self.cancellation.awaited)

    @property
    def reader(self) -> Reader:
        """Without content, until `open_content` says otherwise."""
        return self._reader.within(self.tenants, content=False)

    @cached_property
    def state(self) -> TenantState:
        return self.house.state.within(self.tenants)

    def open_content(self, wanted: bool, area: str, subject: str, **details: Any) -> Reader:
        """The reader for an answer with content, which is written into the audit log first; without, the same as
        `reader`. Raises ContentWithheld."""
        if not wanted:
            return self.reader
        self.check_content()
        self.house.state.audit.note(self.caller.name, area, "read", subject, self._where() | details)
        return self._reader.within(self.tenants)

    def check_content(self) -> None:
        allowed = self.house.access.tenants(self.caller, CONTENT, self._resource, lambda: self.house.reader)
        if allowed is not None and (self.tenants is None or not self.tenants <= allowed):
            raise ContentWithheld(ContentWithheld.__doc__)

    def note(self, area: str, action: str, subject: str, **details: Any) -> None:
        self.house.state.audit.note(self.caller.name, area, action, subject, self._where() | details)

    def _where(self) -> dict[str, Any]:
        return {"via": self.caller.via, "tenants": "all" if self.tenants is None else sorted(self.tenants)}


def health(house: House) -> dict[str, Any]:
    try:
        return {"status": "ok", "snapshot": house.reader.version}
    except (NoSnapshot, NoDataDirectory):
        return {"status": "ok", "snapshot": None}


def traces(seen: Seen, limit: int, after: str | None, review: tuple[str, ...], **filters: Any) -> dict[str, Any]:
    return trace_page(seen.reader.view(), limit, after, review, filters)


def trace(seen: Seen, trace_id: str, content: bool) -> dict[str, Any]:
    reader = seen.open_content(content, "content", f"trace {trace_id}")
    return _found(trace_document(reader.view(), trace_id, content=content))


def span(seen: Seen, span_id: str, content: bool) -> dict[str, Any]:
    reader = seen.open_content(content, "content", f"span {span_id}")
    return _found(span_document(reader.view(), span_id, content=content))


def calls(seen: Seen, content: bool, session: str | None, **filters: Any) -> Iterator[bytes]:
    where = where_of(filters, session)
    reader = seen.open_content(content, "export", "calls with content", where=where)
    if not content:
        seen.note("export", "read", "calls", where=where)
    rows = reader.call_records(where, content=content)
    first = next(rows, None)  # whatever is refused is refused before the answer begins
    return map(json_line, _chain(first, rows)) if first is not None else iter(())


def cost_of(seen: Seen, session: str | None, prices: str, **window: Any) -> dict[str, Any]:
    return cost(seen.reader.view(), session, window["from"], window["to"], prices)


def attribution_of(seen: Seen, sha: str) -> dict[str, Any]:
    return attribution(seen.reader.view(), seen.state.deploys.by_sha(sha), sha)


def reviews(seen: Seen, limit: int, offset: int, tenant: str | None, kind: str | None, state: tuple[str, ...]) -> Any:
    listed = seen.state.reviews.decided(tenant=tenant, kind=kind, states=state, limit=limit, offset=offset)
    return {"counts": seen.state.reviews.counts(tenant=tenant), "reviews": [review_json(r) for r in listed]}


def review_trail(seen: Seen, tenant: str, trace_id: str, span_id: str | None) -> dict[str, Any]:
    return trail(seen.state, tenant, trace_id, span_id)


def review(seen: Seen, body: ReviewRequest) -> dict[str, Any]:
    if seen.caller.via != "local" and body.who not in (None, seen.caller.name):
        raise Forbidden(f"{seen.caller.name} cannot decide in the name of {str(body.who)[:80]!r}: leave `who` out")
    return act(seen.state, body, default_who=seen.caller.name)


def sql(seen: Seen, body: api_sql.SqlRequest) -> Iterator[bytes]:
    """Rows as they come. The query is written into the log, and once more when it opens words."""
    if body.content:
        seen.check_content()
    seen.note("sql", "run", body.query, content=body.content)
    house = seen.house

    def answer() -> Iterator[bytes]:
        with house.slots, run_sql(
            house.settings.data, body.query, content=body.content, limits=body.limits(), snapshots=house.snapshots,
            tenants=seen.tenants, started=seen.cancellation.watch,
            first_words=lambda: seen.note("content", "read", f"sql {body.query}"),
        ) as query:  # fmt: skip
            yield from api_sql.lines(query)

    rows = answer()
    return _chain(next(rows), rows)


def operations() -> tuple[Operation, ...]:
    """The API, one entry an operation."""
    named = Parameter("session", "Only of this session id.")
    review_state, bases = ({"type": "string", "enum": list(names)} for names in (STATES, BASES))
    return (
        Operation(
            path="/api/healthz", summary="Is the API up, and what does it show?", run=health,
            answer="status, and the version of the snapshot (null while nothing was published).", errors=(),
        ),
        Operation(
            path="/api/v1/traces", summary="Traces that hold a span which the filters keep, newest first.",
            run=traces, answer="snapshot, traces, next (a cursor for `after`, null on the last page).",
            parameters=(
                *_FILTERS, Parameter("review", "Review state.", review_state, True), _LIMIT,
                Parameter("after", "Cursor: `next` of the page before."),
            ),
        ),
        Operation(
            path="/api/v1/traces/{trace_id}", summary="Everything kept of one trace.", run=trace,
            answer="the trace with its spans, calls, prices, logs and review trail.", parameters=(_TRACE, _CONTENT),
            errors=(400, 403, 404, 503),
        ),
        Operation(
            path="/api/v1/spans/{span_id}", summary="Everything kept of one span.", run=span,
            answer="the span with its call, price and logs.", parameters=(_SPAN, _CONTENT), errors=(400, 403, 404, 503),
        ),
        Operation(
            path="/api/v1/calls", summary="Call records in order of time, one a line, as many as there are.",
            run=calls, answer="NDJSON.", media="application/x-ndjson", parameters=(*_FILTERS, named, _CONTENT),
            errors=(400, 403, 503), action=EXPORT,
        ),
        Operation(
            path="/api/v1/sql", method="POST", summary="One SELECT over the published views, like `spanfold sql`.",
            run=sql, answer="NDJSON: a line for each row, then one with `rows` and `truncated`.",
            media="application/x-ndjson", body=api_sql.SqlRequest, errors=(400, 403, 413, 415, 429, 503), action=SQL,
        ),
        Operation(
            path="/api/cost", run=cost_of, summary="Calls, tokens and cost by model, of a session or a time window.",
            answer="totals, and a row for each provider and model; cost is null where no call has a price.",
            parameters=(
                named, *_RANGE,
                Parameter("prices", "Of the time, as believed then, or of today.", bases, default="true"),
            ),
        ),
        Operation(
            path="/api/attribution", summary="Which deploy a commit was, and which anomaly is blamed on it.",
            run=attribution_of, answer="sha, matched, deploy, attribution (null while no anomaly is blamed on it).",
            parameters=(Parameter("sha", "Commit, short (4 digits or more) or full.", required=True),),
        ),
        Operation(
            path="/api/v1/reviews", summary="Decisions of reviewers, latest first, and how many there are of each.",
            run=reviews, answer="counts, reviews.",
            parameters=(
                _LIMIT, Parameter("offset", "Skip so many.", {"type": "integer"}, default=0),
                Parameter("tenant", "Tenant."), Parameter("state", "Review state.", review_state, True),
                Parameter("kind", "What was reviewed.", {"type": "string", "enum": list(KINDS)}),
            ), errors=(400,),
        ),
        Operation(
            path="/api/v1/reviews", method="POST", summary="Decide on one target or many at once, or undo a decision.",
            run=review, answer="batch_id (undo takes it), reviews, repeated.", body=ReviewRequest,
            action=REVIEW, errors=(400, 403, 404, 409, 413, 415),
        ),
        Operation(
            path="/api/v1/reviews/{trace_id}", summary="The audit trail of a trace, or of one span of it.",
            run=review_trail, answer="events, oldest first.",
            parameters=(
                _TRACE, Parameter("span_id", "Of this span.", _SPAN.schema),
                Parameter("tenant", "Tenant.", default="default"),
            ), errors=(400,),
        ),
    )  # fmt: skip


def _found(document: dict[str, Any] | None) -> dict[str, Any]:
    if document is None:
        raise NotThere("there is no such trace or span in the snapshot")
    return document


def _chain(first: T, rest: Iterator[T]) -> Iterator[T]:
    yield first
    yield from rest
