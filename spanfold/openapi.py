"""One table of operations is the API: it parses parameters, writes the OpenAPI document, and makes the docs page.

The docs page is plain HTML without scripts: nothing is fetched from anywhere.
"""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from spanfold.state.access import READ

_PATH_NAME = re.compile(r"{(\w+)}")


class BadRequest(Exception):
    """A parameter has a value that it cannot have; the message is for the caller."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query or path parameter. `many`: may be given several times."""

    name: str
    meaning: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    many: bool = False
    default: Any = None
    required: bool = False

    def parse(self, values: Sequence[str]) -> Any:
        """Raises BadRequest."""
        if self.many:
            return tuple(self._one(value) for value in values)
        if len(values) > 1:
            raise BadRequest(f"{self.name} is given twice")
        if self.required and not values:
            raise BadRequest(f"{self.name} is missing: {self.meaning}")
        return self._one(values[0]) if values else self.default

    def _one(self, text: str) -> Any:
        kind, form = self.schema["type"], self.schema.get("format")
        if kind == "integer":
            low, high = self.schema.get("minimum", 0), self.schema.get("maximum", 1 << 31)
            if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
                raise BadRequest(f"{self.name} must be a number from {low} to {high}")
            return int(text)
        if kind == "boolean":
            if text not in ("true", "false"):
                raise BadRequest(f"{self.name} must be true or false")
            return text == "true"
        if form == "date-time":
            return _time(self.name, text)
        if "pattern" in self.schema and not re.fullmatch(self.schema["pattern"], text):
            raise BadRequest(f"{self.name} must fit {self.schema['pattern']}")
        if "enum" in self.schema and text not in self.schema["enum"]:
            raise BadRequest(f"{self.name} must be one of {', '.join(self.schema['enum'])}")
        return text

    def document(self, place: str) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": dict(self.schema)} if self.many else dict(self.schema)
        if self.default is not None:
            schema["default"] = self.default
        described = {"name": self.name, "in": place, "description": self.meaning, "schema": schema}
        return described | ({"required": True} if self.required or place == "path" else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `run` takes what the request may see, the values of the parameters by name and, for a
    POST, `body`."""

    path: str
    summary: str
    run: Callable[..., Any]
    answer: str  # what 200 holds, in words
    method: str = "GET"
    parameters: tuple[Parameter, ...] = ()
    body: type[Any] | None = None  # a pydantic model
    media: str = "application/json"
    errors: tuple[int, ...] = (400, 503)
    action: str = READ  # what the policy is asked

    def parse(self, path: Mapping[str, str], query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Values of all parameters. Raises BadRequest, also for a parameter that there is not: a misspelt filter must
        not give everything."""
        known = {parameter.name for parameter in self.parameters}
        if unknown := sorted({name for name, _ in query} - known):
            raise BadRequest(f"there is no parameter {unknown[0][:80]!r}: use {', '.join(sorted(known)) or 'none'}")
        given = {name: [value for key, value in query if key == name] for name in known}
        given |= {name: [value] for name, value in path.items()}
        return {parameter.name: parameter.parse(given[parameter.name]) for parameter in self.parameters}


ERRORS = {
    400: "A parameter is wrong.",
    401: "Nobody is signed in.",
    403: "The caller may not do this, content is closed here, or the host name or origin is not ours.",
    404: "There is no such thing.",
    409: "Somebody else was faster; `current` holds the newer decision.",
    413: "The body is too large.",
    415: "The body must be application/json.",
    429: "Too many requests; `retry-after` says when to come back.",
    503: "Nothing has been published yet.",
}


def document(title: str, version: str, operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Error": _ERROR}
    for operation in operations:
        described = _describe(operation)
        if operation.body is not None:
            name = operation.body.__name__
            schema = operation.body.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {}) | {name: schema}
            reference = {"schema": {"$ref": f"#/components/schemas/{name}"}}
            described["requestBody"] = {"required": True, "content": {"application/json": reference}}
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    info = {"title": title, "version": version, "description": "Times are UTC. Unknown is null."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def _describe(operation: Operation) -> dict[str, Any]:
    in_path = set(_PATH_NAME.findall(operation.path))
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    whole = {"application/json": {"schema": {"type": "object"}}, "application/x-ndjson": {"schema": {"type": "string"}}}
    name = re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path.removeprefix('/api')}").strip("_")
    return {
        "operationId": name,
        "summary": operation.summary,
        "parameters": [p.document("path" if p.name in in_path else "query") for p in operation.parameters],
        "responses": {
            "200": {"description": operation.answer, "content": {operation.media: whole[operation.media]}},
            **{str(code): {"description": ERRORS[code], "content": failed} for code in operation.errors},
        },
    }


def docs_page(title: str, operations: Sequence[Operation]) -> str:
    """The operations for a person."""
    sections = "".join(_section(operation) for operation in operations)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><main><h1>{html.escape(title)}</h1>"
        '<p>Machine-readable: <a href="openapi.json">openapi.json</a>. Times are UTC; unknown is null.</p>'
        f"{sections}</main></html>"
    )


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "h2{font-size:1.1rem;margin-top:2rem}code{font-family:ui-monospace,monospace}"
    "td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}pre{overflow:auto}"
)


def _section(operation: Operation) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(p.name)}</code><td>{html.escape(p.meaning)}"
        + (" May be given several times." if p.many else "")
        + (f" Default {html.escape(str(p.default))}." if p.default is not None else "")
        for p in operation.parameters
    )
    table = f"<table>{rows}</table>" if rows else ""
    body = ""
    if operation.body is not None:
        schema = orjson.dumps(operation.body.model_json_schema(), option=orjson.OPT_INDENT_2).decode()
        body = f"<details><summary>Body</summary><pre>{html.escape(schema)}</pre></details>"
    heading = f"<code>{operation.method} {html.escape(operation.path)}</code>"
    plain = operation.method == "GET" and "{" not in operation.path
    link = f' <a href="{html.escape(operation.path)}">open</a>' if plain else ""
    summary = f"{html.escape(operation.summary)} Answer: {html.escape(operation.answer)}"
    return f"<h2>{heading}{link}</h2><p>{summary}</p>{table}{body}"


def _time(name: str, text: str) -> dt.datetime:
    """RFC 3339 to naive UTC. A blank stands for the + that a URL turns into one."""
    try:
        time = dt.datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise BadRequest(f"{name} must be a time such as 2026-04-18T14:05:00Z") from None
    return time.replace(tzinfo=dt.UTC if time.tzinfo is None else time.tzinfo).astimezone(dt.UTC).replace(tzinfo=None)
