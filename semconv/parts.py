"""Message parts of every dialect to the part shapes of the newest OTel GenAI JSON schemas.

Recognised by what a part says of itself (`type`, or the keys it has), never by who sent it: OpenAI chat and responses
items, Anthropic blocks, Gemini parts, Bedrock blocks, Vercel AI SDK, LangChain, LlamaIndex, Haystack, OpenInference.
Unknown kinds stay as they are.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from spanfold.semconv.loose_json import clean, opened

Part = dict[str, Any]

ANNOTATIONS = frozenset((  # never part of what was said: they may differ when the same words are sent again
    "cache_control", "cacheControl", "cachePoint", "cache_point", "providerOptions", "providerMetadata",
    "provider_options", "provider_metadata", "provider_name", "provider_details", "annotations", "logprobs", "index",
    "status", "phase", "caller", "finish_reason", "timestamp", "prompt_cache_breakpoint",
))  # fmt: skip
_SCRUBBED = re.compile(r"\[Scrubbed due to '[^']*'\]")  # Logfire put this where the words were
_DATA_URL = re.compile(r"^data:([^;,]*)((?:;[^;,]*)*),", re.I)


def text_part(text: Any) -> Part:
    return {"type": "text", "content": text if isinstance(text, str) else _as_text(text)}


def tool_call(name: Any, arguments: Any, call_id: Any = None) -> Part:
    """Arguments become an object when they are JSON of one; no arguments are an empty object."""
    value = opened(arguments)
    part: Part = {"type": "tool_call", "name": str(name or ""), "arguments": {} if value in (None, "") else value}
    if call_id not in (None, ""):
        part["id"] = str(call_id)
    return part


def tool_response(response: Any, call_id: Any = None) -> Part:
    part: Part = {"type": "tool_call_response", "response": plain_response(response)}
    if call_id not in (None, ""):
        part["id"] = str(call_id)
    return part


def plain_response(value: Any) -> Any:
    """A tool's answer: one text block is its text, several stay a list of text parts; anything else as it was."""
    if isinstance(value, dict) and value.keys() <= {"type", "value", "providerOptions"} and "value" in value:
        return plain_response(value["value"])  # Vercel 5 and later: {"type": "json", "value": ...}
    if isinstance(value, dict) and value.keys() <= {"json", "text"} and len(value) == 1:
        return value.get("json", value.get("text"))  # Bedrock
    if isinstance(value, list) and value and all(_is_text(item) for item in value):
        texts = [_text_of(item) for item in value]
        return texts[0] if len(texts) == 1 else [text_part(text) for text in texts]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].keys() == {"json"}:
        return value[0]["json"]
    return value


def media_part(data: Any, mime: Any = None, modality: str = "") -> Part:
    """A blob from base64 text, bytes or a data URL; a uri from any other text."""
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    if isinstance(data, dict):
        data = data.get("url") or data.get("data") or data.get("image") or ""
        return media_part(data, mime, modality)
    text = str(data or "")
    head = _DATA_URL.match(text[:256])
    if head:
        mime = head[1] or mime
        text = text[head.end() :]
    if text.startswith("@@@langfuseMedia"):
        return {"type": "generic", "generic_type": "langfuse_media", "reference": text}  # kept in Langfuse's own store
    kind = "uri" if not head and re.match(r"^[a-z][a-z0-9+.-]*://", text[:32], re.I) else "blob"
    part: Part = {"type": kind, "modality": modality or _modality(mime), "uri" if kind == "uri" else "content": text}
    if mime and isinstance(mime, str):
        part["mime_type"] = mime
    return part


def _modality(mime: Any) -> str:
    kind = (mime if mime and isinstance(mime, str) else "image/").split("/")[0].lower()
    return kind if kind in ("image", "audio", "video") else "document"


def repair_part(part: Any) -> Part | None:
    """One part in canonical shape; None for nothing (an empty entry, a cache mark)."""
    if part is None:
        return None
    if not isinstance(part, dict):
        return _text({"text": part})
    kind = part.get("type") or part.get("block_type") or part.get("kind")
    if isinstance(kind, str) and (read := _BY_TYPE.get(kind.replace("-", "_"))):
        return read(part)
    for key, reader in _BY_KEY.items():
        if key in part and (kind is None or kind == key):
            return reader(part)
    if not {key for key in part if key not in ANNOTATIONS and key != "type"}:
        return None  # {"cachePoint": {"type": "default"}}, {}
    return _kept(part)


