"""Google ADK before it wrote the newest conventions: request and response as JSON under its own prefix.

Measured on google-adk 1.5.0, which writes the total of all tokens as output tokens, and 2.13.0 (newest conventions,
content in logs or on spans).
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.shared import request_of, response_of, together

_P = "gcp.vertex.agent."

ADK = Dialect(
    name="adk",
    about="google-adk 1.5.0 to 2.13.0",
    detect=Detect(prefixes=(_P,), scopes=("gcp.vertex.agent",)),
    fields=together(
        {"operation": Source("@name", values={"call_llm": "chat", "invocation": "invoke_workflow"}, only=True)},
        {"operation": Source("@name", pattern=r"^(agent_run|execute_tool)\b", values={"agent_run": "invoke_agent"})},
        {"session_id": Source(_P + "session_id"), "tool_call_id": Source(_P + "tool_call_id")},
        request_of(_P + "llm_request"),
        {"output_tokens": Source(_P + "llm_response", path="text_output_tokens", unit="response")},  # 1.5.0: see above
        response_of(_P + "llm_response"),
    ),
    content={
        "input": (
            Content("gen_ai.input.messages"),
            Content(_P + "llm_request", "request"),
            Content(_P + "tool_call_args", "tool_call"),
        ),
        "output": (
            Content("gen_ai.output.messages", role="assistant"),
            Content(_P + "llm_response", "response"),
            Content(_P + "tool_response", "tool_result"),
        ),
        "system": (Content(_P + "llm_request", "request"),),
        "tools": (Content(_P + "llm_request", "request"),),
    },
)
