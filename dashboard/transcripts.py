"""What was said, as items for the transcript component: the new first, what is only repeated folded to one line.

Contexts come as `analytics.content.Context.as_dict()`. Everything here is data that ends in `textContent`, but for the
thumbnails, which are pictures of our own making.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from spanfold.dashboard import formatting
from spanfold.dashboard.thumbnails import Easel

Row = Mapping[str, Any]
Item = dict[str, Any]

LARGE = 64 << 10  # characters of one part that are sent to the browser unasked
PEEK = 4_000  # of a larger part
DIFFED = 40_000  # characters of a text that is compared word by word
CUT = (
    "This call said only what was new. A span of the chain that said the rest did not come, or not in time: "
    "what follows begins after it."
)
CLOSED = "The words are encrypted and the key is not here."


def of_call(
    given: Row | None,
    said: Row | None,
    *,
    prefix: str,
    opened: Collection[str],
    finish: Sequence[str] = (),
    system: bool = True,
    easel: Easel | None = None,
) -> list[Item]:
    """One call: system text and repeated history folded, then what was new, then the answer. Calls that stand on one
    view share its easel."""
    easel = easel or Easel()
    items: list[Item] = []
    if given:
        if given.get("source") == "delta_cut":
            items.append({"type": "note", "tone": "warn", "text": CUT})
        items += _system(given, f"{prefix}system", opened) if system else []
        old = [m for m in given["messages"] if not m["is_new"]]
        new = [m for m in given["messages"] if m["is_new"]]
        if old:
            items.append(_history(old, f"{prefix}history", opened, easel))
        items += [message(m, f"{prefix}{m['position']}", opened, easel) for m in new]
    for at, m in enumerate(said["messages"] if said else ()):
        reason = finish[at] if at < len(finish) else None
        note = f"finish reason {reason}" if reason and reason != "stop" else ""
        items.append(message(m, f"{prefix}out{m['position']}", opened, easel, note=note))
    return items


def message(entry: Row, ident: str, opened: Collection[str], easel: Easel, *, note: str = "") -> Item:
    """One message of a context."""
    body = entry.get("message")
    notes = [note, formatting.plural(entry["redactions"], "redaction") if entry.get("redactions") else ""]
    if body is None:
        parts = [{"kind": "closed", "label": "", "text": "", "note": ""}]
        notes.append(f"{formatting.plural(entry['chars'] or 0, 'character')}. {CLOSED}")
    else:
        parts = [part(p, f"{ident}.{at}", opened, easel) for at, p in enumerate(body.get("parts") or ())]
    return {"type": "message", "role": entry["role"], "note": " · ".join(filter(None, notes)), "parts": parts}


def part(body: Row, ident: str, opened: Collection[str], easel: Easel) -> Item:
    """One message part of the OTel GenAI schemas; an unknown type is shown as its JSON."""
    kind = body.get("type")
    if kind in ("text", "reasoning"):
        label = "Reasoning" if kind == "reasoning" else ""
        return _sized(kind, label, "", _text(body.get("content")), False, ident, opened)
    if kind == "tool_call":
        return _sized(
            "call",
            f"{body.get('name') or 'tool'}()",
            body.get("id") or "",
            *_readable(body.get("arguments")),
            ident,
            opened,
        )
    if kind == "tool_call_response":
        answer = body.get("response", body.get("result"))
        return _sized("result", "Result", body.get("id") or "", *_readable(answer), ident, opened)
    if kind == "blob":
        return _blob(body, easel)
    if kind in ("uri", "file"):
        where = body.get("uri") or body.get("file_id") or ""
        return {
            "kind": "file",
            "label": body.get("modality") or kind,
            "note": body.get("mime_type") or "",
            "text": where,
            "mono": True,
        }
    return _sized(
        "other", str(kind or "part"), "", _text({k: v for k, v in body.items() if k != "type"}), True, ident, opened
    )


def _blob(body: Row, easel: Easel) -> Item:
    """Data that came with the message: a picture as a thumbnail, anything else as its kind and size."""
    content, mime = str(body.get("content") or ""), str(body.get("mime_type") or "")
    label = " ".join(filter(None, (str(body.get("modality") or ""), mime))) or "Data"
    if body.get("modality") == "image" or mime.startswith("image/"):
        drawn = easel.draw(content)
        return {"kind": "file", "label": label, "note": drawn.note, "text": "", "picture": drawn.url}
    size = formatting.short(len(content) * 3 // 4)
    return {"kind": "file", "label": label, "note": f"{size} bytes, not shown", "text": ""}


def system_text(context: Row | None) -> str:
    """All instructions of an input as one text."""
    if not context:
        return ""
    parts = [*(context["system_instructions"] or ()), *(p for m in context["leading"] for p in m.get("parts") or ())]
    return "\n\n".join(filter(None, (_text(p.get("content", p)) for p in parts)))


def difference(title: str, before: str, after: str) -> Item:
    """Word by word, what was added and what was taken out."""
    old, new = (re.findall(r"\s+|\S+", text[:DIFFED]) for text in (before, after))
    runs: list[tuple[str, str]] = []
    for op, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if op == "equal":
            runs.append(("same", _shortened("".join(old[a:b]))))
            continue
        if a < b:
            runs.append(("drop", "".join(old[a:b])))
        if c < d:
            runs.append(("add", "".join(new[c:d])))
    return {"type": "diff", "title": title, "runs": runs}


def one_line(context: Row | None, role: str) -> str:
    """The last message of a role as one line; where there is none, the last message that has words."""
    if not context:
        return ""
    known = [m for m in context["messages"] if m.get("message")]
    for entry in (*(m for m in reversed(known) if m["role"] == role), *reversed(known)):
        texts = [_text(p.get("content")) for p in entry["message"].get("parts") or () if p.get("type") == "text"]
        line = " ".join(" ".join(texts)[:600].split())
        if line:
            return line
    return ""


def tool_items(context: Row | None, opened: Collection[str]) -> list[Item]:
    """The tools a call could use, one part each."""
    found = (context or {}).get("tool_definitions") or []
    parts = []
    for at, tool in enumerate(found):
        inner = tool.get("function", tool) if isinstance(tool, dict) else {"name": str(tool)}
        label, note = str(inner.get("name") or tool.get("type") or "tool"), str(inner.get("description") or "")[:300]
        rest = inner.get("parameters", inner.get("input_schema"))
        parts.append(_sized("tool", label, note, _text(rest) if rest else "", True, f"tool{at}", opened))
    return (
        [{"type": "message", "role": "tools", "note": formatting.plural(len(parts), "tool"), "parts": parts}]
        if parts
        else []
    )


def _system(context: Row, ident: str, opened: Collection[str]) -> list[Item]:
    text = system_text(context)
    if not text:
        return []
    fold: Item = {"type": "fold", "id": ident, "label": f"System text, {formatting.plural(len(text), 'character')}"}
    if ident in opened:
        body = [{"kind": "text", "label": "", "note": "", "text": text}]
        fold["items"] = [{"type": "message", "role": "system", "note": "", "parts": body}]
    return [fold]


def _history(old: Sequence[Row], ident: str, opened: Collection[str], easel: Easel) -> Item:
    fold: Item = {"type": "fold", "id": ident, "label": formatting.plural(len(old), "repeated message")}
    if ident in opened:
        fold["items"] = [message(m, f"{ident}.{m['position']}", opened, easel) for m in old]
    return fold


def _sized(kind: str, label: str, note: str, text: str, mono: bool, ident: str, opened: Collection[str]) -> Item:
    """A part with its text; a large one begins with a peek and the size of the rest."""
    item: Item = {"kind": kind, "label": label, "note": note, "text": text, "mono": mono}
    if len(text) > LARGE and ident not in opened:
        item |= {"text": text[:PEEK], "id": ident, "rest": f"Show all {formatting.short(len(text))} characters"}
    return item


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def _readable(value: object) -> tuple[str, bool]:
    """(text, is it JSON): arguments and results often are JSON inside a string, sometimes a string inside that."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value), False
    return _text(value), not isinstance(value, str)


def _shortened(text: str, keep: int = 160) -> str:
    """The middle of a long unchanged run is left out."""
    return text if len(text) <= 2 * keep + 20 else f"{text[:keep]} … {text[-keep:]}"
