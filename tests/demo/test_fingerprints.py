"""The prompt fingerprint over everything that the demo's templates can say."""

from __future__ import annotations

from collections import defaultdict

from spanfold.demo.prompts import TEMPLATES, fingerprint_cases
from spanfold.semconv.fingerprint import fingerprint


def test_a_template_has_one_fingerprint() -> None:
    """200 renderings of ten templates have ten fingerprints: one a template, none shared (LT-002)."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for template, system, user in fingerprint_cases():
        found[fingerprint(system, user)].add(template)
    assert sorted(found.values(), key=min) == [{template} for template in sorted(TEMPLATES)]
