"""Fold: context lists -> new content + chain. The history that every call resends is stored once.

A message is a node: `content_id` names its words, `message_id` its place (parent, words), like a blob and a commit.
A context is (tools, system text, head). The same words are stored once per tenant and day; a message row once per day
that needs it. Nothing here depends on the order of arrival: ids are functions of the redacted content alone.

Work is proportional to what is new: a history that begins with the exact text of a known one is compared, not parsed,
and only its tail becomes messages. Redaction runs once per unique message (a raw hash remembers its redacted form).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import orjson
import xxhash

from spanfold.exporter.lost_prefix import Histories
from spanfold.semconv import messages
from spanfold.semconv.records import SpanContent

CHUNK = 16  # messages per path chunk: how far `messages.path` reaches back, and the distance of anchors
GRAM = 3  # messages in `answer_gram`
YOUNG_BYTES = 64 << 20  # of new words, after which what was not met again since is forgotten
SYSTEM_ROLES = ("system", "developer")

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class Words:
    """One unique message as sent, and what redaction made of it."""

    raw: dict[str, Any]
    sent: bytes  # canonical JSON of `raw`; both are gone once it is settled
    body: bytes = b""  # canonical redacted JSON
    content_id: bytes = b""
    match: bytes | None = None  # content id of the blind form; None = nothing left of it
    role: str = ""
    chars: int = 0
    redactions: int = 0
    service: str | None = None  # who sent it first: for the count of redactions
    asked: tuple[tuple[str, str], ...] = ()  # (call id, tool) of each tool call in it
    answered: tuple[tuple[str, str], ...] = ()  # (call id, tool or "") of each tool's answer in it
    tool_key: bytes | None = None


@dataclass(slots=True, eq=False)
class Node:
    """A place in a history. Ids are filled when its words are redacted (`Folder.finish`)."""

    words: Words
    parent: Node | None
    depth: int
    message_id: bytes = b""
    match_id: bytes = b""
    thread_id: bytes = b""
    chars: int = 0  # of the whole path
    gram: tuple[bytes, ...] = ()  # the last words that count for matching
    path: tuple[bytes, ...] = ()  # ancestors since the last depth that is a multiple of CHUNK, without itself
    anchors: tuple[bytes, ...] = ()  # ancestors that end a chunk: depth 15, 31, 47 ...
    answer: Node | None = None  # nearest assistant message at or above
    stored: set[dt.date] = field(default_factory=set)  # days that hold its row (and then those of its ancestors)


@dataclass(slots=True, frozen=True)
class Place:
    """Which span a content belongs to."""

    tenant: str
    trace_id: str
    span_id: str
    date: dt.date
    start_time: dt.datetime
    hints: tuple[str, ...] = ()  # conversation, session: where a known prefix is likely
    service: str | None = None
    is_call: bool = True  # only calls continue one another


@dataclass(slots=True)
class Folded:
    """What one content became: nodes to be finished, then rows."""

    place: Place
    source: str
    revision: int
    lead: Words | None  # system text (instructions and leading system messages)
    tools: Words | None
    head: Node | None
    count: int
    output: list[Node] | None
    has_input: bool


@dataclass(slots=True)
class Prefix:
    """A history seen before: its text length and hash, and the node it ended in."""

    length: int
    digest: int
    node: Node | None
    lead: list[dict[str, Any]]


class Generations(Generic[K, V]):
    """A bounded map: two halves, the older one forgotten when the younger is full. Lookups refresh."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        self._young[key] = value
        if len(self._young) > self._limit:
            self.age()

    def age(self) -> None:
        """Forgets the older half."""
        self._old, self._young = self._young, {}


