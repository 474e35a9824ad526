"""Where every column of a stored span came from: `semconv/explain.py` over one span of a snapshot."""

from __future__ import annotations

from typing import Any

from spanfold.analytics.queries import View
from spanfold.exporter.errors import KeyMissing
from spanfold.semconv.detection import DIALECTS as DIALECTS
from spanfold.semconv.detection import Dialects as Dialects
from spanfold.semconv.explain import explain
from spanfold.semconv.explain import read_keys as read_keys


def explain_span(
    view: View, span_id: str, dialects: Dialects, *, trace_id: str | None = None, content: bool
) -> dict[str, Any] | None:
    """None if there is no such span. Without `content` or its key the private attributes are left out (`closed`);
    `contexts` says what the span was given and gave, by counts, and where it was found; `suppressed` why it is not
    counted, if it is not."""
    rows = view.query("span_row", span_id=span_id, trace_id=trace_id).to_pylist()
    if not rows:
        return None
    row, private, closed = rows[0], {}, not content
    if content:
        try:
            private = view.private([row])[0]
        except KeyMissing:
            closed = True
    key = (row["date"], row["tenant"], row["trace_id"], row["span_id"])
    contexts = [
        {"direction": context.direction, "source": context.source, "messages": len(context.messages)}
        for context in view.messages([key], words=False)
    ]
    return {
        "trace_id": row["trace_id"], "span_id": row["span_id"], "name": row["name"], "scope_name": row["scope_name"],
        "scope_version": row["scope_version"], "closed": closed, **explain(row, private, dialects).as_dict(),
        "contexts": contexts, "suppressed": row["suppressed_reason"], "merged_into": row["merged_into"],
    }  # fmt: skip
