"""The demo's story: deterministic, within its bounds, with the llmtrace scenario in it."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from statistics import mean, stdev

import pytest
from genai_prices import Usage, calc_price

from spanfold.demo.deploys import demo_deploys
from spanfold.demo.prompts import TEMPLATES, fingerprint_cases
from spanfold.demo.story import StoryDay, story
from spanfold.demo.trace import Span, Trace

EVENING = dt.datetime(2026, 11, 20, 23, 59, 59, tzinfo=dt.UTC)
_PRICED_AS = {"gcp.gemini": "google", "mistral_ai": "mistral"}
_UNPRICED = {"llama3.1:8b", "tidewater-clauses-v2"}


@pytest.fixture(scope="module")
def days() -> list[StoryDay]:
    return list(story(EVENING))


def _calls(day: StoryDay) -> list[tuple[Trace, Span]]:
    return [(trace, span) for trace in day.traces for span in trace.spans if "gen_ai.request.model" in span.attributes]


def _cost(span: Span) -> Decimal:
    numbers = {key: value for key, value in span.attributes.items() if isinstance(value, int)}
    tokens = numbers.get("gen_ai.usage.input_tokens", numbers.get("gen_ai.usage.prompt_tokens"))
    if tokens is None or span.attributes["gen_ai.request.model"] in _UNPRICED:
        return Decimal(0)
    usage = Usage(
        input_tokens=tokens,
        output_tokens=numbers.get("gen_ai.usage.output_tokens", numbers.get("gen_ai.usage.completion_tokens", 0)),
        cache_read_tokens=numbers.get("gen_ai.usage.cache_read.input_tokens"),
        cache_write_tokens=numbers.get("gen_ai.usage.cache_write.input_tokens"),
    )
    provider = str(span.attributes.get("gen_ai.provider.name", "openai"))
    model = str(span.attributes["gen_ai.request.model"])
    return calc_price(usage, model_ref=model, provider_id=_PRICED_AS.get(provider, provider)).total_price


def test_the_spike_of_day_22(days: list[StoryDay]) -> None:
    """prod-frontend costs 4.59 USD a day, then 19.26 on day 22: 4.2 times, 27 deviations (LT-009, LT-010, LT-028)."""
    cost: defaultdict[int, float] = defaultdict(float)
    for day in days:
        for trace, span in _calls(day):
            if trace.service.key == "prod-frontend":
                cost[day.day] += float(_cost(span))
    week = [cost[day] for day in range(15, 22)]
    assert round(mean(week), 2) == 4.59
    assert round(cost[22], 2) == 19.26
    assert round(cost[22] / mean(week), 1) == 4.2
    assert round((cost[22] - mean(week)) / stdev(week)) == 27
    assert all(abs(cost[day] - mean(week)) < 2 * stdev(week) for day in range(1, 22))


def test_the_model_mix_turns_at_the_deploy(days: list[StoryDay]) -> None:
    """Summaries run 90 % on Haiku before 14:05 of day 22 90 % on Sonnet after it, at 1.6 times the volume (LT-024)."""
    pivot = next(day for day in days if day.day == 22)
    edge = int(dt.datetime.combine(pivot.date, dt.time(14, 5), dt.UTC).timestamp()) * 10**9
    before, after = Counter[str](), Counter[str]()
    for day in days:
        for trace, span in _calls(day):
            if trace.service.name == "summary-service" and span.error is None:
                side = before if trace.spans[-1].start_ns < edge else after
                side[str(span.attributes["gen_ai.request.model"])] += 1
    assert before["claude-haiku-4-5"] / before.total() == pytest.approx(0.90, abs=0.01)
    assert after["claude-sonnet-4-5"] / after.total() == pytest.approx(0.90, abs=0.01)
    volume = (after.total() / 8.632) / (before.total() / 21.368)
    assert volume == pytest.approx(1.6, abs=0.06)


def test_versions_change_where_deploys_say(days: list[StoryDay]) -> None:
    """Pull request 129 lands at 14:05, between two innocent deploys; service.version follows (LT-017)."""
    that_day = [row for row in demo_deploys(EVENING.date()) if str(row["completed_at"]).startswith("2026-11-12")]
    assert [(row["pr_number"], row["service"], row["completed_at"]) for row in that_day] == [
        (127, "code-helper", "2026-11-12T09:12:00Z"),
        (129, "summary-service", "2026-11-12T14:05:00Z"),
        (130, "support-agent", "2026-11-12T18:40:00Z"),
    ]
    assert [row["version"] for row in that_day] == ["1.12.1", "3.9.0", "2.5.1"]
    assert all(len(str(row["commit_sha"])) == 40 for row in that_day)
    pivot = next(day for day in days if day.day == 22)
    versions = {trace.version for trace in pivot.traces if trace.service.name == "summary-service"}
    assert versions == {"3.8.1", "3.9.0"}


def test_told_twice_it_is_the_same(days: list[StoryDay]) -> None:
    """Two tellings of the same moment are equal to the last attribute, and no span id repeats (LT-033)."""
    again = list(story(EVENING))
    first = [span for day in days for trace in day.traces for span in trace.spans]
    assert first == [span for day in again for trace in day.traces for span in trace.spans]
    assert len({(span.trace_id, span.span_id) for span in first}) == len(first)


def test_nothing_from_the_future(days: list[StoryDay]) -> None:
    """A telling at noon is the evening's without what had not ended by noon; days come newest first."""
    noon = EVENING.replace(hour=12, minute=0, second=0)
    limit = int(noon.timestamp()) * 10**9
    told = {span.span_id: span for day in story(noon) for trace in day.traces for span in trace.spans}
    evening = {span.span_id: span for day in days for trace in day.traces for span in trace.spans}
    assert max(span.end_ns for span in told.values()) <= limit
    assert told.items() <= evening.items()
    assert len(told) < len(evening)
    assert [day.day for day in days] == list(range(30, 0, -1))
    assert [day.date for day in days][::29] == [dt.date(2026, 11, 20), dt.date(2026, 10, 22)]


