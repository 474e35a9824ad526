"""The table of docs/receiving.md says what the tests say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "receiving.md"
ROW = re.compile(r"\| (\d+) \| (.+?) \| (yes|no) \|(.*)\|")


def rows() -> list[tuple[int, str, list[str]]]:
    """(item, yes or no, tests as `file: name`)."""
    found = (ROW.fullmatch(line) for line in TABLE.read_text().splitlines())
    return [(int(m[1]), m[3], [one.strip() for one in m[4].split(";") if one.strip()]) for m in found if m]


def docstrings() -> dict[str, str]:
    """The docstring of every test of a receiver, as the table names it."""
    found = {}
    for room in ("collector", "flow"):
        for path in (TESTS / room).glob("test_*.py"):
            file = path.stem.removeprefix("test_").removeprefix("checklist_")
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    found[f"{file}: {node.name.removeprefix('test_')}"] = ast.get_docstring(node) or ""
    return found


def cited(text: str) -> set[int]:
    """Item numbers of a docstring: at its beginning before a colon, or in round brackets."""
    text = re.sub(r"\[\d+\]", "", " ".join(text.split()))
    groups = re.findall(r"\(([\d, to]+?) ?(?:F\d+)?\)", text) + re.findall(r"^([\d, ]+):", text)
    numbers: set[int] = set()
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", ",".join(groups)):
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def test_every_item_has_its_test() -> None:
    """Each of the 84 items stands in the table once; what holds names tests that exist and cite the item's number."""
    table, known = rows(), docstrings()
    assert [item for item, _, _ in table] == list(range(1, 85))
    assert [item for item, holds, tests in table if holds == "yes" and not tests] == []
    wrong = [(item, test) for item, _, tests in table for test in tests if item not in cited(known.get(test, ""))]
    assert wrong == []
