"""Smaller frameworks, from their documentation and source."""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS
from spanfold.semconv.dialects.shared import SPAN_KINDS, response_of, together, usage_of

SPRING_AI = Dialect(
    name="spring-ai",
    about="spring-ai 1.x observations (docs: observability reference)",
    detect=Detect(prefixes=("spring.ai.",), scopes=("org.springframework.*",)),
    fields={
        "operation": (
            Source("gen_ai.operation.name", values={"framework": "invoke_agent"}, only=True),
            Source(
                "spring.ai.kind",
                values={
                    "chat_client": "invoke_agent",
                    "advisor": "task",
                    "tool_call": "execute_tool",
                    "vector_store": "retrieval",
                },
            ),
        ),
        "conversation_id": Source("spring.ai.chat.client.conversation.id"),
        "tool_name": Source("spring.ai.tool.definition.name"),
        "streaming": Source("spring.ai.chat.client.stream"),
    },
    content={
        "input": (
            Content("spring.ai.tool.call.arguments", "tool_call"),
            Content("db.vector.query.content", "query"),
            Content("spring.ai.chat.client.user.text"),
        ),
        "output": (
            Content("spring.ai.tool.call.result", "tool_result"),
            Content("db.vector.query.response.documents", "documents"),
        ),
        "system": (Content("spring.ai.chat.client.system.text", "parts"),),
        "tools": (
            Content("spring.ai.model.request.tool.names", "tools"),
            Content("spring.ai.chat.client.tool.names", "tools"),
        ),
    },
)

_LK = "lk.function_tool."

LIVEKIT = Dialect(
    name="livekit",
    about="livekit-agents 1.x (telemetry/trace_types.py)",
    detect=Detect(prefixes=("lk.",), scopes=("livekit-agents", "livekit*")),
    fields={
        "operation": Source("@name", values={"llm_request": "chat", "llm_node": "task", "function_tool": "execute_tool",
                            "agent_turn": "invoke_agent", "agent_session": "invoke_workflow", "user_turn": "task",
                            "tts_node": "task", "tts_request": "task", "job_entrypoint": "task"}, only=True),
        "agent_name": (Source("lk.agent_name"), Source("lk.agent_label")),
        "tool_name": Source(_LK + "name"),
        "tool_call_id": Source(_LK + "id"),
        "session_id": Source("lk.room_name"),
        "user_id": Source("lk.participant_identity"),
        "ttft_ms": Source("lk.llm_metrics", path="ttft", scale=1000.0),
        "input_tokens": Source("lk.llm_metrics", path="prompt_tokens"),
        "output_tokens": Source("lk.llm_metrics", path="completion_tokens"),
        "cache_read_tokens": Source("lk.llm_metrics", path="prompt_cached_tokens"),
        "response_id": Source("lk.llm_metrics", path="request_id"),
        "request_model": Source("lk.llm_metrics", path="metadata/model_name"),
        "provider": Source("lk.llm_metrics", path="metadata/model_provider", values=PROVIDERS),
        "status": Source("lk.interrupted", values={"true": "canceled"}, only=True),
    },
    content={
        "input": (
            Content("lk.chat_ctx", path="items"),
            Content(_LK + "arguments", "tool_call"),
            Content("lk.user_input"),
        ),
        "output": (Content(_LK + "output", "tool_result"), Content("lk.response.{text,function_calls}", "response")),
        "system": (Content("lk.instructions", "parts"),),
        "tools": (Content("lk.function_tools", "tools"),),
    },
)  # fmt: skip

VOLTAGENT = Dialect(
    name="voltagent",
    about="@voltagent/core 1.x",
    detect=Detect(
        prefixes=("voltagent.",), keys=("entity.type", "agent.messages", "llm.messages"), scopes=("@voltagent/*",)
    ),
    guarded=True,
    fields={
        "operation": (Source("span.type", values=SPAN_KINDS), Source("entity.type", values=SPAN_KINDS)),
        "agent_name": (Source("voltagent.agent.name"), Source("entity.name")),
        "tool_name": Source("tool.name"),
        "tool_call_id": Source("tool.call.id"),
        "request_model": (Source("llm.model"), Source("ai.model.name"), Source("model.name")),
        "provider": Source("llm.provider", values=PROVIDERS),
        "input_tokens": (Source("llm.usage.prompt_tokens"), Source("usage.prompt_tokens")),
        "output_tokens": (Source("llm.usage.completion_tokens"), Source("usage.completion_tokens")),
        "total_tokens": (Source("llm.usage.total_tokens"), Source("usage.total_tokens")),
        "cache_read_tokens": (Source("llm.usage.cached_tokens"), Source("usage.cached_tokens")),
        "reasoning_tokens": (Source("llm.usage.reasoning_tokens"), Source("usage.reasoning_tokens")),
        "finish_reasons": (Source("llm.finish_reason"), Source("ai.response.finish_reason")),
        "streaming": Source("llm.stream"),
    },
    content={
        "input": (
            Content("llm.messages"),
            Content("agent.messages"),
            Content("tool.arguments", "tool_call"),
            Content("input", "tool_call", operations=("execute_tool",)),
            Content("input", "request"),
        ),
        "output": (
            Content("tool.result", "tool_result"),
            Content("output", "tool_result", operations=("execute_tool",)),
            Content("output", "response"),
        ),
        "system": (Content("agent.instructions", "parts"), Content("agent.systemPrompt", "parts")),
        "tools": (Content("llm.tools", "tools"), Content("agent.tools", "tools")),
    },
)

