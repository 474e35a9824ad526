"""Money that bought nothing new, told from the fold: spans as services send them against hand-worked figures.

gpt-4o costs 2.50 USD a million input tokens, 1.25 read from the cache, 10 out; claude-sonnet-4-5 3, 0.30 and 15, and
3.75 written to the cache.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.analytics.queries import Reader
from spanfold.cli import cli
from spanfold.state.price_overrides import PriceOverride
from spanfold.state.price_sources import ExchangeRate
from spanfold.state.store import StateStore
from tests.flow.sending import SECOND, Product, product, span, traces

START = int(dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp()) * SECOND
M = 1e-6
YEAR = 365 * 86_400  # seconds
Message = dict[str, Any]


def said(role: str, chars: int, letter: str = "a") -> Message:
    """A text of so many characters."""
    return {"role": role, "parts": [{"type": "text", "content": letter * chars}]}


def asks(call_id: str, words: str, tool: str = "search") -> Message:
    return {
        "role": "assistant", "parts": [{"type": "tool_call", "id": call_id, "name": tool, "arguments": {"q": words}}]
    }  # fmt: skip


def answers(call_id: str, chars: int) -> Message:
    return {"role": "tool", "parts": [{"type": "tool_call_response", "id": call_id, "response": "r" * chars}]}


def call(
    trace: int, number: int, history: list[Message], answer: Message | None, *, tokens: int, read: int | None = None,
    written: int | None = None, out: int = 0, system: str = "", tools: str = "", at: int = 0, model: str = "gpt-4o",
    **more: Any,
) -> Span:  # fmt: skip
    """A chat span of one second, `at` seconds after the start."""
    stated: dict[str, Any] = {"gen_ai__input__messages": json.dumps(history)}
    if answer:
        stated["gen_ai__output__messages"] = json.dumps([answer | {"finish_reason": "stop"}])
    if system:
        stated["gen_ai__system_instructions"] = json.dumps([{"type": "text", "content": system}])
    if tools:
        stated["gen_ai__tool__definitions"] = json.dumps([{"type": "function", "name": tools, "description": "d"}])
    if read is not None:
        stated["gen_ai__usage__cache_read__input_tokens"] = read
    if written is not None:
        stated["gen_ai__usage__cache_creation__input_tokens"] = written
    return span(
        trace, number, start=START + at * SECOND, gen_ai__operation__name="chat",
        gen_ai__provider__name="anthropic" if model.startswith("claude") else "openai", gen_ai__request__model=model,
        gen_ai__usage__input_tokens=tokens, gen_ai__usage__output_tokens=out, **stated, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("waste")) as p:
        p.send(traces([*resending(), *pairs(), *repeating(), *unheard(), *unmeasured(), *seen_twice(), *cut_off()]))
        p.fold()
        yield p


# ---- what resending costs ---------------------------------------------------------------------------------------
def resending() -> list[Span]:
    """Trace 1: 400, 1,000 and 2,000 characters for 1,000, 2,000 and 4,000 tokens."""
    system, question = "s" * 100, said("user", 300)
    ask, found = asks("c1", "q" * 94), answers("c1", 500)  # 6 characters of the tool's name + 94 = 100
    reply, more = said("assistant", 200, "b"), said("user", 800, "c")
    return [
        call(1, 1, [question], ask, tokens=1000, read=0, system=system),
        call(1, 2, [question, ask, found], reply, tokens=2000, read=0, system=system, at=10),
        call(1, 3, [question, ask, found, reply, more], None, tokens=4000, read=1536, system=system, at=20),
    ]


def test_every_resent_message_has_its_price(house: Product) -> None:
    """A call's input is laid out over its characters: what lies among its first 1,536 tokens cost the cached rate."""
    rows = house.query(
        """SELECT span_id[-1:]::INT, position, role, tool_name, resent, tokens, cost
        FROM message_costs WHERE trace_id[-2:] = '01' ORDER BY ALL"""
    )
    expected = [
        (1, -1, "system", None, False, 250, 625 * M), (1, 0, "user", None, False, 750, 1875 * M),
        (2, -1, "system", None, True, 200, 500 * M), (2, 0, "user", None, True, 600, 1500 * M),
        (2, 1, "assistant", "search", True, 200, 500 * M), (2, 2, "tool", "search", False, 1000, 2500 * M),
        (3, -1, "system", None, True, 200, 250 * M), (3, 0, "user", None, True, 600, 750 * M),
        (3, 1, "assistant", "search", True, 200, 250 * M),
        (3, 2, "tool", "search", True, 1000, (536 * 1.25 + 464 * 2.5) * M),
        (3, 3, "assistant", None, True, 400, 1000 * M), (3, 4, "user", None, False, 1600, 4000 * M),
    ]  # fmt: skip
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    assert [row[5:] for row in rows] == [pytest.approx(row[5:], abs=1e-12) for row in expected]


