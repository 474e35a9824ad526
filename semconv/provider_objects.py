"""Requests and responses of model providers, wherever an emitter put them as JSON: what they state.

Known by their keys: OpenAI chat, responses and embeddings, Anthropic messages, Gemini, Bedrock converse, Ollama,
Cohere, LangChain results, LlamaIndex, Haystack. Used by dialects that send the raw object instead of attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spanfold.semconv import content_shapes, messages
from spanfold.semconv.loose_json import opened
from spanfold.semconv.provider_usage import usage_facts

Facts = dict[str, Any]

_WRAPPERS = (  # keys under which the provider's own object, or its metadata, lies
    "response_metadata", "llm_output", "raw", "raw_response", "response", "kwargs", "data", "message", "meta", "_meta",
    "model_extra", "lc_attributes",
)  # fmt: skip
_USAGE = ("usage", "usage_metadata", "usageMetadata", "token_usage", "tokenUsage", "usage_details")
_MODEL = ("model", "model_name", "modelVersion", "model_version", "modelId", "model_id")
_RESPONSE_MARKS = frozenset(
    ("choices", "candidates", "usage", "stop_reason", "output", "system_fingerprint", "embeddings")
)
_DEPTH = 7


def response_facts(value: Any) -> Facts:
    """Columns that a response states: response_id, response_model, finish_reasons, service_tier, token counts
    and web searches."""
    facts: Facts = {}
    for node in _nodes(opened(value), 0):
        found = _stated(node)
        for column, stated in found.items():
            facts.setdefault(column, stated)
    return facts


def _nodes(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """The maps of a response from outside in, along known wrappers."""
    if depth > _DEPTH:
        return
    if isinstance(value, list):
        for item in value[-1:] if value and all(isinstance(v, dict) and "role" in v for v in value) else value[:4]:
            yield from _nodes(item, depth + 1)
        return
    if not isinstance(value, dict):
        return
    yield value
    for key in _WRAPPERS:
        inner = opened(value.get(key))
        if isinstance(inner, dict):
            yield from _nodes(inner, depth + 1)
    for key in ("generations", "replies", "update"):
        inner = opened(value.get(key))
        inner = [opened(item) for item in inner] if isinstance(inner, list) else inner
        if isinstance(inner, list | dict):
            yield from _nodes(inner, depth + 1)
    held = value.get("messages")
    if isinstance(held, list) and held:
        yield from _nodes(opened(held[-1]), depth + 1)


def _stated(node: Mapping[str, Any]) -> Facts:
    facts: Facts = {}
    model = next((node[key] for key in _MODEL if isinstance(node.get(key), str) and node[key]), None)
    if model:
        facts["response_model"] = model
    usage = next((u for key in _USAGE if isinstance(u := opened(node.get(key)), dict) and u), None)
    counts = usage_facts(usage if usage is not None else node)
    facts |= counts
    searches = _searches(node)
    if searches and "web_searches" not in facts:
        facts["web_searches"] = searches
    identity = node.get("id") or node.get("responseId") or node.get("response_id")
    if isinstance(identity, str) and (model or node.keys() & _RESPONSE_MARKS) and not _internal(identity):
        facts["response_id"] = identity
    reasons = messages.finish_reasons(node) or _outcome(node)
    if reasons:
        facts["finish_reasons"] = reasons
    tier = node.get("service_tier") or (usage or {}).get("service_tier")
    if isinstance(tier, str):
        facts["service_tier"] = tier
    return facts


def _searches(node: Mapping[str, Any]) -> int:
    """Billable web searches of an answer: OpenAI's calls of its own tool that searched (opening a page is free), and
    what Gemini asked: one for an answer up to 2.5, each query from 3 on (the providers' price pages)."""
    output, candidates = node.get("output"), node.get("candidates")
    if isinstance(output, list):
        return sum(isinstance(item, dict) and item.get("type") == "web_search_call" and _searched(item)
                   for item in output)  # fmt: skip
    queries = sum(_queries(item) for item in candidates) if isinstance(candidates, list) else 0
    model = str(node.get("modelVersion") or node.get("model_version") or "")
    return min(queries, 1) if model.startswith(("gemini-1", "gemini-2")) else queries


def _searched(item: Mapping[str, Any]) -> bool:
    action = item.get("action")
    return not isinstance(action, dict) or action.get("type", "search") == "search"


def _queries(candidate: Any) -> int:
    for grounding, queries in (("groundingMetadata", "webSearchQueries"), ("grounding_metadata", "web_search_queries")):
        found = candidate.get(grounding) if isinstance(candidate, dict) else None
        asked = found.get(queries) if isinstance(found, dict) else None
        if isinstance(asked, list):
            return len(asked)
    return 0


def _internal(identity: str) -> bool:
    """LangChain's own run ids are no response ids."""
    return identity.startswith(("run-", "lc_run", "run_"))


def _outcome(node: Mapping[str, Any]) -> list[str]:
    """Finish reason of an OpenAI response object: its status, and why it is incomplete."""
    status, details = node.get("status"), node.get("incomplete_details")
    if node.get("type") == "message" and status in ("completed", "incomplete") and "role" in node:
        return [status]  # one output item of a response
    held = node.get("content")
    for item in (node, *(held if isinstance(held, list) else ())):
        if isinstance(item, dict) and item.get("type") == "function_call" and item.get("status") == "completed":
            return ["tool_call"]
    if ("output" not in node and node.get("object") != "response") or not isinstance(status, str):
        done = node.get("done_reason")  # Ollama
        return [done] if isinstance(done, str) and done else []
    if status == "incomplete" and isinstance(details, dict) and details.get("reason"):
        return [str(details["reason"])]
    output = node.get("output")
    called = isinstance(output, list) and any(isinstance(o, dict) and o.get("type") == "function_call" for o in output)
    return ["tool_call" if called else status] if status in ("completed", "failed") else []


def response_messages(value: Any) -> list[messages.Message]:
    """What the model said: one message a choice, or one an output item."""
    value = opened(value)
    if isinstance(value, dict):
        for key in ("choices", "candidates", "generations", "replies"):
            if isinstance(value.get(key), list) and value[key]:
                return messages.read_messages([_choice(opened(item)) for item in value[key]], "assistant")
        output = opened(value.get("output"))
        if isinstance(output, dict) and "message" in output:
            return messages.read_messages(output["message"], "assistant")  # Bedrock converse
        if isinstance(output, list):
            return messages.read_messages(output, "assistant")  # OpenAI responses
        if value.keys() & {"embedding", "embeddings"} or value.get("object") == "list":
            return []
        inner = opened(value.get("update"))
        if isinstance(inner, dict):
            return response_messages(inner)
        held = opened(value.get("message"))
        if isinstance(held, dict):
            return messages.read_messages(held, "assistant")
        if value.keys() & {"toolCalls", "function_calls", "reasoning", "reasoningText", "object"}:
            return _spoken(value)
        for key in ("messages", "output", "text", "answer", "result", "completion", "outputText", "response"):
            if isinstance(value.get(key), str | list) and value[key]:
                return messages.read_messages(value[key], "assistant")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "update" in value[0]:
        return response_messages(value[0])
    return messages.read_messages(value, "assistant")


def _spoken(value: Mapping[str, Any]) -> list[messages.Message]:
    """An answer in pieces: reasoning, text (or the object it was parsed to) and tool calls beside each other."""
    text = value.get("text") or value.get("object")
    calls = opened(value.get("toolCalls") or value.get("function_calls"))
    reasoning = value.get("reasoning") or value.get("reasoningText")
    parts: list[Any] = [{"type": "reasoning", "content": opened(reasoning)}] if reasoning else []
    parts += [{"type": "text", "content": text}] if text else []
    if isinstance(calls, list):
        parts += [{**call, "type": "tool_call"} for call in map(opened, calls) if isinstance(call, dict)]
    return messages.repair_messages([{"role": "assistant", "parts": parts}])


def _choice(item: Any) -> Any:
    """A choice with its text, where it has no message (text completions)."""
    if isinstance(item, dict) and "message" not in item and "delta" not in item and isinstance(item.get("text"), str):
        return {"role": "assistant", "content": item["text"]}
    if isinstance(item, list):
        return _choice(item[0]) if item else None
    return item


def request_facts(value: Any) -> Facts:
    """Columns that a request states: request_model, streaming, service_tier."""
    facts: Facts = {}
    value = opened(value)
    for node in (value, value.get("kwargs") if isinstance(value, dict) else None):
        if not isinstance(node, dict):
            continue
        model = next((node[key] for key in _MODEL if isinstance(node.get(key), str) and node[key]), None)
        if model:
            facts.setdefault("request_model", model)
        if isinstance(node.get("stream"), bool):
            facts.setdefault("streaming", node["stream"])
        if isinstance(node.get("service_tier"), str):
            facts.setdefault("service_tier", node["service_tier"])
    return facts


def request_side(value: Any, side: str) -> list[dict[str, Any]]:
    """The input messages, system text or tool definitions of a request."""
    value = opened(value)
    if side == "input":
        return _request_messages(value)
    if side == "tools" and isinstance(value, list):
        return content_shapes.read_tools([item["content"] for item in value if _defines_tool(item)])
    if not isinstance(value, dict):
        return []
    config = value.get("config")
    inside: dict[str, Any] = config if isinstance(config, dict) else {}
    if side == "tools":
        held = value.get("tools") or value.get("functions") or inside.get("tools") or value.get("toolConfig")
        return content_shapes.read_tools(held) if held else []
    keys = ("system", "instructions", "systemInstruction", "system_instruction", "system_prompt", "systemPrompt")
    held = next((source[key] for source in (value, inside) for key in keys if source.get(key)), None)
    return content_shapes.read_parts(held)


def _request_messages(value: Any) -> list[messages.Message]:
    if isinstance(value, dict):
        for key in ("messages", "contents", "chat_history", "input", "prompt", "inputs", "query", "text"):
            held = value.get(key)
            if held not in (None, "", [], {}):
                return _texts_or_messages(held)
        return []
    return _texts_or_messages(value)


def _defines_tool(item: Any) -> bool:
    """Langfuse's handler for LangChain lists tool definitions behind the messages, in the role of tools."""
    held = item.get("content") if isinstance(item, dict) and item.get("role") == "tool" else None
    return isinstance(held, dict) and isinstance(held.get("function"), dict) and "tool_call_id" not in item


def _texts_or_messages(held: Any) -> list[messages.Message]:
    if isinstance(held, list) and any(map(_defines_tool, held)):
        held = [item for item in held if not _defines_tool(item)]
    if isinstance(held, list) and all(isinstance(item, str) for item in held):
        held = [opened(item) if item.lstrip().startswith("{") or "(" in item[:40] else item for item in held]
    return messages.read_messages(held)
