"""Redaction scored on labelled data: a floor per type, none of the ids and hashes that traces are full of.

The data (tests/payloads/pii) is a sample; the floors are those the product states in docs/redaction.md.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spanfold.exporter.redact import Redactor
from spanfold.exporter.redaction_rules import BUILT_IN

DATA = Path(__file__).parents[1] / "payloads" / "pii"
REDACTOR = Redactor(BUILT_IN)
FLOORS = {
    "CREDIT_CARD": 0.97, "EMAIL_ADDRESS": 1.0, "US_SSN": 1.0, "IBAN_CODE": 1.0, "IP_ADDRESS": 1.0, "PHONE_NUMBER": 0.9,
}  # fmt: skip
KEYS_FLOOR = 0.98  # of every kind of key, token and password


def records(name: str, **where: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [row for row in rows if all(row.get(key) == value for key, value in where.items())]


def redacted(row: dict[str, Any]) -> str:
    if row.get("class") != "stream_split":
        return REDACTOR.text(row["text"])[0]
    cut = int(row["note"])
    pieces = [{"type": "text", "content": piece} for piece in (row["text"][:cut], row["text"][cut:])]
    return "\x00".join(piece["content"] for piece in REDACTOR.value(pieces)[0])


def recall(rows: list[dict[str, Any]], types: set[str] | None = None) -> tuple[Counter[str], Counter[str]]:
    """(found, all) by type. Found: neither the value nor half of it is left."""
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in rows:
        text = redacted(row)
        for span in row["spans"]:
            if types is not None and span["type"] not in types:
                continue
            value = row["text"][span["start"] : span["end"]]
            half = value[len(value) // 4 : len(value) // 4 + max(4, len(value) // 2)]
            total[span["type"]] += 1
            found[span["type"]] += value not in text and half not in text
    return found, total


def test_recall_per_type() -> None:
    """Every type reaches its floor on plain values and on sentences of fake people."""
    people = recall(records("presidio_synth"), set(FLOORS))
    plain = recall(records("genai_secrets", **{"class": "plain"}))
    found, total = people[0] + plain[0], people[1] + plain[1]
    assert len(total) == 19
    below = {name: (found[name], n) for name, n in total.items() if found[name] / n < FLOORS.get(name, KEYS_FLOOR)}
    assert below == {}


@pytest.mark.parametrize("kind", ["evasion", "stream_split"])
def test_disguised_and_split_values(kind: str) -> None:
    """Evasions at least 0.95, values split over stream pieces all."""
    found, total = recall(records("genai_secrets", **{"class": kind}))
    assert total.total() > 10
    assert found.total() / total.total() >= (1.0 if kind == "stream_split" else 0.95)


def test_redacting_a_record_twice_changes_nothing() -> None:
    """Idempotent on every record of the sets."""
    for row in records("genai_secrets") + records("presidio_synth"):
        once, _ = REDACTOR.text(row["text"])
        assert REDACTOR.text(once) == (once, {})


def test_hard_negatives_stay() -> None:
    """None of the labelled ids, hashes, times, versions, ranges and model names is touched."""
    rows = records("genai_secrets", **{"class": "hard_negative"})
    assert len(rows) >= 19
    assert [row["text"] for row in rows if redacted(row) != row["text"]] == []


def test_sentences_without_values_stay() -> None:
    """Names and addresses are out of a pattern's reach, but nothing else is eaten in their stead."""
    rows = [row for row in records("presidio_synth") if not {span["type"] for span in row["spans"]} & set(FLOORS)]
    assert len(rows) >= 40
    assert [row["text"] for row in rows if redacted(row) != row["text"]] == []


