"""Calls that say only what is new get the history that their parents said, whichever arrives first.

The history of a span is what its ancestors said, from the root down: what was new to each, and its answer. A link that
comes later makes a higher revision of the contexts below it; a chain whose link never came begins at the gap and says
so (`delta_cut`). Nothing here is durable: of a trace that was forgotten, or folded before this process began, links are
not at hand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spanfold.exporter.fold import Place
from spanfold.semconv.messages import parse_messages
from spanfold.semconv.records import SpanContent

Trace = tuple[str, str]  # tenant, trace_id
Messages = list[dict[str, Any]]

_LONGEST = 1_000  # links of a chain


@dataclass(slots=True)
class Step:
    """One span of a trace in which spans say deltas. `said` is what the span says of a conversation: None for tools and
    for spans that only stand in between."""

    place: Place
    parent: str | None
    said: SpanContent | None = None
    given: tuple[int, str] = (1, "span")  # revision and source of the context that was handed out last


@dataclass(slots=True)
class _Trace:
    steps: dict[str, Step] = field(default_factory=dict)  # by span_id
    open: set[str] = field(default_factory=set)  # speaking spans whose chain does not reach a root yet


class Deltas:
    """Steps by trace. Bounded: traces of long ago are forgotten, oldest first."""

    def __init__(self, limit: int = 2_000) -> None:
        self._limit = limit
        self._traces: OrderedDict[Trace, _Trace] = OrderedDict()

    @property
    def trace_ids(self) -> set[str]:
        """Traces in which spans said deltas."""
        return {trace_id for _, trace_id in self._traces}

    def take(self, steps: Sequence[Step]) -> list[tuple[Place, SpanContent]]:
        """Takes the steps of a chunk. Completes their own contents in place, and returns the contexts of earlier spans
        that have become longer."""
        fresh: dict[Trace, set[str]] = {}
        for step in steps:
            key = (step.place.tenant, step.place.trace_id)
            trace = self._traces.setdefault(key, _Trace())
            self._traces.move_to_end(key)
            trace.steps[step.place.span_id] = step
            if step.said is not None:
                trace.open.add(step.place.span_id)
            fresh.setdefault(key, set()).add(step.place.span_id)
        out: list[tuple[Place, SpanContent]] = []
        for key, new in fresh.items():
            out += _completed(self._traces[key], new)
        while len(self._traces) > self._limit:
            self._traces.popitem(last=False)
        return out

    def again(self) -> None:
        """What was handed out may not have been stored: every span still known is told again with its next link."""
        for trace in self._traces.values():
            for span_id, step in trace.steps.items():
                if step.said is not None:
                    step.given = (0, "")
                    trace.open.add(span_id)


def _completed(trace: _Trace, fresh: set[str]) -> Iterator[tuple[Place, SpanContent]]:
    """Hands out the contexts of a trace that have changed; those of `fresh` spans are changed where they are."""
    told: list[tuple[SpanContent, SpanContent]] = []  # (in flight, its new form): all are made before one is changed
    for span_id in sorted(trace.open):
        step = trace.steps[span_id]
        chain, whole = _chain(trace.steps, step)
        before = [s.said for s in chain if s.said is not None]
        now = (1 + len(chain), "delta_cut" if not whole else "delta" if before else "span")
        if whole:
            trace.open.discard(span_id)
        if now == step.given or step.said is None:
            continue
        step.given = now
        content = _content(step.said, before, *now)
        if span_id in fresh:
            told.append((step.said, content))
            step.said = replace(step.said)
        else:
            yield step.place, content
    for own, content in told:
        own.input, own.input_text, own.system = content.input, content.input_text, content.system
        own.source, own.pieces, own.lost = content.source, content.pieces, content.lost


def _chain(steps: dict[str, Step], step: Step) -> tuple[list[Step], bool]:
    """(the known ancestors from the root down, whether the first one is a root)."""
    chain: list[Step] = []
    seen = {step.place.span_id}
    at = step.parent
    while at is not None and at in steps and at not in seen and len(chain) < _LONGEST:
        seen.add(at)
        chain.append(steps[at])
        at = steps[at].parent
    return chain[::-1], at is None


def _content(own: SpanContent, before: Sequence[SpanContent], revision: int, source: str) -> SpanContent:
    history: Messages = []
    unanswered: Messages = []
    for said in (*before, own):
        new = _input(said)
        if unanswered and new[: len(unanswered)] == unanswered:  # asked at the root, and again by the call for it
            new = new[len(unanswered) :]
        history += new
        if said is not own:
            history += said.output or []
            unanswered = [] if said.output else new
    if not before:
        return replace(own, source=source, pieces=revision)
    system = next((said.system for said in (own, *reversed(before)) if said.system is not None), None)
    return replace(
        own, input=history, input_text=None, system=system, source=source, pieces=revision, lost=0, cut=False
    )


def _input(said: SpanContent) -> Messages:
    if said.input is None and said.input_text is not None:
        return list(parse_messages(said.input_text)[0])
    return list(said.input or ())
