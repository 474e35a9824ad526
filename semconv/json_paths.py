"""Ways into nested values: paths, dotted keys that stand for a structure, first elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from spanfold.semconv.loose_json import looks_like_json, opened, read_json


def lookup(attributes: Mapping[str, Any], key: str) -> Any:
    """The value under a key, or a map of what lies below it (`response.raw.id` below `response.raw`)."""
    if key in attributes:
        return opened(attributes[key])
    prefix = key + "."
    below = {k[len(prefix) :]: opened(v) for k, v in attributes.items() if k.startswith(prefix)}
    return unflatten(below) if below else None


def unflatten(entries: Mapping[str, Any]) -> Any:
    """`{"0.message.role": "user", "0.message.content": "hi"}` -> `[{"message": {"role": "user", "content": "hi"}}]`.

    Positions order a list; a missing position is left out (an SDK's attribute cap drops the oldest)."""
    root: dict[str, Any] = {}
    for path, value in entries.items():
        node, steps = root, path.split(".")
        for step in steps[:-1]:
            inner = node.get(step)
            if not isinstance(inner, dict):
                inner = node[step] = {} if inner is None else {"": inner}
            node = inner
        if isinstance(node.get(steps[-1]), dict):
            node[steps[-1]][""] = value
        else:
            node[steps[-1]] = value
    return _listed(root)


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(step.isdigit() for step in node):
        return [_listed(node[step]) for step in sorted(node, key=int)]
    return {step: _listed(inner) for step, inner in node.items()}


def reach(value: Any, path: str) -> Any:
    """The value at a path of names, positions and `*` separated by `/`; None where there is nothing. Strings that
    hold JSON are opened on the way. `*` gives a list of what lies below, in order."""
    for at, step in enumerate(path.split("/") if path else ()):
        if isinstance(value, str) and looks_like_json(value):
            value = read_json(value)[0]
        if step == "*":
            rest = "/".join(path.split("/")[at + 1 :])
            found = [reach(item, rest) for item in value] if isinstance(value, list) else []
            return [item for item in found if item is not None]
        if isinstance(value, list) and step.lstrip("-").isdigit() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def flat(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        for item in value:
            yield from flat(item)
    elif value is not None:
        yield value
