"""The prompt templates that Tidewater's services fill, ten of them.

A template is constant text with slots; whatever a slot takes is a number, an identifier, a name, a date or quoted text.
So the calls of one template belong together under one prompt fingerprint, however they are filled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from spanfold.demo import vocabulary as words
from spanfold.demo.repairs import REPAIRS

Slots = dict[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A filled template: what the model is told, what it is asked, and the facts an answer may repeat."""

    template: str
    system: str
    user: str
    facts: Slots


@dataclass(frozen=True, slots=True)
class Template:
    """Constant texts with `{slots}`, and what fills them for one day."""

    name: str
    system: str
    user: str
    fill: Callable[[Random, date], Slots]

    def render(self, rng: Random, day: date) -> Prompt:
        facts = self.fill(rng, day)
        return Prompt(self.name, self.system.format_map(facts), self.user.format_map(facts), facts)


def _quote(rng: Random, *choices: str) -> str:
    return rng.choice(choices).format(
        company=rng.choice(words.COMPANIES),
        topic=rng.choice(words.TOPICS),
        ref=words.reference(rng, "TW"),
        amount=words.money(rng, 20, 900),
        name=words.person(rng),
        days=rng.randint(2, 21),
    )


def _before(rng: Random, day: date, days: int) -> str:
    return (day - timedelta(days=rng.randint(1, days))).isoformat()


def _summary(rng: Random, day: date) -> Slots:
    return {
        "title": rng.choice(words.TITLES),
        "firm": rng.choice(words.COMPANIES),
        "pages": str(rng.randint(18, 140)),
        "received": _before(rng, day, 40),
        "ref": words.reference(rng, "DOC"),
        "topic": rng.choice(words.TOPICS),
        "topic2": rng.choice(words.TOPICS),
    }


_HANDBOOK = (  # a question, and the passage that answers it
    (
        "How many days of leave can I carry over into next year?",
        "Up to five days may be carried over until the end of March; more needs the consent of the team lead.",
    ),
    (
        "Who approves a business trip that costs more than {amount} euros?",
        "Trips above 500 euros are approved by the head of department before anything is booked.",
    ),
    (
        "What is the process when a supplier such as {company} changes its bank details?",
        "Changed bank details are confirmed by a call to a number that was known before; never by e-mail alone.",
    ),
    (
        "May I share a customer's document with a contractor?",
        "Customer documents stay in the workspace. Contractors get a guest account that ends with the contract.",
    ),
    (
        "How do I report a lost laptop, and how soon must I do it?",
        "A lost device is reported to the service desk within 24 hours; it is locked from remote at once.",
    ),
    (
        "Which meetings with customers such as {company} have to be recorded?",
        "Meetings on prices, contracts or complaints are written down in the register within {days} days.",
    ),
    (
        "Who is the owner of {topic}?",
        "The owner of each policy is named on its last page and reviews it every {days} months.",
    ),
    (
        "Whom do I ask about {topic}?",
        "Questions that no passage answers go to {name} first, then to the compliance group.",
    ),
)


def _question(rng: Random, day: date) -> Slots:
    (question, answer), *others = rng.sample(_HANDBOOK, 3)
    passages = [answer, *(passage for _, passage in others)]
    rng.shuffle(passages)
    filled = {f"p{i}": _quote(rng, passage) for i, passage in enumerate(passages, 1)}
    return {"question": _quote(rng, question), "right": str(1 + passages.index(answer)), **filled}


def _code(rng: Random, day: date) -> Slots:
    return {
        "repo": rng.choice(("tidewater/web", "tidewater/documents", "tidewater/billing", "tidewater/trips")),
        "branch": rng.choice(("main", "release", "fix/export", "feature/cost-centre", "chore/cleanup")),
        "sha": f"{rng.getrandbits(40):010x}",
        "name": words.person(rng),
        "task": rng.choice(REPAIRS).task,
    }


