"""Traceloop / OpenLLMetry before the newest conventions, and its wrappers of workflows and tasks.

Measured on traceloop-sdk 0.40.14 and 0.62.4 (Ollama still writes this shape; wrappers are the same). The
Dynatrace page for OpenAI documents the same keys. Laminar writes them too.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS
from spanfold.semconv.dialects.shared import SPAN_KINDS

_ASSOCIATION = "traceloop.association.properties."

TRACELOOP = Dialect(
    name="traceloop-old",
    about="traceloop-sdk up to 0.4x; opentelemetry-instrumentation-ollama 0.62.4",
    detect=Detect(
        keys=("llm.request.type", "llm.usage.total_tokens"),
        prefixes=(
            *(f"gen_ai.{side}.{digit}" for side in ("prompt", "completion") for digit in range(10)),
            "llm.request.functions.",
            "llm.prompts.",
            "llm.completions.",
        ),
    ),
    fields={
        "operation": (
            Source("llm.request.type", values={**SPAN_KINDS, "completion": "text_completion"}),
            Source(
                "@name",
                pattern=r"^[a-z_-]+\.(chat|completion|embeddings|rerank|messages)$",
                values={"completion": "text_completion", "messages": "chat"},
            ),
        ),
        "provider": Source("@name", pattern=r"^([a-z_-]+)\.(?:chat|completion|embeddings|messages)$", values=PROVIDERS),
        "streaming": (Source("llm.is_streaming"), Source("@present", event="llm.content.completion.chunk")),
        "finish_reasons": (Source("llm.response.finish_reason"), Source("llm.response.stop_reason")),
        "session_id": Source(_ASSOCIATION + "session_id"),
        "user_id": Source(_ASSOCIATION + "user_id"),
        "conversation_id": (Source(_ASSOCIATION + "conversation_id"), Source(_ASSOCIATION + "thread_id")),
        "request_model": Source("llm.request.model"),
        "response_model": Source("llm.response.model"),
        "input_tokens": Source("llm.usage.prompt_tokens"),
        "output_tokens": Source("llm.usage.completion_tokens"),
        "prompt_name": Source("traceloop.prompt.key"),
        "prompt_version": Source("traceloop.prompt.version"),
    },
    content={
        "input": (Content("gen_ai.prompt.*"), Content("llm.prompts.*")),
        "output": (Content("gen_ai.completion.*", role="assistant"), Content("llm.completions.*", role="assistant")),
        "tools": (Content("llm.request.functions.*", "tools"), Content("gen_ai.request.functions.*", "tools")),
    },
)

TRACELOOP_GEMINI = Dialect(
    name="traceloop-gemini",
    about="opentelemetry-instrumentation-google-generativeai 0.62.4: output tokens without thoughts, a total with them",
    detect=Detect(scopes=("opentelemetry.instrumentation.google_generativeai",)),
    output_tokens="exclusive",
    labels=False,
)

TRACELOOP_WRAP = Dialect(
    name="traceloop-wrap",
    about="traceloop-sdk decorators, LangChain and LangGraph nodes",
    detect=Detect(keys=("traceloop.span.kind", "traceloop.entity.input", "traceloop.entity.output")),
    fields={
        "operation": Source("traceloop.span.kind", values={**SPAN_KINDS, "task": "task"}),
    },
    content={
        "input": (
            Content("traceloop.entity.input", "tool_call", path="inputs", operations=("execute_tool",)),
            Content("traceloop.entity.input", "tool_call", operations=("execute_tool",)),
            Content("traceloop.entity.input", path="inputs"),
            Content("traceloop.entity.input"),
        ),
        "output": (
            Content("traceloop.entity.output", "tool_result", path="output", operations=("execute_tool",)),
            Content("traceloop.entity.output", "tool_result", operations=("execute_tool",)),
            Content("traceloop.entity.output", path="outputs", role="assistant"),
            Content("traceloop.entity.output", role="assistant"),
        ),
    },
)