def test_message_costs_add_up_to_the_inputs_cost(house: Product) -> None:
    """No output was paid for here: the messages of each call cost together what the call cost."""
    rows = house.query(
        """SELECT c.cost, sum(m.cost) FROM calls AS c JOIN message_costs AS m USING (date, tenant, trace_id, span_id)
        GROUP BY c.trace_id, c.span_id, c.cost, c.output_tokens HAVING c.output_tokens = 0"""
    )
    assert len(rows) == 3 + 2 * len(PAIRS) + len(repeating())
    assert [cost for cost, _ in rows] == [pytest.approx(laid, abs=1e-12) for _, laid in rows]


# ---- what the cache did not give --------------------------------------------------------------------------------
QUESTIONS = [said("user", 50, "m"), said("assistant", 50, "n"), said("user", 50, "o"), said("assistant", 50, "p"),
             said("user", 50, "q")]  # fmt: skip
THOUGHT = {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, *QUESTIONS[1]["parts"]]}


@dataclass(frozen=True)
class Pair:
    """Two calls, the second with 6,000 tokens continuing the first with 5,000; and what is to be said of it."""

    cause: str | None
    missed: int | None
    cost: float | None
    place: int | None = None
    before: list[Message] = field(default_factory=lambda: QUESTIONS)
    now: list[Message] = field(default_factory=lambda: QUESTIONS)
    first: dict[str, Any] = field(default_factory=dict)
    then: dict[str, Any] = field(default_factory=dict)
    tokens: tuple[int, int] = (5000, 6000)


def of_system(before: str, now: str) -> dict[str, Any]:
    return {"first": {"read": 0, "system": before}, "then": {"read": 0, "system": now}}


OPENAI, CLAUDE = {"read": 0}, {"model": "claude-sonnet-4-5"}
PAIRS = [
    Pair(None, 0, 0.0, first={"read": 0}, then={"read": 4992}),
    Pair("not kept", 5000 - 1024, 3976 * 1.25 * M, first=OPENAI, then={"read": 1024}),
    Pair("clock in system text", 5000, 0.00625, -1,
         **of_system("Be kind. It is 2026-11-20 12:00:00.", "Be kind. It is 2026-11-20 12:00:10.")),
    Pair("system text changed", 5000, 0.00625, -1, **of_system("Be kind.", "Be short.")),
    Pair("tools changed", 5000, 0.00625, -2, first={"read": 0, "tools": "search"}, then={"read": 0, "tools": "find"}),
    Pair("edit in the middle", 5000, 0.00625, 0, now=[said("user", 50, "z"), *QUESTIONS[1:]],
         first=OPENAI, then=OPENAI),
    Pair("window slid", 5000, 0.00625, 0, now=QUESTIONS[2:], first=OPENAI, then=OPENAI),
    Pair("resent in another form", 5000, 0.00625, 1, before=[QUESTIONS[0], THOUGHT, *QUESTIONS[2:]],
         first=OPENAI, then=OPENAI),
    Pair("expired", 5000, 0.00625, first=OPENAI, then={"read": 0, "at": 402}),
    Pair("model changed", 5000, 5000 * (0.15 - 0.075) * M, first=OPENAI, then={"read": 0, "model": "gpt-4o-mini"}),
    Pair("not kept", 5000, 0.00625, first=OPENAI | {"gen_ai__response__model": "gpt-4o-2024-08-06"},
         then=OPENAI | {"gen_ai__response__model": "gpt-4o-2024-08-06", "model": "gpt-4o-2024-08-06"}),
    Pair("not reported", None, None),
    Pair("not asked for", 5000, 5000 * 2.7 * M, first=CLAUDE | OPENAI, then=CLAUDE | OPENAI),
    Pair("not kept", 5000, 5000 * 3.45 * M, first=CLAUDE | {"read": 0, "written": 5000},
         then=CLAUDE | {"read": 0, "written": 5500}),
    Pair("not kept", 5000, (2000 * 3.45 + 3000 * 2.7) * M, first=CLAUDE | {"read": 0, "written": 5000},
         then=CLAUDE | {"read": 0, "written": 2000}),
    Pair(None, 0, 0.0, first=OPENAI, then=OPENAI, tokens=(1000, 1200)),
]  # fmt: skip


