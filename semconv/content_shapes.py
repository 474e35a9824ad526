"""Content that is not a list of messages, read to messages, parts or definitions: system text, tools, tool calls,
documents, events in a list. `messages.py` repairs what is inside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spanfold.semconv.loose_json import clean, opened
from spanfold.semconv.messages import Message, read_messages, repair_message, repair_messages
from spanfold.semconv.parts import Part, repair_part, spread, text_part, tool_call, tool_response

_SAID = frozenset((  # keys of an object whose values are content or stand in columns
    "role", "content", "parts", "name", "tool_calls", "function_call", "refusal", "finish_reason", "messages",
    "tools", "system", "instructions", "model", "stream", "type", "text", "toolCalls", "reasoning", "object",
    "prompt", "input", "tool_call_id", "id", "annotations", "audio",
))  # fmt: skip


_TOOL_LISTS = dict.fromkeys(("tools", "functions", "functionDeclarations", "function_tools", "output_tools"))
_TOOL_NAME = re.compile(r"[\w.:/-]{1,128}")


def is_all(value: Any) -> bool:
    """Does what is read of a value as content hold all that it says?"""
    if not isinstance(value, dict):
        return True
    return all(key in _SAID or inner in (None, "", [], {}) for key, inner in value.items())


def holes(value: Any) -> int:
    """How many listed messages have a role and nothing to say."""
    found = 0
    for item in value if isinstance(value, list) else []:
        inner = item.get("message", item) if isinstance(item, dict) else None
        if isinstance(inner, dict) and inner.get("role") and inner.keys() <= {"role", "tool_call_id", "name"}:
            found += 1
    return found


def read_event_list(value: Any, side: str) -> list[Message]:
    """Messages of one side from a list of events `{"event.name": "gen_ai.user.message", ...}`."""
    found = []
    for item in opened(value) if isinstance(opened(value), list) else []:
        if not isinstance(item, dict):
            continue
        name = str(item.get("event.name") or "")
        if (name == "gen_ai.choice") != (side == "output"):
            continue
        role = (
            {"gen_ai.choice": "assistant"}.get(name) or name.removeprefix("gen_ai.").removesuffix(".message") or "user"
        )
        inner = item.get("message")
        body = (
            inner
            if isinstance(inner, dict)
            else {**item, "content": inner if inner is not None else item.get("content")}
        )
        if (message := repair_message({"role": role, **body}, role)) is not None:
            found.append(message)
    return found


def read_parts(value: Any) -> list[Part]:
    """System instructions: a list of parts, a bare text, a message or a list of messages."""
    value = opened(value)
    if value is None or value == "":
        return []
    if isinstance(value, list) and value and all(isinstance(v, dict) and ("role" in v or "parts" in v) for v in value):
        return [part for message in repair_messages(value) for part in message["parts"]]
    if isinstance(value, dict) and ("parts" in value or "role" in value):
        message = repair_message(value, "system")
        return message["parts"] if message else []
    entries = list(spread(value)) if isinstance(value, list) else [value]
    return [part for entry in entries if (part := repair_part(opened(entry))) is not None and part != text_part("")]


def read_tools(value: Any) -> list[dict[str, Any]]:
    """Tool definitions as `{"type": "function", "name", "description"?, "parameters"?}`; other kinds as they are."""
    value = opened(value)
    if isinstance(value, dict):
        inner = [entry for key in _TOOL_LISTS if isinstance(value.get(key), list) for entry in value[key]]
        named = "name" in value or "function" in value
        value = inner or ([] if value.keys() & _TOOL_LISTS.keys() else [value] if named else _named(value))
    found = []
    for entry in value if isinstance(value, list) else []:
        found += _definitions(opened(entry))
    return found


def _named(value: Mapping[str, Any]) -> list[Any]:
    """Definitions in a map by name."""
    return [{"name": name, **entry} for name, entry in value.items() if isinstance(entry, dict)]


def _definitions(entry: Any) -> list[dict[str, Any]]:
    if isinstance(entry, str):
        return [{"type": "function", "name": entry}] if _TOOL_NAME.fullmatch(entry) else []
    if not isinstance(entry, dict):
        return []
    for key in ("functionDeclarations", "function_declarations"):
        if isinstance(entry.get(key), list):
            return [found for inner in entry[key] for found in _definitions(inner)]
    for key in ("function", "toolSpec", "tool", "json_schema"):
        inner = opened(entry.get(key))
        if isinstance(inner, dict):
            return _definitions({"type": "function", **inner} if key != "tool" else inner)
    if not entry.get("name"):
        return [clean({k: v for k, v in entry.items() if v is not None and k not in ("cache_control",)})]
    schema_keys = (
        "parameters",
        "input_schema",
        "inputSchema",
        "parametersJsonSchema",
        "parameters_json_schema",
        "schema",
    )
    schema = next((opened(entry[k]) for k in schema_keys if entry.get(k) is not None), None)
    if isinstance(schema, dict) and schema.keys() == {"json"}:
        schema = schema["json"]  # Bedrock
    tool: dict[str, Any] = {"type": str(entry.get("type") or "function"), "name": str(entry["name"])}
    if entry.get("description"):
        tool["description"] = entry["description"]
    if schema is not None:
        tool["parameters"] = schema
    return [clean(tool)]


def call_message(name: Any, arguments: Any, call_id: Any) -> list[Message]:
    """What a tool was called with."""
    return [{"role": "assistant", "parts": [tool_call(name, arguments, call_id)]}]


def result_message(result: Any, call_id: Any) -> list[Message]:
    """What a tool answered."""
    return [{"role": "tool", "parts": [tool_response(result, call_id)]}]


def read_documents(value: Any, kind: str = "document") -> list[Message]:
    """Retrieved documents or memory records: one message, a part each, ids and scores kept."""
    value = opened(value)
    if isinstance(value, dict):
        value = next((value[k] for k in ("documents", "records", "results") if isinstance(value.get(k), list)), [value])
    parts: list[Part] = []
    for entry in value if isinstance(value, list) else [value]:
        entry = opened(entry)
        entry = entry.get(kind, entry) if isinstance(entry, dict) else {"content": entry}
        if isinstance(entry, dict) and (kept := {k: v for k, v in entry.items() if v is not None}):
            parts.append(clean({**kept, "type": kind}))
    return [{"role": "tool", "parts": parts}] if parts else []


_SPEAKERS = re.compile(r"^(system|developer|user|assistant|tool): ", re.M)


def read_transcript(value: Any, role: str = "user") -> list[Message]:
    """Messages of one flat text with a line `role: words` for each (OpenLIT up to 1.33); anything else as messages.
    What `str()` made of no words at all (`assistant: None`) was not said."""
    if not isinstance(value, str) or not _SPEAKERS.match(value):
        return read_messages(value, role)
    pieces = _SPEAKERS.split(value)[1:]
    said = zip(pieces[::2], (words.removesuffix("\n") for words in pieces[1::2]), strict=True)
    return repair_messages({"role": who, "content": words} for who, words in said if words != "None")


def read_texts(value: Any, role: str = "user") -> list[Message]:
    """Texts without roles, such as embeddings inputs: one message each."""
    value = opened(value)
    return [
        {"role": role, "parts": [text_part(v)]}
        for v in (value if isinstance(value, list) else [value])
        if v not in (None, "")
    ]
