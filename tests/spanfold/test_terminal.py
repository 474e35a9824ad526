"""What hostile spans print: every verb that shows words of senders, on spans sent through the real receiver."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner

from spanfold.cli import _sentence, cli
from tests.flow.sending import NOON, SECOND, chat, logs, product, span, traces
from tests.spanfold.conftest import message

pytestmark = pytest.mark.slow

# colours, a link, a title, 8-bit CSI, clearing the screen, overprinting, bells, direction and invisible marks
HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07 \x1b]0;title\x07 \x9b2J \x1b[2J\x1b[H over\rprinted "
    "\x07\x08 \u202egnp.exe\u2066 \x1bPq\x1b\\ \x1b_x\x1b\\ \x00 \u200f[bold]markup[/bold]"
)
FORMULAS = ["=1+1", "+1|x", "-2+3", "@SUM(A1)", "\t=1", "＝1+1", '=HYPERLINK("http://evil","x")']
KEPT = "gnp.exe"  # a word of it that has to be shown


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("hostile") / "data"
    root = span(1, 10, name=HOSTILE, long=HOSTILE * 9, **{HOSTILE: HOSTILE})
    root.events.add(name=HOSTILE, time_unix_nano=NOON).attributes.add(key=HOSTILE).value.string_value = HOSTILE
    call = chat(
        1, 11, 10, name=HOSTILE, model=HOSTILE, start=NOON + SECOND, session__id=HOSTILE, user__id=HOSTILE,
        spanfold__key=HOSTILE, spanfold__project=HOSTILE, gen_ai__agent__name=HOSTILE, error__type=HOSTILE,
        gen_ai__response__finish_reasons=[HOSTILE], history=[message("user", HOSTILE)],
        answer=[{"role": HOSTILE, "parts": [{"type": "tool_call", "name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}]}],
    )  # fmt: skip
    call.status.code, call.status.message = 2, HOSTILE
    with product(data) as running:
        running.send(traces([root, call], service=HOSTILE, scope=HOSTILE))
        formulas = [
            chat(2, 20 + at, name=text, model=text, session__id=text, user__id=text, error__type=text)
            for at, text in enumerate(FORMULAS)
        ]
        running.send(traces(formulas, service="=service"))
        running.send(logs([(1, 11, HOSTILE, {HOSTILE: HOSTILE})], service=HOSTILE), signal="logs")
        running.fold()
    return data


@pytest.mark.parametrize(("words", "shows"), [
    (("show", f"{10:016x}"), True), (("show", f"{11:016x}"), True), (("show", f"{1:032x}"), True), (("tail",), True),
    (("tail", "--spans"), True), (("stats", "--days", "3650"), True), (("explain-span", f"{10:016x}"), True),
    (("explain-span", f"{11:016x}"), True), (("sql", "SELECT name, service_name, attributes FROM spans"), True),
    (("sql", f"SELECT 1 AS \"{HOSTILE.replace(chr(0), '')}\""), True), (("prices", "unpriced"), True),
    (("status",), False),
    (("sql", "SELECT content FROM messages"), True), (("sql", f"SELECT nothing_{KEPT.replace('.', '')}\x1b[2J"), False),
    (("show", "\x1b[2Jx"), False),
    (("export", "--where", "\x1b]0;x\x07"), False), (("keys", "revoke", "\x9b2J"), False),
])  # fmt: skip
def test_only_text_reaches_the_terminal(data: Path, words: tuple[str, ...], shows: bool) -> None:
    """[38, 81] No escape, control character or direction mark of a sender is printed, nor one that was typed; the words
    are, and each stays on its own line."""
    result = CliRunner().invoke(cli, [*words, "--data", str(data)], env={"COLUMNS": "200"})
    printed = result.output + (_sentence(result.exception) if isinstance(result.exception, Exception) else "")
    wrong = {c for c in printed if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t\u200d"}
    assert wrong == set()
    assert (KEPT in printed) is shows


@pytest.mark.parametrize("words", [
    ("export", "--format", "csv"), ("export", "--format", "csv", "--content"), ("sql", "--csv", "FROM spans"),
    ("sql", "--csv", "FROM rollup_hourly"), ("sql", "--csv", "FROM conversations"),
])  # fmt: skip
def test_no_cell_of_a_csv_is_a_formula(data: Path, words: tuple[str, ...]) -> None:
    """[37] What senders named like formulas stands in a CSV as text, in every column; numbers stay numbers."""
    printed = CliRunner().invoke(cli, [*words, "--data", str(data)]).stdout
    _, *rows = csv.reader(io.StringIO(printed, newline=""))
    cells = [cell for row in rows for cell in row]
    assert len(rows) >= len(FORMULAS)
    assert any(cell == "'=1+1" for cell in cells)
    assert [cell for cell in cells if cell[:1] in "=+-@\t\r＝＋－＠" and cell and not _is_number(cell)] == []


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
