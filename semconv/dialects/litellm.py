"""LiteLLM's `otel` callback: one span a request, and in its old mode a child with the provider's raw request.

Measured on litellm 1.106.2. Its `gen_ai.*.messages` keep texts only; tool calls stand in `gen_ai.completion.N` and,
as Python reprs, in `llm.<provider>.*` of the child; versions that keep the calls of a history put them beside the
parts. The child is the call where it carries usage, the outer span then its gateway.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Content, Detect, Dialect, Source
from spanfold.semconv.dialects.otel import PROVIDERS
from spanfold.semconv.dialects.shared import usage_of

LITELLM = Dialect(
    name="litellm",
    about="litellm 1.106.2, callback `otel`",
    detect=Detect(keys=("litellm.call_id", "hidden_params"), scopes=("litellm",)),
    fields={
        "provider": Source("litellm.provider.model", pattern=r"^([\w.-]+)/", values=PROVIDERS),
        "streaming": Source("llm.is_streaming"),
        "user_id": Source("metadata.user_api_key_end_user_id"),
        "key_label": Source("metadata.user_api_key_alias"),
        **usage_of("metadata.usage_object"),
    },
    content={
        "input": (Content("gen_ai.input.messages"),),
        "output": (
            Content("gen_ai.output.messages", role="assistant"),
            Content("gen_ai.completion.*", role="assistant"),
        ),
        "tools": (Content("llm.request.functions.*", "tools"),),
    },
)
