"""LlamaIndex' own OpenTelemetry integration: everything stands in span events, maps flattened with dots.

Measured on llama-index-observability-otel 0.7.0.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS
from spanfold.semconv.dialects.shared import response_of, together

_START, _END = "LLMChatStartEvent", "LLMChatEndEvent"
_DONE, _ASKED = "LLMCompletionEndEvent", "LLMCompletionStartEvent"

LLAMA_INDEX = Dialect(
    name="llama-index",
    about="llama-index-observability-otel 0.7.0",
    detect=Detect(
        scopes=("llamaindex.*", "llama_index.*", "llama-index*"), events=(_START, _END, _DONE, "EmbeddingEndEvent")
    ),
    fields=together(
        {
            "operation": (
                Source("class_name", event=_START, values={_START.lower(): "chat"}, only=True),
                Source("class_name", event=_ASKED, values={_ASKED.lower(): "text_completion"}, only=True),
                Source(
                    "class_name", event="EmbeddingStartEvent", values={"embeddingstartevent": "embeddings"}, only=True
                ),
                Source(
                    "class_name", event="RetrievalStartEvent", values={"retrievalstartevent": "retrieval"}, only=True
                ),
            ),
            "provider": Source(
                "@name",
                pattern=r"^(OpenAI|AzureOpenAI|Anthropic|Gemini|GoogleGenAI|Bedrock|Mistral|Ollama|Cohere|Groq)",
                values=PROVIDERS,
            ),
            "request_model": (
                Source("model_dict.model_name", event=_START),
                Source("model_dict.model", event=_START),
                Source("model_dict.model_name", event=_ASKED),
                Source("model_dict.model_name", event="EmbeddingStartEvent"),
            ),
            "streaming": Source("@name", pattern=r"\.a?(stream)_", values={"stream": "true"}),
        },
        response_of("response.raw", event=_END),
        response_of("response.raw", event=_DONE),
        {
            "input_tokens": Source("response.additional_kwargs.prompt_tokens", event=_END),
            "output_tokens": Source("response.additional_kwargs.completion_tokens", event=_END),
        },
    ),
    content={
        "input": (
            Content("messages", event=_START),
            Content("messages", event=_END),
            Content("prompt", event=_ASKED),
            Content("chunks", "texts", event="EmbeddingEndEvent"),
            Content("str_or_query_bundle", "query", event="RetrievalStartEvent"),
        ),
        "output": (
            Content("response.message", event=_END, role="assistant"),
            Content("response.raw", "response", event=_END),
            Content("response.text", event=_DONE, role="assistant"),
            Content("nodes", "documents", event="RetrievalEndEvent"),
        ),
        "tools": (Content("additional_kwargs.tools", "tools", event=_START),),
    },
)
