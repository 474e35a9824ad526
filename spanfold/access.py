"""The one gate: who a request comes from, and whether the policy allows what it asks. UI, API, exports and SQL use it.

With `auth = "none"` (loopback only) everyone who reaches the port is the person that runs the server. With `login` a
caller is known by the cookie of a session or by a bearer token; both are looked up again after two seconds at the
latest, so that what was revoked is closed then.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from spanfold.errors import HostRefused, SettingInvalid, SpanfoldError
from spanfold.reading import operating_user
from spanfold.settings import Settings, is_loopback
from spanfold.state.access import ADMIN, ANY_TENANT, CONTENT, SQL, AccessRefused, Caller, Policy, local_caller
from spanfold.state.store import StateStore

if TYPE_CHECKING:
    from spanfold.analytics.queries import Reader

log = logging.getLogger(__name__)
REMEMBERED_SECONDS = 2.0
_MOST_REMEMBERED = 10_000
_SAID = {CONTENT: "read content", SQL: "run SQL", ADMIN: "administer"}  # others read as they are


class Forbidden(SpanfoldError, AccessRefused):
    """You may not do this: ask who administers Spanfold for the role."""


class NotSignedIn(SpanfoldError, AccessRefused):
    """Sign in first: send a session cookie, or `authorization: Bearer` with a token of `spanfold tokens add`."""


class Access:
    """The gate of one data directory. Safe for threads."""

    def __init__(self, settings: Settings, state: Callable[[], StateStore]) -> None:
        """`state` opens the control plane at first use. Raises SettingInvalid where the policy cannot be loaded."""
        self.asks_for_login = settings.auth == "login"
        self._policy, self._state = load_policy(settings.policy), state
        self._local = local_caller(operating_user())
        self._known: dict[tuple[str, str], tuple[float, Caller | None]] = {}
        self._lock = threading.Lock()

    def caller(self, *, session: str | None = None, token: str | None = None) -> Caller:
        """Raises NotSignedIn. A bearer token counts before a cookie."""
        if not self.asks_for_login:
            return self._local
        secret, kind = (token, "token") if token else (session, "session")
        found = self._lookup(secret, kind) if secret else None
        if found is None:
            raise NotSignedIn
        return found

    def forget(self, secret: str) -> None:
        """Look this session up again at its next use."""
        with self._lock:
            self._known.pop((secret, "session"), None)

    def allows(self, caller: Caller, action: str, tenant: str, resource: str) -> bool:
        """What the policy says; a policy that fails denies."""
        try:
            return self._policy(caller, action, tenant, resource) is True
        except Exception:
            log.exception("the policy failed on action=%s resource=%s: denied", action, resource)
            return False

    def tenants(
        self, caller: Caller, action: str, resource: str, reader: Callable[[], Reader]
    ) -> frozenset[str] | None:
        """The tenants in which the caller may do this, None = all. Raises Forbidden where there are none."""
        if caller.tenants is None and self.allows(caller, action, ANY_TENANT, resource):
            return None
        asked = caller.tenants if caller.tenants is not None else _all_tenants(reader())
        allowed = frozenset(tenant for tenant in asked if self.allows(caller, action, tenant, resource))
        if not allowed:
            raise Forbidden(
                f"{caller.name} may not {_SAID.get(action, action)} here: ask who administers Spanfold for the role"
            )
        return allowed

    def _lookup(self, secret: str, kind: str) -> Caller | None:
        now = time.monotonic()
        with self._lock:
            known = self._known.get((secret, kind))
            if known is not None and known[0] > now:
                return known[1]
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
        found = self._state().tokens.caller(secret, kind)
        with self._lock:
            self._known[secret, kind] = (now + REMEMBERED_SECONDS, found)
        return found


def load_policy(name: str) -> Policy:
    """The function of `module:function`. Raises SettingInvalid."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingInvalid(f"policy = {name!r} cannot be loaded ({error}): name it as module:function") from error
    if not callable(found):
        raise SettingInvalid(f"policy = {name!r} is no function")
    return cast(Policy, found)


def require_login(settings: Settings) -> None:
    """Raises HostRefused where others can reach the dashboard and nobody would be asked who they are."""
    if is_loopback(settings.host):
        return
    if settings.auth != "login":
        raise HostRefused(
            f"--host {settings.host} can be reached from other machines, and nobody would have to sign in: make a user "
            '(spanfold users add NAME --role admin) and set auth = "login" in spanfold.toml or SPANFOLD_AUTH=login, '
            "or listen on 127.0.0.1"
        )
    if settings.dashboard_url is None and settings.host in ("0.0.0.0", "::", ""):
        raise HostRefused(
            f"--host {settings.host} listens on every address: say at which one people reach the dashboard, with "
            'dashboard_url = "https://spanfold.example.com" in spanfold.toml or SPANFOLD_DASHBOARD_URL'
        )


def own_names(settings: Settings) -> frozenset[str]:
    """The host names under which requests may come; any other is refused (DNS rebinding)."""
    named = urlsplit(settings.dashboard_url).hostname if settings.dashboard_url else None
    return frozenset(name.lower() for name in ("localhost", settings.host, named) if name)


@lru_cache(maxsize=64)
def _tenants_of_version(reader: Reader, version: str) -> frozenset[str]:
    return reader.all_tenants()


def _all_tenants(reader: Reader) -> frozenset[str]:
    return _tenants_of_version(reader, reader.version)
