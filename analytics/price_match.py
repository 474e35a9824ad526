"""Which model of the price book a name means. Matching is genai-prices' own (provider aliases, model clauses), asked
again with cleaned names, the provider in front of a slash, and the model alone; each step away costs confidence.

exact     the book knows this provider and this model name
assumed   the same after cleaning (path, region, date, tag), or no provider was stated
fallback  another provider's price for this model: a gateway, a proxy, or a cloud that resells it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from genai_prices.data_snapshot import DataSnapshot, find_provider_by_id, get_snapshot
from genai_prices.types import ModelInfo, Provider

CONFIDENCE = ("exact", "assumed", "fallback")  # best first
LOCAL = frozenset({"ollama", "llama.cpp", "llamacpp", "llama_cpp", "llamafile", "lmstudio", "lm_studio", "lm-studio",
                   "gpt4all", "mlx", "jan", "koboldcpp", "localai"})  # fmt: skip  # runs on the caller's machine: free
SELF_HOSTED = frozenset({"vllm", "sglang", "tgi", "triton", "transformers"})  # costs what the hardware costs: unpriced
_ALIASES = {  # OTel provider names that genai-prices does not know
    "gcp.gen_ai": "google", "azure.ai.inference": "azure", "x_ai": "x-ai", "ibm.watsonx.ai": "ibm",
}  # fmt: skip
_REGION = re.compile(r"^(us|eu|apac|jp|au|ca|sa|global|us-gov)\.")
_DATE = re.compile(r"[-@](20\d{2}-?[01]\d-?[0-3]\d|latest|\d{4})$")
_TAG = re.compile(r"(-v\d+)?:[\w.]+$")


@dataclass(frozen=True, slots=True)
class Match:
    """A model of the book. `own`: the provider lists it itself, so that its variants (batch, flex ...) hold."""

    provider: str
    model: str
    confidence: str
    own: bool = True
    info: ModelInfo | None = None  # None: a free local model, or one that only overrides know

    @property
    def price_key(self) -> str:
        return f"{self.provider}/{self.model}"


class Matcher:
    """Finds models by provider and model name. Answers are remembered."""

    def __init__(self, snapshot: DataSnapshot | None = None) -> None:
        self._snapshot = snapshot or get_snapshot()
        self._known: dict[tuple[str | None, str | None], Match | None] = {}

    @property
    def providers(self) -> list[Provider]:
        providers: list[Provider] = self._snapshot.providers
        return providers

    def find(self, provider: str | None, model: str | None) -> Match | None:
        key = (provider, model)
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def canonical(self, provider: str | None) -> str:
        """The book's name of a provider, or the name as it was stated."""
        stated = (provider or "").strip().lower()
        known = find_provider_by_id(self.providers, _ALIASES.get(stated, stated)) if stated else None
        return known.id if known is not None else stated

    def _find(self, provider: str | None, model: str | None) -> Match | None:
        stated = (provider or "").strip().lower()
        name = (model or "").strip().lower()
        if not name or stated in SELF_HOSTED:
            return None
        if stated in LOCAL:
            return Match(stated, "*", "exact")
        known = find_provider_by_id(self.providers, _ALIASES.get(stated, stated)) if stated else None
        if known is not None:
            for step, candidate in enumerate(name_forms(name)):
                if found := self._listed(known, candidate, "assumed" if step else "exact"):
                    return found
        return self._elsewhere(name, "fallback" if stated else "assumed")

    def _elsewhere(self, name: str, confidence: str) -> Match | None:
        """The provider in front of a slash, then whoever is known for such a name."""
        prefix, slash, rest = name.partition("/")
        named = find_provider_by_id(self.providers, _ALIASES.get(prefix, prefix)) if slash else None
        if named is not None:
            for candidate in name_forms(rest):
                if found := self._listed(named, candidate, confidence):
                    return found
        for candidate in name_forms(name):
            try:
                provider = self._snapshot.find_provider(candidate, None, None)
            except LookupError:
                continue
            if found := self._listed(provider, candidate, confidence):
                return found
        return None

    def _listed(self, provider: Provider, name: str, confidence: str) -> Match | None:
        info = provider.find_model(name, all_providers=self.providers)
        if info is None:
            return None
        own = any(info is model for model in provider.models)
        owner = provider if own else self._owner(info)
        return Match(owner.id, info.id, confidence if own else "fallback", own, info)

    def _owner(self, info: ModelInfo) -> Provider:
        return next(p for p in self.providers if any(info is model for model in p.models))


@cache
def name_forms(name: str) -> tuple[str, ...]:
    """The name, then forms of it with less around the model, most faithful first, each once."""
    return tuple(dict.fromkeys(_forms(name)))


def _forms(name: str) -> Iterator[str]:
    yield name
    last = name.rsplit("/", 1)[-1]
    yield last
    plain = _REGION.sub("", last)
    yield plain
    untagged = _TAG.sub("", plain)
    yield untagged
    yield _DATE.sub("", untagged)
