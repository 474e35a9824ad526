"""The OpenTelemetry GenAI conventions themselves, all generations, newest names first.

Source: semantic-conventions-genai `registry.yaml`, `spans.yaml`, `events.yaml`, and the rename tables of
semantic-conventions v1.26 to v1.41. Schema URLs lie about the version (util-genai 1.3b0 says 1.37.0), so every
attribute is looked for by itself. Where an old and a new key are both there, the new one wins.
"""

from __future__ import annotations

import re

from spanfold.semconv.dialect import Content, Detect, Dialect, EventMessage, Source

PROVIDERS = {  # values of `gen_ai.system` and of careless emitters -> well-known values of `gen_ai.provider.name`
    "openai": "openai", "openai.chat": "openai", "openai.responses": "openai", "openai.completion": "openai",
    "openai.embedding": "openai", "anthropic": "anthropic", "anthropic.messages": "anthropic", "claude": "anthropic",
    "gemini": "gcp.gemini", "google": "gcp.gemini", "google_genai": "gcp.gemini",
    "google.generative-ai": "gcp.gemini", "googlegenai": "gcp.gemini", "googleai": "gcp.gemini",
    "azureopenai": "azure.ai.openai", "amazonbedrock": "aws.bedrock", "google-gla": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai", "vertexai": "gcp.vertex_ai", "google-vertex": "gcp.vertex_ai",
    "google.vertex.chat": "gcp.vertex_ai", "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai", "azure": "azure.ai.openai", "azure_openai": "azure.ai.openai",
    "azure-openai": "azure.ai.openai", "xai": "x_ai", "aws": "aws.bedrock", "bedrock": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock", "aws_bedrock": "aws.bedrock", "bedrock_converse": "aws.bedrock",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai", "watsonx": "ibm.watsonx.ai", "cohere": "cohere", "groq": "groq",
    "deepseek": "deepseek", "perplexity": "perplexity", "ollama": "ollama", "huggingface": "huggingface",
    "together_ai": "together_ai", "moonshot": "moonshot_ai", "gcp.vertex.agent": "gcp.vertex_ai",
    "strands-agents": "", "strands": "", "langchain": "", "crewai": "", "llamaindex": "", "llama_index": "",
    "unknown": "", "_other": "",
}  # fmt: skip
MODEL_PROVIDERS = (  # whose model it is, where nobody says who serves it: patterns over model names, first match wins
    (
        r"(?i)(?:^|[/.:])(?:gpt-|chatgpt|o\d(?:-|$)|text-embedding-(?:3|ada)|davinci|dall-e|whisper|tts-|omni-|codex|computer-use)",
        "openai",
    ),
    (r"(?i)(?:^|[/.:])claude", "anthropic"),
    (r"(?i)(?:^|[/.:])(?:gemini|gemma|text-embedding-00|learnlm)", "gcp.gemini"),
    (r"(?i)(?:^|[/.:])(?:mistral|mixtral|codestral|ministral|magistral|pixtral|devstral)", "mistral_ai"),
    (r"(?i)(?:^|[/.:])deepseek", "deepseek"),
    (r"(?i)(?:^|[/.:])grok-", "x_ai"),
    (r"(?i)(?:^|[/.:])(?:command-|embed-(?:english|multilingual)|c4ai)", "cohere"),
    (r"(?i)(?:^|[/.:])(?:sonar|pplx)", "perplexity"),
    (r"(?i)(?:^|[/.:])(?:kimi|moonshot)", "moonshot_ai"),
)
OPERATIONS = {  # values that older emitters write -> the vocabulary
    "completion": "text_completion", "embedding": "embeddings", "embed": "embeddings", "agent": "invoke_agent",
    "tool": "execute_tool", "workflow": "invoke_workflow", "response": "chat", "responses": "chat", "unknown": "",
}  # fmt: skip


def maker_of(model: str) -> str | None:
    """The provider whose model this is, by its name; None if the name does not tell."""
    return next((provider for pattern, provider in MODEL_PROVIDERS if re.search(pattern, model)), None)


