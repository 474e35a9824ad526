"""The built-in dialect tables, most specific first: the first value of a row wins, the first detected name labels it."""

from __future__ import annotations

from spanfold.semconv.dialects.common import COMMON
from spanfold.semconv.dialects.otel import OTEL_EVENTS, OTEL_FIRST, OTEL_NEW

BUILT_IN = (OTEL_NEW, OTEL_EVENTS, OTEL_FIRST, COMMON)
