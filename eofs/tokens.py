"""How a token is asked for, and what the answer means. Values only: `eofs.logins` sends and receives.

The settings are those of eodag's plug-ins `KeycloakOIDCPasswordAuth`, `TokenAuth`, `OIDCAuthorizationCodeFlowAuth` and
`OIDCTokenExchangeAuth`, under their names; a kind of log-in is what it presumes of them (`PRESUMED`). The protocols:
RFC 6749, sections 4.1.3 (code), 4.3 (password), 4.4 (client credentials), 5 (answers) and 6 (refresh); RFC 8693 (token
exchange); RFC 6238 (one-time codes).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from eofs import auth, complaints, heads
from eofs.errors import AccessRefused, NotReady, ProviderFailed
from eofs.faults import PassingFault, retry_after
from eofs.links import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eofs.model import Provider

EARLY = 60.0  # seconds before its end that a token or a signature is renewed
CODE_PERIOD = 30  # seconds for which a one-time code is good

_OAUTH = {
    "token_type": "json",
    "token_key": "access_token",
    "refresh_token_key": "refresh_token",
    "token_expiration_key": "expires_in",
}
# What each kind of log-in takes for granted; the provider's own settings win.
PRESUMED: dict[str, dict[str, Any]] = {
    "oidc_password": {**_OAUTH, "req_data": {"grant_type": "password"}, "post_credentials": True},
    "client_credentials": {
        **_OAUTH,
        "req_data": {"grant_type": "client_credentials"},
        "auth_tuple": ("username", "password"),
        "post_credentials": False,
    },
    "token": {"token_type": "text", "token_key": "access_token"},
    "oidc_code": {**_OAUTH, "scope": "openid"},
    "oidc_exchange": _OAUTH,
}
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name, not a secret


@dataclass(frozen=True, slots=True)
class Question:
    """A request for a token or a signature; only its address may be shown, without the query."""

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def said(self) -> str:
        """Return the status in words."""
        return heads.in_words(self.status)


@dataclass(frozen=True, slots=True)
class Token:
    """What a provider gave for the credentials. Times are in seconds since the epoch.

    Attributes:
        stale: from then on it is renewed; None where only the provider knows.
        refresh: what a new one is to be had for without the credentials, or None.
        refresh_ends: until when.
    """

    value: str = field(repr=False)
    stale: float | None = None
    refresh: str | None = field(default=None, repr=False)
    refresh_ends: float | None = None


def settings(provider: Provider) -> dict[str, Any]:
    """Return the settings of a provider's log-in, with those that its kind presumes."""
    presumed = PRESUMED.get(provider.auth, {})
    data = {**presumed.get("req_data", {}), **provider.login.get("req_data", {})}
    return {**presumed, **provider.login, "req_data": data}


def question(provider: Provider, url: str, now: float) -> Question:
    """Return the request that gives the credentials for a token.

    Raises:
        AccessRefused: the credentials cannot be meant.
    """
    says, credentials = settings(provider), dict(provider.credentials)
    if secret := credentials.get("totp"):
        credentials["totp"] = code(provider, secret, now)
    data = {**_client(says), **auth.filled(says["req_data"], credentials)}
    embedded = auth.names_in({"url": url, **says["req_data"]})
    if says.get("post_credentials", not embedded):
        data.update(credentials)
    quoted = {name: quote(value, safe="") for name, value in credentials.items()}
    address = auth.filled({"url": url}, quoted).get("url", url)
    return _request(provider, address, data, says.get("request_method", "post").upper())


def redeeming(provider: Provider, url: str, grant: Mapping[str, str]) -> Question:
    """Return the request that gives a grant, such as a code, for a token; its names as the provider calls them."""
    says = settings(provider)
    names = says.get("token_exchange_params", {})
    data = {names.get(name, name): value for name, value in {**grant, **_client(says)}.items()}
    return _request(provider, url, data, "POST")