OTEL_NEW = Dialect(
    name="otel-new",
    about="opentelemetry-instrumentation-genai-* 1.3b0, and everyone who writes gen_ai.* of 1.37 or later",
    detect=Detect(
        keys=(
            "gen_ai.provider.name",
            "gen_ai.input.messages",
            "gen_ai.output.messages",
            "gen_ai.system_instructions",
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.call.result",
            "gen_ai.tool.definitions",
            "gen_ai.tool.call.id",
            "gen_ai.retrieval.query.text",
            "gen_ai.retrieval.documents",
            "gen_ai.memory.store.id",
            "gen_ai.memory.record.id",
            "gen_ai.memory.query.text",
            "gen_ai.memory.records",
            "gen_ai.workflow.name",
            "mcp.method.name",
            "gen_ai.agent.version",
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.skill.name",
        ),
        events=("gen_ai.client.inference.operation.details",),
    ),
    fields={
        "operation": (
            Source("gen_ai.operation.name", values=OPERATIONS),
            Source("mcp.method.name", values={"tools/call": "execute_tool"}),
        ),
        "provider": (
            Source("gen_ai.provider.name", values=PROVIDERS, since="1.37"),
            Source("gen_ai.system", values=PROVIDERS, since="1.26"),
        ),
        "request_model": (Source("gen_ai.request.model"),),
        "response_model": (Source("gen_ai.response.model"),),
        "response_id": (Source("gen_ai.response.id"),),
        "agent_name": (Source("gen_ai.agent.name"), Source("gen_ai.workflow.name")),
        "tool_name": (Source("gen_ai.tool.name"), Source("mcp.tool.name")),
        "tool_call_id": (Source("gen_ai.tool.call.id"),),
        "conversation_id": (Source("gen_ai.conversation.id"),),
        "service_tier": (
            Source("openai.response.service_tier", since="1.37"),
            Source("gen_ai.openai.response.service_tier", since="1.28"),
            Source("anthropic.response.service_tier"),
            Source("openai.request.service_tier", since="1.37"),
            Source("gen_ai.openai.request.service_tier", since="1.28"),
        ),
        "prompt_name": (Source("gen_ai.prompt.name"),),
        "prompt_version": (Source("gen_ai.prompt.version"),),
        "streaming": (
            Source("gen_ai.request.stream"),
            Source("gen_ai.request.is_stream"),
            Source("gen_ai.is_streaming"),
            Source("@present", event="gen_ai.content.completion.chunk"),
        ),
        "ttft_ms": (
            Source("gen_ai.response.time_to_first_chunk", scale=1000.0),
            Source("gen_ai.client.operation.time_to_first_chunk", scale=1000.0),
            Source("gen_ai.client.inference.time_to_first_chunk", scale=1000.0),
            Source("gen_ai.server.time_to_first_token", scale=1000.0),
        ),
        "finish_reasons": (
            Source("gen_ai.response.finish_reasons"),
            Source("gen_ai.response.finish_reason"),
            Source("anthropic.message.stop_reason"),
        ),
        "status": (Source("gen_ai.response.status", values={"cancelled": "canceled", "failed": "error"}, only=True),),
        "input_tokens": (
            Source("gen_ai.usage.input_tokens", since="1.27"),
            Source("gen_ai.usage.prompt_tokens", since="1.26"),
        ),
        "output_tokens": (
            Source("gen_ai.usage.output_tokens", since="1.27"),
            Source("gen_ai.usage.completion_tokens", since="1.26"),
        ),
        "total_tokens": (Source("gen_ai.usage.total_tokens"), Source("llm.usage.total_tokens")),
        "cache_read_tokens": (
            Source("gen_ai.usage.cache_read.input_tokens", since="1.40"),
            Source("gen_ai.usage.cache_read_input_tokens"),
            Source("gen_ai.usage.details.cache_read_input_tokens"),
            Source("gen_ai.usage.details.cache_read_tokens"),
            Source("gen_ai.usage.details.cached_tokens"),
        ),
        "cache_write_tokens": (
            Source("gen_ai.usage.cache_write.input_tokens", since="genai #440"),
            Source("gen_ai.usage.cache_creation.input_tokens", since="1.40"),
            Source("gen_ai.usage.cache_creation_input_tokens"),
            Source("gen_ai.usage.cache_write_input_tokens"),
            Source("gen_ai.usage.details.cache_creation_input_tokens"),
            Source("gen_ai.usage.details.cache_write_tokens"),
        ),
        "reasoning_tokens": (
            Source("gen_ai.usage.reasoning.output_tokens", since="1.41"),
            Source("gen_ai.usage.reasoning_tokens"),
            Source("gen_ai.usage.details.reasoning_tokens"),
            Source("gen_ai.usage.details.thoughts_tokens"),
        ),
        "audio_input_tokens": (
            Source("gen_ai.usage.audio.input_tokens", since="genai #374"),
            Source("gen_ai.usage.details.input_audio_tokens"),
        ),
        "image_input_tokens": (Source("gen_ai.usage.image.input_tokens", since="genai #374"),),
        "audio_output_tokens": (
            Source("gen_ai.usage.audio.output_tokens", since="genai #374"),
            Source("gen_ai.usage.details.output_audio_tokens"),
        ),
    },
    content={
        "input": (
            Content("gen_ai.input.messages"),
            Content("gen_ai.tool.call.arguments", "tool_call"),
            Content("gen_ai.retrieval.query.text", "query"),
            Content("gen_ai.memory.query.text", "query"),
            Content("gen_ai.embeddings.input", "texts"),
        ),
        "output": (
            Content("gen_ai.output.messages", role="assistant"),
            Content("gen_ai.tool.call.result", "tool_result"),
            Content("gen_ai.retrieval.documents", "documents"),
            Content("gen_ai.memory.records", "records"),
        ),
        "system": (Content("gen_ai.system_instructions", "parts"),),
        "tools": (Content("gen_ai.tool.definitions", "tools"),),
    },
    facts=("gen_ai.client.inference.operation.details",),
)

