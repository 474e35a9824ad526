"""The rooms import one way, and nothing imports the roof."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "semconv": set(),
    "exporter": {"semconv"},
    "collector": {"semconv", "exporter"},
    "analytics": {"semconv", "exporter"},
    "state": set(),
    "dashboard": {"analytics", "state"},
}


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, at any level of it."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "spanfold")
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "spanfold":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"relative import in {path.name}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_one_way(room: str) -> None:
    """A room imports itself and what stands before it, by full name; never the roof."""
    allowed = MAY_IMPORT[room] | {room}
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for name in imported(path)
        if (name.split(".")[1:2] and name.split(".")[1] not in allowed) or not name.startswith("spanfold.")
    }
    assert wrong == set()


def test_every_room_is_linked() -> None:
    """Each top folder imports under `spanfold` through a relative link, and there are no others."""
    links = {path.name: str(path.readlink()) for path in (ROOT / "spanfold").iterdir() if path.is_symlink()}
    assert links == {room: f"../{room}" for room in MAY_IMPORT}
