"""Token counts as providers and frameworks name them, inside JSON.

Each provider counts in its own way, and its names tell which: Anthropic's and Bedrock's input excludes cache, OpenAI's
and Gemini's includes it; Gemini's candidates exclude thoughts. So every name maps to the bucket that it really is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Counts = dict[str, int]

_PLAIN = {  # first key that is present fills the column
    "input_tokens": (
        "prompt_tokens", "input_tokens", "promptTokenCount", "prompt_token_count", "inputTokens", "promptTokens",
        "inputTokenCount", "prompt_eval_count", "input_token_count", "inputTextTokenCount", "input",
    ),
    "output_tokens": (
        "completion_tokens", "output_tokens", "outputTokens", "completionTokens", "outputTokenCount", "eval_count",
        "output_token_count", "output",
    ),
    "text_output_tokens": ("candidatesTokenCount", "candidates_token_count"),
    "total_tokens": ("total_tokens", "totalTokenCount", "total_token_count", "totalTokens", "total"),
    "cache_read_tokens": (
        "cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount", "cachedContentTokenCount",
        "cached_content_token_count", "cachedInputTokens", "cache_read_tokens", "prompt_cache_hit_tokens",
        "input_cached_tokens", "cached_tokens", "input_cache_read",
    ),
    "cache_write_tokens": (
        "cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount", "cache_write_input_tokens",
        "cache_creation_tokens", "cache_write_tokens", "input_cache_creation",
    ),
    "reasoning_tokens": (
        "reasoning_tokens", "thoughtsTokenCount", "thoughts_token_count", "reasoningTokens", "output_reasoning_tokens",
        "output_reasoning",
    ),
    "audio_input_tokens": ("input_audio_tokens",),
    "web_searches": ("num_search_queries", "web_search_requests"),  # Perplexity, Vercel's map of Anthropic's
    "audio_output_tokens": ("output_audio_tokens",),
}  # fmt: skip
_DETAILS = {  # nested maps: column -> (map keys, keys inside)
    "cache_read_tokens": (
        ("prompt_tokens_details", "input_tokens_details", "input_token_details", "inputTokenDetails"),
        ("cached_tokens", "cache_read", "cacheReadTokens", "cache_read_tokens"),
    ),
    "cache_write_tokens": (
        ("prompt_tokens_details", "input_tokens_details", "input_token_details", "inputTokenDetails"),
        ("cache_creation", "cache_creation_tokens", "cacheWriteTokens", "cache_write_tokens"),
    ),
    "cache_write_1h_tokens": (("cache_creation",), ("ephemeral_1h_input_tokens",)),
    "web_searches": (("server_tool_use", "serverToolUse"), ("web_search_requests", "webSearchRequests")),
    "audio_input_tokens": (
        ("prompt_tokens_details", "input_tokens_details", "input_token_details"), ("audio_tokens", "audio"),
    ),
    "image_input_tokens": (("prompt_tokens_details", "input_tokens_details"), ("image_tokens",)),
    "reasoning_tokens": (
        ("completion_tokens_details", "output_tokens_details", "output_token_details", "outputTokenDetails"),
        ("reasoning_tokens", "reasoning", "reasoningTokens"),
    ),
    "audio_output_tokens": (
        ("completion_tokens_details", "output_tokens_details", "output_token_details"), ("audio_tokens", "audio"),
    ),
}  # fmt: skip
_BARE_INPUT = (  # an input total beside one of these excludes what they count
    ("input_tokens", ("cache_creation_input_tokens",)),  # Anthropic
    ("inputTokens", ("cacheReadInputTokens", "cacheWriteInputTokens", "cacheReadInputTokenCount")),  # Bedrock
    (
        "input",
        ("input_cached_tokens", "input_cache_read", "input_cache_creation", "cache_read_input_tokens"),
    ),  # Langfuse
)


def usage_facts(usage: Mapping[str, Any]) -> Counts:
    """Counts by column; `uncached_input_tokens` in place of `input_tokens` where the name means that."""
    found: Counts = {}
    for column, keys in _PLAIN.items():
        if (count := _first(usage, keys)) is not None:
            found[column] = count
    for column, (maps, keys) in _DETAILS.items():
        for name in maps:
            inner = usage.get(name)
            if column not in found and isinstance(inner, Mapping) and (count := _first(inner, keys)) is not None:
                found[column] = count
    if not found.keys() & {"input_tokens", "output_tokens", "total_tokens", "text_output_tokens"}:
        return {}
    tool_prompt = _first(usage, ("toolUsePromptTokenCount", "tool_use_prompt_token_count"))
    if tool_prompt and "input_tokens" in found:
        found["input_tokens"] += tool_prompt
    if "input_tokens" in found and _is_bare(usage) and not _adds_up(found):
        found["uncached_input_tokens"] = found.pop("input_tokens")
    if "input" in usage and "output_reasoning_tokens" in usage and "output_tokens" in found:
        found["text_output_tokens"] = found.pop("output_tokens")  # Langfuse: disjoint by convention
    return found


def _adds_up(found: Counts) -> bool:
    """Does the stated total say that input already includes the cache?"""
    cached = found.get("cache_read_tokens", 0) + found.get("cache_write_tokens", 0)
    return cached > 0 and found.get("total_tokens") == found["input_tokens"] + found.get("output_tokens", 0)


def _is_bare(usage: Mapping[str, Any]) -> bool:
    if "prompt_tokens" in usage or "input_token_details" in usage or "prompt_tokens_details" in usage:
        return False
    return any(total in usage and any(key in usage for key in beside) for total, beside in _BARE_INPUT)


def _first(usage: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = usage.get(key)
        if isinstance(value, str) and value.strip().isdigit():
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
