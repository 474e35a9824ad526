"""Names and things of the invented company Tidewater (documents, trips and invoices for small firms).

All people, firms and addresses are made up; e-mail addresses use reserved example domains and telephone numbers the
reserved 555-01xx range.
"""

from __future__ import annotations

from random import Random

FIRST_NAMES = (
    "Maria", "Tomas", "Aisha", "Jonas", "Priya", "Lucas", "Ingrid", "Mateo", "Hannah", "Kofi", "Elena", "Daniel",
    "Yuki", "Sofia", "Omar", "Clara", "Viktor", "Nadia", "Peter", "Leila", "Samuel", "Greta", "Hugo", "Amara",
)  # fmt: skip
LAST_NAMES = (
    "Lindqvist", "Okafor", "Moreau", "Petrov", "Schneider", "Alvarez", "Tanaka", "Novak", "Hughes", "Rossi", "Bakker",
    "Fernandes", "Kowalski", "Mensah", "Olsen", "Haddad", "Murphy", "Costa", "Iyer", "Weber", "Sato", "Dubois", "Kim",
)  # fmt: skip
COMPANIES = (
    "Brightwell Foods", "Harrow & Finch", "Nordhavn Logistics", "Castellan Legal", "Pinegrove Clinics", "Mirador "
    "Hotels",
    "Oakline Furniture", "Solvang Energy", "Blue Heron Books", "Kestrel Robotics", "Granite Peak Outdoors",
    "Tallow & Co",
    "Riverside Dental", "Amberfield Schools", "Larkspur Studio", "Quayside Marine", "Juniper Textiles",
    "Stonebridge Audit",
)  # fmt: skip
CITIES = (
    ("Lisbon", "LIS"), ("Copenhagen", "CPH"), ("Kyoto", "KIX"), ("Montreal", "YUL"), ("Seville", "SVQ"),
    ("Oslo", "OSL"),
    ("Edinburgh", "EDI"), ("Porto", "OPO"), ("Vienna", "VIE"), ("Seattle", "SEA"), ("Athens", "ATH"), ("Krakow", "KRK"),
    ("Bologna", "BLQ"), ("Tallinn", "TLL"), ("Boston", "BOS"), ("Ljubljana", "LJU"),
)  # fmt: skip
TOPICS = (
    "the renewal of the office lease", "the new supplier for packaging", "the delayed warehouse move",
    "the pilot with the Rotterdam team", "the travel policy for contractors", "the switch to quarterly invoicing",
    "the onboarding of seasonal staff", "the audit findings of last year", "the insurance of the vehicle fleet",
    "the launch of the loyalty programme", "the data protection review", "the budget for trade fairs",
    "the maintenance of the cold chain", "the migration of the customer archive", "the hiring plan for the autumn",
)  # fmt: skip
TITLES = (
    "Master services agreement", "Quarterly business review", "Lease of the north warehouse",
    "Minutes of the board meeting",
    "Annual safety report", "Supplier audit", "Employee handbook", "Feasibility study for solar roofs",
    "Insurance policy",
    "Customer interviews, round two", "Tender for catering services", "Research notes on cold storage",
    "Grant application",
    "Incident review of the payment outage", "Market study for the Nordics", "Partnership proposal",
)  # fmt: skip
TEAMS = ("Payments", "Travel", "Documents", "Onboarding", "Platform", "Customer care")


def person(rng: Random) -> str:
    """A made-up first and last name."""
    return f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"


def email(rng: Random, name: str) -> str:
    """An address for `name` under a reserved example domain."""
    domain = rng.choice(("example.com", "example.org", "mail.example.net"))
    return f"{name.lower().replace(' ', '.')}@{domain}"


def phone(rng: Random) -> str:
    """A number in the range that is reserved for fiction."""
    return f"+1 ({rng.choice((202, 415, 617))}) 555-01{rng.randrange(100):02d}"


def card(rng: Random) -> str:
    """A payment card number of a test range, with a right Luhn digit."""
    digits = [4, 2, 4, 2, *(rng.randrange(10) for _ in range(11))]
    doubled = [2 * d if i % 2 == 0 else d for i, d in enumerate(digits)]
    check = -sum(d - 9 if d > 9 else d for d in doubled) % 10
    text = "".join(map(str, [*digits, check]))
    return " ".join(text[i : i + 4] for i in range(0, 16, 4))


def secret(rng: Random) -> str:
    """Text shaped like a provider's API key; it opens nothing."""
    alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"
    return "sk-proj-" + "".join(rng.choices(alphabet, k=40))


def money(rng: Random, low: int, high: int) -> str:
    """An amount such as `1,284.50`."""
    return f"{rng.randint(low * 100, high * 100) / 100:,.2f}"


def reference(rng: Random, prefix: str) -> str:
    """A business identifier such as `TW-48213`."""
    return f"{prefix}-{rng.randrange(10_000, 99_999)}"