def refreshing(provider: Provider, url: str, refresh: str) -> Question:
    """Return the request that gives a refresh token for a new token (RFC 6749, section 6)."""
    return redeeming(provider, url, {"grant_type": "refresh_token", "refresh_token": refresh})


def exchanging(provider: Provider, url: str, subject: Token) -> Question:
    """Return the request that gives the token of another service for one of the provider's (RFC 8693, section 2.1)."""
    says = settings(provider)
    grant = {"grant_type": _EXCHANGE, "subject_token": subject.value, "subject_token_type": _ACCESS_TOKEN}
    return redeeming(provider, url, {**grant, **{n: says[n] for n in ("subject_issuer", "audience") if n in says}})


def _client(says: Mapping[str, Any]) -> dict[str, str]:
    return {name: says[name] for name in ("client_id", "client_secret") if says.get(name)}


def _request(provider: Provider, url: str, data: Mapping[str, str], method: str) -> Question:
    says = settings(provider)
    templates = {n: text for n, text in says.get("headers", {}).items() if "token" not in auth.names_in({n: text})}
    headers = {
        "Accept": "application/json",
        **auth.filled(says.get("retrieve_headers", templates), provider.credentials),
    }
    pair = [provider.credentials.get(name, "") for name in says.get("auth_tuple", ())]
    if len(pair) == 2:
        headers["Authorization"] = auth.basic(*pair)
    if method == "GET":
        return Question(url, method, auth.checked(provider, headers))
    as_json = says.get("req_format") == "json"
    headers["Content-Type"] = "application/json" if as_json else "application/x-www-form-urlencoded"
    body = msgspec.json.encode(data) if as_json else urlencode(data, errors="surrogateescape").encode("ascii")
    return Question(url, method, auth.checked(provider, headers), body)


def read(provider: Provider, answer: Answer, asked: float, before: Token | None = None) -> Token:
    """Return the token in an answer.

    Args:
        provider: whose it is.
        answer: what came back.
        asked: when it was asked for.
        before: the token that was refreshed: a new one may come without a refresh token of its own.

    Raises:
        AccessRefused: the credentials, or the client, were refused.
        PassingFault, ProviderFailed: another try may help; there is no token in it.
    """
    refuse(provider, answer)
    says = settings(provider)
    as_json = says["token_type"] == "json"  # noqa: S105 - the form of the answer, not a secret
    said = message(answer) if as_json else {}
    value = _at(said, says["token_key"]) if as_json else answer.body.decode("utf-8", "replace").strip()
    if not isinstance(value, str) or not re.fullmatch(r"[!-;=?-~]+", value):  # nor a web page
        raise ProviderFailed(f"{provider.name} sent no token where one was asked for; check the addresses in its auth")
    lasts = _seconds(_at(said, says.get("token_expiration_key")))
    refresh = _at(said, says.get("refresh_token_key"))
    token = Token(value, stale=stale(asked, asked + lasts) if lasts is not None else None)
    if not isinstance(refresh, str) or not refresh:
        return replace(token, refresh=before.refresh, refresh_ends=before.refresh_ends) if before else token
    lasts = _seconds(_at(said, "refresh_expires_in"))  # as Keycloak says it; 0 is without end
    return replace(token, refresh=refresh, refresh_ends=asked + lasts if lasts else None)


def stale(now: float, ends: float) -> float:
    """Return when to renew what ends then: a minute before, but not before half of its time is over."""
    return max(ends - EARLY, (now + ends) / 2)


