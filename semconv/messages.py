"""Messages of every dialect to one canonical form: `{"role", "parts": [...]}` of the newest OTel GenAI JSON schemas.

All shape repair is here and in `parts.py`. A message is repaired by what it says of itself, alone: never by who sent
it and never by where it stands, so that a history repaired in pieces equals the history repaired at once.

Canonical means: what the hash of a message covers. Annotations (cache marks, finish reasons, a null name, log
probabilities) are outside. Tool arguments are objects where they are JSON objects; answers stay as they were sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from spanfold.semconv.loose_json import clean, opened, read_json
from spanfold.semconv.parts import Part, repair_part, spread, text_part, tool_call, tool_response

Message = dict[str, Any]

_ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant", "function": "tool",
    "tool-response": "user", "tool-call": "assistant", "tool_call": "assistant", "tool_response": "user",
    "toolresult": "tool", "aimessagechunk": "assistant", "chatbot": "assistant", "ipython": "tool",
    "aimessage": "assistant", "humanmessage": "user", "systemmessage": "system", "toolmessage": "tool",
    "humanmessagechunk": "user", "systemmessagechunk": "system", "toolmessagechunk": "tool", "functionmessage": "tool",
}  # fmt: skip
_LANGCHAIN_TYPES = frozenset(("human", "ai", "system", "tool", "function", "AIMessageChunk", "chat", "developer"))
_ITEMS = frozenset((  # OpenAI responses items and bare parts: messages of one part, and whose they are
    "function_call", "custom_tool_call", "reasoning", "function_call_output", "custom_tool_call_output", "tool_call",
    "tool_call_response", "tool_use", "tool_result", "text", "input_text", "output_text", "input_image",
))  # fmt: skip
_USER_ITEMS = frozenset(("input_text", "input_image", "text"))
FINISH_REASONS = {
    "tool_calls": "tool_call", "tool-calls": "tool_call", "tool_use": "tool_call", "function_call": "tool_call",
    "function_calls": "tool_call",
    "tool_call": "tool_call", "end_turn": "stop", "stop": "stop", "stop_sequence": "stop", "completed": "stop",
    "complete": "stop", "eos": "stop", "end": "stop", "finished": "stop", "max_tokens": "length", "length": "length",
    "max_output_tokens": "length", "content_filter": "content_filter", "content-filter": "content_filter",
    "safety": "content_filter", "refusal": "content_filter", "guardrail_intervened": "content_filter",
    "error": "error", "failed": "error", "malformed_function_call": "error", "compaction": "compaction",
}  # fmt: skip


def canonical(message: Message) -> bytes:
    """The bytes that a content id hashes: keys in a stable order, no space."""
    try:
        return orjson.dumps(message, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError):  # integers over 64 bits, lone surrogates, deeper than orjson writes
        return orjson.dumps(clean(message), option=orjson.OPT_SORT_KEYS)


def parse_messages(text: str | memoryview) -> tuple[list[Message], str]:
    """(repaired messages, trouble) of a JSON list of messages; see `loose_json.read_json` for the troubles."""
    value, trouble = read_json(text)
    if trouble == "bad_json":
        return [{"role": "user", "parts": [text_part(value)]}], trouble
    return read_messages(value), trouble


def repair_messages(found: Iterable[Any]) -> list[Message]:
    """Every element repaired on its own; empty elements are left out."""
    return [message for item in found if (message := repair_message(item)) is not None]


def read_messages(value: Any, role: str = "user") -> list[Message]:
    """Messages from whatever a sender put where messages belong: a list, one message, a request, a text."""
    value = opened(value)
    if value is None or value == "":
        return []
    if isinstance(value, dict):
        for key in ("messages", "input_messages", "chat_history", "contents", "choices", "generations", "candidates"):
            if isinstance(value.get(key), list):
                return read_messages(value[key], role)
        return [message] if (message := repair_message(value, role)) else []
    if not isinstance(value, list):
        return [{"role": role, "parts": [text_part(value)]}]
    if value and all(isinstance(item, list) for item in value):
        return [message for inner in value for message in read_messages(inner, role)]  # LangChain: batches of messages
    return [message for item in value if (message := repair_message(item, role)) is not None]


def repair_message(item: Any, role: str = "user") -> Message | None:
    """One message in canonical form; None if nothing was said. `role` is used where the message states none."""
    if isinstance(item, dict) and "parts" in item and type(item["parts"]) is list:
        beside = item.get("tool_calls") or item.get("tool_call_id")
        return _built(item.get("role") or role, _with_beside(item) if beside else item["parts"], item.get("name"))
    if not isinstance(item, dict):
        return None if item in (None, "") else {"role": role, "parts": [text_part(item)]}
    inner, inner_role = _inside(item, role)
    return repair_message(inner, inner_role) if inner is not None else _of_dict(item, role)


def _with_beside(item: Message) -> list[Any]:
    """The parts of a message whose calls, or the call that it answers, stand beside them (LiteLLM)."""
    parts = [part for entry in spread(item["parts"]) if (part := repair_part(entry)) is not None]
    texts = all(part.get("type") == "text" for part in parts)
    if item.get("tool_call_id") and not item.get("tool_calls") and parts and texts:
        return [tool_response(_response_of(item, parts), item["tool_call_id"])]
    said = [part for part in parts if part != text_part("")]
    return said + _calls(item, said)


def _inside(item: Message, role: str) -> tuple[Message | None, str]:
    """The message inside an envelope (LangChain constructors, choices, OpenInference, generations), or None."""
    if item.get("lc") and isinstance(item.get("kwargs"), dict):
        path = item.get("id")
        kind = str(path[-1]) if isinstance(path, list) and path else ""
        if isinstance(item["kwargs"].get("message"), dict):
            return item["kwargs"]["message"], role  # ChatGeneration
        return {"type": _ROLES.get(kind.lower(), role), **item["kwargs"]}, role
    for key in ("message", "delta"):
        if isinstance(item.get(key), dict) and not {"content", "parts"} & item.keys():
            beside = item.get("function")  # AutoGen's answers, beside the message that has their role
            return {**item[key], "function": beside} if isinstance(beside, list) else item[key], role
    content = item.get("content")
    if isinstance(content, dict) and isinstance(content.get("parts"), list) and "role" not in item:
        return content, role  # Gemini candidate
    if _kind(item) in _LANGCHAIN_TYPES and isinstance(item.get("data"), dict):
        return {"type": item["type"], **item["data"]}, role
    return None, role


def _implied(item: Mapping[str, Any]) -> str | None:
    """Whose a message is that lost its role: only assistants call tools, only tools answer calls."""
    if item.get("tool_calls") or item.get("function_call"):
        return "assistant"
    return "tool" if item.get("tool_call_id") else None


def _kind(item: Mapping[str, Any]) -> str | None:
    kind = item.get("type")
    return kind if isinstance(kind, str) else None


def _of_dict(item: Message, role: str) -> Message | None:
    kind = _kind(item)
    stated = item.get("role", item.get("_role"))
    if stated is None and kind in _LANGCHAIN_TYPES and "content" in item:
        stated = kind
    if stated is None and (kind in _ITEMS or not _says_something(item)):
        if kind not in _ITEMS and not item.keys() & _PART_KEYS:
            return _built(role, [text_part({k: v for k, v in item.items() if v is not None})], None) if item else None
        part = repair_part(item)
        return _built(_role_of_item(kind, part, role), [part], None) if part else None
    parts = _content_parts(item) or _results(item)
    stated = _role(stated or _implied(item) or role)
    if not parts and not _says_something(item):
        return None
    call_id = item.get("tool_call_id") or (item.get("id") if stated == "tool" else None)
    answers = stated == "tool" or (stated == "user" and item.get("tool_call_id"))  # Anthropic's users answer calls
    if answers and not any(p.get("type") == "tool_call_response" for p in parts):
        parts = [tool_response(_response_of(item, parts), call_id)]
    return _built(stated, parts + _calls(item, parts), None if stated == "tool" else item.get("name"))


_PART_KEYS = frozenset((
    "functionCall", "function_call", "functionResponse", "function_response", "toolUse", "toolResult", "inlineData",
    "text", "tool_call", "tool_call_result", "reasoningContent", "thinking",
))  # fmt: skip


def _results(item: Message) -> list[Part]:
    """The answers to several calls in one message of the tools (AutoGen)."""
    told = item.get("function")
    held = [opened(entry) for entry in told] if isinstance(told, list) else []
    return [
        tool_response(entry.get("content"), entry.get("call_id"))
        for entry in held
        if isinstance(entry, dict) and "call_id" in entry
    ]


def _says_something(item: Message) -> bool:
    return bool(
        item.keys()
        & {"content", "contents", "_content", "tool_calls", "function_call", "blocks", "reasoning_content", "function"}
    )


def _role_of_item(kind: Any, part: Part, role: str) -> str:
    if kind in _USER_ITEMS:
        return role
    if part.get("type") == "tool_call_response":
        return "tool"
    return "assistant" if part.get("type") in ("tool_call", "reasoning") or kind == "output_text" else role


def _response_of(item: Message, parts: list[Part]) -> Any:
    """What a tool message answers: its content as sent where it is a text, else its parts."""
    content = item.get("content")
    if isinstance(content, str | dict):
        return content
    texts = [part["content"] for part in parts if part.get("type") == "text"]
    if len(texts) == len(parts):
        return texts[0] if len(texts) == 1 else parts if parts else None
    return parts


def _content_parts(item: Message) -> list[Part]:
    content: Any = next(
        (item[k] for k in ("content", "contents", "_content", "blocks") if item.get(k) is not None), None
    )
    parts: list[Part] = []
    reasoning = item.get("reasoning_content") or item.get("reasoning")
    if isinstance(reasoning, str):
        parts.append({"type": "reasoning", "content": reasoning})
    if isinstance(content, str):
        blocks = [] if content == "[]" and item.get("tool_calls") else _blocks_in_text(content)
        content = blocks if blocks is not None else [content] if content else []
    elif not isinstance(content, list):
        content = [] if content is None else [content]
    for entry in content or []:
        part = repair_part(entry)
        if part is not None and part != text_part(""):
            parts.append(part)
    if isinstance(item.get("refusal"), str):
        parts.append(text_part(item["refusal"]))
    return parts


def _blocks_in_text(content: str) -> list[Any] | None:
    """The blocks of a message whose list of blocks was written as one JSON string; None for an ordinary text."""
    if not content.startswith("[{"):
        return None
    value, trouble = read_json(content)
    if trouble in ("bad_json", "python_repr") or not isinstance(value, list):
        return None
    known = [isinstance(block, dict) and (_is_block(block)) for block in value]
    return value if known and all(known) else None


_BLOCK_TYPES = frozenset((
    "text", "input_text", "output_text", "tool_use", "tool_result", "tool_call", "tool_call_response", "image_url",
    "input_image", "image", "thinking", "redacted_thinking", "reasoning", "tool-call", "tool-result", "document",
))  # fmt: skip


def _is_block(block: Mapping[str, Any]) -> bool:
    kind = _kind(block)
    if kind is None:
        return block.keys() <= {"text", "toolUse", "toolResult", "cachePoint", "reasoningContent", "image"} and bool(
            block
        )
    return kind in _BLOCK_TYPES and len(block) > 1


def _calls(item: Message, parts: list[Part]) -> list[Part]:
    """Tool calls that stand beside the content, without those that stand in it as well."""
    calls = item.get("tool_calls") or item.get("toolCalls")
    if calls is None and isinstance(item.get("additional_kwargs"), dict):
        calls = item["additional_kwargs"].get("tool_calls")
    calls = opened(calls)
    calls = [calls] if isinstance(calls, dict) else calls if isinstance(calls, list) else []
    found = [
        part for call in calls or [] if isinstance(call, dict) and (part := repair_part({**call, "type": "tool_call"}))
    ]
    legacy = item.get("function_call")
    if isinstance(legacy, dict) and legacy.get("name"):
        found.append(tool_call(legacy["name"], legacy.get("arguments")))
    if item.get("function_call_name"):  # OpenInference
        found.append(tool_call(item["function_call_name"], item.get("function_call_arguments_json")))
    return [part for part in found if not any(_same_call(held, part) for held in parts)]


def _same_call(one: Part, other: Part) -> bool:
    return one.get("type") == "tool_call" and one.get("id") == other.get("id") and one.get("name") == other.get("name")


def _role(value: Any) -> str:
    text = str(value)
    if text.isascii() and "." in text:
        text = text.rsplit(".", 1)[1]  # str() of an enum: MessageRole.USER
    low = text.lower()
    return _ROLES.get(low, low if low in ("user", "assistant", "system", "tool", "developer") else text)


def _built(role: Any, parts: Iterable[Any], name: Any) -> Message | None:
    repaired = [part for entry in spread(parts) if (part := repair_part(entry)) is not None]
    if not repaired:
        return None
    message: Message = {"role": _role(role), "parts": repaired}
    if isinstance(name, str) and name:
        message["name"] = name
    return message


# ---- finish reasons -------------------------------------------------------------------------------------------------
def finish_reasons(value: Any) -> list[str]:
    """Finish reasons stated on raw answers, in order."""
    found: list[str] = []
    value = opened(value)
    if isinstance(value, dict):
        value = value.get("choices") or value.get("candidates") or value.get("generations") or [value]
        value = opened(value)
        value = [e[0] if isinstance(e, list) and e else e for e in value] if isinstance(value, list) else []
    for item in value if isinstance(value, list) else []:
        for holder in (item, item.get("generation_info"), item.get("meta")) if isinstance(item, dict) else ():
            stated = _reason_of(holder) if isinstance(holder, dict) else None
            if stated:
                found.append(stated)
                break
    return found


def _reason_of(item: Mapping[str, Any]) -> str | None:
    keys = ("finish_reason", "finishReason", "stop_reason", "stopReason", "finish_reasons")
    return next((item[key] for key in keys if isinstance(item.get(key), str) and item[key]), None)


def finish_reason(value: str) -> str:
    """The schema's word for a provider's finish reason; unknown words stay."""
    low = value.rsplit(".", 1)[-1].lower()
    return FINISH_REASONS.get(low, value)


# ---- comparing ----------------------------------------------------------------------------------------------------
def match_form(message: Message) -> bytes | None:
    """The form in which an answer equals its resending: no reasoning, no empty parts, no call ids, texts trimmed and
    joined, a tool's answer whoever gives it. None if nothing is left; an ordinary text message equals its own form."""
    blind: list[Part] = []
    role = message.get("role")
    for part in message.get("parts") or []:
        kind = part.get("type")
        if kind in ("reasoning", "compaction"):
            continue
        if kind == "text":
            text = str(part.get("content") or "").strip()
            if text and blind and blind[-1].get("type") == "text":
                blind[-1]["content"] += "\n" + text
            elif text:
                blind.append({"type": "text", "content": text})
        elif kind == "tool_call":
            blind.append({"type": kind, "name": part.get("name"), "arguments": part.get("arguments")})
        elif kind == "tool_call_response":
            blind.append({"type": kind, "response": _blind_answer(part.get("response"))})
            role = "tool"
        else:
            blind.append({key: value for key, value in part.items() if key not in ("id", "mime_type", "modality")})
    return canonical({"role": role, "parts": blind}) if blind else None


def _blind_answer(value: Any) -> Any:
    value = opened(value)
    if isinstance(value, list) and value and all(isinstance(v, dict) and v.get("type") == "text" for v in value):
        value = opened("".join(str(v.get("content", "")) for v in value))
    return value.strip() if isinstance(value, str) else value


def text_of(item: Mapping[str, Any]) -> str:
    """The text of a message or part."""
    if isinstance(item.get("parts"), list):  # a part of no known type may have such a key, too
        return "\n".join(text for part in item["parts"] if isinstance(part, dict) and (text := text_of(part)))
    return str(item.get("content") or "") if item.get("type") == "text" else ""


def characters(message: Message) -> int:
    """Characters said: texts, and the JSON of what is not text."""
    total = 0
    for part in message.get("parts") or []:
        if isinstance(part, dict):
            content = part.get("content")
            if isinstance(content, str) and part.get("type") in ("text", "reasoning", "blob"):
                total += len(content)
            else:
                total += len(canonical(part))
    return total