def _kept(part: Part) -> Part | None:
    """A part that already has canonical names, or a kind nobody knows: without annotations, empty keys dropped."""
    kept: Part = clean({key: value for key, value in part.items() if key not in ANNOTATIONS})
    return {key: value for key, value in kept.items() if value is not None} or None  # infinity is none by now


def _is_text(item: Any) -> bool:
    return isinstance(item, dict) and (
        item.get("type", "text") in ("text", "input_text", "output_text") and ("text" in item or "content" in item)
    )


def _text_of(item: Part) -> str:
    return str(item.get("text", item.get("content", "")))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    from spanfold.semconv.records import json_text

    return json_text(clean(value)) if isinstance(value, dict | list) else str(value)


def spread(parts: Iterable[Any]) -> Iterator[Any]:
    """The entries, with a text part whose text is a list of blocks taken apart (OpenLIT on Anthropic's system)."""
    for part in parts:
        inner = part.get("content") if isinstance(part, dict) and part.get("type") == "text" else None
        if isinstance(inner, list) and inner and all(_is_text(block) for block in inner):
            yield from inner
        else:
            yield part


_BLOCKS = {  # blocks of providers that senders write as one text, Python or JSON: what each of its kind has
    "output_text": {"text", "annotations"}, "thinking": {"thinking", "signature"}, "reasoning": {"id", "summary"},
}  # fmt: skip


def _block_in_text(text: str) -> Part | None:
    """The part that an answer's block is, where the text is the block itself; None for any other text."""
    if text[:1] != "{" or text[-1:] != "}" or not any(kind in text for kind in _BLOCKS):
        return None
    block = opened(text)
    kind = block.get("type") if isinstance(block, dict) else None
    return repair_part(block) if isinstance(kind, str) and _BLOCKS.get(kind, {""}) <= block.keys() else None


def _text(part: Part) -> Part | None:
    for key in ("content", "text", "value", "input_text", "output_text", "refusal"):
        if part.get(key) is not None:
            text = part[key]
            if isinstance(text, dict) and isinstance(text.get("value"), str):
                text = text["value"]  # OpenAI assistants: {"text": {"value": "...", "annotations": []}}
            if part.get("thought") is True:
                return {"type": "reasoning", "content": str(text)}
            if isinstance(text, str) and _SCRUBBED.fullmatch(text):
                return {"type": "generic", "generic_type": "scrubbed", "note": text}
            return (_block_in_text(text) if isinstance(text, str) else None) or text_part(text)
    return None


