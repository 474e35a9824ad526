"""What runs at night and by the clock, under the key background-jobs: invoices, ticket tags, log triage, clauses, "
"reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from spanfold.demo import answers
from spanfold.demo.moment import Moment
from spanfold.demo.prompts import TEMPLATES, Slots
from spanfold.demo.trace import RATE_LIMITED, Answer, Attributes, Talk, Trace, attachment, text
from spanfold.demo.world import GPT_4O_MINI, GPT_5_MINI, HOUSE, LLAMA, MISTRAL, Model

_INSERT = "INSERT INTO invoices (number, issued, supplier, total) VALUES ($1, $2, $3, $4)"
_JOB_SCOPE = ("tidewater.jobs", "1.4.0")
_OLD_SCOPE = ("opentelemetry.instrumentation.openai.v1", "0.40.14")


def invoice(rng: Random, moment: Moment) -> list[Trace]:
    """An invoice read by night at the flex tier: a job around the model call, then an insert."""
    prompt = TEMPLATES["invoice-extraction"].render(rng, moment.date)
    trace = moment.trace(rng, "invoice-pipeline", {"session.id": f"night-{moment.date:%Y%m%d}"})
    talk = Talk(prompt.system)
    scan = attachment("image", "image/png", f"s3://tidewater/{prompt.facts['number']}.png")
    talk.say("user", text(prompt.user), scan, attached_tokens=rng.randint(1_400, 4_200))
    facts = prompt.facts
    fields = {"number": facts["number"], "issued": facts["issued"], "supplier": facts["firm"], "total": facts["total"]}
    more: Attributes = {"gen_ai.output.type": "json", "spanfold.tags": ["nightly"]}
    tier = "flex" if moment.day >= 20 else None
    said = Answer((text(json.dumps(fields)),), reasoning_tokens=rng.randrange(64, 400, 64), tier=tier)
    with trace.span("process_invoice", "internal", {"job.queue": "invoices"}, _JOB_SCOPE):
        if rng.random() < 0.03:
            trace.failed_chat(GPT_5_MINI, talk, RATE_LIMITED, more)
            trace.wait(20)
        trace.chat(GPT_5_MINI, talk, said, more)
        trace.database("postgresql", _INSERT, 0.01)
    return [trace]


def ticket(rng: Random, moment: Moment) -> list[Trace]:
    """A tag for a ticket, from a service whose instrumentation is years old (`gen_ai.prompt.N`, `gen_ai.system`)."""
    prompt = TEMPLATES["ticket-tagging"].render(rng, moment.date)
    trace = moment.trace(
        rng, "ticket-tagger", {"traceloop.association.properties.session_id": f"desk-{moment.date:%Y%m%d}"}
    )
    talk = Talk(prompt.system)
    talk.say("user", text(prompt.user))
    kind = rng.choice(("billing", "documents", "trips", "account", "praise", "other"))
    said = text(f"{kind}, {rng.randint(1, 5)}")
    span = trace.chat(GPT_4O_MINI, talk, Answer((said,)))
    new = span.attributes
    span.name, span.scope = "openai.chat", _OLD_SCOPE
    span.attributes = {
        "llm.request.type": "chat",
        "llm.is_streaming": False,
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": GPT_4O_MINI.request,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.response.model": GPT_4O_MINI.response,
        "gen_ai.response.id": new["gen_ai.response.id"],
        "gen_ai.usage.prompt_tokens": new["gen_ai.usage.input_tokens"],
        "gen_ai.usage.completion_tokens": new["gen_ai.usage.output_tokens"],
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": prompt.system,
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": prompt.user,
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": str(said["content"]),
        "gen_ai.completion.0.finish_reason": "stop",
        **trace.identity,
    }
    return [trace]


def triage(rng: Random, moment: Moment) -> list[Trace]:
    """A look at a burst of log lines by a small model on Tidewater's own machine (no price)."""
    return _single(rng, moment, "log-triage", "log-triage", LLAMA, answers.triage)


def clause(rng: Random, moment: Moment) -> list[Trace]:
    """A clause classified by the model that Tidewater trained itself: no price list knows it."""
    return _single(rng, moment, "invoice-pipeline", "contract-clauses", HOUSE, answers.clause)


def report(rng: Random, moment: Moment) -> list[Trace]:
    """The morning's report of a team."""
    return _single(rng, moment, "log-triage", "daily-report", MISTRAL, answers.report)


def _single(
    rng: Random, moment: Moment, service: str, template: str, model: Model, answer: Callable[[Random, Slots], str]
) -> list[Trace]:
    """A trace of one model call and nothing else."""
    prompt = TEMPLATES[template].render(rng, moment.date)
    trace = moment.trace(rng, service, {})
    talk = Talk(prompt.system)
    talk.say("user", text(prompt.user))
    trace.chat(model, talk, Answer((text(answer(rng, prompt.facts)),)))
    return [trace]