def pairs() -> list[Span]:
    """Traces 101, 102 ..., one a pair; every text begins with letters of its own, so that no two pairs meet."""
    out = []
    for number, pair in enumerate(PAIRS, 101):
        reply = said("assistant", 50, chr(number + 900))
        last = said("user", 50, "x")
        first, then = {"at": 100} | pair.first, {"at": 110} | pair.then
        out.append(call(number, 1, pair.before, reply, tokens=pair.tokens[0], **first))
        out.append(call(number, 2, [*pair.now, reply, last], None, tokens=pair.tokens[1], **then))
    return out


def unheard() -> list[Span]:
    """Trace 301: the second call continues a first one of which only the answer came."""
    reply = said("assistant", 50, "U")
    return [
        call(301, 1, [], reply, tokens=5000, read=0, out=5, at=100),
        call(301, 2, [reply, said("user", 50, "W")], None, tokens=6000, read=0, out=5, at=110),
    ]  # fmt: skip


def unmeasured() -> list[Span]:
    """Traces 302 and 303: the second call fails and says nothing of its usage; the first one says nothing of its."""
    question, more = said("user", 50, "H"), said("user", 50, "I")
    out = []
    for trace, silent, stated in ((302, 2, {"error__type": "timeout"}), (303, 1, {})):
        reply = said("assistant", 50, chr(trace + 900))
        out.append(call(trace, 1, [question], reply, tokens=5000, read=0, out=5, at=100))
        out.append(call(trace, 2, [question, reply, more], None, tokens=6000, read=4992, out=5, at=110, **stated))
        quiet = out[silent - 3]
        kept = [a for a in quiet.attributes if not a.key.startswith("gen_ai.usage.")]
        del quiet.attributes[:]
        quiet.attributes.extend(kept)
    return out


def test_of_calls_that_say_nothing_of_their_tokens_nothing_is_said_to_be_missed(house: Product) -> None:
    """A failed call without usage is no miss; where the tokens sent before are unknown, that is the reason given."""
    where = f"trace_id IN ('{302:032x}', '{303:032x}')"
    linked = f"SELECT count(*) FROM calls WHERE {where} AND continues_span_id IS NOT NULL"
    assert house.query(linked) == [(2,)]
    found = f"SELECT trace_id[-2:], expected_tokens, missed_tokens, missed_cost, cause FROM cache_use WHERE {where}"
    assert house.query(found) == [(f"{303:x}"[-2:], None, None, None, "not reported")]


def test_where_what_was_sent_before_is_unknown_nothing_is_expected(house: Product) -> None:
    """A call that continues one without input is no miss, for no cause can be told."""
    trace = f"{301:032x}"
    linked = f"SELECT count(*) FROM calls WHERE trace_id = '{trace}' AND continues_span_id IS NOT NULL"
    assert house.query(linked) == [(1,)]
    assert house.query(f"SELECT count(*) FROM cache_use WHERE trace_id = '{trace}'") == [(0,)]


