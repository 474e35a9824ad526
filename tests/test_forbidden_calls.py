"""[35, 82] What must not be in the product at all, whatever calls it: ways from data to code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("analytics", "collector", "dashboard", "exporter", "semconv", "spanfold", "state")
MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib", "cloudpickle"}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "subprocess.getoutput"}


def found(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) of each call that turns text into code or a shell's command, or that draws text as HTML."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((node.lineno, name) for name in names if name.split(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in NAMES:
            yield node.lineno, node.func.id
        if ast.unparse(node.func) in ATTRIBUTES:
            yield node.lineno, ast.unparse(node.func)
        for word in node.keywords:
            if word.arg in ("shell", "unsafe_allow_html", "allow_pickle", "unsafe_allow_javascript"):
                yield node.lineno, word.arg


@pytest.mark.parametrize("room", ROOMS)
def test_no_way_from_data_to_code(room: str) -> None:
    """No pickle, eval, exec, unsafe YAML, shell, or unsafe HTML anywhere in a room."""
    paths = [path for path in (ROOT / room).rglob("*.py") if not path.is_relative_to(ROOT / room / ".venv")]
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in paths
        for line, what in found(ast.parse(path.read_text(), str(path)))
    ]
    assert paths
    assert wrong == []


def test_the_search_finds_them() -> None:
    """Each kind is found where it stands."""
    text = (
        "import pickle\nfrom shelve import open\neval(x)\nos.system(x)\nyaml.load(x)\nf(x, shell=True)\nre.compile(x)"
    )
    assert [what for _, what in sorted(found(ast.parse(text)))] == [
        "pickle", "shelve", "eval", "os.system", "yaml.load", "shell",
    ]  # fmt: skip
