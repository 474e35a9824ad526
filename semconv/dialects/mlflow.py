"""MLflow tracing exported over OTLP: every value is JSON in a string, raw request and response included.

Measured on mlflow 3.17.2, its own export and its GenAI mode, where `gen_ai.request.model` holds the response's model.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.shared import SPAN_KINDS, request_of, response_of, together, usage_of

_IN, _OUT = "mlflow.spanInputs", "mlflow.spanOutputs"
_CALLS = ("chat", "text_completion")

MLFLOW = Dialect(
    name="mlflow",
    about="mlflow 3.17.2",
    detect=Detect(keys=("mlflow.spanType", _IN, _OUT), scopes=("mlflow.*",)),
    guarded=True,
    fields=together(
        {
            "operation": Source("mlflow.spanType", unit="json", values=SPAN_KINDS),
            "provider": (
                Source("mlflow.llm.provider", unit="json"),
                Source(
                    "mlflow.message.format",
                    unit="json",
                    values={
                        "openai": "openai",
                        "anthropic": "anthropic",
                        "gemini": "gcp.gemini",
                        "bedrock": "aws.bedrock",
                        "mistral": "mistral_ai",
                        "groq": "groq",
                    },
                    only=True,
                ),
            ),
            "request_model": Source("model", unit="json"),
            "streaming": Source("stream", unit="json"),
        },
        request_of(_IN),
        response_of(_OUT),
        {"response_model": Source("mlflow.llm.model", unit="json")},
        usage_of("mlflow.chat.tokenUsage"),
        {
            "tool_name": Source("mlflow.spanFunctionName", unit="json"),
            "session_id": Source("mlflow.trace.session", unit="json"),
            "user_id": Source("mlflow.trace.user", unit="json"),
        },
    ),
    content={
        "input": (
            Content(_IN, "tool_call", operations=("execute_tool",)),
            Content(_IN, "query", operations=("retrieval",)),
            Content(_IN, "texts", path="input", operations=("embeddings",)),
            Content(_IN, "request"),
        ),
        "output": (
            Content(_OUT, "tool_result", operations=("execute_tool",)),
            Content(_OUT, "documents", operations=("retrieval",)),
            Content(_OUT, "response"),
        ),
        "system": (Content(_IN, "request"),),
        "tools": (Content("mlflow.chat.tools", "tools"), Content("tools", "tools"), Content(_IN, "request")),
    },
)