def _holds_texts(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(
        isinstance(v, dict) and isinstance(v.get("text") or v.get("content"), str) for v in items
    )


def _reasoning(part: Part) -> Part | None:
    for key in ("content", "thinking", "text", "reasoning", "reasoning_content", "summary"):
        value = opened(part.get(key))
        if isinstance(part.get(key), str) and not _holds_texts(value):
            value = part[key]  # not JSON after all
        if isinstance(value, list):
            value = "\n".join(_text_of(item) if isinstance(item, dict) else str(item) for item in value)
        if isinstance(value, dict):
            value = value.get("text") or value.get("content")
        if value not in (None, ""):
            return {"type": "reasoning", "content": str(value)}
    sealed = part.get("data") or part.get("encrypted_content") or part.get("signature")
    if sealed:
        return {"type": "reasoning", "content": "", "encrypted_content": str(sealed)}
    return {"type": "reasoning", "content": ""} if part.get("content") == "" else None  # said to be there, and empty


def _first(part: Part, *keys: str) -> Any:
    return next((part[key] for key in keys if part.get(key) is not None), None)


def _call(part: Part) -> Part:
    inner = part.get("function") or part.get("tool_call") or part
    if not isinstance(inner, dict):
        inner = {"name": inner, "arguments": part.get("arguments")}
    if isinstance(inner.get("function"), dict):
        inner = {**inner, **inner["function"]}
    name = _first(inner, "name", "toolName", "tool_name", "tool_kind", "function_name")
    arguments = _first(inner, "arguments", "input", "args", "parameters", "tool_kwargs", "kwargs", "action")
    call_id = _first(part, "call_id", "id", "toolCallId", "tool_call_id", "tool_id", "toolUseId", "ref")
    return tool_call(name, arguments, call_id if call_id is not None else _first(inner, "id", "toolUseId", "call_id"))


def _response(part: Part) -> Part:
    value = _first(part, "response", "result", "output", "content", "text")
    keys = ("id", "tool_use_id", "call_id", "tool_call_id", "toolCallId", "toolUseId", "ref")
    return tool_response(value, _first(part, *keys))


def _inside(key: str, read: Callable[[Part], Part | None]) -> Callable[[Part], Part | None]:
    """Reads the object that stands under `key`, with what stands beside it."""

    def inner(part: Part) -> Part | None:
        value = part[key]
        return read(value if isinstance(value, dict) else {"content": value})

    return inner


def _gemini_response(part: Part) -> Part:
    return tool_response(_first(part, "response", "result", "content"), part.get("id"))


def _haystack_result(part: Part) -> Part:
    origin = part.get("origin") or {}
    return tool_response(part.get("result"), origin.get("id") if isinstance(origin, dict) else None)


def _image(part: Part) -> Part | None:
    """Image, audio, video, document of OpenAI, Anthropic, Bedrock, Vercel, LangChain, OpenInference."""
    kind = str(part.get("type") or "")
    modality = next((m for m in ("audio", "video", "document") if m in kind), "image" if "image" in kind else "")
    value = _first(
        part, "image_url", "source", "image", "input_audio", "audio", "data", "url", "file", "document", "video"
    )
    mime = _first(part, "mime_type", "mediaType", "mimeType", "media_type")
    if value is None or isinstance(value, dict):
        holder: Part = part if value is None else value
        source = holder.get("source")
        inner: Part = source if isinstance(source, dict) else holder
        mime = _first(inner, "media_type", "mime_type", "mimeType") or mime
        shape = holder.get("format")
        if mime is None and isinstance(shape, str) and "/" not in shape:
            mime = f"{modality or 'image'}/{shape}"
        value = _first(inner, "url", "data", "bytes", "image", "file_data", "uri")
        if isinstance(value, dict):
            value = _first(value, "url", "data", "bytes")
        if value is None and (file_id := _first(inner, "file_id", "id")):
            return {"type": "file", "modality": modality or _modality(mime), "file_id": str(file_id)}
        if value is None:
            return _kept(part)
    return media_part(value, mime, modality if modality and not mime else "")


def _file(part: Part) -> Part | None:
    """OTel's `file` part as it is; the `file` parts of OpenAI chat and the Vercel SDK hold data."""
    if "data" in part or isinstance(part.get("file"), dict) or "url" in part:
        return _image(part)
    return _kept(part)


def _inline_data(part: Part) -> Part:
    return media_part(_first(part, "data", "file_uri", "fileUri"), _first(part, "mimeType", "mime_type"))


_BY_TYPE: dict[str, Callable[[Part], Part | None]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text", "refusal"), _text),
    **dict.fromkeys(("reasoning", "thinking", "redacted_thinking", "reasoning_text", "redacted_reasoning"), _reasoning),
    **dict.fromkeys(("tool_call", "tool_use", "function_call", "function", "custom_tool_call"), _call),
    **dict.fromkeys(("tool_call_response", "tool_result", "function_call_output"), _response),
    **dict.fromkeys(("custom_tool_call_output", "tool_response", "function_response"), _response),
    **dict.fromkeys(("image_url", "input_image", "image", "input_audio", "audio", "audio_url", "video"), _image),
    **dict.fromkeys(("document", "input_file", "media", "image_file", "video_url"), _image),
    "file": _file,
}
_BY_KEY: dict[str, Callable[[Part], Part | None]] = {
    "functionCall": _inside("functionCall", _call),
    "function_call": _inside("function_call", _call),
    "functionResponse": _inside("functionResponse", _gemini_response),
    "function_response": _inside("function_response", _gemini_response),
    "inlineData": _inside("inlineData", _inline_data),
    "inline_data": _inside("inline_data", _inline_data),
    "fileData": _inside("fileData", _inline_data),
    "file_data": _inside("file_data", _inline_data),
    "toolRequest": _inside("toolRequest", _call),
    "toolResponse": _inside("toolResponse", _response),
    "media": _inside("media", lambda part: media_part(part.get("url"), part.get("contentType"))),
    "toolUse": _inside("toolUse", _call),
    "toolResult": _inside("toolResult", _response),
    "tool_call": _inside("tool_call", _call),
    "tool_name": _call,
    "tool_call_result": _inside("tool_call_result", _haystack_result),
    "reasoningContent": _inside("reasoningContent", lambda part: _reasoning(_joined(part))),
    "message_content": _inside("message_content", repair_part),
    "image": _inside("image", lambda part: _image({"type": "image", **part})),
    "origin": _haystack_result,
    "text": _text,
    "thinking": _reasoning,
    "content": lambda part: _text(part) if isinstance(part["content"], str) else _kept(part),
}


def _joined(part: Part) -> Part:
    inner = part.get("reasoningText") or part.get("reasoning_text")
    return inner if isinstance(inner, dict) else part
