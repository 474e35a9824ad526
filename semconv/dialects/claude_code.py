"""Claude Code: its own attribute names on beta spans; prompts and answers in log events.

Measured on 2.1.197. `input_tokens` excludes cache reads and writes; numbers are strings in places.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, EventMessage, Source

_KINDS = {
    "llm_request": "chat", "interaction": "invoke_agent", "tool": "execute_tool", "tool.execution": "task",
    "tool.blocked_on_user": "task", "hook": "task",
}  # fmt: skip

CLAUDE_CODE = Dialect(
    name="claude-code",
    about="claude-code 2.1.197",
    detect=Detect(scopes=("com.anthropic.claude_code*",)),
    guarded=True,
    input_tokens="exclusive",
    fields={
        "operation": Source("span.type", values=_KINDS),
        "request_model": Source("model"),
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
    messages=(
        EventMessage("user_prompt", "input", "user", path="prompt"),
        EventMessage("claude_code.user_prompt", "input", "user", path="prompt"),
        EventMessage("assistant_response", "output", "assistant", path="response"),
        EventMessage("claude_code.assistant_response", "output", "assistant", path="response"),
    ),
)
