"""Tells of problems while `spanfold up` runs: what `spanfold status` names under errors, once each time it grows, and
when it is over. Where to is one setting: the log, an address, or a function. Nothing told ever holds content.
"""

from __future__ import annotations

import http.client
import importlib
import json
import logging
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, cast

from spanfold.errors import SettingInvalid
from spanfold.status import problems

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_AFTER_FAILURE_SECONDS = 5.0
_ANSWER_SECONDS = 5.0

Hook = Callable[[str, Mapping[str, Any]], None]


def load_hook(setting: str) -> Hook:
    """The hook that `error_hook` names: called with a sentence and its context (stage, count, state). A hook that
    raises is called again later. Raises SettingInvalid."""
    if setting == "log":
        return _to_log
    if setting.startswith(("https://", "http://")):
        return lambda problem, context: _post(setting, problem, context)
    module, _, function = setting.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingInvalid(
            f"error_hook = {setting!r} cannot be loaded ({error}): name it as module:function"
        ) from error
    if not callable(found):
        raise SettingInvalid(f"error_hook = {setting!r} is no function")
    return cast(Hook, found)


@contextmanager
def watching(data: Path, hook: Hook) -> Iterator[None]:
    """Within it, problems of this data directory are told."""
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(data, hook, stop), name="error-hook", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_ANSWER_SECONDS + 1)


def _watch(data: Path, hook: Hook, stop: threading.Event) -> None:
    told: dict[str, int] = {}  # stage -> the count that was told
    while not stop.wait(_LOOK_SECONDS):
        try:
            tell_changes(problems(data), told, hook)
        except Exception as error:  # theirs; the loop goes on
            _LOG.warning("the error hook failed: %s", type(error).__name__)
            stop.wait(_AFTER_FAILURE_SECONDS)


def tell_changes(found: Mapping[str, Mapping[str, Any]], told: dict[str, int], hook: Hook) -> None:
    """Calls the hook for what is new, what grew, and what is over; `told` remembers what it took."""
    for stage, error in found.items():
        if error["count"] > told.get(stage, 0):
            hook(str(error["last"]), {"stage": stage, "count": error["count"], "state": "failing"})
        told[stage] = error["count"]
    for stage in [stage for stage in told if stage not in found]:
        hook(f"{stage} works again", {"stage": stage, "count": 0, "state": "over"})
        del told[stage]


def _to_log(problem: str, context: Mapping[str, Any]) -> None:
    print(f"{context['stage']}: {problem} ({context['count']})", file=sys.stderr, flush=True)


_OF_MACHINES = [ip_network(net) for net in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32")]
_CARRIERS = [ip_network(net) for net in ("::ffff:0:0/96", "64:ff9b::/96", "::/96")]  # IPv6 that means an IPv4 address


def is_of_machines(address: str) -> bool:
    """Is this the address of a service that clouds give to each machine, and to nobody else, its credentials among
    them? In any spelling."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and any(found in net for net in _CARRIERS):
        found = ip_address(int(found) & 0xFFFFFFFF)
    return any(found in net for net in _OF_MACHINES)


def _connect(address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
    """Looks the name up once, and connects to an address that was checked: a second look might give another."""
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    if any(is_of_machines(str(one[4][0])) for one in found):
        raise OSError("link-local addresses, and those where clouds keep credentials, are not called")
    return socket.create_connection((str(found[0][4][0]), address[1]), timeout, source)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_checked(http.client.HTTPConnection), request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_checked(http.client.HTTPSConnection), request)


def _checked(kind: type[http.client.HTTPConnection]) -> Any:
    """Makes connections of this kind that go where `_connect` lets them."""

    def make(host: str, **options: Any) -> http.client.HTTPConnection:
        connection: Any = kind(host, **options)
        connection._create_connection = _connect
        return connection  # type: ignore[no-any-return]

    return make


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An address that was configured is the only one that is called."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect, _Http, _Https)


def _post(url: str, problem: str, context: Mapping[str, Any]) -> None:
    """Raises OSError for anything but a 2xx answer, and for an address that only machines' own services have."""
    body = json.dumps({"problem": problem, **context, "time_ns": time.time_ns()}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    _OPENER.open(request, timeout=_ANSWER_SECONDS).close()