_LAMINAR = "lmnr.association.properties."

LAMINAR = Dialect(
    name="laminar",
    about="lmnr SDKs; model calls in the indexed attributes of traceloop",
    detect=Detect(prefixes=("lmnr.",), scopes=("lmnr*",)),
    fields={
        "operation": Source("lmnr.span.type", values=SPAN_KINDS),
        "session_id": Source(_LAMINAR + "session_id"),
        "user_id": Source(_LAMINAR + "user_id"),
        "tags": Source(_LAMINAR + "tags"),
    },
    content={
        "input": (
            Content("lmnr.span.input", "tool_call", operations=("execute_tool",)),
            Content("gen_ai.input.messages"),
            Content("gen_ai.prompt.*"),
            Content("lmnr.span.input", "request"),
        ),
        "output": (
            Content("lmnr.span.output", "tool_result", operations=("execute_tool",)),
            Content("gen_ai.output.messages", role="assistant"),
            Content("gen_ai.completion.*", role="assistant"),
            Content("lmnr.span.output", "response"),
        ),
    },
)

_COMPONENT = "haystack.component."
_COMPONENTS = {
    "chatgenerator": "chat", "generator": "text_completion", "embedder": "embeddings", "retriever": "retrieval",
    "ranker": "rerank", "toolinvoker": "task", "agent": "invoke_agent",
}  # fmt: skip
_SPAN_NAMES = {
    "haystack.pipeline.run": "invoke_workflow", "haystack.async_pipeline.run": "invoke_workflow",
    "haystack.agent.run": "invoke_agent", "haystack.component.run": "task",
}  # fmt: skip
_KIND = r"(ChatGenerator|Generator|Embedder|Retriever|Ranker|ToolInvoker|Agent)$"
_MAKER = r"^(OpenAI|AzureOpenAI|Anthropic|Mistral|Cohere|GoogleAI|VertexAI|AmazonBedrock|Ollama)"

HAYSTACK = Dialect(
    name="haystack",
    about="haystack 2.x, its own OpenTelemetry tracer with content tracing",
    detect=Detect(prefixes=("haystack.",), scopes=("haystack*",)),
    fields=together(
        {
            "operation": (
                Source(_COMPONENT + "type", pattern=_KIND, values=_COMPONENTS),
                Source("@name", values=_SPAN_NAMES, only=True),
            ),
            "provider": Source(_COMPONENT + "type", pattern=_MAKER, values=PROVIDERS),
        },
        response_of(_COMPONENT + "output"),
    ),
    content={
        "input": (
            Content(_COMPONENT + "input", "texts", path="text", operations=("embeddings",)),
            Content(_COMPONENT + "input", "query", path="query", operations=("retrieval", "rerank")),
            Content(_COMPONENT + "input", "request"),
        ),
        "output": (
            Content(_COMPONENT + "output", "documents", path="documents", operations=("retrieval", "rerank")),
            Content(_COMPONENT + "output", "response", operations=("chat", "text_completion", "invoke_agent")),
        ),
        "tools": (Content(_COMPONENT + "input", "request", operations=("chat",)),),
    },
)

TRACEBRAIN = Dialect(
    name="tracebrain",
    about="TraceBrain SDK: each span says what is new, its parents said the rest (BR-001, BR-004)",
    detect=Detect(prefixes=("tracebrain.",)),
    deltas=True,
    fields=together({
        "operation": Source("tracebrain.span.type", values={"llm_inference": "chat", "tool_execution": "execute_tool",
                            "user_request": "invoke_agent", **SPAN_KINDS}),
        "request_model": Source("tracebrain.llm.model"),
        "tool_name": Source("tracebrain.tool.name"),
        "input_tokens": Source("tracebrain.usage.input_tokens"),
        "output_tokens": Source("tracebrain.usage.output_tokens"),
        "session_id": (Source("tracebrain.session.id"), Source("tracebrain.episode.id")),
    }, usage_of("tracebrain.usage")),
    content={
        "input": (
            Content("tracebrain.tool.input", "tool_call"),
            Content("tracebrain.llm.new_content"),
            Content("tracebrain.content.new_content"),
        ),
        "output": (
            Content("tracebrain.tool.output", "tool_result"),
            Content("tracebrain.llm.completion", role="assistant"),
        ),
        "system": (Content("tracebrain.content.system_prompt", "parts"),),
    },
)  # fmt: skip

AWS_SDK = Dialect(
    name="aws-sdk",
    about="spans of the AWS SDKs' own instrumentations for Bedrock that name no operation (Java, .NET, JavaScript)",
    detect=Detect(scopes=("*aws-sdk*", "*botocore*", "*AWSClientInstrumentation*", "*Instrumentation.AWS*")),
    labels=False,
    guarded=True,
    fields={
        "operation": (
            Source("gen_ai.operation.name"),
            Source("gen_ai.request.model", pattern=r"(?i)(embed)", values={"embed": "embeddings"}, only=True),
            Source("gen_ai.request.model", constant="chat"),
        ),
        "streaming": Source("rpc.method", values={"conversestream": "true", "invokemodelwithresponsestream": "true"},
                            only=True),
    },
)  # fmt: skip

FRAMEWORKS = (AWS_SDK, SPRING_AI, LIVEKIT, VOLTAGENT, LAMINAR, HAYSTACK, TRACEBRAIN)
