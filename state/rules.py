"""The redaction rules as edited on this installation: data only, what they mean is the redactor's business."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from spanfold.state import audit
from spanfold.state.database import Database
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.tables import redaction_rules, settings_audit

RuleType = TypeVar("RuleType", bound=Any)  # the redactor's own dataclass, with the fields of RuleRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """One rule, field by field as the redactor takes it."""

    name: str
    pattern: str
    detector: str | None = None
    replacement: str
    enabled: bool = True


class Rules:
    """The rules of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[RuleRow]:
        columns = [redaction_rules.c[name] for name in RuleRow.__dataclass_fields__]
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(redaction_rules.c.name)).mappings()
            return [RuleRow(**row) for row in rows]

    def over(self, built_in: Sequence[RuleType]) -> list[RuleType]:
        """The rules in force: the built-in ones, each replaced by a row of its name, then the rows of new names."""
        rows = {row.name: asdict(row) for row in self.all()}
        merged = [dataclasses.replace(rule, **rows.pop(rule.name, {})) for rule in built_in]
        return merged + [type(built_in[0])(**row) for row in rows.values()]

    def put(self, rule: RuleRow, *, who: str) -> None:
        """Add a rule or replace the one of this name."""
        if not rule.name or not rule.replacement:
            raise Invalid("a redaction rule needs a name and a replacement")
        row = asdict(rule)
        with self._database.write() as connection:
            known = _find(connection, rule.name)
            insert = self._database.insert(redaction_rules)
            stamped = row | {"updated_at": self._database.now(), "who": who}
            updated = {name: insert.excluded[name] for name in stamped if name != "name"}
            connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=updated), stamped)
            action = "add" if known is None else "replace"
            audit.record(connection, self._database.now(), who, "rules", action, rule.name, known, row)

    def remove(self, name: str, *, who: str) -> None:
        with self._database.write() as connection:
            known = _find(connection, name)
            if known is None:
                raise NotFound(f"there is no redaction rule {name!r}")
            connection.execute(sa.delete(redaction_rules).where(redaction_rules.c.name == name))
            audit.record(connection, self._database.now(), who, "rules", "remove", name, known)

    def changed_at(self) -> dt.datetime | None:
        """When a rule last changed or went: the folder asks this, and reads the rules again only then."""
        query = sa.select(sa.func.max(settings_audit.c.changed_at)).where(settings_audit.c.area == "rules")
        with self._database.read() as connection:
            found: dt.datetime | None = connection.execute(query).scalar()
        return found


def _find(connection: sa.Connection, name: str) -> dict[str, object] | None:
    columns = [redaction_rules.c[field] for field in RuleRow.__dataclass_fields__]
    row = connection.execute(sa.select(*columns).where(redaction_rules.c.name == name)).mappings().first()
    return None if row is None else dict(row)