def seen_twice() -> list[Span]:
    """Trace 401: two calls, each with a span of its own and one of a wrapper that ends later and has the same words."""
    question, reply, more = said("user", 50, "A"), said("assistant", 50, "B"), said("user", 50, "C")
    out = []
    for number, history, answer, read in ((1, [question], reply, 0), (2, [question, reply, more], None, 4992)):
        stated: dict[str, Any] = {"tokens": 5000, "read": read, "out": 5, "at": 120 + 10 * number}
        twins = [call(401, number + more_than, history, answer, gen_ai__response__id=f"answer-{number}", **stated)
                 for more_than in (0, 16)]  # fmt: skip
        twins[1].end_time_unix_nano += SECOND
        twins[0].attributes.add(key="gen_ai.agent.name").value.string_value = "the richer one stays"
        out += twins
    return out


def test_a_call_that_continues_a_span_merged_into_another_is_not_lost(house: Product) -> None:
    """The answer that was heard is that of the wrapper's span: the call it stands for is the one before."""
    trace = f"{401:032x}"
    linked = house.query(f"SELECT continues_span_id[-2:] FROM calls WHERE trace_id = '{trace}' AND span_id[-1:] = '2'")
    assert linked == [("11",)]  # the wrapper's: 16 + 1
    found = house.query(
        f"""SELECT span_id[-2:], continues_span_id[-2:], expected_tokens, cache_read_tokens, missed_tokens, cause
        FROM cache_use WHERE trace_id = '{trace}'"""
    )
    assert found == [("02", "01", 5000, 4992, 0, None)]


def test_each_cache_miss_has_its_cause_and_price(house: Product) -> None:
    """Expected against billed cache reads: tokens, money, cause and the place where the two inputs part."""
    rows = house.query(
        f"""SELECT expected_tokens, missed_tokens, missed_cost, cause, diverged_position
        FROM cache_use WHERE trace_id BETWEEN '{101:032x}' AND '{200:032x}' ORDER BY trace_id"""
    )
    for row, pair in zip(rows, PAIRS, strict=True):
        expected = pair.tokens[0] if pair.tokens[0] >= 1024 else 0
        cost = None if pair.cost is None else pytest.approx(pair.cost, abs=1e-12)
        assert row == (expected, pair.missed, cost, pair.cause, pair.place), pair


def test_the_exact_message_where_the_inputs_part(house: Product) -> None:
    """`diverged_id` is the message that stands there now, `expected_id` the one that stood there before."""
    number = 101 + [pair.cause for pair in PAIRS].index("edit in the middle")
    (now, before) = house.query(
        f"""SELECT m.content_id = n.content_id, s.span_id[-1:]
        FROM cache_use AS u
        JOIN span_messages AS s ON s.message_id IN (u.diverged_id, u.expected_id) AND s.trace_id = u.trace_id
        JOIN messages AS m ON m.message_id = u.diverged_id
        JOIN messages AS n ON n.message_id = s.message_id
        WHERE u.trace_id = '{number:032x}' AND s.direction = 'input' ORDER BY s.span_id DESC"""
    )
    assert (now, before) == ((True, "2"), (False, "1"))


# ---- loops and retries ------------------------------------------------------------------------------------------
def repeating() -> list[Span]:
    """Trace 201: an agent asks the same thing three times, and once more for a new question. Trace 202: a request that
    fails twice, then goes through, and is sent once more. Trace 204: the beginning of 201 over again."""
    history, spans = [said("user", 40, "L")], []
    for turn in range(4):
        ask = asks(f"call-{turn}", "weather" if turn < 3 else "tides", tool="lookup")
        spans.append(call(201, turn + 1, history, ask, tokens=1000 * (turn + 1), at=10 * turn))
        history = [*history, ask, answers(f"call-{turn}", 30)]
    asked = [*history, said("assistant", 30), said("user", 30, "N")]
    spans.append(call(201, 5, asked, asks("call-5", "weather", tool="lookup"), tokens=5000, at=50))
    again = asks("call-6", "weather", tool="lookup")
    spans.append(call(204, 1, history[:1], again, tokens=1000, at=60, session__id="L"))
    same, done = [said("user", 40, "R")], said("assistant", 40, "D")
    failed: dict[str, Any] = {"error__type": "timeout"}
    spans += [
        call(202, 1, same, None, tokens=500, at=0, **failed), call(202, 2, same, None, tokens=0, at=10, **failed),
        call(202, 3, same, done, tokens=2000, at=20), call(202, 4, same, done, tokens=2000, at=30),
        call(203, 1, same, done, tokens=2000, at=40),
    ]  # fmt: skip
    return spans


