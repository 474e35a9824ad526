"""Who may do what: the callers, the actions, and the one policy function that every way in asks.

A policy is any function `(caller, action, tenant, resource) -> bool`. The setting `policy = "module:function"` replaces
the one below; dashboard, API, exports and SQL all ask the function that is set, and nothing else decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

READ, CONTENT, REVIEW, EXPORT, SQL, ADMIN = "read", "content", "review", "export", "sql", "admin"
ACTIONS = (READ, CONTENT, REVIEW, EXPORT, SQL, ADMIN)
ROLES = ("read", "review", "export", "admin")
ANY_TENANT = "*"  # asked as tenant: may the caller do this whatever the tenant?


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `tenants` None = all there are."""

    name: str
    roles: frozenset[str]
    tenants: frozenset[str] | None = None
    via: str = "local"  # local (no login asked for) | session | token


Policy = Callable[[Caller, str, str, str], bool]


class AccessRefused(Exception):
    """Nobody is signed in, or who is may not do this."""


_GRANTS = {  # role -> what it may do
    "read": {READ, CONTENT},
    "review": {READ, CONTENT, REVIEW},
    "export": {READ, CONTENT, EXPORT, SQL},
    "admin": set(ACTIONS),
}


def default_policy(caller: Caller, action: str, tenant: str, resource: str) -> bool:
    """Roles grant actions, within the tenants of the caller; whatever no role grants is denied.

    `tenant` is a tenant's name, or `*` for "all there are"; `resource` names what is asked for, such as `trace` or
    `/api/v1/calls`, for policies that look closer than this one.
    """
    granted = any(action in _GRANTS.get(role, ()) for role in caller.roles)
    return granted and (caller.tenants is None or tenant in caller.tenants)


def local_caller(name: str) -> Caller:
    """Who uses a loopback address without login: the person who owns the files anyway."""
    return Caller(name, frozenset({"admin"}))