def _trip(rng: Random, day: date) -> Slots:
    city, code = rng.choice(words.CITIES)
    wishes = (
        "short walks, good coffee, and one evening at the harbour",
        "we bring two children and need a cot; no early flights please",
        "a workshop with {company} on the second day, the rest is free",
        "vegetarian food and a hotel with a quiet room for calls",
        "museums on day one, a day in the hills, nothing over {amount} euros for a single ticket",
    )
    return {
        "name": words.person(rng),
        "city": city,
        "code": code,
        "nights": str(rng.randint(2, 6)),
        "start": (day + timedelta(days=rng.randint(12, 90))).isoformat(),
        "people": str(rng.randint(1, 4)),
        "budget": str(rng.randrange(600, 4000, 50)),
        "wishes": _quote(rng, *wishes),
    }


def _invoice(rng: Random, day: date) -> Slots:
    lines = (
        "{company} - consulting on {topic}, {days} hours",
        "Transport {ref}, {days} pallets, {amount} EUR",
        "Licence renewal {ref} - {amount} EUR incl. VAT",
        "Catering for {days} guests, contact {name}",
    )
    total = words.money(rng, 80, 9000)
    return {
        "number": words.reference(rng, "INV"),
        "issued": _before(rng, day, 12),
        "firm": rng.choice(words.COMPANIES),
        "text": " | ".join(_quote(rng, line) for line in rng.sample(lines, 2)) + f" | TOTAL {total} EUR",
        "total": total,
    }


def _ticket(rng: Random, day: date) -> Slots:
    name = words.person(rng)
    texts = (
        "I was charged {amount} twice for invoice {ref}. Please give it back.",
        "The app says my document is still being processed since {days} hours.",
        "How can I add a second user to our account? We are {company}.",
        "Love the new summaries! Could they also be in French?",
        "My flight {ref} was cancelled and I need a refund, this is urgent!!",
        "Login with the code from my phone has not worked for {days} days.",
        "We are closing the account of {company}. How do we export everything?",
    )
    return {
        "ref": words.reference(rng, "T"),
        "name": name,
        "email": words.email(rng, name),
        "received": f"{day.isoformat()} {rng.randrange(24):02d}:{rng.randrange(60):02d}",
        "text": _quote(rng, *texts),
    }


def _notes(rng: Random, day: date) -> Slots:
    lines = (
        "{name}: I would like to start with {topic}.",
        "{name}: we heard back from {company}, they want an answer in {days} days.",
        "{name}: the open amount is {amount}, reference {ref}.",
        "{name}: let us decide next week, I need the figures first.",
        "{name}: agreed, I take {topic}.",
        "{name}: one risk is the holiday season, half of the team is away.",
    )
    return {
        "team": rng.choice(words.TEAMS),
        "held": day.isoformat(),
        "minutes": str(rng.randint(20, 75)),
        "lead": words.person(rng),
        "transcript": "\n".join(_quote(rng, line) for line in rng.sample(lines, 5)),
    }


def _triage(rng: Random, day: date) -> Slots:
    samples = (
        "WARN pool exhausted, waiting {days} s for a connection",
        "ERROR upload {ref} failed: 503 from the store, attempt {days}",
        "WARN slow query on invoices, {days} s, plan changed",
        "ERROR token refresh for {ref}: clock skew of {days} s",
        "INFO cache warmed, {days} keys evicted",
    )
    return {
        "host": f"tw-{rng.choice(('web', 'job', 'db'))}-{rng.randint(1, 9):02d}",
        "count": str(rng.randint(40, 9000)),
        "seconds": str(rng.randint(30, 900)),
        "at": f"{day.isoformat()}T{rng.randrange(24):02d}:{rng.randrange(60):02d}:00Z",
        "sample": _quote(rng, *samples),
    }


def _clauses(rng: Random, day: date) -> Slots:
    clauses = (
        "Either party may end this agreement with {days} days' notice in writing.",
        "The supplier's liability is limited to {amount} euros a year.",
        "Prices are reviewed every {days} months and rise by no more than the index.",
        "{company} keeps all rights in {topic}.",
    )
    return {
        "ref": words.reference(rng, "C"),
        "signed": _before(rng, day, 900),
        "firm": rng.choice(words.COMPANIES),
        "clause": _quote(rng, *clauses),
    }


