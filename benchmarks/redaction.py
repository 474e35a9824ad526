"""Measures redaction: megabytes a second on one core, and recall on labelled data.

python benchmarks/redaction.py                       # the sample that the tests use
python benchmarks/redaction.py --data DIR            # *.jsonl of {"text", "spans": [{"type", "start", "end"}], "class"}
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from spanfold.exporter.redact import Redactor
from spanfold.exporter.redaction_rules import BUILT_IN

SAMPLE = Path(__file__).parents[1] / "tests" / "payloads" / "pii"
REDACTOR = Redactor(BUILT_IN, hash_key=b"benchmark".ljust(32))
OUT_OF_REACH = {  # of patterns: people, places, times
    "PERSON", "STREET_ADDRESS", "GPE", "ORGANIZATION", "AGE", "DATE_TIME", "NRP", "TITLE", "DOMAIN_NAME",
}  # fmt: skip


def prose(count: int, size: int) -> list[str]:
    """Unique texts of made-up words, with nothing to find in them."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlucmfwygpbvk", k=chance.randint(2, 11))) for _ in range(20_000)]
    return [" ".join(chance.choices(words, k=size // 7)) for _ in range(count)]


def rate(name: str, megabytes: float, run: Callable[[], Any]) -> None:
    """Prints the best of three, in processor time."""
    best = min(_seconds(run) for _ in range(3))
    print(f"{name:44s} {megabytes / best:7.0f} MB/s  {best:6.3f} s")


def _seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def speed() -> None:
    texts, short = prose(20_000, 1_600), prose(40_000, 300)
    dirty = [
        f"{text[:800]} mail joe{i}@example.com, card 4111 1111 1111 1111 {text[800:]}"
        for i, text in enumerate(texts[:2_000])
    ]
    pa.set_cpu_count(1)
    for name, some in (
        ("clean texts, 1.6 KB", texts),
        ("clean texts, 0.3 KB", short),
        ("a hit of two in each, 1.6 KB", dirty),
    ):
        rate(name, sum(map(len, some)) / 1e6, lambda some=some: REDACTOR.texts(some))
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in texts]
    rate("clean messages (values), 1.6 KB", sum(map(len, texts)) / 1e6, lambda: REDACTOR.values(messages))
    columns = [pa.array([f"value-{n}-{i % 20}" for i in range(100_000)]) for n in range(8)]
    columns += [pa.array([f"chatcmpl-{random.Random(i).getrandbits(96):024x}" for i in range(100_000)])] * 2
    rate(
        "ten columns of 100,000 spans, two of unique ids",
        sum(c.nbytes for c in columns) / 1e6,
        lambda: [REDACTOR.column(c) for c in columns],
    )


def scores(data: Path) -> None:
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in (line for path in sorted(data.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()):
        row = json.loads(line)
        kind, text = row.get("class", "plain"), _redacted(row)
        if kind == "hard_negative":
            total["hard negatives touched"] += 1
            found["hard negatives touched"] += text != row["text"]
        for span in row["spans"]:
            if span["type"] not in OUT_OF_REACH:
                name = {"evasion": f"evasion, {row.get('note')}", "stream_split": "split over a stream"}.get(
                    kind, span["type"]
                )
                total[name] += 1
                found[name] += row["text"][span["start"] : span["end"]] not in text
    for name in sorted(total):
        print(f"{name:44s} {found[name]:4d} of {total[name]:4d}")


def _redacted(row: dict[str, Any]) -> str:
    if row.get("class") != "stream_split":
        return REDACTOR.text(row["text"])[0]
    cut = int(row["note"])
    parts = [{"type": "text", "content": piece} for piece in (row["text"][:cut], row["text"][cut:])]
    return "".join(part["content"] for part in REDACTOR.value(parts)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=SAMPLE, help="directory of labelled *.jsonl")
    scores(parser.parse_args().data)
    speed()


if __name__ == "__main__":
    main()
