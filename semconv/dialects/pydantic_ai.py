"""Pydantic AI and Logfire: the newest conventions, with tool definitions in `model_request_parameters`.

Measured on pydantic-ai-slim 2.68.0 (versions 2, 5, 6 of its format) and 0.4.2, whose messages are one JSON list in
`events`, each item a message of the event conventions.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source

_SPLIT = ("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens", "audio_input_tokens",
          "audio_output_tokens")  # fmt: skip
_PARAMETERS = "model_request_parameters"

PYDANTIC_AI = Dialect(
    name="pydantic-ai",
    about="pydantic-ai 0.4.2, 2.68.0; logfire 5.2.0",
    detect=Detect(
        keys=(_PARAMETERS, "pydantic_ai.all_messages", "all_messages_events", "logfire.msg"),
        scopes=("pydantic-ai", "logfire*"),
    ),
    guarded=True,
    fields={
        "operation": Source("@name", values={"running tool": "execute_tool", "agent run": "invoke_agent"}, only=True),
        "agent_name": Source("agent_name"),
        "streaming": Source("@name", pattern=r"^(streaming response) from ", values={"streaming response": "true"}),
        **{name: Source("gen_ai.usage.raw", path=name, unit="usage") for name in _SPLIT},  # logfire.openai, .anthropic
        "ttft_ms": Source("gen_ai.client.operation.time_to_first_chunk", scale=1000.0),
    },
    content={
        "input": (
            Content("gen_ai.input.messages"),
            Content("events", "event_list"),
            Content("tool_arguments", "tool_call"),
            Content("pydantic_ai.all_messages"),
            Content("all_messages_events", "event_list"),
        ),
        "output": (
            Content("gen_ai.output.messages", role="assistant"),
            Content("events", "event_list"),
            Content("tool_response", "tool_result"),
            Content("final_result", role="assistant"),
        ),
        "system": (
            Content("gen_ai.system_instructions", "parts"),
            Content(_PARAMETERS, "parts", path="instruction_parts"),
        ),
        "tools": (
            Content("gen_ai.tool.definitions", "tools"),
            Content(_PARAMETERS, "tools"),
        ),
    },
)
