"""The audit trail on screen: who decided what, when, from what to what, and why."""

from __future__ import annotations

from collections.abc import Sequence

from spanfold.dashboard import formatting, grids, links
from spanfold.state.reviews import ReviewEvent


def draw(key: str, events: Sequence[ReviewEvent], zone: str, *, targets: bool = False) -> None:
    """Newest first. With `targets` each entry says what it is about, as a link to its trace."""
    rows = [_row(event) for event in reversed(events)]
    columns = [
        grids.Column("When", lambda r: formatting.when(r["at"], zone), kind="time"),
        grids.Column("Who", lambda r: r["who"]),
        grids.Column(
            "Decision", lambda r: grids.cell(f"{r['was']} → {r['became']}", sub="undo" if r["undo"] else None)
        ),
        grids.Column("Comment", lambda r: r["comment"], kind="wrap"),
    ]
    if targets:
        columns.insert(3, grids.Column("What", _target, kind="mono"))
    grids.draw(key, columns, rows, row_id=lambda r: str(r["seq"]))


def _row(event: ReviewEvent) -> grids.Row:
    return {
        "seq": event.seq,
        "at": event.decided_at.replace(tzinfo=None),
        "who": event.who,
        "was": event.from_state,
        "became": event.to_state,
        "undo": event.undo_of is not None,
        "comment": event.comment or ("(encrypted)" if event.has_comment else None),
        "kind": event.target.kind,
        "trace_id": event.target.trace_id,
        "message_id": event.target.message_id,
    }


def _target(row: grids.Row) -> grids.Row:
    ident = row["trace_id"] or row["message_id"]
    link = {"href": links.to_span(row["trace_id"])} if row["trace_id"] else {}
    return grids.cell(f"{row['kind']} {ident[:12]}…", title=ident, **link)