def cut_off() -> list[Span]:
    """Trace 402: a growing history of which only the first 1,500 characters arrive, the same each time."""
    words = json.dumps([said("user", 200, "E"), said("assistant", 3000, "F")])[:1500]
    out = []
    for turn in range(1, 4):
        one = call(402, turn, [], said("assistant", 20, "GHI"[turn - 1]), tokens=1000 * turn, out=5, at=10 * turn)
        next(a for a in one.attributes if a.key == "gen_ai.input.messages").value.string_value = words
        out.append(one)
    return out


def test_requests_that_look_alike_because_they_were_cut_off_are_no_repeats(house: Product) -> None:
    """The same words arrived of three requests, but they had 1,000, 2,000 and 3,000 tokens."""
    trace = f"trace_id = '{402:032x}'"
    assert house.query(f"SELECT count(DISTINCT input_head), count(*) FROM calls WHERE {trace}") == [(1, 3)]
    assert house.query(f"SELECT count(*) FROM repeats WHERE {trace}") == [(0,)]


def test_loops_and_retries_in_money(house: Product) -> None:
    """Asking the same again for one question costs those calls; what is sent again costs every attempt but the last;
    equal requests of different traces are none."""
    rows = house.query(
        """SELECT trace_id[-2:], span_id[-1:]::INT, kind, tool_name, nth, other_span_id[-1:]::INT, cost
        FROM repeats ORDER BY ALL"""
    )
    assert rows == [
        (f"{201:x}", 2, "loop", "lookup", 2, 1, pytest.approx(0.005, abs=1e-12)),
        (f"{201:x}", 3, "loop", "lookup", 3, 2, pytest.approx(0.0075, abs=1e-12)),
        (f"{202:x}", 1, "retry", None, 1, 2, pytest.approx(0.00125, abs=1e-12)),
        (f"{202:x}", 2, "retry", None, 2, 3, pytest.approx(0, abs=1e-12)),
        (f"{202:x}", 3, "repeat", None, 3, 4, pytest.approx(0.005, abs=1e-12)),
    ]


# ---- by which prices, and in which money -------------------------------------------------------------------------
def by_prices(price: float) -> dict[str, float]:
    """USD of `in_2025` where a million input tokens cost `price` and 1.25 when read from the cache."""
    return {
        "cost": 42_000 * price * M, "resent_cost": 15_000 * price * M, "missed_cost": 10_000 * (price - 1.25) * M,
        "retry_cost": 1_000 * price * M,
    }  # fmt: skip


def in_2025() -> list[Span]:
    """10,000 tokens, then 30,000 for twice their words, half as much of an answer and as much again; and a retry."""
    question, reply = said("user", 1000), said("assistant", 500, "b")
    return [
        call(1, 1, [question], reply, tokens=10_000, read=0, at=-YEAR),
        call(1, 2, [question, reply, said("user", 1500, "c")], None, tokens=30_000, read=0, at=10 - YEAR),
        call(2, 1, [said("user", 40, "R")], None, tokens=1000, at=-YEAR, error__type="timeout"),
        call(2, 2, [said("user", 40, "R")], said("assistant", 4), tokens=1000, at=10 - YEAR),
    ]


