"""What models answer to the single-shot prompts: sentences picked and filled with the facts of the prompt."""

from __future__ import annotations

from random import Random

from spanfold.demo import vocabulary as words
from spanfold.demo.prompts import Slots

_POINTS = (
    "The document sets out {topic} and names {firm} as the responsible party (page {p}).",
    "Costs rise by {n} % against the year before; two thirds of that is transport (page {p}).",
    "{a} EUR are reserved for {topic2}, to be spent before the end of the second quarter.",
    "Delivery times improved from {n} to {m} days after the second shift was added.",
    "The term is {m} months and renews by itself unless one side gives notice {n} weeks ahead (page {p}).",
    "Three of {m} interviewed customers would recommend the service, mostly because of the quick answers.",
    "Liability is capped at {a} EUR a year, damage by gross negligence is excluded (page {p}).",
    "The annex on page {p} lists {m} sites; {n} of them have not been inspected since spring.",
    "{person} takes over the coordination from {person2} as of next month.",
    "The figures on page {p} do not add up: the table shows {a} EUR, the text {b} EUR.",
    "Staff turnover fell to {n} %, the lowest value in five years.",
    "The authors warn that {topic2} depends on a permit which has not been granted yet.",
    "Energy use per square metre is {n} % above the average of comparable buildings.",
    "Two competitors entered the market in the past year, both with lower prices for small firms.",
    "A pilot with {m} users is described on page {p}; {n} of them stopped within the first week.",
    "The insurance covers water damage only if the building is checked every {n} months.",
)
_DECISIONS = (
    "{topic} goes ahead with a limit of {a} EUR.",
    "The offer of {company} is accepted, subject to a price review after {m} months.",
    "The pilot is extended by {n} weeks and then measured against the old process.",
    "{person} signs for {firm}; the legal team has no objections.",
    "No further sites are added before the audit is closed.",
    "The old contract ends at the close of the year and is not renewed.",
)
_QUESTIONS = (
    "Who pays if {topic2} takes longer than planned?",
    "Is the discount of {n} % kept when the volume falls below {m} units?",
    "Page {p} mentions an annex C, which is not part of the document.",
    "Does the notice period also hold for the sites that are rented?",
    "When will the authority decide about the permit?",
    "It stays open whether {company} has to be asked before the data is moved.",
)
_STEPS = (
    "{person} sends the corrected table of page {p} to everyone, by Friday.",
    "{person} asks {company} for a written quote.",
    "The team meets in {n} weeks to look at the first results.",
    "Finance checks the difference of {a} EUR.",
    "{person2} prepares a page on risks for the board.",
    "Legal reads the clause on page {p} once more before it is signed.",
)
_PAGES = (
    "Page {p}: the table with all costs, which the text quotes only in part.",
    "Page {p}: the clause on ending the agreement.",
    "Page {p}: what the customers said in their own words.",
    "Page {p}: the list of open permits.",
    "Page {p}: how the figures were measured.",
)
_SECTIONS = (("Key points", _POINTS), ("Decisions", _DECISIONS), ("Open questions", _QUESTIONS), ("Next steps", _STEPS))


def _line(rng: Random, sentence: str, facts: Slots) -> str:
    return sentence.format(
        **facts,
        a=words.money(rng, 900, 80_000),
        b=words.money(rng, 900, 80_000),
        n=rng.randint(2, 12),
        m=rng.randint(13, 48),
        p=rng.randint(2, int(facts["pages"])),
        person=words.person(rng),
        person2=words.person(rng),
        company=rng.choice(words.COMPANIES),
    )


def summary(rng: Random, facts: Slots, thorough: bool) -> str:
    """A document summary in sections; the larger model says more (`thorough`)."""
    counts = (9, 4, 4, 5) if thorough else (5, 2, 2, 2)
    parts = [f"**{facts['title']}** ({facts['firm']}, {facts['pages']} pages)"]
    for (heading, bank), count in zip(_SECTIONS, counts, strict=True):
        lines = [f"- {_line(rng, sentence, facts)}" for sentence in rng.sample(bank, count)]
        parts.append(f"## {heading}\n" + "\n".join(lines))
    pages = [f"- {_line(rng, sentence, facts)}" for sentence in rng.sample(_PAGES, 4 if thorough else 2)]
    return "\n\n".join([*parts, "## Read these pages\n" + "\n".join(pages)])


def knowledge(rng: Random, facts: Slots) -> str:
    """An answer from the passage that holds it, with a citation."""
    number = facts["right"]
    passage = facts[f"p{number}"]
    return rng.choice(
        (
            f"{passage} [{number}]",
            f"According to the handbook: {passage[0].lower()}{passage[1:]} [{number}]",
            f"Yes, there is a rule for this. {passage} [{number}] If in doubt, ask your team lead.",
        )
    )


def notes(rng: Random, facts: Slots) -> str:
    """Meeting notes of the transcript in `facts`."""
    people = sorted({line.split(":")[0] for line in facts["transcript"].splitlines()})
    first, *others = people
    decided = rng.choice(
        ("The figures come first, then the decision.", "The team goes on as planned.", "No decision yet.")
    )
    tasks = "\n".join(f"- {name}: {rng.choice(words.TOPICS)}, within {rng.randint(3, 14)} days" for name in others[:3])
    return (
        f"**Meeting of team {facts['team']}, {facts['held']}** ({facts['minutes']} minutes)\n\n"
        f"Present: {', '.join(people)}; led by {facts['lead']}.\n\n"
        f"Decided: {decided}\n\nTasks\n{tasks or f'- {first}: collect the figures'}"
    )


def triage(rng: Random, facts: Slots) -> str:
    """One sentence on whether somebody has to get up."""
    host = facts["host"]
    return rng.choice(
        (
            f"No action needed: {host} recovered by itself and the rate is falling.",
            f"Look at it in the morning: {host} retries a lot, but nothing is lost.",
            f"Act now: {host} has been failing for {facts['seconds']} s without a pause and uploads are waiting.",
            f"No action needed, these lines are written whenever {host} starts.",
        )
    )


def clause(rng: Random, facts: Slots) -> str:
    """A class and a confidence."""
    kind = rng.choice(("termination", "liability", "price", "intellectual property", "other"))
    return f"{kind}, {rng.uniform(0.6, 0.99):.2f}"


def report(rng: Random, facts: Slots) -> str:
    """Three friendly sentences on the numbers of a day."""
    change = int(facts["opened"]) - int(facts["closed"])
    trend = f"{change} more than were closed" if change > 0 else f"{-change} fewer than were closed"
    tomorrow = rng.choice(
        ("the oldest tickets", "questions about refunds", "documents that do not finish", "the new plan")
    )
    return (
        f"On {facts['day']} team {facts['team']} got {facts['opened']} tickets, {trend}. {facts['waiting']} are "
        f"waiting, and everybody did their best although it was said that {facts['remark']}. For tomorrow: {tomorrow}."
    )
