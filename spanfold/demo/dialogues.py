"""What customers and the support agent say to each other: seven kinds of conversation with slots for the facts."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from spanfold.demo import vocabulary as words

Json = dict[str, object]

SYSTEM = (
    "You are the support agent of Tidewater, a workspace where small firms keep documents, book trips and pay "
    "invoices. Today is {today}. Be warm, short and exact. Look things up with your tools before you state a fact; "
    "never guess the state of a booking, an invoice or a document. Ask before you change or cancel anything, and "
    "repeat what you changed. Refunds up to 200 EUR you may promise yourself; for more, open a ticket for the finance "
    "team and say that an answer takes two working days. Never ask for a full card number, and if a customer writes "
    "one, do not repeat it. If somebody is angry, say that you understand, then help. Offer the handbook only after "
    "the question is solved. Write British English unless the customer writes in another language, and use no more "
    "than five sentences."
)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A tool that the agent uses before it answers."""

    tool: str
    arguments: Json
    result: Json
    statement: str | None = None  # the SQL that the tool runs; None = it calls an HTTP service


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing the customer says, what is looked up for it, and how the agent answers."""

    customer: tuple[str, ...]
    agent: tuple[str, ...]
    lookup: Lookup | None = None


_BOOKING = Lookup(
    "find_booking",
    {"reference": "{booking}"},
    {"reference": "{booking}", "route": "{route}", "date": "{date}", "status": "{status}", "paid": "{amount} EUR"},
    "SELECT reference, route, travel_date, status, paid FROM bookings WHERE reference = $1",
)
_INVOICES = Lookup(
    "list_invoices",
    {"account": "{account}", "limit": 3},
    {"invoices": [{"number": "{invoice}", "amount": "{amount}", "charged": 2}, {"number": "{older}", "charged": 1}]},
    "SELECT number, amount, count(*) FROM charges WHERE account = $1 GROUP BY 1, 2 ORDER BY 1 DESC LIMIT $2",
)
_TICKET = Lookup(
    "open_ticket", {"account": "{account}", "queue": "finance"}, {"ticket": "{ticket}", "due": "2 working days"}
)
_REFUND = Lookup("refund", {"reference": "{booking}", "amount": "{amount}"}, {"state": "accepted", "days": 5})
_SEAT = Lookup("change_seat", {"reference": "{booking}", "seat": "{seat}"}, {"seat": "{seat}", "fee": "0.00"})
_DOCUMENT = Lookup(
    "document_state",
    {"document": "{document}"},
    {"document": "{document}", "state": "waiting", "reason": "password protected", "pages": 64},
    "SELECT id, state, reason, pages FROM documents WHERE id = $1",
)
_INVITE = Lookup("invite_user", {"account": "{account}", "email": "{email}"}, {"sent": True, "expires_in_days": 7})
_EXPORT = Lookup(
    "start_export", {"account": "{account}", "format": "zip"}, {"job": "{ticket}", "ready": "within 2 hours"}
)

_THANKS = Turn(
    ("Perfect, thank you!", "Great, that was quick. Thanks.", "OK, thanks for your help {greeting}."),
    ("You are welcome, {first}. Have a good day!", "Happy to help, {first}. Write to us any time."),
)

DIALOGUES: dict[str, tuple[Turn, ...]] = {
    "refund": (
        Turn(
            (
                "Hi, my flight {route} on {date} was cancelled. Booking {booking}. What happens with my money?",
                "Booking {booking} was cancelled by the airline this morning and nobody told me anything. I want a "
                "refund.",
            ),
            (
                "I am sorry about that, {first}. I found {booking}: {route} on {date} is marked as cancelled and "
                "{amount} EUR were paid. Shall I refund the amount to the card you paid with?",
                "I understand that this is annoying, {first}. The airline cancelled {route} on {date}. You paid "
                "{amount} EUR for {booking}; I can send it back to your card or look for another flight. Which do you "
                "prefer?",
            ),
            _BOOKING,
        ),
        Turn(
            (
                "Refund please. The card was {card}.",
                "Please refund it. You can reach me at {phone} if there is a problem.",
            ),
            (
                "Done: {amount} EUR are on their way back to your card and should arrive within 5 days. You get a "
                "confirmation by e-mail.",
            ),
            _REFUND,
        ),
        _THANKS,
    ),
    "double charge": (
        Turn(
            (
                "Hello, you took {amount} euros twice for invoice {invoice}.",
                "My bank shows two payments of {amount} for {invoice}. Why is that?",
            ),
            (
                "Thank you for telling us, {first}. I can see {invoice} with {amount} EUR, and it was indeed charged "
                "twice. I open a ticket for the finance team so that the second payment is sent back. Is that all "
                "right?",
            ),
            _INVOICES,
        ),
        Turn(
            ("Yes please, my card is {card} if you need it", "Yes. How long will it take?"),
            (
                "Your ticket is {ticket}. The finance team answers within two working days; you do not have to do "
                "anything.",
            ),
            _TICKET,
        ),
        Turn(
            ("And can I be sure that it does not happen again next month?",),
            (
                "The payment was sent twice because the first try timed out at the bank. Since then every payment "
                "carries a number of its own, so a second try is recognised. The next one, {older}, was charged once.",
            ),
        ),
        _THANKS,
    ),
    "seat": (
        Turn(
            (
                "Can I get seat {seat} on {route}? Booking {booking}",
                "I would like to sit at the window, booking {booking}.",
            ),
            (
                "Of course. {booking} is {route} on {date}. Seat {seat} is free and costs nothing extra. Shall I "
                "take it for you?",
            ),
            _BOOKING,
        ),
        Turn(
            ("Yes!", "Yes please, take {seat}."),
            ("Seat {seat} is yours. The new boarding pass is in your mailbox.",),
            _SEAT,
        ),
        Turn(
            ("Could my colleague sit next to me? It is the same booking.",),
            (
                "The seat beside {seat} is taken, but the two seats one row behind are free. Shall I move both of "
                "you there?",
            ),
        ),
        Turn(
            ("No, leave it as it is.",),
            ("All right, I leave everything as it is: you in {seat}, your colleague in row 21.",),
        ),
    ),
    "stuck document": (
        Turn(
            (
                "My document {document} has been processing since yesterday.",
                "The summary of {document} never arrives. I have tried it three times now!",
            ),
            (
                "I had a look at {document}: it has 64 pages and waits because the file is protected by a password. "
                "If you upload it once more without the password, the summary is ready within a minute.",
            ),
            _DOCUMENT,
        ),
        Turn(
            ("How do I remove the password?", "I did not know that. Where can I switch it off?"),
            (
                "Open the file in your PDF reader, choose Print, then Save as PDF. The copy has no password. Delete "
                "the old file in the workspace, so that the summary is made from the right one.",
            ),
        ),
        Turn(
            ("It works now.", "Done, and the summary is there. It even found the clause on page 41."),
            ("Wonderful, {first}! I have closed the note on {document}.",),
            Lookup(
                "document_state", {"document": "{document}"}, {"document": "{document}", "state": "ready", "pages": 64}
            ),
        ),
    ),
    "new colleague": (
        Turn(
            (
                "Please add my colleague to our account, the address is {email}.",
                "We have a new bookkeeper: {email}, phone {phone}. Can she see our invoices?",
            ),
            (
                "I can invite {email} to your account {account}. Should the new colleague see invoices only, or "
                "documents as well?",
            ),
        ),
        Turn(
            ("Invoices only.", "Only the invoices please, and no trips."),
            (
                "The invitation is sent and holds for 7 days. The role is Invoices; you can change it under "
                "Settings, People.",
            ),
            _INVITE,
        ),
        Turn(
            ("What does a second user cost?",),
            ("Nothing in your plan: five people are included, and you are now two.",),
        ),
        _THANKS,
    ),
    "closing": (
        Turn(
            (
                "We want to close our account {account}. How do we get all our files?",
                "Hello, we are moving to another system. I need an export of everything in {account} before the end "
                "of the month.",
            ),
            (
                "I am sorry to see you go, {first}. I can start an export of all documents and invoices of {account} "
                "as a zip file. May I ask what you missed?",
            ),
        ),
        Turn(
            (
                "Mostly the price. Please start it. Our tax number is {ssn}.",
                "Please start it, we just do not travel any more.",
            ),
            ("The export {ticket} is running and ready within two hours. You get a link that holds for 30 days.",),
            _EXPORT,
        ),
        Turn(
            ("Will our data be deleted then?",),
            (
                "Yes. 30 days after the account is closed, documents and messages are deleted; invoices stay for ten "
                "years, because the law asks for it.",
            ),
        ),
    ),
    "late arrival": (
        Turn(
            (
                "We land at 23:50 in {city}. Will the hotel still be open? Booking {booking}",
                "Our train to {city} is late, does the hotel of {booking} keep the room?",
            ),
            (
                "I found {booking} for {date}. The reception in {city} is open all night, and your room is paid, so "
                "it is kept. Shall I tell them that you come late?",
            ),
            _BOOKING,
        ),
        Turn(
            ("Yes please. My number is {phone} in case they ask.", "Yes, tell them we come around one in the morning."),
            ("I have told the hotel. They will leave the side door open from midnight and your key at the desk.",),
        ),
        _THANKS,
    ),
}

_DESCRIPTIONS = {
    "find_booking": "Finds a booking by its reference and says whether it is confirmed, changed or cancelled.",
    "list_invoices": "Lists the newest invoices of an account with how often each was charged.",
    "open_ticket": "Opens a ticket for a team of people and returns its number and when an answer is due.",
    "refund": "Sends a payment back to the card it came from. Only up to 200 EUR without a ticket.",
    "change_seat": "Moves a traveller to another seat of the same flight.",
    "document_state": "Says whether a document is uploaded, waiting, ready or failed, and why.",
    "invite_user": "Invites a person to an account by e-mail.",
    "start_export": "Starts an export of all files of an account.",
}


def description(tool: str) -> str:
    """What the tool is for, as the model reads it."""
    return _DESCRIPTIONS[tool]


def tool_definitions() -> list[Json]:
    """The tools of the support agent as function definitions; all parameters are texts."""
    seen: dict[str, Json] = {}
    for turns in DIALOGUES.values():
        for lookup in (turn.lookup for turn in turns if turn.lookup):
            properties = {name: {"type": "string"} for name in lookup.arguments}
            seen[lookup.tool] = {
                "type": "function",
                "name": lookup.tool,
                "description": _DESCRIPTIONS[lookup.tool],
                "parameters": {"type": "object", "properties": properties, "required": list(properties)},
            }
    return [seen[name] for name in sorted(seen)]


def facts(rng: Random, date: str) -> dict[str, str]:
    """Fills every slot for one conversation."""
    name = words.person(rng)
    city, code = rng.choice(words.CITIES)
    start = rng.choice([c for _, c in words.CITIES if c != code])
    return {
        "first": name.split()[0],
        "greeting": rng.choice(("today", "again", "and have a nice weekend")),
        "email": words.email(rng, words.person(rng)),
        "phone": words.phone(rng),
        "card": words.card(rng),
        "ssn": f"078-05-{rng.randrange(1000, 9999)}",
        "account": words.reference(rng, "A"),
        "booking": words.reference(rng, "TW"),
        "invoice": words.reference(rng, "INV"),
        "older": words.reference(rng, "INV"),
        "ticket": words.reference(rng, "FIN"),
        "document": words.reference(rng, "DOC"),
        "amount": words.money(rng, 30, 199),
        "route": f"{start}-{code}",
        "city": city,
        "seat": f"{rng.randint(4, 29)}{rng.choice('ACDF')}",
        "status": rng.choice(("confirmed", "changed", "cancelled")),
        "date": date,
    }


def fill(value: object, slots: dict[str, str]) -> object:
    """`value` with every `{slot}` in its texts filled."""
    if isinstance(value, str):
        return value.format_map(slots)
    if isinstance(value, dict):
        return {key: fill(item, slots) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, slots) for item in value]
    return value
