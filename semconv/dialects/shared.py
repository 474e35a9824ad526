"""Rows that several tables share: what a provider's own request or response object fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spanfold.semconv.dialect import Source
from spanfold.semconv.schema import COUNT_COLUMNS

Rows = dict[str, tuple[Any, ...]]

USAGE = (*COUNT_COLUMNS, "total_tokens")
SPAN_KINDS = {  # words for kinds of spans in many SDKs, lower-cased -> operation
    "llm": "chat", "chat": "chat", "chat_model": "chat", "generation": "chat", "completion": "text_completion",
    "text_completion": "text_completion", "embedding": "embeddings", "embeddings": "embeddings", "embed": "embeddings",
    "agent": "invoke_agent", "tool": "execute_tool", "function": "execute_tool", "chain": "chain",
    "workflow": "invoke_workflow", "task": "task", "span": "task", "step": "task", "retriever": "retrieval",
    "retrieval": "retrieval", "reranker": "rerank", "rerank": "rerank", "guardrail": "guardrail",
    "evaluator": "evaluation", "evaluation": "evaluation", "parser": "task", "prompt": "task", "memory": "memory",
    "unknown": "task", "default": "task", "event": "task",
}  # fmt: skip


def usage_of(key: str, *, path: str = "", event: str = "") -> Rows:
    """Token columns out of a map of counts."""
    return {column: (Source(key, path=column, unit="usage", event=event),) for column in USAGE if not path}


def response_of(key: str, *, event: str = "", usage: bool = True) -> Rows:
    """Columns out of a provider's response object."""
    names = ("response_id", "response_model", "finish_reasons", "service_tier", *(USAGE if usage else ()))
    return {column: (Source(key, path=column, unit="response", event=event),) for column in names}


def request_of(key: str, *, event: str = "") -> Rows:
    """Columns out of a provider's request object."""
    names = ("request_model", "streaming", "service_tier")
    return {column: (Source(key, path=column, unit="request", event=event),) for column in names}


def together(*rows: Mapping[str, Sequence[Any] | Source | str]) -> Rows:
    """One map of all rows; sources of a column in the order given."""
    out: dict[str, list[Any]] = {}
    for entry in rows:
        for column, sources in entry.items():
            listed = [sources] if isinstance(sources, Source | str) else list(sources)
            out.setdefault(column, []).extend(listed)
    return {column: tuple(sources) for column, sources in out.items()}
