"""The operations of the API: what each takes, and which function of the read surface or the control plane answers."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from spanfold.analytics.errors import NoSnapshot
from spanfold.analytics.queries import Reader
from spanfold.api_queries import attribution, cost, trace_page, where_of
from spanfold.api_reviews import ReviewRequest, act, review_json, trail
from spanfold.exports import json_line
from spanfold.openapi import Operation, Parameter
from spanfold.reading import NoDataDirectory, open_reader, open_state
from spanfold.settings import Settings
from spanfold.shown import span_document, trace_document
from spanfold.state.store import StateStore
from spanfold.state.tables import KINDS, STATES

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


class Api:
    """What the operations work on; opened at first use, shared by all requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def reader(self) -> Reader:
        return open_reader(self._settings.data)

    @cached_property
    def state(self) -> StateStore:
        return open_state(self._settings.data)

    def health(self) -> dict[str, Any]:
        try:
            return {"status": "ok", "snapshot": self.reader.version}
        except (NoSnapshot, NoDataDirectory):
            return {"status": "ok", "snapshot": None}

    def traces(self, limit: int, after: str | None, review: tuple[str, ...], **filters: Any) -> dict[str, Any]:
        return trace_page(self.reader.view(), limit, after, review, filters)

    def trace(self, trace_id: str, content: bool) -> dict[str, Any]:
        return _found(trace_document(self.reader.view(), trace_id, content=content))

    def span(self, span_id: str, content: bool) -> dict[str, Any]:
        return _found(span_document(self.reader.view(), span_id, content=content))

    def calls(self, content: bool, session: str | None, **filters: Any) -> Iterator[bytes]:
        rows = self.reader.call_records(where_of(filters, session), content=content)
        first = next(rows, None)  # whatever is refused is refused before the answer begins
        return map(json_line, _chain(first, rows)) if first is not None else iter(())

    def cost(self, session: str | None, **window: Any) -> dict[str, Any]:
        return cost(self.reader.view(), session, window["from"], window["to"])

    def attribution(self, sha: str) -> dict[str, Any]:
        return attribution(self.reader.view(), self.state.deploys.by_sha(sha), sha)

    def reviews(self, limit: int, offset: int, tenant: str | None, kind: str | None, state: tuple[str, ...]) -> Any:
        listed = self.state.reviews.decided(tenant=tenant, kind=kind, states=state, limit=limit, offset=offset)
        return {"counts": self.state.reviews.counts(tenant=tenant), "reviews": [review_json(r) for r in listed]}

    def review_trail(self, tenant: str, trace_id: str, span_id: str | None) -> dict[str, Any]:
        return trail(self.state, tenant, trace_id, span_id)

    def review(self, body: ReviewRequest) -> dict[str, Any]:
        return act(self.state, body, default_who=getpass.getuser())


def operations(api: Api) -> tuple[Operation, ...]:
    """The API, one entry an operation."""
    named = Parameter("session", "Only of this session id.")
    review_state = {"type": "string", "enum": list(STATES)}
    return (
        Operation(
            path="/api/healthz", summary="Is the API up, and what does it show?", run=api.health,
            answer="status, and the version of the snapshot (null while nothing was published).", errors=(),
        ),
        Operation(
            path="/api/v1/traces", summary="Traces that hold a span which the filters keep, newest first.",
            run=api.traces, answer="snapshot, traces, next (a cursor for `after`, null on the last page).",
            parameters=(
                *_FILTERS, Parameter("review", "Review state.", review_state, True), _LIMIT,
                Parameter("after", "Cursor: `next` of the page before."),
            ),
        ),
        Operation(
            path="/api/v1/traces/{trace_id}", summary="Everything kept of one trace.", run=api.trace,
            answer="the trace with its spans, calls, prices, logs and review trail.", parameters=(_TRACE, _CONTENT),
            errors=(400, 403, 404, 503),
        ),
        Operation(
            path="/api/v1/spans/{span_id}", summary="Everything kept of one span.", run=api.span,
            answer="the span with its call, price and logs.", parameters=(_SPAN, _CONTENT), errors=(400, 403, 404, 503),
        ),
        Operation(
            path="/api/v1/calls", summary="Call records in order of time, one a line, as many as there are.",
            run=api.calls, answer="NDJSON.", media="application/x-ndjson", parameters=(*_FILTERS, named, _CONTENT),
            errors=(400, 403, 503),
        ),
        Operation(
            path="/api/cost", run=api.cost, summary="Calls, tokens and cost by model, of a session or a time window.",
            answer="totals, and a row for each provider and model; cost is null where no call has a price.",
            parameters=(named, *_RANGE),
        ),
        Operation(
            path="/api/attribution", summary="Which deploy a commit was, and which anomaly is blamed on it.",
            run=api.attribution, answer="sha, matched, deploy, attribution (null while no anomaly is blamed on it).",
            parameters=(Parameter("sha", "Commit, short (4 digits or more) or full.", required=True),),
        ),
        Operation(
            path="/api/v1/reviews", summary="Decisions of reviewers, latest first, and how many there are of each.",
            run=api.reviews, answer="counts, reviews.",
            parameters=(
                _LIMIT, Parameter("offset", "Skip so many.", {"type": "integer"}, default=0),
                Parameter("tenant", "Tenant."), Parameter("state", "Review state.", review_state, True),
                Parameter("kind", "What was reviewed.", {"type": "string", "enum": list(KINDS)}),
            ), errors=(400,),
        ),
        Operation(
            path="/api/v1/reviews", method="POST", summary="Decide on one target or many at once, or undo a decision.",
            run=api.review, answer="batch_id (undo takes it), reviews, repeated.", body=ReviewRequest,
            errors=(400, 403, 404, 409, 413, 415),
        ),
        Operation(
            path="/api/v1/reviews/{trace_id}", summary="The audit trail of a trace, or of one span of it.",
            run=api.review_trail, answer="events, oldest first.",
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


def _chain(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest
