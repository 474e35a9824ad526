"""What commands ask of the running fold process: a small document in `run/<name>`, answered by its token in the status.

`spanfold.flushing` is the side that asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanfold.exporter.durable import read_document

_ANSWERED = {
    "flush": "flushed",
    "compact": "compacted",
    "quarantine": "quarantined",
    "retain": "retained",
}  # key in `run/folder.json`


class Requests:
    """The requests of a data directory, and which of them this process has done."""

    def __init__(self, data: Path) -> None:
        self._directory = data / "run"
        self.answered: dict[str, str | None] = dict.fromkeys(_ANSWERED.values())

    def get(self, name: str) -> dict[str, Any] | None:
        """What is asked for, unless it is done already."""
        request = read_document(self._directory / name)
        return request if request and request["token"] != self.answered[_ANSWERED[name]] else None

    def done(self, name: str, request: Mapping[str, Any]) -> None:
        """Its token is the answer from now on."""
        self.answered[_ANSWERED[name]] = request["token"]
