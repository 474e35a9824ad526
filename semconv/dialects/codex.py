"""OpenAI Codex CLI: hundreds of internal spans a call; the one that handles responses carries usage.

Measured on 0.169.0. Models and prompts stand in log events only.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Detect, Dialect, EventMessage, Source, ToolEvent, Turn

_SAID = (EventMessage("codex.user_prompt", "input", "user", path="prompt"),)

CODEX = Dialect(
    name="codex",
    about="codex 0.169.0",
    detect=Detect(prefixes=("codex.",), scopes=("codex_*",)),
    guarded=True,
    fields={
        "operation": Source("gen_ai.usage.input_tokens", constant="chat"),
        "provider": Source("@name", pattern=r"^(handle_responses)$", values={"handle_responses": "openai"}),
        "streaming": Source("@name", values={"handle_responses": "true"}),
        "reasoning_tokens": Source("codex.usage.reasoning_output_tokens"),
        "total_tokens": Source("codex.usage.total_tokens"),
        "conversation_id": Source("conversation.id"),
        "request_model": Source("model"),
    },
    messages=_SAID,
    turn=Turn(
        said=_SAID,
        tools=(ToolEvent("codex.tool_result", "tool_name", "arguments", "call_id", "output"),),
    ),
)
