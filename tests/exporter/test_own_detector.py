"""Detectors of installed packages, found by entry point."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spanfold.exporter.errors import RuleInvalid
from spanfold.exporter.redact import Redactor
from spanfold.exporter.redaction_rules import BUILT_IN, Rule

DETECTOR = '''
def badge(value, before, after):
    """Badges whose digits add up to ten, and none behind the word `old`."""
    digits = [int(c) for c in value if c.isdigit()]
    return [(0, len(value))] if sum(digits) == 10 and not before.endswith("old ") else []


def faulty(value, before, after):
    raise RuntimeError("no")
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "badges-1.0.dist-info"
    info.mkdir()
    (tmp_path / "badges.py").write_text(DETECTOR)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: badges\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[spanfold.detectors]\nbadge = badges:badge\nfaulty = badges:faulty\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "badges", raising=False)


@pytest.mark.usefixtures("package")
def test_a_detector_of_a_package_decides() -> None:
    """It sees the value and what stands around it; its marker stays when redacted again."""
    redactor = Redactor([*BUILT_IN, Rule("badge", r"B-\d{4}", "badge", "[BADGE]")])
    text, counts = redactor.text("B-1234, B-1235, old B-4321, a@b.com")
    assert (text, counts) == ("[BADGE], B-1235, old B-4321, [EMAIL]", {"badge": 1, "email": 1})
    assert redactor.text(text) == (text, {})


@pytest.mark.usefixtures("package")
def test_a_detector_that_fails_lets_nothing_through() -> None:
    """The text is replaced whole and counted; other texts are as they would be."""
    redactor = Redactor([Rule("badge", r"B-\d{4}", "faulty", "[BADGE]")])
    assert redactor.texts(["badge B-1234 of Ann", "none"]) == [("[REDACTION_FAILED]", {"redaction_failed": 1}), None]


def test_a_detector_of_no_package_is_refused() -> None:
    """By name, with those that are known."""
    with pytest.raises(RuleInvalid, match=r"no detector 'badge'; known: email, ip, luhn"):
        Redactor([Rule("badge", r"B-\d{4}", "badge", "[BADGE]")])
