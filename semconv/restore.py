"""The way back from a stored row to what was sent: attributes, events and links by key, with their types.

`restore(keep(x)) == x` for everything but content, which the content store holds, and what redaction changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spanfold.semconv.anyvalue import from_otlp_json
from spanfold.semconv.schema import PROMOTED


def restore_attributes(row: Mapping[str, Any], private: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Attributes by key from a row's columns (as Python values) and, if the reader may, its private object.

    Values are str, bool, int, float, bytes, list, dict or None (an attribute without a value).
    """
    promoted = row.get("promoted") or 0
    out = {rule.key: row[rule.column] for bit, rule in enumerate(PROMOTED) if promoted >> bit & 1}
    out |= _members(_loaded(row.get("attributes")), _loaded(row.get("attributes_typed")))
    private = private or {}
    return out | _members(private.get("attributes"), private.get("attributes_typed"))


def restore_events(row: Mapping[str, Any], private: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Events `{name, time_unix_nano, attributes, dropped_attributes_count}` with their private attributes put back."""
    return _restore_list(_loaded(row.get("events")), (private or {}).get("events"))


def restore_links(row: Mapping[str, Any], private: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Links `{trace_id, span_id, trace_state, attributes, flags, dropped_attributes_count}` likewise."""
    return _restore_list(_loaded(row.get("links")), (private or {}).get("links"))


def restore_body(private: Mapping[str, Any]) -> Any:
    """The body of a log record from its private object; None if it had none."""
    return from_otlp_json(private["body_typed"]) if "body_typed" in private else private.get("body")


def _restore_list(listed: Any, hidden: Any) -> list[dict[str, Any]]:
    out = [dict(entry) for entry in listed or ()]
    for entry in out:
        entry["attributes"] = _members(entry["attributes"], entry.pop("attributes_typed", None))
    for entry in hidden or ():
        out[entry["index"]]["attributes"] |= _members(entry["attributes"], entry.get("attributes_typed"))
    return out


def _members(plain: Mapping[str, Any] | None, typed: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(plain or {}) | {key: from_otlp_json(value) for key, value in (typed or {}).items()}


def _loaded(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
