"""Histories whose beginning an attribute cap took: rebuilt from an earlier call where the rest proves it.

The Python SDK drops a span's oldest attributes beyond its cap, so that of a long history in an attribute a message only
the end arrives, from message `lost` on. An earlier call of the same trace, conversation or session that holds, from
exactly that place to its own end, the same words, held the lost beginning too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanfold.exporter.fold import Generations, Node, Words

_KEPT = 8  # latest histories of one trace or session


@dataclass(frozen=True, slots=True)
class History:
    """What one call was given and gave: leading system messages, and the chain to its last message."""

    lead: list[dict[str, Any]]
    end: Node


@dataclass(frozen=True, slots=True)
class Beginning:
    """The proven beginning: its leading system messages, its last node, and how many of the messages that arrived stand
    in it already."""

    lead: list[dict[str, Any]]
    end: Node
    known: int


class Histories:
    """The latest histories by hint (trace, conversation, session)."""

    def __init__(self, memory: Generations[str, list[History]]) -> None:
        self._memory = memory

    def age(self) -> None:
        """Forgets the older half: histories hold their nodes."""
        self._memory.age()

    def remember(self, hints: Iterable[str], lead: list[dict[str, Any]], end: Node | None) -> None:
        if end is None:
            return
        for hint in hints:
            held = [history for history in self._memory.get(hint) or [] if history.end is not end]
            self._memory.put(hint, [History(lead, end), *held][:_KEPT])

    def beginning(self, hints: Iterable[str], lost: int, arrived: Sequence[Words]) -> Beginning | None:
        """What an earlier call proves of a history of which `lost` messages are gone; the longest proof wins."""
        found = [
            proof
            for hint in hints
            for history in self._memory.get(hint) or ()
            if (proof := _proof(history, lost, arrived)) is not None
        ]
        return max(found, key=lambda proof: proof.known, default=None)


def _proof(history: History, lost: int, arrived: Sequence[Words]) -> Beginning | None:
    """Word for word, from place `lost` to the end of the history: nothing that arrived is replaced."""
    nodes = _path(history.end)
    at = lost - len(history.lead)  # place of the first arrived message in the chain
    overlap = len(nodes) - at
    if at < 0 or overlap < 1 or overlap > len(arrived):
        return None
    if all(node.words is words for node, words in zip(nodes[at:], arrived, strict=False)):
        return Beginning(history.lead, history.end, overlap)
    return None


def _path(end: Node) -> list[Node]:
    nodes: list[Node] = []
    at: Node | None = end
    while at is not None:
        nodes.append(at)
        at = at.parent
    return nodes[::-1]
