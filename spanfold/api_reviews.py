"""Reviews over HTTP: the same functions of the control plane that the screens call."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spanfold.state.reviews import Review, ReviewEvent
from spanfold.state.store import TenantState
from spanfold.state.targets import Target


class TargetIn(BaseModel):
    """A trace (trace_id), a span (trace_id and span_id) or a message (message_id)."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["trace", "span", "message"]
    trace_id: str = ""
    span_id: str = ""
    message_id: str = ""
    tenant: str = "default"
    expected_revision: int | None = Field(None, description="Refuse with 409 if it is not at this revision.")


class ReviewRequest(BaseModel):
    """A decision (`targets` and `state`), or `undo` of the batch_id that a decision answered."""

    model_config = ConfigDict(extra="forbid")

    targets: list[TargetIn] = Field(default_factory=list, max_length=10_000)
    state: Literal["unreviewed", "approved", "flagged", "rejected"] | None = None
    who: str | None = Field(None, max_length=200, description="Who decides, where nobody signs in; default the caller.")
    comment: str | None = Field(None, max_length=20_000, description="Kept encrypted.")
    batch_id: str | None = Field(None, max_length=64, description="Names this act: sending it twice changes nothing.")
    undo: str | None = Field(None, max_length=64)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        decides = bool(self.targets) and self.state is not None
        if decides == (self.undo is not None):
            raise ValueError("give targets and state, or undo")
        return self


def act(state: TenantState, body: ReviewRequest, *, default_who: str) -> dict[str, Any]:
    """Raises Invalid, NotFound, RevisionConflict."""
    who = body.who or default_who
    if body.undo is not None:
        decision = state.reviews.undo(body.undo, who=who, as_batch=body.batch_id)
    else:
        targets = {
            Target(t.tenant, t.kind, t.trace_id, t.span_id, t.message_id): t.expected_revision for t in body.targets
        }
        expected = {target: revision for target, revision in targets.items() if revision is not None}
        decision = state.reviews.decide(
            targets, str(body.state), who=who, comment=body.comment, expected=expected, batch_id=body.batch_id
        )
    reviews = [review_json(review) for review in decision.reviews]
    return {"batch_id": decision.batch_id, "repeated": decision.repeated, "reviews": reviews}


def trail(state: TenantState, tenant: str, trace_id: str, span_id: str | None) -> dict[str, Any]:
    """The audit trail of a trace or of one span."""
    target = Target.span(trace_id, span_id, tenant=tenant) if span_id else Target.trace(trace_id, tenant=tenant)
    return {"events": [event_json(event) for event in state.reviews.history(target)]}


def review_json(review: Review) -> dict[str, Any]:
    return _target(review.target) | {
        "state": review.state,
        "revision": review.revision,
        "updated_at": review.updated_at,
        "who": review.who,
    }


def event_json(event: ReviewEvent) -> dict[str, Any]:
    names = ("seq", "decided_at", "who", "from_state", "to_state", "revision", "batch_id", "undo_of", "comment")
    return _target(event.target) | {name: getattr(event, name) for name in names} | {"has_comment": event.has_comment}


def _target(target: Target) -> dict[str, Any]:
    return {name: value for name, value in target.columns().items() if value}
