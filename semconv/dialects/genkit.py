"""Firebase Genkit: one JSON value for the input and one for the output of every action.

Source: genkit `core/src/tracing` (attributes `genkit:*`) and its model schemas (`GenerateRequest`, `GenerateResponse`).
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS
from spanfold.semconv.dialects.shared import response_of, together

_KINDS = {
    "model": "chat", "background-model": "chat", "embedder": "embeddings", "tool": "execute_tool",
    "retriever": "retrieval", "reranker": "rerank", "flow": "invoke_workflow", "flowstep": "task", "util": "task",
    "evaluator": "evaluation", "prompt": "invoke_agent", "executable-prompt": "invoke_agent", "helper": "task",
    "action": "task",
}  # fmt: skip

GENKIT = Dialect(
    name="genkit",
    about="genkit 1.x (JavaScript, Go, Python)",
    detect=Detect(prefixes=("genkit:",)),
    fields=together(
        {
            "operation": (
                Source("genkit:metadata:subtype", values=_KINDS),
                Source("genkit:type", values=_KINDS),
            ),
            "provider": Source("genkit:name", pattern=r"^([\w-]+)/", values={**PROVIDERS, "googleai": "gcp.gemini"}),
            "request_model": Source("genkit:name", pattern=r"^(?:[\w-]+/)?(.+)$"),
            "session_id": Source("genkit:sessionId"),
            "status": Source("genkit:state", values={"error": "error"}, only=True),
        },
        response_of("genkit:output"),
    ),
    content={
        "input": (
            Content("genkit:input", "tool_call", operations=("execute_tool",)),
            Content("genkit:input", "query", operations=("retrieval",)),
            Content("genkit:input", "request"),
        ),
        "output": (
            Content("genkit:output", "tool_result", operations=("execute_tool",)),
            Content("genkit:output", "documents", operations=("retrieval",)),
            Content("genkit:output", "response"),
        ),
        "tools": (Content("genkit:input", "request", operations=("chat",)),),
    },
)