def refuse(provider: Provider, answer: Answer) -> None:
    """Raise what an answer means that is not what was asked for.

    Raises:
        AccessRefused, PassingFault, ProviderFailed: likewise.
    """
    if answer.status == 200:
        return
    name, said = provider.name, answer.said
    error = message(answer).get("error")
    if error in {"invalid_client", "unauthorized_client"} and provider.auth.startswith("oidc_"):
        raise AccessRefused(f"{name} refused the client ({said}); check {name}.auth.client_id and client_secret")
    if error == "invalid_grant" or answer.status in {401, 403} or error == "invalid_client":
        what = "the credentials or the one-time code" if provider.credentials.get("totp") else "the credentials"
        raise AccessRefused(f"{name} refused {what} at the log-in ({said}); check them: {auth.how_to_supply(provider)}")
    again = retry_after(answer.headers)
    if answer.status == 429:
        raise PassingFault(NotReady(f"{name} asks to slow down at the log-in ({said}); try again later"), again)
    if answer.status in {408, 425} or answer.status >= 500:
        raise PassingFault(ProviderFailed(f"{name} answers {said} at the log-in; try again later"), again)
    raise ProviderFailed(f"{name} answers {said} at the log-in; check the addresses and the settings in {name}.auth")


def unsettled(provider: Provider, what: str) -> AccessRefused:
    """Return what to say where a setting is missing."""
    return AccessRefused(f"it is not known where to log in to {provider.name}; set {provider.name}.auth.{what}")


def endpoint(provider: Provider, description: Answer, what: str) -> str:
    """Return the address for a ``token`` or an ``authorization`` (OpenID Connect Discovery 1.0, section 3).

    Raises:
        ProviderFailed: the description names none, or one on a host that is neither its own nor the provider's.
    """
    name, described = provider.name, provider.login["oidc_config_url"]
    found = str(message(description).get(f"{what}_endpoint", ""))
    asked, told = auth.authority(described), auth.authority(found)
    if told is None or (told != asked and not auth.may_receive(provider, found)):
        raise ProviderFailed(
            f"{name} does not say at {plain(described)} where to log in, or on a host that is not its own; set "
            f"{name}.auth.{what}_uri"
        )
    return found


def message(answer: Answer) -> dict[str, Any]:
    """Return the object in an answer; an empty one where it holds none."""
    said = complaints.decoded(answer.body)
    return said if isinstance(said, dict) else {}


def _at(said: object, path: str | None) -> object:
    """Return what stands at a path such as ``data.token`` or ``$.data.token``; None where nothing does."""
    for part in path.removeprefix("$.").split(".") if path else ():
        said = said.get(part) if isinstance(said, dict) else None
    return said if path else None


def _seconds(value: object) -> float | None:
    try:
        return max(0.0, float(value)) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def carried(provider: Provider, token: Token, url: str) -> tuple[str, dict[str, str]]:
    """Return the address and the headers that carry a token (RFC 6750, section 2)."""
    says = settings(provider)
    if says.get("token_provision") == "qs":
        return auth.with_query(url, {says.get("token_qs_key", "token"): token.value}), {}
    headers = says.get("headers", {})
    if "token" not in auth.names_in(headers):
        headers = {**headers, "Authorization": "Bearer {token}"}
    return url, auth.checked(provider, auth.filled(headers, {**provider.credentials, "token": token.value}))


def is_code(totp: str) -> bool:
    """Say whether what stands for ``totp`` is a code, good for one log-in, and not the secret that makes codes."""
    return bool(re.fullmatch(r"[0-9]{6,8}", totp.strip()))


def code(provider: Provider, totp: str, now: float) -> str:
    """Return the one-time code of a moment: of six digits, SHA-1, 30 seconds (RFC 6238, section 4; RFC 4226, 5.3).

    Raises:
        AccessRefused: what stands for ``totp`` is neither a code nor a secret in base32.
    """
    if is_code(totp):
        return totp.strip()
    secret = re.sub(r"[\s=-]", "", totp).upper()
    try:
        key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    except (binascii.Error, ValueError):
        raise AccessRefused(
            f"the totp of {provider.name} is neither a code of six digits nor a secret in base32 (A-Z, 2-7); check it"
        ) from None
    digest = hmac.digest(key, struct.pack(">Q", int(now) // CODE_PERIOD), "sha1")
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"
