"""What Tidewater's own staff cause, under the key internal-tools: code tasks, handbook questions, meeting notes."""

from __future__ import annotations

import json
from random import Random

from spanfold.demo import answers
from spanfold.demo import vocabulary as words
from spanfold.demo.moment import Moment
from spanfold.demo.prompts import TEMPLATES, Slots
from spanfold.demo.repairs import REPAIRS, Repair
from spanfold.demo.trace import (
    DETAILS_EVENT,
    UNAVAILABLE,
    Answer,
    Attributes,
    Log,
    Part,
    Talk,
    Trace,
    attachment,
    text,
    tool_answer,
    tool_call,
)
from spanfold.demo.world import EMBEDDING, GEMINI, GPT_5, MISTRAL

OUTAGE_DAY = 12  # 10:20 to 10:50: the provider of knowledge-search answers 503
_OUTAGE = (10 * 3600 + 20 * 60, 10 * 3600 + 50 * 60)

_CODE_TOOLS: list[dict[str, object]] = [
    {
        "type": "function",
        "name": name,
        "description": about,
        "parameters": {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": keys},
    }
    for name, about, keys in (
        ("read_file", "Returns a file of the repository.", ["path"]),
        ("apply_patch", "Applies a unified diff.", ["diff"]),
        ("run_tests", "Runs the tests below a folder and returns the last lines.", ["folder"]),
    )
]
_ABOUT = {str(tool["name"]): str(tool["description"]) for tool in _CODE_TOOLS}


def code(rng: Random, moment: Moment) -> list[Trace]:
    """A code task: the agent reads, patches and tests until the tests pass; one trace, three to seven model calls."""
    prompt = TEMPLATES["code-task"].render(rng, moment.date)
    repair = next(repair for repair in REPAIRS if repair.task == prompt.facts["task"])
    staff = words.email(rng, prompt.facts["name"])
    identity: Attributes = {
        "user.id": staff,
        "gen_ai.conversation.id": f"task-{rng.getrandbits(48):012x}",
        "gen_ai.agent.name": "code-helper",
    }
    talk = Talk(prompt.system, _CODE_TOOLS)
    outline = attachment("document", "text/plain", f"s3://tidewater-code/outline-{prompt.facts['sha']}.txt")
    talk.say("user", text(prompt.user), outline, attached_tokens=rng.randint(8_000, 16_000))
    trace = moment.trace(rng, "code-helper", identity)
    with trace.agent("invoke_agent", "code-helper"):
        for call, result in _steps(rng, repair):
            thought: Part = {"type": "reasoning", "content": _thought(str(call["name"]))}
            reasoning = rng.randrange(128, 900, 64)
            trace.chat(GPT_5, talk, Answer((thought, call), finish="tool_call", reasoning_tokens=reasoning))
            with trace.tool(call, _ABOUT[str(call["name"])], result) as span:
                trace.wait(14 if call["name"] == "run_tests" else 0.02)
                if call["name"] == "run_tests" and "failed" in str(result):
                    trace.fail(span, "TestsFailed", "1 - the tests failed")
            talk.say("tool", tool_answer(str(call["id"]), result))
        done = f"Done. In {repair.path} {repair.cause}; I changed one place and the tests pass."
        trace.chat(GPT_5, talk, Answer((text(done),), reasoning_tokens=rng.randrange(64, 512, 64)))
    return [trace]


def _thought(tool: str) -> str:
    return {
        "read_file": "I have to see the code first; the words of the task point to this file.",
        "apply_patch": "I see it now. A small patch is enough, nothing else needs to change.",
        "run_tests": "Now the tests, only those of this folder to be quick.",
    }[tool]


def _steps(rng: Random, repair: Repair) -> list[tuple[Part, object]]:
    """Tool calls with their results: read, perhaps a failed attempt, patch, test."""
    folder = repair.path.rsplit("/", 1)[0].replace("src", "tests")
    count = rng.randint(12, 240)
    secret = words.secret(rng)
    steps: list[tuple[str, dict[str, object], object]] = [
        ("read_file", {"path": repair.path}, repair.body.replace("{secret}", secret))
    ]
    if rng.random() < 0.5:
        steps.append(("read_file", {"path": f"{folder}/conftest.py"}, "import pytest\n"))
    if rng.random() < 0.4:
        steps.append(("apply_patch", {"diff": repair.diff(f"{repair.right}  # attempt")}, "1 file changed, 2 lines"))
        steps.append(("run_tests", {"folder": folder}, f"1 failed, {count - 1} passed in 11.2s\nE   NameError"))
    steps.append(("apply_patch", {"diff": repair.diff().replace("{secret}", secret)}, "1 file changed, 2 lines"))
    steps.append(("run_tests", {"folder": folder}, f"{count} passed in {rng.uniform(4, 30):.1f}s"))
    return [
        (tool_call(f"call_{rng.getrandbits(48):012x}", tool, arguments), result) for tool, arguments, result in steps
    ]


def question(rng: Random, moment: Moment) -> list[Trace]:
    """A question to the handbook: embedding, retrieval from PostgreSQL, answer with citations; a second one now and "
    "then."""
    prompt = TEMPLATES["knowledge-answer"].render(rng, moment.date)
    asker = words.email(rng, words.person(rng))
    trace = moment.trace(rng, "knowledge-search", {"user.id": asker, "session.id": f"hb-{rng.getrandbits(40):010x}"})
    outage = moment.day == OUTAGE_DAY and _OUTAGE[0] <= moment.second < _OUTAGE[1]
    route: Attributes = {
        "http.request.method": "GET",
        "http.route": "/handbook",
        "server.address": "staff.tidewater.example",
    }
    talk = Talk(prompt.system)
    talk.say("user", text(prompt.user))
    with trace.span("GET /handbook", "server", route) as root:
        _embed(trace, prompt.facts["question"])
        _retrieve(rng, trace, prompt.facts)
        if outage:
            trace.failed_chat(GEMINI, talk, UNAVAILABLE)
            root.attributes["http.response.status_code"] = 503
            trace.fail(root, "UpstreamUnavailable", "503 - the model is overloaded")
        else:
            answer = text(answers.knowledge(rng, prompt.facts))
            trace.chat(GEMINI, talk, Answer((answer,), reasoning_tokens=rng.choice((0, 0, 96, 240))))
            root.attributes["http.response.status_code"] = 200
    return [trace]


def _embed(trace: Trace, words_to_embed: str) -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": EMBEDDING.provider,
        "gen_ai.request.model": EMBEDDING.request,
        "gen_ai.response.model": EMBEDDING.response,
        "gen_ai.request.encoding_formats": ["float"],
        "gen_ai.embeddings.dimension.count": 1536,
        "gen_ai.usage.input_tokens": len(words_to_embed) // 4 + 1,
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [text(words_to_embed)]}]),
        "server.address": EMBEDDING.host,
        **trace.identity,
    }
    scope = ("opentelemetry.instrumentation.genai.openai", "1.3b0")
    with trace.span(f"embeddings {EMBEDDING.request}", "client", attributes, scope):
        trace.wait(0.09)


