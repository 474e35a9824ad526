"""OpenLIT: the newest conventions since 1.3x, with input tokens as the provider counts them.

Measured on openlit 1.45.0 (Anthropic: input without cache) and 1.33.20, whose span events hold one flat text.
"""

from __future__ import annotations

from spanfold.semconv.dialect import Detect, Dialect, Source

OPENLIT = Dialect(
    name="openlit",
    about="openlit 1.33.20, 1.45.0",
    detect=Detect(scopes=("openlit*", "openlit.otel.tracing"), keys=("gen_ai.sdk.version",)),
    fields={"request_model": Source("@name", pattern=r"^(?:chat|embeddings) (\S+)$")},  # all that a failed call says
    input_tokens="exclusive",
    providers=("anthropic", "aws.bedrock"),
)
