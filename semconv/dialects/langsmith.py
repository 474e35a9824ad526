"""LangSmith's OTLP export: inputs and outputs as JSON in `gen_ai.prompt` and `gen_ai.completion`.

Source: langsmith-sdk `experimental/otel/constants`.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.shared import SPAN_KINDS, response_of, together, usage_of

_USAGE = "gen_ai.usage."

LANGSMITH = Dialect(
    name="langsmith",
    about="langsmith 0.3 and later, OTLP export",
    detect=Detect(prefixes=("langsmith.",), scopes=("langsmith*",)),
    guarded=True,
    fields=together(
        {
            "operation": Source("langsmith.span.kind", values=SPAN_KINDS),
            "session_id": (Source("langsmith.metadata.session_id"), Source("langsmith.metadata.thread_id")),
            "conversation_id": (Source("langsmith.metadata.conversation_id"), Source("langsmith.metadata.thread_id")),
            "user_id": Source("langsmith.metadata.user_id"),
            "project": Source("langsmith.trace.session_name"),
            "provider": Source("langsmith.metadata.ls_provider"),
            "request_model": Source("langsmith.metadata.ls_model_name"),
            "streaming": Source("langsmith.request.streaming"),
            "tags": Source("langsmith.span.tags"),
            "cache_read_tokens": Source(_USAGE + "input_token_details", path="cache_read"),
            "cache_write_tokens": Source(_USAGE + "input_token_details", path="cache_creation"),
            "reasoning_tokens": Source(_USAGE + "output_token_details", path="reasoning"),
        },
        usage_of("langsmith.usage_metadata"),
        {c: s for c, s in response_of("gen_ai.completion").items() if c not in ("service_tier",)},
    ),
    content={
        "input": (
            Content("gen_ai.prompt", "tool_call", operations=("execute_tool",)),
            Content("gen_ai.prompt", "query", path="query", operations=("retrieval",)),
            Content("gen_ai.prompt", "request"),
        ),
        "output": (
            Content("gen_ai.completion", "tool_result", path="output", operations=("execute_tool",)),
            Content("gen_ai.completion", "documents", operations=("retrieval",)),
            Content("gen_ai.completion", "response"),
        ),
        "system": (Content("gen_ai.prompt", "request"),),
        "tools": (Content("langsmith.metadata.tools", "tools"), Content("gen_ai.prompt", "request")),
    },
)
