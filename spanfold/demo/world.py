"""Who sends in the demo: services, models, deploys, and which version runs when. Story days count from 1 to 30."""

from __future__ import annotations

from dataclasses import dataclass

STORY_DAYS = 30
SHIFT_DAY = 22  # the deploy that makes prod-frontend expensive
SHIFT_SECOND = (14 * 60 + 5) * 60  # 14:05 UTC


@dataclass(frozen=True, slots=True)
class Service:
    """A sending service; `key` is the `spanfold.key` that its resource carries."""

    name: str
    area: str  # service.namespace
    key: str
    first_version: str
    environment: str = "production"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the services call it, and how fast it answers."""

    provider: str
    request: str
    response: str
    host: str
    tokens_per_second: int
    first_chunk: float  # seconds


@dataclass(frozen=True, slots=True)
class Deploy:
    """A finished deploy of one service at a second of a story day."""

    day: int
    second: int
    service: str
    version: str
    pr_number: int
    title: str
    author: str


SERVICES = {
    service.name: service
    for service in (
        Service("summary-service", "customer-app", "prod-frontend", "3.8.0"),
        Service("support-agent", "customer-app", "prod-frontend", "2.4.1"),
        Service("trip-planner", "customer-app", "prod-frontend", "1.2.0"),
        Service("code-helper", "internal", "internal-tools", "1.11.4"),
        Service("knowledge-search", "internal", "internal-tools", "0.9.3"),
        Service("meeting-notes", "internal", "internal-tools", "0.4.0", environment="staging"),
        Service("invoice-pipeline", "platform", "background-jobs", "5.0.2"),
        Service("ticket-tagger", "platform", "background-jobs", "1.0.7"),
        Service("log-triage", "platform", "background-jobs", "0.2.0"),
    )
}

HAIKU = Model("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001", "api.anthropic.com", 150, 0.45)
SONNET = Model("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "api.anthropic.com", 72, 0.95)
GPT_5 = Model("openai", "gpt-5", "gpt-5-2025-08-07", "api.openai.com", 90, 2.2)
GPT_5_MINI = Model("openai", "gpt-5-mini", "gpt-5-mini-2025-08-07", "api.openai.com", 140, 1.1)
GPT_4O_MINI = Model("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "api.openai.com", 110, 0.4)
EMBEDDING = Model("openai", "text-embedding-3-small", "text-embedding-3-small", "api.openai.com", 9000, 0.08)
GEMINI = Model("gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash", "generativelanguage.googleapis.com", 190, 0.5)
MISTRAL = Model("mistral_ai", "mistral-large-latest", "mistral-large-2411", "api.mistral.ai", 60, 0.6)
LLAMA = Model("ollama", "llama3.1:8b", "llama3.1:8b", "localhost", 38, 0.3)
HOUSE = Model(
    "openai", "tidewater-clauses-v2", "tidewater-clauses-v2", "llm.tidewater.example", 55, 0.2
)  # in no price list


def _at(hour: int, minute: int) -> int:
    return (hour * 60 + minute) * 60


DEPLOYS = (
    Deploy(3, _at(11, 20), "knowledge-search", "0.9.4", 112, "Rank handbook passages by section", "leila.haddad"),
    Deploy(6, _at(15, 40), "support-agent", "2.5.0", 115, "Support agent can change seats", "jonas.bakker"),
    Deploy(9, _at(9, 55), "code-helper", "1.12.0", 117, "Run the tests before answering", "priya.iyer"),
    Deploy(12, _at(13, 10), "knowledge-search", "0.9.5", 119, "Retry 503 answers with a pause", "leila.haddad"),
    Deploy(14, _at(10, 30), "summary-service", "3.8.1", 121, "Log the page count of a document", "tomas.novak"),
    Deploy(17, _at(16, 5), "trip-planner", "1.3.0", 124, "Remember seat wishes of travellers", "jonas.bakker"),
    Deploy(19, _at(8, 45), "invoice-pipeline", "5.1.0", 126, "Move extraction to the flex tier", "greta.olsen"),
    Deploy(22, _at(9, 12), "code-helper", "1.12.1", 127, "Bump dependencies", "renovate"),
    Deploy(
        22, SHIFT_SECOND, "summary-service", "3.9.0", 129, "Summaries read the whole document, on upload", "tomas.novak"
    ),
    Deploy(22, _at(18, 40), "support-agent", "2.5.1", 130, "Friendlier words on the support page", "clara.hughes"),
    Deploy(26, _at(12, 15), "meeting-notes", "0.4.1", 133, "Keep the order of speakers", "leila.haddad"),
)


def version(service: Service, day: int, second: float) -> str:
    """The service.version that runs at that moment of the story."""
    found = service.first_version
    for deploy in DEPLOYS:
        if deploy.service == service.name and (deploy.day, deploy.second) <= (day, second):
            found = deploy.version
    return found
