"""Langfuse SDKs: one JSON value for the input, one for the output, usage as a map.

Measured on langfuse 5.0.4 (Python) and @langfuse/otel, @langfuse/openai 5.11.1. The JavaScript SDK reports errors in
`level` while the span's status stays unset, and its usage map is disjoint (input without cached tokens).
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS
from spanfold.semconv.dialects.shared import SPAN_KINDS, response_of, together, usage_of

_O = "langfuse.observation."
_CALLS = ("chat", "text_completion")
_METADATA = _O + "metadata."

LANGFUSE = Dialect(
    name="langfuse",
    about="langfuse 3 to 5 (Python), @langfuse/* 4 and 5 (JavaScript)",
    detect=Detect(prefixes=("langfuse.observation.",), scopes=("langfuse-sdk", "langfuse*")),
    fields=together(
        {
            "operation": (
                Source("@name", pattern=r"(?i)(embedding)", values={"embedding": "embeddings"}, only=True),
                Source(_O + "type", values=SPAN_KINDS),
            ),
            "provider": Source(
                "@name", pattern=r"(?i)^(openai|anthropic|mistral|cohere|groq|bedrock)\b", values=PROVIDERS
            ),
            "request_model": (
                Source(_O + "model.parameters", path="model"),
                Source(_METADATA + "ls_model_name"),  # its handler for LangChain
                Source(_O + "model.name"),
            ),
            "response_model": Source(_O + "model.name"),
            "streaming": Source(_O + "model.parameters", path="stream"),
            "ttft_ms": Source(_O + "completion_start_time", unit="time"),
            "finish_reasons": (
                Source(_METADATA + "finish_reason"),
                Source(_METADATA + "finishReason"),
                Source(_METADATA + "status"),
            ),
            "status": Source(_O + "level", values={"error": "error"}, only=True),
            "service_tier": Source(_O + "model.parameters", path="service_tier"),
            "session_id": (Source("langfuse.session.id"), Source(_METADATA + "langfuse_session_id")),
            "user_id": (Source("langfuse.user.id"), Source(_METADATA + "langfuse_user_id")),
            "environment": Source("langfuse.environment"),
            "prompt_name": Source(_O + "prompt.name"),
            "prompt_version": Source(_O + "prompt.version"),
        },
        usage_of(_O + "usage_details"),
        {c: s for c, s in response_of(_O + "output", usage=False).items() if c in ("response_id", "finish_reasons")},
    ),
    content={
        "input": (
            Content(_O + "input", "tool_call", operations=("execute_tool",)),
            Content(_O + "input", "query", operations=("retrieval",)),
            Content(_O + "input", "texts", operations=("embeddings",)),
            Content(_O + "input", "request"),
        ),
        "output": (
            Content(_O + "output", "tool_result", operations=("execute_tool",)),
            Content(_O + "output", "documents", operations=("retrieval",)),
            Content(
                _O + "output", "response", operations=(*_CALLS, "invoke_agent", "task", "chain", "invoke_workflow")
            ),
        ),
        "system": (Content(_O + "input", "request"), Content(_METADATA + "instructions", "parts")),
        "tools": (Content(_O + "input", "request"), Content(_METADATA + "tools", "tools")),
    },
)
