"""Vercel AI SDK 4 to 6 (npm `ai`, scope `ai`): the inner `.doGenerate`, `.doStream`, `.doEmbed` span is the call.

Measured on ai 4, 5.0.277 and 6.0.326. Up to 5 Anthropic's and Bedrock's input excludes cache, and what was read from
or written to it stands in the provider's metadata only; 6 includes it and says so by the split. Version 7 writes the
newest conventions (scope `gen_ai`) and needs no table.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS

_OPERATIONS = {
    "ai.generatetext.dogenerate": "chat", "ai.streamtext.dostream": "chat", "ai.generateobject.dogenerate": "chat",
    "ai.streamobject.dostream": "chat", "ai.embed.doembed": "embeddings", "ai.embedmany.doembed": "embeddings",
    "ai.generatetext": "invoke_agent", "ai.streamtext": "invoke_agent", "ai.generateobject": "invoke_agent",
    "ai.streamobject": "invoke_agent", "ai.embed": "task", "ai.embedmany": "task", "ai.toolcall": "execute_tool",
    "ai.rerank": "task", "ai.rerank.dorerank": "rerank", "ai.generateimage": "task",
}  # fmt: skip
_STREAMS = {name: "true" for name in _OPERATIONS if "stream" in name} | {
    name: "false" for name in _OPERATIONS if "generate" in name or "embed" in name
}
_METADATA = "ai.telemetry.metadata."


def _of_provider(*paths: str) -> tuple[Source, ...]:
    return tuple(Source("ai.response.providerMetadata", path=path) for path in paths)


VERCEL_6 = Dialect(
    name="vercel-6",
    about="npm ai 6: input tokens include cache, whoever serves",
    detect=Detect(prefixes=("ai.usage.inputTokenDetails.",)),
    input_tokens="inclusive",
    labels=False,
)

VERCEL = Dialect(
    name="vercel",
    about="npm ai 4 to 6, scope `ai`",
    detect=Detect(keys=("ai.operationId", "ai.model.id", "ai.toolCall.name"), scopes=("ai",)),
    input_tokens="exclusive",
    providers=("anthropic", "aws.bedrock"),
    fields={
        "operation": Source("ai.operationId", values=_OPERATIONS),
        "streaming": Source("ai.operationId", values=_STREAMS),
        "provider": Source("ai.model.provider", values=PROVIDERS),
        "request_model": Source("ai.model.id"),
        "response_model": Source("ai.response.model"),
        "response_id": Source("ai.response.id"),
        "finish_reasons": (Source("ai.response.finishReason"), Source("ai.finishReason")),
        "ttft_ms": (Source("ai.response.msToFirstChunk"), Source("ai.stream.msToFirstChunk")),
        "input_tokens": (Source("ai.usage.inputTokens"), Source("ai.usage.promptTokens"), Source("ai.usage.tokens")),
        "output_tokens": (Source("ai.usage.outputTokens"), Source("ai.usage.completionTokens")),
        "total_tokens": Source("ai.usage.totalTokens"),
        "cache_read_tokens": (
            Source("ai.usage.inputTokenDetails.cacheReadTokens"),
            Source("ai.usage.cachedInputTokens"),
            *_of_provider(
                "openai/cachedPromptTokens", "anthropic/usage/cache_read_input_tokens",
                "anthropic/cacheReadInputTokens", "bedrock/usage/cacheReadInputTokens",
                "google/usageMetadata/cachedContentTokenCount", "deepseek/promptCacheHitTokens",
            ),
        ),
        "cache_write_tokens": (
            Source("ai.usage.inputTokenDetails.cacheWriteTokens"),
            *_of_provider(
                "anthropic/usage/cache_creation_input_tokens", "anthropic/cacheCreationInputTokens",
                "bedrock/usage/cacheWriteInputTokens",
            ),
        ),
        "reasoning_tokens": (
            Source("ai.usage.outputTokenDetails.reasoningTokens"),
            Source("ai.usage.reasoningTokens"),
            *_of_provider("openai/reasoningTokens", "google/usageMetadata/thoughtsTokenCount"),
        ),
        "service_tier": Source("ai.response.providerMetadata", path="openai/serviceTier"),
        "agent_name": Source("ai.telemetry.functionId"),
        "tool_name": Source("ai.toolCall.name"),
        "tool_call_id": Source("ai.toolCall.id"),
        "session_id": (Source(_METADATA + "sessionId"), Source(_METADATA + "session_id")),
        "user_id": (Source(_METADATA + "userId"), Source(_METADATA + "user_id")),
        "conversation_id": (
            Source(_METADATA + "conversationId"),
            Source(_METADATA + "threadId"),
            Source(_METADATA + "chatId"),
        ),
        "tags": Source(_METADATA + "tags"),
        "prompt_name": Source(_METADATA + "promptName"),
    },
    content={
        "input": (
            Content("ai.prompt.messages"),
            Content("ai.toolCall.args", "tool_call"),
            Content("ai.values", "texts"),
            Content("ai.value", "texts"),
            Content("ai.prompt", "request"),
        ),
        "output": (
            Content("ai.response.{text,reasoning,reasoningText,toolCalls,object}", "response"),
            Content("ai.toolCall.result", "tool_result"),
            Content("ai.result.text", role="assistant"),
            Content("ai.result.object", role="assistant"),
        ),
        "system": (Content("ai.prompt", "request"),),
        "tools": (Content("ai.prompt.tools", "tools"),),
    },
)  # fmt: skip