def test_waste_follows_the_chosen_prices_and_currency(tmp_path: Path) -> None:
    """Every waste statement prices as the Costs screen does: as true then, as believed then or as of today, in dollars
    or at the rate of the day; the total is that of Costs. The verb says the same, and refuses money without a rate."""
    stated = [(0.000005, dt.datetime(2025, 1, 1, tzinfo=dt.UTC)), (0.00001, dt.datetime(2025, 12, 1, tzinfo=dt.UTC))]
    with product(tmp_path) as p:
        with StateStore.open(p.data) as state:
            state.prices.add([
                PriceOverride(provider="openai", model_pattern="gpt-4o", bucket="uncached_input", unit="token",
                              price=Decimal(str(price)), valid_from=since, source="test")
                for price, since in stated
            ], who="test")  # fmt: skip
            euro = ExchangeRate(currency="EUR", day=dt.date(2025, 1, 1), usd=Decimal(2), source="test")
            state.price_sources.add_rates([euro], who="test")
        p.restart()
        p.send(traces(in_2025()))
        p.fold()
        reader = Reader(p.data)
    for basis, price, currency, worth in (("true", 5, "USD", 1), ("believed", 2.5, "USD", 1), ("today", 10, "EUR", 2)):
        chosen = {"basis": basis, "currency": currency}
        expected = {name: pytest.approx(usd / worth, abs=1e-12) for name, usd in by_prices(price).items()}
        (totals,) = reader.rows("waste_totals", **chosen)
        assert {name: totals[name] for name in expected} == expected
        for name, column in (("cost_table", "cost"), ("waste_resent", "resent_cost"), ("waste_repeats", "retry_cost")):
            assert sum(row["cost"] for row in reader.rows(name, **chosen)) == expected[column]
        assert [row["missed_cost"] for row in reader.rows("waste_misses", **chosen)] == [expected["missed_cost"]]
        options = ["--days", "20000", "--prices", basis, "--currency", currency.lower(), "--json"]
        told = json.loads(CliRunner().invoke(cli, ["waste", "--data", str(p.data), *options]).stdout)
        assert {name: told["totals"][name] for name in expected} == expected
        assert [row["cost"] for row in told["repeats"]] == [expected["retry_cost"]]
        assert (told["prices"], told["currency"], len(told["rates"])) == (basis, currency, currency == "EUR")
    refused = CliRunner().invoke(cli, ["waste", "--data", str(p.data), "--currency", "CHF"])
    assert "`spanfold prices rate CHF AMOUNT`" in str(refused.exception)


# ---- the same figures for everybody ----------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_verb_has_the_figures_of_the_views(house: Product) -> None:
    """`spanfold waste` gives the sums of the three views, by tool and by thread."""
    command = ["waste", "--data", str(house.data), "--days", "20000"]
    said_of = {
        by: json.loads(CliRunner().invoke(cli, [*command, "--by", by, "--json"]).stdout) for by in ("tool", "thread")
    }
    totals = said_of["tool"]["totals"]
    ((resent, missed),) = house.query(
        """SELECT (SELECT sum(cost) FROM message_costs WHERE resent), (SELECT sum(missed_cost) FROM cache_use)"""
    )
    assert totals["resent_cost"] == pytest.approx(resent, abs=1e-12)
    assert totals["missed_cost"] == pytest.approx(missed, abs=1e-12)
    assert (totals["loop_cost"], totals["loops"]) == (pytest.approx(0.0125, abs=1e-12), 2)
    assert (totals["retry_cost"], totals["retries"]) == (pytest.approx(0.00625, abs=1e-12), 3)
    by_tool = {row["key"]: row["cost"] for row in said_of["tool"]["resent"]}
    assert by_tool["search"] == pytest.approx((500 + 250 + 536 * 1.25 + 464 * 2.5) * M, abs=1e-12)
    assert [sum(row["cost"] for row in said_of[by]["resent"]) for by in said_of] == [pytest.approx(resent)] * 2
    causes = {row["cause"]: row["calls"] for row in said_of["tool"]["cache"]}
    assert (causes["clock in system text"], causes["not kept"]) == (1, 5)
    assert [row["kind"] for row in said_of["tool"]["repeats"]] == ["loop", "repeat", "retry"]
    assert "edit in the middle" in CliRunner().invoke(cli, command).stdout
