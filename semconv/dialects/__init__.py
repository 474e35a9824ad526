"""The built-in dialect tables, most specific first: the first value of a row wins, the first name found labels it."""

from __future__ import annotations

from spanfold.semconv.dialects.adk import ADK
from spanfold.semconv.dialects.claude_code import CLAUDE_CODE
from spanfold.semconv.dialects.codex import CODEX
from spanfold.semconv.dialects.common import COMMON
from spanfold.semconv.dialects.frameworks import FRAMEWORKS
from spanfold.semconv.dialects.genkit import GENKIT
from spanfold.semconv.dialects.langfuse import LANGFUSE
from spanfold.semconv.dialects.langsmith import LANGSMITH
from spanfold.semconv.dialects.litellm import LITELLM
from spanfold.semconv.dialects.llama_index import LLAMA_INDEX
from spanfold.semconv.dialects.mlflow import MLFLOW
from spanfold.semconv.dialects.openinference import OPENINFERENCE
from spanfold.semconv.dialects.openlit import OPENLIT
from spanfold.semconv.dialects.otel import OTEL_BARE, OTEL_EVENTS, OTEL_FIRST, OTEL_NEW
from spanfold.semconv.dialects.pydantic_ai import PYDANTIC_AI
from spanfold.semconv.dialects.traceloop import TRACELOOP, TRACELOOP_GEMINI, TRACELOOP_WRAP
from spanfold.semconv.dialects.vercel import VERCEL, VERCEL_6

BUILT_IN = (
    CLAUDE_CODE, CODEX, MLFLOW, LANGFUSE, LANGSMITH, GENKIT, LLAMA_INDEX, PYDANTIC_AI, LITELLM, ADK, VERCEL_6, VERCEL,
    *FRAMEWORKS, OPENLIT, OPENINFERENCE, OTEL_NEW, TRACELOOP, TRACELOOP_GEMINI,
    TRACELOOP_WRAP, OTEL_EVENTS, OTEL_FIRST, COMMON,
    OTEL_BARE,
)  # fmt: skip