def test_what_is_in_it(days: list[StoryDay]) -> None:
    """Volumes, keys, providers, failures, cancelled streams, old dialect and log events are all there."""
    traces = [trace for day in days for trace in day.traces]
    spans = [span for trace in traces for span in trace.spans]
    models = [span for span in spans if "gen_ai.request.model" in span.attributes]
    assert 20_000 <= len(spans) <= 30_000
    assert 6_000 <= len(models) <= 10_000
    assert {trace.service.key for trace in traces} == {"prod-frontend", "internal-tools", "background-jobs"}
    providers = Counter(str(span.attributes.get("gen_ai.provider.name")) for span in models)
    assert set(providers) == {"anthropic", "openai", "gcp.gemini", "mistral_ai", "ollama", "None"}
    errors = Counter(str(span.attributes["error.type"]) for span in models if "error.type" in span.attributes)
    assert {"anthropic.RateLimitError", "anthropic.InternalServerError", "gemini.ServerError"} < set(errors)
    assert errors["asyncio.CancelledError"] >= 5
    assert any("gen_ai.prompt.1.content" in span.attributes for span in models)
    assert sum(len(trace.logs) for trace in traces) > 100
    operations = {span.attributes.get("gen_ai.operation.name") for span in spans}
    assert operations > {"chat", "embeddings", "retrieval", "execute_tool", "invoke_agent", "invoke_workflow"}


def test_a_conversation_resends_its_history(days: list[StoryDay]) -> None:
    """Within a conversation each call's input begins with the whole input of the call before it."""
    talks: defaultdict[str, list[Span]] = defaultdict(list)
    for trace in (trace for day in days for trace in day.traces if trace.service.name == "support-agent"):
        for span in trace.spans:
            if "gen_ai.input.messages" in span.attributes:
                talks[str(span.attributes["gen_ai.conversation.id"])].append(span)
    for spans in talks.values():
        spans.sort(key=lambda span: span.start_ns)
        inputs = [json.loads(str(span.attributes["gen_ai.input.messages"])) for span in spans]
        assert all(later[: len(early)] == early for early, later in pairwise(inputs))
    assert len(talks) == 120
    assert max(len(spans) for spans in talks.values()) >= 6


def test_prompts_have_200_renderings() -> None:
    """Ten templates, twenty distinct renderings each, and no slot is left open (LT-002)."""
    cases = fingerprint_cases()
    assert Counter(name for name, _, _ in cases) == dict.fromkeys(TEMPLATES, 20)
    assert len(TEMPLATES) == 10
    assert len({user for _, _, user in cases}) >= 195
    assert not [user for _, system, user in cases if "{" in system + user]