@pytest.mark.parametrize(
    "template",
    [
        "trace_id {hex32}", "span {hex16}", "sha256:{hex64}", "uuid {uuid}", "call_{alnum24}", "chatcmpl-{alnum24}",
        "start_time_unix_nano {nanos}", "ts={millis}", "at {iso}", "version 10.12.{d3}.4444", "x=={d2}.{d2}.{d2}.{d2}",
        "order {d15}x", "cost 0.{d16}", "[{f}, {f}, {f}]", "ISBN 978-3-16-{d6}-0", "range 100-200-{d4}",
        "call ext {d4} or room 202-555", "${d3},{d3}.99", "/usr/lib/x_{d6}.py", "duration_ns={d12}", "[{d5}, {d5}]",
    ],
)  # fmt: skip
def test_identifiers_and_numbers_stay(template: str) -> None:
    """Of 300 random identifiers of a kind at most 3 % are touched; most kinds never are."""
    chance = random.Random(template)
    fill = {
        "uuid": lambda: str(uuid.UUID(int=chance.getrandbits(128))),
        "nanos": lambda: str(chance.randint(10**18, 2 * 10**18)),
        "millis": lambda: str(chance.randint(15 * 10**11, 19 * 10**11)),
        "iso": lambda: f"2026-{chance.randint(1, 12):02}-11T10:42:{chance.randint(0, 59):02}.{chance.randint(0, 999)}Z",
        "f": lambda: f"{chance.uniform(-1, 1):.17f}",
        **{f"hex{n}": lambda n=n: "".join(chance.choices("0123456789abcdef", k=n)) for n in (16, 32, 64)},
        **{f"d{n}": lambda n=n: "".join(chance.choices("0123456789", k=n)) for n in (2, 3, 4, 5, 6, 12, 15, 16)},
        "alnum24": lambda: "".join(chance.choices("ABCdefGHIjkl0123456789", k=24)),
    }  # fmt: skip

    class Filler(dict[str, str]):
        def __missing__(self, name: str) -> str:
            return fill[name]()

    texts = [template.format_map(Filler()) for _ in range(300)]
    touched = [text for text, found in zip(texts, REDACTOR.texts(texts), strict=True) if found]
    assert len(touched) <= 9, touched[:3]


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    "shape",
    [
        "tgp_v1_{43}", "csk-{hex48}", "vck_{56}", "sntrys_{64}", "figd_{40}", "CFPAT-{43}", "jina_{60}", "pcsk_{60}",
        "e2b_{hex40}", "fc-{hex32}", "rubygems_{hex48}", "phc_{43}", "dckr_pat_{27}", "xkeysib-{hex64}-{16}",
        "shippo_live_{hex40}", "ATATT3{180}", "SharedAccessKey={43}=", "glpat-{20}", "x-api-key: {32}",
        "authorization: token {hex40}", "https://discord.com/api/webhooks/123456789012345678/{68}",
    ],
)  # fmt: skip
def test_keys_of_further_providers(shape: str) -> None:
    """Keys of open and of known length, twenty random ones of each shape, alone and inside a sentence."""
    chance = random.Random(shape)
    for _ in range(20):
        secret = shape
        for size, letters in ((43, ALPHABET), (56, ALPHABET), (64, ALPHABET), (40, ALPHABET), (60, ALPHABET),
                              (27, ALPHABET), (16, ALPHABET), (180, ALPHABET), (20, ALPHABET), (32, ALPHABET),
                              (68, ALPHABET)):  # fmt: skip
            secret = secret.replace(f"{{{size}}}", "".join(chance.choices(letters, k=size)))
        for size in (32, 40, 48, 64):
            secret = secret.replace(f"{{hex{size}}}", "".join(chance.choices("0123456789abcdef", k=size)))
        tail = secret[-18:-1]
        assert tail not in REDACTOR.text(secret)[0]
        assert tail not in REDACTOR.text(f"The customer wrote: {secret}\nWhat next?")[0]


@pytest.mark.parametrize(
    "text",
    ["иван@почта.рф", "4539.1488.0343.6467", "4539  1488  0343  6467", "my social is 219 09 9998",
     "৪৫৩৯ ১৪৮৮ ০৩৪৩ ৬৪৬৭", "219\u034f-09-\u31649999", "²¹⁹-⁰⁹-⁹⁹⁹⁹"],
)  # fmt: skip
def test_other_scripts_separators_and_fillers(text: str) -> None:
    """Addresses in Cyrillic, digits of other scripts, unusual separators and invisible fillers."""
    assert not any(c.isdigit() or c == "@" for c in REDACTOR.text(f"so: {text}")[0])
