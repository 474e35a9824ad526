"""The prompt fingerprint: one for all renderings of a template, another for every other template."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from random import Random
from uuid import UUID

import pyarrow as pa
import pytest

from spanfold.semconv import fingerprint
from spanfold.semconv.fingerprint import column, masked, opening_texts
from spanfold.semconv.records import SpanContent

_NAMES = ("Jane Doe", "Ángel de la Cruz", "Li Wei", "Siobhán O'Brien", "Bob")
_CITIES = ("Paris", "New York", "Rio de Janeiro", "Łódź")


def _number(rng: Random) -> str:
    return rng.choice((str(rng.randint(0, 10**6)), f"{rng.uniform(0, 9999):,.2f}", f"{rng.randint(1, 99)}%"))


def _id(rng: Random) -> str:
    return rng.choice(
        (str(UUID(int=rng.getrandbits(128))), f"ORD-{rng.randint(1, 10**8)}", f"{rng.getrandbits(64):016x}1")
    )


def _date(rng: Random) -> str:
    month = rng.choice(("January", "Feb", "September"))
    return rng.choice(
        (f"2025-0{rng.randint(1, 9)}-11", f"{rng.randint(1, 28)} {month} 2025", f"0{rng.randint(1, 9)}/04/2025")
    )


def _quoted(rng: Random) -> str:
    words = rng.choices(("late", "refund", "please", "HELP!", "no. 7", "why?"), k=rng.randint(1, 12))
    return rng.choice(('"{}"', "“{}”", "`{}`")).format(" ".join(words))


def _pasted(rng: Random) -> str:
    lines = rng.choices(("It was late.", "Nobody came", "total 12,50", "- a list", "Regards"), k=rng.randint(1, 9))
    return "\n".join(lines)


def _json(rng: Random) -> str:
    return f'{{"id": {rng.randint(1, 99)}, "tags": ["{rng.choice("abc")}"], "note": {{"by": "{rng.choice(_NAMES)}"}}}}'


_SLOTS: dict[str, Callable[[Random], str]] = {
    "number": _number, "id": _id, "date": _date, "quoted": _quoted, "pasted": _pasted, "json": _json,
    "name": lambda rng: rng.choice(_NAMES), "city": lambda rng: rng.choice(_CITIES),
    "mail": lambda rng: rng.choice(("a@b.example", "jane.doe+x@mail.example.org")),
    "url": lambda rng: rng.choice(("https://example.com/a?b=1", "s3://bucket/key.csv")),
    "path": lambda rng: rng.choice(("/srv/data/in.csv", "/home/jane/notes.txt")),
}  # fmt: skip

TEMPLATES = (
    ("You sort tickets. Today is {date}.", "Ticket {id} of {date} says {quoted}, sort it."),
    ("You sort mail. Today is {date}.", "Mail from {mail}, please sort it as usual."),
    ("", "Summarise the following text:\n{pasted}"),
    ("", "Translate the following text into French:\n{pasted}"),
    ("You are a travel agent.", "Plan a trip for {name} to {city} from {date}, budget {number} EUR."),
    ("You are a travel agent.", "Find a hotel in {city} for {number} nights."),
    ("You review code.", "Look at {path} at commit {id} and say what is wrong with {quoted}."),
    ("You extract data. Answer in JSON.", "Extract the fields of {json}"),
    ("You extract data. Answer in YAML.", "Extract the fields of {json}"),
    ("Your user is {name} ({id}).", "Fetch {url} and tell me what it says about {quoted}."),
)


def _renderings() -> list[tuple[int, str, str]]:
    out = []
    for index, (system, user) in enumerate(TEMPLATES):
        for turn in range(20):
            rng = Random(f"{index}/{turn}")
            slots = {name: fill(rng) for name, fill in _SLOTS.items()}
            out.append((index, system.format_map(slots), user.format_map(slots)))
    return out


def test_two_hundred_renderings_of_ten_templates_have_ten_fingerprints() -> None:
    """Numbers, ids, dates, names, quoted and pasted runs do not change a fingerprint; another template does."""
    seen: dict[int, set[str]] = defaultdict(set)
    for index, system, user in _renderings():
        seen[index].add(fingerprint.fingerprint(system, user, b"key"))
    assert {index: len(found) for index, found in seen.items()} == dict.fromkeys(range(10), 1)
    assert len(set().union(*seen.values())) == 10


def test_what_is_masked_leaves_the_words_of_the_template() -> None:
    """The mask keeps what a template says and drops what fills it."""
    shown = masked('Ticket A-77 from jane@example.com of 2025-01-02: "where is it?". Answer politely.')
    assert shown == masked('Ticket B-1 from bob@example.com of 2024-11-30: "lost". Answer politely.')
    assert "Answer politely" in shown
    assert "jane" not in shown


def test_the_key_of_a_tenant_separates_equal_prompts() -> None:
    """Two tenants with one prompt cannot be matched by its fingerprint."""
    one, other = (fingerprint.fingerprint("s", "u", key) for key in (b"a" * 32, b"b" * 32))
    assert one != other
    assert one == fingerprint.fingerprint("s", "u", b"a" * 32)


def test_a_stated_prompt_name_and_version_wins() -> None:
    """A named prompt is its name and version, whatever its words are."""
    contents = [
        SpanContent(row=row, source="span", input=[{"role": "user", "parts": [{"type": "text", "content": text}]}])
        for row, text in enumerate(("one thing", "another thing", "a third thing"))
    ]
    fields = {
        "prompt_name": pa.array(["greeting", "greeting", "greeting"]),
        "prompt_version": pa.array(["2", "2", "3"]),
    }
    found = column(3, contents, fields, dict.fromkeys(range(3), "default"), lambda tenant: tenant.encode()).to_pylist()
    assert found[0] == found[1] != found[2]


def test_only_the_opening_counts_and_only_it_is_parsed() -> None:
    """A growing history keeps its fingerprint, even where its end is cut off in the middle."""
    told = '[{"role":"system","parts":[{"type":"text","content":"Be kind."}]}'
    opening = told + ',{"role":"user","parts":[{"type":"text","content":"Hi"}]}'
    short = SpanContent(row=0, source="span", input_text=opening + "]")
    grown = SpanContent(row=0, source="span", input_text=opening + ',{"role":"assistant","parts":[{"type":"te')
    assert opening_texts(short) == opening_texts(grown) == ("Be kind.", "Hi")


@pytest.mark.parametrize("length", [1, 1900, *range(1990, 2050, 3), 9_000])
@pytest.mark.parametrize("letter", ["a", "ö", "語", "🙂"])
def test_an_opening_is_the_same_wherever_it_ends(letter: str, length: int) -> None:
    """Of a history in the buffer of its chunk the beginning is tried first, which may end within a character."""
    history = [
        {"role": "user", "parts": [{"type": "text", "content": letter * length}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Well."}]},
    ]
    text = json.dumps(history, ensure_ascii=False)
    for told in (text, memoryview(text.encode())):
        assert opening_texts(SpanContent(row=0, source="span", input_text=told)) == ("", letter * length)


def test_spans_without_words_have_no_fingerprint() -> None:
    """Unknown is NULL."""
    nothing = pa.nulls(2, pa.string())
    empty = [SpanContent(row=0, source="span", output=[])]
    fields = {"prompt_name": nothing, "prompt_version": nothing}
    assert column(2, empty, fields, {0: "default"}, None).to_pylist() == [None, None]
