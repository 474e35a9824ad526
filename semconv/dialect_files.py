"""Dialects that a user adds or overrides: one YAML file each, in a folder.

A file's table stands before the built-in ones; with the name of a built-in one it takes its place, and
`enabled: false` switches that one off. A file that cannot be used is refused with the line that is wrong, and the
others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spanfold.semconv.detection import Dialects
from spanfold.semconv.dialect import Dialect, DialectError, read_dialect
from spanfold.semconv.dialects import BUILT_IN

SUFFIXES = (".yaml", ".yml")
Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was left out. `line` counts from 1; 0 where no line is to blame."""

    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.problem}" if self.line else f"{self.file}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tables in force, and what of a folder is not: `own` names the tables that files gave."""

    dialects: Dialects
    own: Mapping[str, str]  # dialect -> file
    switched_off: tuple[str, ...]
    refused: tuple[Refusal, ...]


def signature(folder: Path) -> Signature:
    """Changes when a file of the folder is added, changed or removed."""
    return tuple((str(path), (at := path.stat()).st_mtime_ns, at.st_size) for path in _files(folder))


def load_dialects(folder: Path, built_in: Sequence[Dialect] = BUILT_IN) -> Loaded:
    """The built-in tables with those of a folder's files, most specific first. A folder that is not there is empty."""
    own: dict[str, tuple[str, Dialect | None]] = {}
    refused = []
    for path in _files(folder):
        try:
            name, table = read_file(path)
            if name in own:
                raise DialectError(f"{name}: {own[name][0]} names a dialect so already", ("name",))
            if table is None and name not in {known.name for known in built_in}:
                raise DialectError(f"{name}: there is no built-in dialect of this name to switch off", ("name",))
        except (DialectError, OSError, UnicodeDecodeError) as error:
            refused.append(_refusal(path, error))
        else:
            own[name] = (path.name, table)
    known = [table.name for table in built_in]
    first = [table for name, (_, table) in own.items() if table and name not in known]
    rest = [own[table.name][1] if table.name in own else table for table in built_in]
    return Loaded(
        Dialects((*first, *(table for table in rest if table))),
        {name: file for name, (file, table) in own.items() if table},
        tuple(name for name, (_, table) in own.items() if table is None),
        tuple(refused),
    )


def read_file(path: Path) -> tuple[str, Dialect | None]:
    """(name, table) of one file; None for one that switches a dialect off. Raises DialectError, OSError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise _NotYaml(f"this is no YAML: {problem}", mark.line + 1 if mark else 0) from error
    if not isinstance(data, Mapping):
        raise DialectError("a dialect is a mapping with a `name`")
    rest: dict[Any, Any] = dict(data)
    enabled = rest.pop("enabled", True)
    if not isinstance(enabled, bool):
        raise DialectError(f"enabled: true or false is needed, not {enabled!r}", ("enabled",))
    if not enabled and isinstance(rest.get("name"), str):
        return str(rest["name"]), None
    table = read_dialect(rest)
    return table.name, table


def check_file(path: Path) -> tuple[str, Refusal | None]:
    """(the dialect's name, why the file cannot be used)."""
    try:
        return read_file(path)[0], None
    except (DialectError, OSError, UnicodeDecodeError) as error:
        return "", _refusal(path, error)


class _NotYaml(DialectError):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _refusal(path: Path, error: Exception) -> Refusal:
    if isinstance(error, _NotYaml):
        return Refusal(path.name, error.line, str(error))
    at = error.at if isinstance(error, DialectError) else None
    problem = str(error) if at is not None else f"it cannot be read: {error}"
    return Refusal(path.name, 0 if at is None else _line(path, at), problem)


def _line(path: Path, at: Sequence[str | int]) -> int:
    """The line of an entry, or of what it stands in where it is missing."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = node.start_mark.line if node is not None else 0
    for step in at:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if pair is None:
                if step == 0:  # a single entry may stand without its list
                    continue
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
        elif step != 0:
            break
    return line + 1


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
