"""OpenInference (Arize): one namespace for all spans, messages as indexed attributes.

Source: openinference `spec/semantic_conventions.md`; measured on -openai 0.1.66, -anthropic 3.1.0, -langchain 0.1.80,
-smolagents 0.1.43, -litellm 0.1.51, -openai-agents 2.6.0, -haystack 0.1.46, -agno 1.0.15, -dspy 0.1.48,
-llama-index 4.6.1, -crewai 1.1.21 and the JavaScript packages. `llm.model_name` is the response's model once there
is a response; the request's stands in `llm.invocation_parameters`.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS
from spanfold.semconv.dialects.shared import SPAN_KINDS, USAGE, response_of, together

_CALLS = ("chat", "text_completion", "embeddings", "generate_content")
_PREPARES = {"._prepare_chat_with_tools": "task"}
_FIRST_TOKEN = "First Token Stream Event"

OPENINFERENCE = Dialect(
    name="openinference",
    about="openinference-instrumentation-* (Python, JavaScript)",
    detect=Detect(keys=("openinference.span.kind",), scopes=("openinference.*", "@arizeai/openinference-*")),
    input_tokens="inclusive",  # measured: -openai, -anthropic, -litellm
    fields=together(
        {
            "operation": (
                Source("@name", pattern=r"(\._prepare_chat_with_tools)$", values=_PREPARES, only=True),  # LlamaIndex
                Source("openinference.span.kind", values=SPAN_KINDS),
            ),
            "provider": (
                Source("llm.provider", values=PROVIDERS),
                Source("llm.system", values=PROVIDERS),
                Source(
                    "@name",
                    pattern=r"^(OpenAI|AzureOpenAI|Anthropic|Mistral|Cohere|Ollama|Groq|GoogleAI)",
                    values=PROVIDERS,
                ),
                Source(
                    "@scope",
                    pattern=r"(openai|anthropic|mistralai|groq|bedrock|vertexai|google_genai)",
                    values=PROVIDERS,
                ),
            ),
            "request_model": (
                Source("llm.invocation_parameters", path="model"),
                Source("llm.invocation_parameters", path="model_name"),
                Source("llm.invocation_parameters", path="model_id"),
                Source("llm.request.model"),
                Source("embedding.model_name"),
                Source("embedding.invocation_parameters", path="model"),
            ),
        },
        {"request_model": (Source("input.value", path="request_model", unit="request"), Source("llm.model_name"))},
        {
            "response_id": Source("llm.response.id"),
            "response_model": (Source("llm.response.model"), Source("gen_ai.response.model")),
        },
        {column: s for column, s in response_of("output.value", usage=False).items() if column != "service_tier"},
        {
            "response_model": (Source("llm.model_name"), Source("embedding.model_name"), Source("reranker.model_name")),
            "input_tokens": Source("llm.token_count.prompt"),
            "output_tokens": Source("llm.token_count.completion"),
            "total_tokens": Source("llm.token_count.total"),
            "cache_read_tokens": (
                Source("llm.token_count.prompt_details.cache_read"),
                Source("llm.token_count.prompt_details.cache_input"),
            ),
            "cache_write_tokens": Source("llm.token_count.prompt_details.cache_write"),
            "audio_input_tokens": Source("llm.token_count.prompt_details.audio"),
            "reasoning_tokens": Source("llm.token_count.completion_details.reasoning"),
            "audio_output_tokens": Source("llm.token_count.completion_details.audio"),
            "finish_reasons": Source("llm.finish_reason"),
            "streaming": (
                Source("llm.invocation_parameters", path="stream"),
                Source("@present", event=_FIRST_TOKEN),
                Source("input.value", path="streaming", unit="request"),
                Source("@name", pattern=r"(?i)(stream)(?:_[a-z_]+)?$", values={"stream": "true"}, only=True),
            ),
            "ttft_ms": Source("@time", event=_FIRST_TOKEN, unit="time"),
            "agent_name": Source("agent.name"),
            "tool_name": Source("tool.name"),
            "tool_call_id": (Source("tool_call.id"), Source("tool.id")),
            "prompt_name": Source("llm.prompt_template.name"),
            "prompt_version": Source("llm.prompt_template.version"),
            "session_id": Source("metadata", path="session_id"),
            "conversation_id": (Source("metadata", path="thread_id"), Source("metadata", path="conversation_id")),
        },
        {column: s for column, s in response_of("output.value").items() if column in USAGE},
    ),
    content={
        "input": (
            Content("llm.input_messages.*"),
            Content("embedding.embeddings.*", "texts", path="*/embedding/text"),
            Content("llm.prompts.*", "texts", path="*/prompt/text"),
            Content("llm.prompts", "texts"),
            Content("input.value", "request", operations=_CALLS),
            Content("input.value", "tool_call", operations=("execute_tool",)),
            Content("input.value", "query", operations=("retrieval", "rerank")),
            Content("reranker.query", "query"),
            Content(
                "output.value", path="tasks_output/0/messages", operations=("chain",)
            ),  # CrewAI tells usage here only
            Content("input.value", operations=("invoke_agent", "invoke_workflow", "chain", "task")),
        ),
        "output": (
            Content("llm.output_messages.*", role="assistant"),
            Content("output.value", "response", operations=_CALLS[:2]),
            Content("output.value", "tool_result", operations=("execute_tool",)),
            Content("retrieval.documents.*", "documents"),
            Content("reranker.output_documents.*", "documents"),
            Content("output.value", path="raw", operations=("chain",), role="assistant"),
            Content("output.value", operations=("invoke_agent", "invoke_workflow", "chain", "task"), role="assistant"),
        ),
        "system": (Content("input.value", "request", operations=_CALLS),),
        "tools": (
            Content("llm.tools.*", "tools", path="*/tool"),
            Content("llm.invocation_parameters", "request"),
            Content("input.value", "request", operations=_CALLS),
        ),
    },
)
