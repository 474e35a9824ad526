"""Sign-in at an OpenID Connect provider by the authorization code flow with PKCE: where set, an outbound connection.

The provider says who somebody is, `spanfold users` says what they may do: who was not added there stays outside. What
signing in leads to is the same session that a password gives: it ends here, whatever the provider remembers.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spanfold.errors import SettingInvalid, SpanfoldError
from spanfold.settings import Settings
from spanfold.sign_in import SignIn, following
from spanfold.state.store import StateStore

log = logging.getLogger(__name__)
_NEXT = "spanfold-next"
_STRANGER = "You are not among the users here: ask who administers Spanfold to add you."
_UNPROVEN = (
    "Your provider does not say that {} is your address: verify it there and sign in again, or ask who administers "
    "Spanfold (setting oidc_trust_email)."
)


class Provider:
    """The routes /auth/start and /auth/callback. Raises SettingInvalid for a provider that cannot be one."""

    def __init__(self, settings: Settings, sign_in: SignIn, state: Callable[[], StateStore]) -> None:
        issuer = settings.oidc_issuer or ""
        if not settings.oidc_client_id or not settings.oidc_client_secret:
            raise SettingInvalid("oidc_issuer is set: set oidc_client_id and oidc_client_secret too")
        if not issuer.startswith("https://") and not _on_this_machine(issuer):
            raise SettingInvalid(f"oidc_issuer = {issuer!r} is no https:// address")
        self._settings, self._sign_in, self._state = settings, sign_in, state
        self._base = (settings.dashboard_url or f"http://{settings.host}:{settings.dashboard_port}").rstrip("/")

    def routes(self) -> list[Route]:
        return [Route("/auth/start", self.start), Route("/auth/callback", self.callback)]

    @cached_property
    def _client(self) -> Any:
        try:
            from authlib.integrations.starlette_client import OAuth
        except ImportError as error:
            raise SpanfoldError(f"sign-in at a provider needs Authlib ({error}): install spanfold[oidc]") from error
        issuer = str(self._settings.oidc_issuer).rstrip("/")
        return OAuth().register(
            "provider", server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_id=self._settings.oidc_client_id, client_secret=self._settings.oidc_client_secret,
            client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256"},
        )  # fmt: skip

    async def start(self, request: Request) -> Response:
        request.session[_NEXT] = following(request.query_params.get("next"))
        try:
            answer: Response = await self._client.authorize_redirect(request, f"{self._base}/auth/callback")
        except Exception:
            return self._failed()
        return answer

    async def callback(self, request: Request) -> Response:
        after = following(request.session.pop(_NEXT, None))
        try:
            claims = await self._claims(request)
        except Exception:
            return self._failed()
        name = str(claims.get(self._settings.oidc_claim) or "")
        if name and not self._proven(claims):
            return await self._refused(after, name, _UNPROVEN.format(name[:200]))
        user = await run_in_threadpool(self._state().users.get, name) if name else None
        if user is None:
            return await self._refused(after, name, _STRANGER)
        return await run_in_threadpool(self._sign_in.welcome, user.name, "oidc", after, request)

    async def _claims(self, request: Request) -> dict[str, Any]:
        """What the ID token says; where that leaves out what is needed, what the UserInfo endpoint says (OpenID Connect
        Core 5.4: the claims of a scope may come there only)."""
        token = await self._client.authorize_access_token(request)  # checks state, nonce, signature, audience
        claims = dict(token["userinfo"])
        if self._says_enough(claims):
            return claims
        if "userinfo_endpoint" not in await self._client.load_server_metadata():
            return claims
        more = dict(await self._client.userinfo(token=token))
        if more.get("sub") != claims.get("sub"):  # Core 5.3.2: else it may be somebody else's
            raise SpanfoldError("the UserInfo endpoint answered for another subject than the ID token")
        stated = bool(claims.get(self._settings.oidc_claim))
        return claims if stated and not self._says_enough(more) else more  # not one's address with the other's proof

    def _says_enough(self, claims: dict[str, Any]) -> bool:
        asks_for_proof = self._settings.oidc_claim == "email" and not self._settings.oidc_trust_email
        proven = not asks_for_proof or claims.get("email_verified") is not None
        return bool(claims.get(self._settings.oidc_claim)) and proven

    def _proven(self, claims: dict[str, Any]) -> bool:
        """Is the name one that nobody can take by writing it into a form? What the provider denies never is."""
        said = claims.get("email_verified")
        if self._settings.oidc_claim != "email":
            return True
        return self._settings.oidc_trust_email if said is None else said in (True, "true")  # some write it as text

    async def _refused(self, after: str, name: str, reason: str) -> Response:
        await run_in_threadpool(self._state().audit.note, name or "?", "sessions", "refused", "oidc")
        return self._sign_in.page(after, reason, 403)

    def _failed(self) -> Response:
        log.exception("sign-in at the provider failed")
        return self._sign_in.page("/", "Signing in at the provider failed: try again.", 502)


def _on_this_machine(issuer: str) -> bool:
    host = urlsplit(issuer).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
