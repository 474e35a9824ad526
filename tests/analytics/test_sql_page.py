"""docs/sql.md cannot lie: it names every column of every view, and its recipes run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.analytics.test_queries import NAMES, text_of
from tests.analytics.test_views import CONTRACT, full_lake, snapshot

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()


def test_every_column_is_documented(tmp_path: Path) -> None:
    """Each view has a section that names all its columns, and no section is about a view that is not there."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert sections.keys() == CONTRACT.keys()
    with snapshot(full_lake(tmp_path)) as connection:
        for view, text in sections.items():
            columns = {name for name, *_ in connection.sql(f"DESCRIBE {view}").fetchall()}
            assert columns <= set(re.findall(r"\w+", text)), view


def test_every_statement_is_listed() -> None:
    """The page lists the shipped statements, each once, and none that is not there."""
    (section,) = re.findall(r"^## Statements\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    missing = [f"| `{name}` | {_first_sentence(text_of(name))} |" for name in NAMES if name not in listed]
    assert not missing, "add these rows to docs/sql.md:\n" + "\n".join(missing)
    assert listed == NAMES


def _first_sentence(text: str) -> str:
    head = " ".join(line[2:].strip() for line in text.splitlines() if line.startswith("--"))
    return re.split(r"(?<=[.])\s+(?=[A-Z`$])", head)[0].rstrip(".").replace("|", "/")


@pytest.mark.parametrize("recipe", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
def test_recipes_run(tmp_path: Path, recipe: str) -> None:
    """Every recipe of the page gives rows on a small lake."""
    with snapshot(full_lake(tmp_path)) as connection:
        assert connection.sql(recipe).fetchall()