class Folder:
    """Folds contents of one tenant. Keeps bounded memory of recent messages; forgetting only costs space, until the
    day is compacted."""

    def __init__(self, hash_key: Callable[[str], bytes], *, limit: int = 100_000) -> None:
        self._hashes = {
            purpose: blake2b(digest_size=16, key=hash_key(purpose)) for purpose in ("content", "message", "thread")
        }
        self._words: Generations[int, Words] = Generations(limit)
        self._nodes: Generations[tuple[int, int], Node] = Generations(limit)
        self._prefixes: Generations[str, list[Prefix]] = Generations(limit // 4)
        self._histories = Histories(Generations(limit // 8))
        self._fresh: list[Words] = []
        self._bytes = 0  # of words since everything last grew older
        self._service: str | None = None

    # ---- first pass: which messages are there ----------------------------------------------------------------------
    def take(self, content: SpanContent, place: Place) -> Folded:
        """Finds known prefixes and interns what is new. The redaction of new words is still to come."""
        self._service = place.service
        has_input = content.input is not None or content.input_text is not None
        head, lead = self._input(content, place) if has_input else (None, [])
        system = self._beside("system", content.system, lead)
        output = None
        if content.output is not None:
            output, node = [], head
            for message in content.output:
                node = self._node(node, self._intern(message))
                output.append(node)
        if content.indexed and (not content.lost or content.source == "rebuilt"):
            self._histories.remember([*place.hints, place.trace_id], lead, output[-1] if output else head)
        return Folded(
            place=place, source=content.source, revision=content.pieces, lead=system,
            tools=self._beside("tools", content.tools, []), head=head, count=head.depth + 1 if head else 0,
            output=output, has_input=has_input,
        )  # fmt: skip

    def _input(self, content: SpanContent, place: Place) -> tuple[Node | None, list[dict[str, Any]]]:
        if content.input is not None:
            return self._rebuilt(content, place) or self._chain(None, [], content.input)
        told = content.input_text or "[]"
        text = told if isinstance(told, memoryview) else memoryview(told.strip().encode())
        hints = [*place.hints, place.trace_id, f"{xxhash.xxh3_64_intdigest(text[:300]):x}"]
        found = self._known_prefix(text, hints)
        if found is None:
            node, lead = self._chain(None, [], messages.parse_messages(text)[0])
        else:
            tail = bytes(text[found.length :]).lstrip(b", \n\r\t")
            rest = [] if tail == b"]" else messages.parse_messages(memoryview(b"[" + tail))[0]
            node, lead = self._chain(found.node, found.lead, rest)
        self._remember(text, hints, node, lead)
        return node, lead

    def _rebuilt(self, content: SpanContent, place: Place) -> tuple[Node | None, list[dict[str, Any]]] | None:
        """The whole history of which only the end arrived, where an earlier call proves its beginning."""
        if not content.lost:
            return None
        words = [self._intern(message) for message in (content.input or ())[content.cut :]]
        proof = self._histories.beginning([*place.hints, place.trace_id], content.lost, words)
        if proof is None:
            return None
        node = proof.end
        for word in words[proof.known :]:
            node = self._node(node, word)
        content.source = "rebuilt"
        return node, proof.lead

    def _known_prefix(self, text: memoryview, hints: Iterable[str]) -> Prefix | None:
        best: Prefix | None = None
        for hint in hints:
            for prefix in self._prefixes.get(hint) or ():
                if prefix.length >= len(text) or (best and prefix.length <= best.length):
                    continue
                if bytes(text[prefix.length : prefix.length + 1]) not in (b",", b"]", b" "):
                    continue
                if xxhash.xxh3_128_intdigest(text[: prefix.length]) == prefix.digest:
                    best = prefix
            if best:
                return best
        return best

    def _remember(self, text: memoryview, hints: Iterable[str], node: Node | None, lead: list[dict[str, Any]]) -> None:
        length = len(text) - 1
        digest = xxhash.xxh3_128_intdigest(text[:length])
        prefix = Prefix(length, digest, node, lead)
        for hint in hints:
            held = self._prefixes.get(hint) or []
            self._prefixes.put(hint, [prefix, *(p for p in held if p.digest != digest)][:4])

    def _chain(
        self, node: Node | None, lead: list[dict[str, Any]], found: Sequence[dict[str, Any]]
    ) -> tuple[Node | None, list[dict[str, Any]]]:
        """Leading system messages stand beside the chain: a clock in them must not store the conversation again."""
        start = 0
        if node is None:
            while start < len(found) and found[start].get("role") in SYSTEM_ROLES:
                start += 1
            lead = [*lead, *found[:start]]
        for message in found[start:]:
            node = self._node(node, self._intern(message))
        return node, lead

    def _beside(self, role: str, parts: list[dict[str, Any]] | None, lead: list[dict[str, Any]]) -> Words | None:
        """System text (instructions and leading system messages) or tool definitions as one stored item."""
        if parts is None and not lead:
            return None
        item: dict[str, Any] = {"role": role, "parts": parts or []}
        if parts is None:
            item["stated"] = False  # only leading messages: there were no instructions
        if lead:
            item["messages"] = lead
        return self._intern(item)

    def _intern(self, message: dict[str, Any]) -> Words:
        raw = messages.canonical(message)
        key = xxhash.xxh3_128_intdigest(raw)
        words = self._words.get(key)
        if words is None:
            words = Words(orjson.loads(raw), raw, service=self._service)
            self._words.put(key, words)
            self._fresh.append(words)
            self._bytes += len(raw)
        return words

    def _age(self) -> None:
        """Nodes hold their words and prefixes their nodes: they are forgotten together."""
        if self._bytes > YOUNG_BYTES:
            self._bytes = 0
            for known in (self._words, self._nodes, self._prefixes, self._histories):
                known.age()

    def _node(self, parent: Node | None, words: Words) -> Node:
        key = (id(parent), id(words))  # identities may be used again after forgetting: checked below
        node = self._nodes.get(key)
        if node is None or node.words is not words or node.parent is not parent:
            node = Node(words, parent, parent.depth + 1 if parent else 0)
            self._nodes.put(key, node)
        return node

    # ---- second pass: redact what is new, then ids -------------------------------------------------------------------
    def fresh(self) -> list[Words]:
        """Words that wait for redaction; the caller fills them with `settle` and forgets the list."""
        fresh, self._fresh = self._fresh, []
        self._age()
        return fresh

    def settle(self, words: Words, redacted: dict[str, Any], redactions: int) -> None:
        """Gives words their redacted form and ids."""
        beside = redacted["role"] in ("tools", "system") and ("messages" in redacted or redacted["role"] == "tools")
        unchanged = redacted is words.raw
        words.body = words.sent if unchanged else orjson.dumps(redacted, option=orjson.OPT_SORT_KEYS)
        words.content_id = self._hash("content", words.body)
        blind = None if beside else messages.match_form(redacted)
        words.match = words.content_id if blind == words.body else self._hash("content", blind) if blind else None
        words.role, words.redactions = str(redacted["role"]), redactions
        words.chars = characters(redacted)
        if not beside:
            self._note_tools(words, redacted.get("parts") or [])
        words.raw, words.sent = {}, b""  # the unredacted form is not needed again

    def _note_tools(self, words: Words, parts: list[dict[str, Any]]) -> None:
        calls = [part for part in parts if part.get("type") == "tool_call"]
        words.asked, words.answered = _named(calls), _named(p for p in parts if p.get("type") == "tool_call_response")
        if calls:
            asked = [[part.get("name"), part.get("arguments")] for part in calls]
            words.tool_key = self._hash("content", orjson.dumps(asked, option=orjson.OPT_SORT_KEYS))

    def finish(self, node: Node) -> Node:
        """Fills the ids of a node and its ancestors."""
        todo = []
        at: Node | None = node
        while at is not None and not at.message_id:
            todo.append(at)
            at = at.parent
        for at in reversed(todo):
            self._identify(at)
        return node

    def _identify(self, node: Node) -> None:
        words, parent = node.words, node.parent
        above = parent.message_id if parent else b""
        node.message_id = self._hash("message", above, words.content_id)
        match_above = parent.match_id if parent else b""
        if words.match is None:
            node.match_id = match_above
        elif match_above == above and words.match == words.content_id:
            node.match_id = node.message_id
        else:
            node.match_id = self._hash("message", match_above, words.match)
        node.chars = words.chars + (parent.chars if parent else 0)
        held = parent.gram if parent else ()
        node.gram = held if words.match is None else (*held, words.match)[-GRAM:]
        node.answer = node if words.role == "assistant" and words.match is not None else parent and parent.answer
        node.thread_id = parent.thread_id if parent else self._hash("thread", node.match_id or node.message_id)
        if parent:
            node.path = (*parent.path, parent.message_id) if node.depth % CHUNK else ()
            node.anchors = (*parent.anchors, parent.message_id) if node.depth % CHUNK == 0 else parent.anchors

    def place_beside(self, words: Words) -> bytes:
        """message_id of a tools or system row."""
        return self._hash("message", words.role.encode(), words.content_id)

    def gram_of(self, node: Node) -> bytes:
        return self._hash("message", b"gram", *node.gram)

    def tools_of(self, node: Node) -> str | None:
        """The tools that a message asks for or answers for; an answer's name is that of its call further up."""
        words = node.words
        if not words.asked and not words.answered:
            return None
        named = [name for _, name in words.asked]
        named += [name or _asked_above(node, call_id) for call_id, name in words.answered]
        return ", ".join(dict.fromkeys(filter(None, named))) or None

    def _hash(self, purpose: str, *parts: bytes) -> bytes:
        hashed = self._hashes[purpose].copy()
        hashed.update(b"".join(parts))
        return hashed.digest()


def characters(item: Any) -> int:
    """Characters of the strings that were said: names of keys and kinds do not count."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, list):
        return sum(map(characters, item))
    if isinstance(item, dict):
        return sum(characters(value) for key, value in item.items() if key not in ("type", "role", "id"))
    return 0


def _named(parts: Iterable[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(part.get("id") or ""), str(part.get("name") or "")) for part in parts)


def _asked_above(node: Node, call_id: str) -> str:
    """Tools answer soon after they are asked: a few messages up are looked at, however long the history is."""
    at = node.parent
    for _ in range(4 * CHUNK):
        if at is None or not call_id:
            break
        for asked_id, name in at.words.asked:
            if asked_id == call_id:
                return name
        at = at.parent
    return ""
