"""What a span is (a billable call, a wrapper of calls, something else) and how it ended.

Classified by `gen_ai.operation.name` first (conventions: required everywhere), the span's name only as a fallback.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

CALLS = frozenset(("chat", "generate_content", "text_completion", "embeddings"))
CONTAINERS = frozenset((  # they repeat the usage of what runs inside them
    "invoke_agent", "invoke_workflow", "handle_conversation_turn", "create_agent", "plan", "agent_step", "task",
    "chain", "gateway", "wrapper", "execute_tool",
))  # fmt: skip
NEVER = frozenset((  # no tokens of their own: what they report repeats a call's
    "retrieval", "fetch_response", "create_memory_store", "delete_memory_store", "search_memory", "create_memory",
    "update_memory", "upsert_memory", "delete_memory", "guardrail", "evaluation",
))  # fmt: skip
_NAMED = re.compile(  # span names of the conventions: `{operation} {model, agent or tool}`
    r"^(chat|generate_content|text_completion|embeddings|execute_tool|invoke_agent|create_agent|invoke_workflow"
    r"|retrieval|plan)(?: |$)"
)
_CANCELED = re.compile(
    r"cancel|generatorexit|client.?disconnect|abort(?:ed|error|signal)|clientclosedrequest|keyboardinterrupt", re.I
)


def operation_of_name(name: str | None) -> str | None:
    """The operation that a span's name states, if it follows the conventions."""
    found = _NAMED.match(name or "")
    return found[1] if found else None


def says_canceled(text: str | None) -> bool:
    """Does an error type or message say that someone stopped waiting?"""
    return bool(text and _CANCELED.search(text))


def matches(column: pa.Array, test: Callable[[str], bool]) -> Mask:
    """`test` over the unique values of a text column; NULL is False."""
    coded = column.dictionary_encode()
    flags = np.array([test(value) for value in coded.dictionary.to_pylist()] + [False], np.bool_)
    found: Mask = flags[np.asarray(coded.indices.fill_null(len(coded.dictionary)))]
    return found


def kinds(operation: pa.Array, has_usage: Mask, has_model: Mask) -> tuple[Mask, Mask]:
    """(is_candidate, is_container). An unknown operation counts as a call where it carries a model and usage; where
    none is stated such a span may as well wrap calls: it counts unless a span inside it carries usage."""
    call = matches(operation, CALLS.__contains__)
    container = matches(operation, CONTAINERS.__contains__)
    never = matches(operation, NEVER.__contains__)
    stated = np.asarray(operation.is_valid())
    other = stated & ~call & ~container & ~never & has_usage & has_model
    container |= ~stated & has_usage & has_model
    return call | other | (container & has_usage), container


def statuses(
    code: NDArray[np.uint32], stated: pa.Array, error_type: pa.Array, message: pa.Array, abandoned: Mask
) -> pa.Array:
    """`success`, `error` or `canceled` for every row. `stated`: what a dialect says itself; `abandoned`: an answer
    that ended in `error` without any error reported, which is how util-genai tells a stream nobody read to its end."""
    failed = (code == 2) | np.asarray(error_type.is_valid()) | matches(stated, lambda text: text == "error")
    canceled = matches(stated, lambda text: text == "canceled") | matches(error_type, says_canceled)
    canceled |= failed & matches(message, says_canceled)
    canceled |= abandoned & ~failed
    names = pa.array(["success", "error", "canceled"])
    return names.take(pa.array(np.where(canceled, 2, np.where(failed, 1, 0)).astype(np.int32)))
