"""Claude Code: its own attribute names on beta spans; prompts and answers in log events.

Measured on 2.1.197. `input_tokens` excludes cache reads and writes; numbers are strings in places. The model's full
name, with its date, stands in `api_request` records only. Tool results are told as files and outputs, not
as the model read them.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, EventMessage, Source, ToolEvent, Turn

_KINDS = {
    "llm_request": "chat", "interaction": "invoke_agent", "tool": "execute_tool", "tool.execution": "task",
    "tool.blocked_on_user": "task", "hook": "task",
}  # fmt: skip


def _named(event: str) -> tuple[str, str]:
    """The names of an event: its attribute `event.name`, and the record's own name."""
    return event, f"claude_code.{event}"


_SAID = (
    *(EventMessage(name, "input", "user", path="prompt") for name in _named("user_prompt")),
    *(EventMessage(name, "output", "assistant", path="response") for name in _named("assistant_response")),
)

CLAUDE_CODE = Dialect(
    name="claude-code",
    about="claude-code 2.1.197",
    detect=Detect(scopes=("com.anthropic.claude_code*",)),
    guarded=True,
    input_tokens="exclusive",
    fields={
        "operation": Source("span.type", values=_KINDS),
        "request_model": Source("model"),
        "response_model": Source("model", pattern=r"^(.+-\d{8}.*)$"),
        "input_tokens": Source("input_tokens"),
        "output_tokens": Source("output_tokens"),
        "cache_read_tokens": Source("cache_read_tokens"),
        "cache_write_tokens": Source("cache_creation_tokens"),
        "ttft_ms": Source("ttft_ms"),
        "finish_reasons": Source("stop_reason"),
        "tool_name": Source("tool_name"),
        "tool_call_id": Source("tool_use_id"),
        "error_type": (Source("error"), Source("error_type"), Source("status_code")),
        "status": Source("success", values={"false": "error"}, only=True),
    },
    content={
        "input": (
            Content("user_prompt", operations=("invoke_agent",)),
            Content("tool_input", "tool_call", operations=("execute_tool",)),
        ),
        "output": (Content("content", "tool_result", event="tool.output"),),
    },
    messages=_SAID,
    turn=Turn(
        said=_SAID,
        tools=tuple(ToolEvent(name, "tool_name", "tool_input", "tool_use_id") for name in _named("tool_result")),
    ),
    facts=(*_named("api_request"), *_named("api_error")),
)