def _report(rng: Random, day: date) -> Slots:
    opened = rng.randint(20, 90)
    return {
        "team": rng.choice(words.TEAMS),
        "day": (day - timedelta(days=1)).isoformat(),
        "opened": str(opened),
        "closed": str(max(0, opened + rng.randint(-15, 15))),
        "waiting": str(rng.randint(3, 60)),
        "remark": _quote(rng, "{name} was away", "{topic} took half of the day", "{company} called {days} times"),
    }


TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template(
            "document-summary",
            "You summarise business documents for Tidewater, a workspace for small firms. Write plain English. Keep "
            "every figure exactly as it stands in the document. Never invent a decision. Use the headings Key points, "
            "Decisions, Open questions and Next steps, and leave out a heading that would be empty.",
            'Summarise the attached document "{title}" of "{firm}" ({pages} pages, received {received}, '
            "reference {ref}). The reader has five minutes. Name the pages that matter most.",
            _summary,
        ),
        Template(
            "knowledge-answer",
            "You answer questions of Tidewater staff from the handbook. Use only the passages you are given, cite "
            "them as [1], [2], [3], and say so when they do not hold the answer.",
            'Question: "{question}"\n\nPassages:\n[1] "{p1}"\n[2] "{p2}"\n[3] "{p3}"',
            _question,
        ),
        Template(
            "code-task",
            "You are the code helper of the Tidewater engineering team. Read the files you need, change as little as "
            "possible, run the tests, and explain the change in two sentences. Never print secrets.",
            'Repository "{repo}", branch "{branch}", commit {sha}. Asked by {name}: "{task}"',
            _code,
        ),
        Template(
            "trip-plan",
            "You plan journeys for Tidewater customers. Check flights, hotels and weather with your tools before you "
            "propose anything, stay inside the budget, and give times in the local time of the place.",
            'Plan a trip for {name}: {nights} nights in "{city}" from {start}, {people} travellers, budget {budget} '
            'EUR. Wishes: "{wishes}"',
            _trip,
        ),
        Template(
            "invoice-extraction",
            "Extract the fields number, issued, supplier, lines and total from the invoice. Answer with JSON only. "
            "Use null for what is not there.",
            'Invoice {number} of {issued}, scanned from "{firm}". Text:\n"{text}"',
            _invoice,
        ),
        Template(
            "ticket-tagging",
            "You sort support tickets. Answer with one of: billing, documents, trips, account, praise, other; then a "
            "comma and the urgency from 1 to 5.",
            'Ticket {ref} from {name} <{email}>, received {received}:\n"{text}"',
            _ticket,
        ),
        Template(
            "meeting-notes",
            "You turn transcripts into meeting notes: who was there, what was decided, who does what until when. Do "
            "not judge people. Leave small talk out.",
            'Transcript of the meeting of {held}, {minutes} minutes, led by {lead}. Team "{team}".\n'
            "<transcript>\n{transcript}\n</transcript>",
            _notes,
        ),
        Template(
            "log-triage",
            "You look at bursts of log lines and say in one sentence whether a person has to act now.",
            'Host {host} wrote {count} lines in {seconds} s until {at}. Typical line: "{sample}"',
            _triage,
        ),
        Template(
            "contract-clauses",
            "Classify the clause: termination, liability, price, intellectual property, other. Give the class and a "
            "confidence between 0 and 1.",
            'Contract {ref}, signed {signed}, with "{firm}". Clause: "{clause}"',
            _clauses,
        ),
        Template(
            "daily-report",
            "You write the daily report of a support team in three friendly sentences. Name the trend and one thing to "
            "look at tomorrow.",
            'Team "{team}" on {day}: {opened} tickets opened, {closed} closed, {waiting} waiting. Remark: "{remark}".',
            _report,
        ),
    )
}


def fingerprint_cases() -> list[tuple[str, str, str]]:
    """200 cases (template name, system text, first user text): ten templates, twenty renderings each."""
    cases = []
    for template in TEMPLATES.values():
        for index in range(20):
            rng = Random(f"fingerprint/{template.name}/{index}")
            prompt = template.render(rng, date(2025, 10, 1) + timedelta(days=index * 9))
            cases.append((prompt.template, prompt.system, prompt.user))
    return cases