OTEL_EVENTS = Dialect(
    name="otel-events",
    about="generation B (1.28 to 1.36): gen_ai.system, one log or span event a message; openai-v2, semantic-kernel",
    detect=Detect(
        keys=("gen_ai.system",),
        prefixes=("gen_ai.request.", "gen_ai.response.", "gen_ai.usage.", "gen_ai.openai."),
        events=(
            "gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message",
            "gen_ai.choice",
        ),
    ),
    messages=(
        EventMessage("gen_ai.system.message", "input", "system"),
        EventMessage("gen_ai.developer.message", "input", "developer"),
        EventMessage("gen_ai.user.message", "input", "user"),
        EventMessage("gen_ai.assistant.message", "input", "assistant"),
        EventMessage("gen_ai.tool.message", "input", "tool"),
        EventMessage("gen_ai.choice", "output", "assistant"),
    ),
)  # fmt: skip

OTEL_FIRST = Dialect(
    name="otel-1.26",
    about="generation A (1.26, 1.27): prompts and completions as JSON in attributes or span events",
    detect=Detect(
        keys=("gen_ai.prompt", "gen_ai.completion"), events=("gen_ai.content.prompt", "gen_ai.content.completion")
    ),
    content={
        "input": (Content("gen_ai.prompt"), Content("gen_ai.prompt", "transcript", event="gen_ai.content.prompt")),
        "output": (
            Content("gen_ai.completion", role="assistant"),
            Content("gen_ai.completion", event="gen_ai.content.completion", role="assistant"),
        ),
    },
)

OTEL_BARE = Dialect(
    name="otel-bare",
    about="spans of any generation that carry no more than an operation or an agent: what 1.27 to 1.42 have in common",
    detect=Detect(keys=("gen_ai.operation.name", "gen_ai.agent.name")),
)
