"""Files of a folder add and override dialects; a bad one is refused with its line (TB-020 to TB-023)."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanfold.semconv.dialect_files import check_file, load_dialects, signature
from spanfold.semconv.dialects import BUILT_IN

ACME = """\
name: acme
about: Acme gateway 2
detect:
  prefixes: [acme.]
fields:
  operation: {key: acme.kind, values: {GEN: chat, true: embeddings}, only: true}
  request_model: acme.model
  input_tokens:
    - acme.in
    - {key: acme.usage, path: prompt}
content:
  input: [{key: acme.question, role: user}]
"""


def test_a_file_adds_a_dialect_before_the_built_in_ones(tmp_path: Path) -> None:
    """One YAML file is one more table, the most specific one; bare keys, mappings and lists are understood."""
    (tmp_path / "acme.yaml").write_text(ACME)
    loaded = load_dialects(tmp_path)
    first, *rest = loaded.dialects.tables
    assert (tuple(rest), loaded.own, loaded.refused) == (BUILT_IN, {"acme": "acme.yaml"}, ())
    assert [source.key for source in first.fields["input_tokens"]] == ["acme.in", "acme.usage"]
    assert first.fields["operation"][0].values == {"gen": "chat", "true": "embeddings"}


def test_a_file_overrides_or_switches_off_a_built_in_dialect(tmp_path: Path) -> None:
    """The table of the same name stands in the built-in one's place; `enabled: false` takes it out (TB-023)."""
    (tmp_path / "mine.yaml").write_text(ACME.replace("name: acme", "name: litellm"))
    (tmp_path / "off.yml").write_text("name: smolagents-nobody\nenabled: false\n")
    (tmp_path / "off2.yml").write_text("name: mlflow\nenabled: false\n")
    loaded = load_dialects(tmp_path)
    names = [table.name for table in loaded.dialects.tables]
    assert names == [table.name for table in BUILT_IN if table.name != "mlflow"]
    assert loaded.dialects.tables[names.index("litellm")].detect.prefixes == ("acme.",)
    assert loaded.switched_off == ("mlflow",)
    assert [str(refusal) for refusal in loaded.refused] == [
        "off.yml, line 1: smolagents-nobody: there is no built-in dialect of this name to switch off"
    ]


WRONG = {  # what stands instead -> line, part of the sentence
    ("  request_model: acme.model", "  requst_model: acme.model"): (7, "did you mean request_model?"),
    ("    - acme.in", "    - {path: x}"): (9, "no mapping with `key`"),
    ("path: prompt}", "pfad: prompt}"): (10, "unknown setting 'pfad'"),
    ("path: prompt}", "scale: much}"): (10, "a number is needed, not 'much'"),
    ("path: prompt}", "pattern: '('}"): (10, "pattern"),
    ("content:", "contents:"): (11, "did you mean content?"),
    ("role: user}]", "shape: round}]"): (12, "shape 'round'"),
    ("  prefixes: [acme.]", "  prefixes: {a: b}"): (4, "a list of texts is needed"),
    ("  prefixes: [acme.]", "  names: [acme.]"): (4, "unknown setting 'names'"),
    ("about: Acme gateway 2", "about: [Acme"): (3, "this is no YAML"),
    ("name: acme", "title: acme"): (1, "a mapping with a `name`"),
}


@pytest.mark.parametrize("change", WRONG)
def test_a_bad_file_is_refused_with_the_line_that_is_wrong(tmp_path: Path, change: tuple[str, str]) -> None:
    """File, line and reason; the good file beside it counts all the same."""
    assert change[0] in ACME
    (tmp_path / "bad.yaml").write_text(ACME.replace(*change))
    (tmp_path / "good.yaml").write_text(ACME.replace("name: acme", "name: good"))
    loaded = load_dialects(tmp_path)
    line, reason = WRONG[change]
    (refusal,) = loaded.refused
    assert str(refusal).startswith(f"bad.yaml, line {line}: ")
    assert reason in refusal.problem
    assert list(loaded.own) == ["good"]
    assert check_file(tmp_path / "bad.yaml")[1] == refusal


def test_two_files_of_one_name_are_not_both_in_force(tmp_path: Path) -> None:
    """The first of them by file name counts, the other is refused."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(ACME)
    loaded = load_dialects(tmp_path)
    assert loaded.own == {"acme": "a.yaml"}
    assert [str(refusal) for refusal in loaded.refused] == ["b.yaml, line 1: acme: a.yaml names a dialect so already"]


def test_the_folder_says_when_it_changed(tmp_path: Path) -> None:
    """Adding, changing and removing a file changes the signature; a folder that is not there is empty."""
    seen = [signature(tmp_path / "none"), signature(tmp_path)]
    for text in (ACME, ACME + "guarded: true\n"):
        (tmp_path / "acme.yaml").write_text(text)
        seen.append(signature(tmp_path))
    assert seen[0] == seen[1] == ()
    assert len(set(seen)) == 3
