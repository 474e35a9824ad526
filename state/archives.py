"""The folders that retention has written call records to, whatever the settings name now: erasures look into all.

Each carries a mark in a file of its own, so that an empty mount point is not taken for the folder.
"""

from __future__ import annotations

import sqlalchemy as sa

from spanfold.state.database import Database
from spanfold.state.tables import archive_folders


class Archives:
    """The archive folders of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, path: str, mark: str) -> None:
        """This folder (an absolute path) is written to from now on; the first mark stays."""
        row = {"path": path, "mark": mark, "first_used": self._database.now()}
        with self._database.write() as connection:
            connection.execute(self._database.insert(archive_folders).values(row).on_conflict_do_nothing())

    def all(self) -> dict[str, str]:
        """Path -> mark, in order of the paths."""
        query = sa.select(archive_folders.c.path, archive_folders.c.mark).order_by(archive_folders.c.path)
        with self._database.read() as connection:
            return {row.path: row.mark for row in connection.execute(query)}
