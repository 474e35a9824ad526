"""What customers cause, all under the key prod-frontend: document summaries, support conversations, trip plans."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random

from spanfold.demo import answers, dialogues
from spanfold.demo.moment import Moment
from spanfold.demo.prompts import TEMPLATES, Slots
from spanfold.demo.trace import (
    RATE_LIMITED,
    SERVER_ERROR,
    Answer,
    Attributes,
    Part,
    Talk,
    Trace,
    attachment,
    text,
    tool_answer,
    tool_call,
)
from spanfold.demo.world import GEMINI, HAIKU, SONNET

# Attached documents, in tokens. Long ones went to Sonnet from the beginning; since the shift nearly all are read whole.
SHORT_DOCUMENT = (20_500, 27_500)
LONG_DOCUMENT = (47_000, 58_000)


def summary(rng: Random, moment: Moment, whole: bool) -> list[Trace]:
    """One document summary: web request, fetch of the file, model call (`whole`: Sonnet reads the whole document)."""
    prompt = TEMPLATES["document-summary"].render(rng, moment.date)
    identity: Attributes = {
        "user.id": f"cust_{rng.randrange(400):05d}",
        "session.id": f"web-{rng.getrandbits(40):010x}",
    }
    trace = moment.trace(rng, "summary-service", identity)
    model, (low, high) = (SONNET, LONG_DOCUMENT) if whole else (HAIKU, SHORT_DOCUMENT)
    file = f"{prompt.facts['ref']}.pdf"
    document = attachment("document", "application/pdf", f"s3://tidewater/{file}")
    talk = Talk(prompt.system)
    talk.say("user", text(prompt.user), document, attached_tokens=rng.randint(low, high))
    more: Attributes = {"spanfold.tags": ["summary", "upload" if moment.shifted else "on-demand"]}
    said = Answer((text(answers.summary(rng, prompt.facts, whole)),), stream=not moment.shifted)
    trouble = rng.random()
    with trace.span("POST /v1/documents/{id}/summary", "server", _request("/v1/documents/{id}/summary")) as root:
        trace.http("GET", f"https://store.tidewater.example/documents/{file}", 0.12)
        if trouble < 0.012:
            trace.failed_chat(model, talk, RATE_LIMITED, more)
            trace.wait(1.5)
        if 0.012 <= trouble < 0.016:
            trace.failed_chat(model, talk, SERVER_ERROR, more)
            root.attributes["http.response.status_code"] = 502
            trace.fail(root, "SummaryFailed", "502 - the model did not answer")
        else:
            trace.chat(model, talk, said, more)
            root.attributes["http.response.status_code"] = 200
    return [trace]


def support(rng: Random, moment: Moment) -> list[Trace]:
    """A conversation with the support agent: a trace for each turn, the whole history sent again in each call."""
    slots = dialogues.facts(rng, (moment.date + timedelta(days=rng.randint(1, 30))).isoformat())
    kind = rng.choice(sorted(dialogues.DIALOGUES))
    identity: Attributes = {
        "user.id": f"cust_{rng.randrange(400):05d}",
        "session.id": f"web-{rng.getrandbits(40):010x}",
        "gen_ai.conversation.id": f"conv_{rng.getrandbits(64):016x}",
        "gen_ai.agent.name": "support-agent",
    }
    talk = Talk(dialogues.SYSTEM.format(today=f"{moment.date:%A, %d %B %Y}"), dialogues.tool_definitions())
    traces = []
    left = rng.random()
    for number, turn in enumerate(dialogues.DIALOGUES[kind]):
        trace = moment.trace(rng, "support-agent", identity)
        gone = number == 1 and left < 0.09
        with trace.span("POST /v1/support/messages", "server", _request("/v1/support/messages")) as root:
            with trace.agent("invoke_agent", "support-agent"):
                _support_turn(rng, trace, talk, turn, slots, gone)
            root.attributes["http.response.status_code"] = 499 if gone else 200
        traces.append(trace)
        if gone or (number >= 1 and rng.random() < 0.15):
            break
        moment = moment.later((trace.clock - moment.nanos) / 1e9 + rng.uniform(15, 140))
    return traces


def _support_turn(
    rng: Random, trace: Trace, talk: Talk, turn: dialogues.Turn, slots: dict[str, str], gone: bool
) -> None:
    """One turn; `gone` = the customer closes the window while the answer is streamed."""
    named: Attributes = {"gen_ai.prompt.name": "support-agent", "gen_ai.prompt.version": "7"}
    talk.say("user", text(rng.choice(turn.customer).format_map(slots)))
    spoken = rng.choice(turn.agent).format_map(slots)
    if turn.lookup:
        call_id = f"toolu_01{rng.getrandbits(64):016x}"
        arguments = dialogues.fill(turn.lookup.arguments, slots)
        call = tool_call(call_id, turn.lookup.tool, arguments if isinstance(arguments, dict) else {})
        trace.chat(HAIKU, talk, Answer((call,), finish="tool_call", stream=True), named)
        result = dialogues.fill(turn.lookup.result, slots)
        with trace.tool(call, dialogues.description(turn.lookup.tool), result):
            if turn.lookup.statement:
                trace.database("postgresql", turn.lookup.statement, 0.02)
            else:
                trace.http("POST", f"https://desk.tidewater.example/api/{turn.lookup.tool}", 0.25)
        talk.say("tool", tool_answer(call_id, result))
    if gone:
        trace.canceled_chat(HAIKU, talk, spoken[: len(spoken) // 3], named)
    else:
        trace.chat(HAIKU, talk, Answer((text(spoken),), stream=True), named)


def trip(rng: Random, moment: Moment) -> list[Trace]:
    """A trip plan: a workflow looks into memory, asks three tools at once and answers; often a change is asked for."""
    prompt = TEMPLATES["trip-plan"].render(rng, moment.date)
    identity: Attributes = {
        "user.id": f"cust_{rng.randrange(400):05d}",
        "gen_ai.conversation.id": f"trip_{rng.getrandbits(64):016x}",
        "gen_ai.agent.name": "trip-planner",
    }
    talk = Talk(prompt.system, _TRIP_TOOLS)
    talk.say("user", text(prompt.user))
    trace = moment.trace(rng, "trip-planner", identity)
    with trace.agent("invoke_workflow", "plan-trip"), trace.agent("invoke_agent", "trip-planner"):
        _recall(trace, prompt.facts)
        calls = _trip_calls(rng, prompt.facts)
        answer = Answer(tuple(call for call, _ in calls), finish="tool_call", reasoning_tokens=rng.randint(150, 500))
        trace.chat(GEMINI, talk, answer)
        for call, result in calls:
            with trace.tool(call, f"{call['name']} of the travel service", result):
                trace.http("GET", f"https://travel.tidewater.example/{call['name']}", 0.5)
            talk.say("tool", tool_answer(str(call["id"]), result))
        trace.chat(GEMINI, talk, Answer((text(_plan(rng, prompt.facts)),), reasoning_tokens=rng.randint(200, 900)))
    if rng.random() < 0.4:
        return [trace]
    after = moment.later((trace.clock - moment.nanos) / 1e9 + rng.uniform(60, 600)).trace(rng, "trip-planner", identity)
    with after.agent("invoke_workflow", "plan-trip"), after.agent("invoke_agent", "trip-planner"):
        talk.say("user", text(rng.choice(("Could we stay one night longer?", "Too expensive, can you save 200 EUR?"))))
        change = f"I have changed the plan: {_plan(rng, prompt.facts)}"
        after.chat(GEMINI, talk, Answer((text(change),), reasoning_tokens=rng.randint(100, 400)))
    return [trace, after]


def _recall(trace: Trace, facts: Slots) -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "search_memory",
        "gen_ai.memory.store.id": "traveller-wishes",
        "gen_ai.memory.query.text": f"wishes of {facts['name']}",
        "gen_ai.memory.record.count": 1,
        "gen_ai.memory.records": json.dumps(
            [{"id": "m1", "content": f"{facts['name']} likes the aisle", "score": 0.83}]
        ),
        **trace.identity,
    }
    with trace.span("search_memory", "client", attributes, ("tidewater.agents", "2.1.0")):
        trace.wait(0.05)


def _trip_calls(rng: Random, facts: Slots) -> list[tuple[Part, dict[str, object]]]:
    place, start = facts["city"], facts["start"]
    wanted: list[tuple[str, dict[str, object], dict[str, object]]] = [
        (
            "flights",
            {"to": facts["code"], "date": start},
            {"price": rng.randint(90, 420), "departs": "10:35", "stops": 0},
        ),
        (
            "hotels",
            {"city": place, "nights": facts["nights"]},
            {"name": f"Hotel {facts['code']} Central", "price": 118},
        ),
        ("weather", {"city": place, "date": start}, {"high_c": rng.randint(8, 29), "rain": f"{rng.randint(5, 60)} %"}),
    ]
    return [(tool_call(f"call_{rng.getrandbits(48):012x}", name, asked), result) for name, asked, result in wanted]


def _plan(rng: Random, facts: Slots) -> str:
    first, second = rng.sample(
        (
            "a walk through the old town",
            "the market hall",
            "the art museum",
            "a boat to the islands",
            "a cooking class",
        ),
        2,
    )
    return (
        f"{facts['nights']} nights in {facts['city']} for {facts['people']} people, from {facts['start']}. Flight at "
        f"10:35 without a stop, Hotel {facts['code']} Central, {rng.randint(55, 95)} % of your {facts['budget']} EUR. "
        f"Day 1: {first}. Day 2: {second}, with time for what you wished for ({facts['wishes']}). Shall I book it?"
    )


def _request(route: str) -> Attributes:
    return {"http.request.method": "POST", "http.route": route, "server.address": "tidewater.example"}


_TRIP_TOOLS: list[dict[str, object]] = [
    {
        "type": "function",
        "name": name,
        "description": about,
        "parameters": {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": keys},
    }
    for name, about, keys in (
        ("flights", "The best flight to an airport on a day.", ["to", "date"]),
        ("hotels", "A free hotel in a city for some nights.", ["city", "nights"]),
        ("weather", "The usual weather of a city on a day.", ["city", "date"]),
    )
]