def _retrieve(rng: Random, trace: Trace, facts: Slots) -> None:
    scores = sorted((round(rng.uniform(0.55, 0.93), 3) for _ in range(3)), reverse=True)
    found = [
        {"id": f"handbook/{rng.randint(1, 80)}", "score": score, "content": facts[f"p{i}"]}
        for i, score in enumerate(scores, 1)
    ]
    attributes: Attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "handbook",
        "gen_ai.retrieval.query.text": facts["question"],
        "gen_ai.retrieval.top_k": 3,
        "gen_ai.retrieval.documents": json.dumps(found),
        **trace.identity,
    }
    with trace.span("retrieval handbook", "client", attributes, ("tidewater.search", "0.9.0")):
        trace.database("postgresql", "SELECT id, body FROM passages ORDER BY embedding <=> $1 LIMIT 3", 0.03)


def notes(rng: Random, moment: Moment) -> list[Trace]:
    """Meeting notes. The words travel in a log event, structured; the span has numbers only."""
    prompt = TEMPLATES["meeting-notes"].render(rng, moment.date)
    identity: Attributes = {"user.id": words.email(rng, prompt.facts["lead"]), "gen_ai.workflow.name": "meeting-notes"}
    trace = moment.trace(rng, "meeting-notes", identity)
    talk = Talk(prompt.system)
    recording = attachment("audio", "audio/mpeg", f"s3://tidewater/{trace.trace_id:x}.mp3")
    talk.say("user", text(prompt.user), recording, attached_tokens=rng.randint(2_500, 9_000))
    asked = list(talk.messages)
    said = text(answers.notes(rng, prompt.facts))
    span = trace.chat(MISTRAL, talk, Answer((said,)))
    for key in ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages"):
        del span.attributes[key]
    structured: dict[str, object] = {
        **span.attributes,
        "gen_ai.system_instructions": talk.system,
        "gen_ai.input.messages": asked,
        "gen_ai.output.messages": [{"role": "assistant", "parts": [said], "finish_reason": "stop"}],
    }
    trace.logs.append(Log(trace.trace_id, span.span_id, span.end_ns, DETAILS_EVENT, span.scope, structured))
    return [trace]
