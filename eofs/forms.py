"""Logging in by a web page, without a browser: the page's form is filled in, and the code read that it leads to.

DestinE's Keycloak gives a code for name and password by its page alone, and for the code a token (`eofs.tokens`). The
settings are those of eodag's plug-in `OIDCAuthorizationCodeFlowAuth`, under their names. The protocols: RFC 6749,
section 4.1 (codes) and RFC 7636 (who redeems a code is who asked for it); OpenID Connect Core 1.0, section 3.1.

A redirect is followed on the hosts of the log-in and the provider's own, and the password is sent to the host of its
form and to no other. Where the last redirect leads, at ``redirect_uri``, nobody is asked: the code stands in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from eofs import auth, tokens
from eofs.errors import AccessRefused, ProviderFailed
from eofs.faults import MAX_REDIRECTS
from eofs.links import plain
from eofs.tokens import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from eofs.model import Provider
    from eofs.tokens import Answer

    Ask = Callable[[Question], Answer]  # keeps cookies, and follows no redirect

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGE = {"Accept": "text/html"}
_NOT_SENT = frozenset({"submit", "button", "image", "reset", "file"})
_ID = re.compile(r"@id\s*=\s*['\"]([^'\"]+)")


@dataclass(slots=True)
class Form:
    """A form of a page: where it is sent, and the fields that it is sent with as it stands."""

    id: str
    action: str
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    has_password: bool = False


class _Forms(HTMLParser):
    """Collects the forms of a page (HTML, section 4.10.21.4, "Constructing the entry list")."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a form, or note a field of the one that is open."""
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(said.get("id", ""), said.get("action", "")))
            self._is_inside = True
        elif tag == "input" and self._is_inside:
            kind, name = said.get("type", "text").lower(), said.get("name", "")
            self.found[-1].has_password |= kind == "password"
            if name and kind not in _NOT_SENT and ("checked" in said or kind not in {"checkbox", "radio"}):
                self.found[-1].fields[name] = said.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """End a form."""
        self._is_inside = self._is_inside and tag != "form"


def log_in(provider: Provider, ask: Ask, endpoint: str) -> dict[str, str]:
    """Log in at the page of an authorization endpoint; return what a token is given for.

    Raises:
        AccessRefused: the credentials are refused, or the provider wants more than them.
        PassingFault, ProviderFailed: another try may help; there is no such page, or no code.
    """
    says = tokens.settings(provider)
    if absent := [name for name in ("client_id", "redirect_uri") if not says.get(name)]:
        raise tokens.unsettled(provider, absent[0])
    back, state, verifier = str(says["redirect_uri"]), secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    asked = {
        "client_id": says["client_id"],
        "redirect_uri": back,
        "response_type": "code",
        "scope": says["scope"],
        "state": state,
        "code_challenge": urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    hosts = {auth.authority(endpoint)}
    at, page = _walk(provider, ask, Question(auth.with_query(endpoint, asked), headers=_PAGE), hosts)
    if page is not None:
        form = _form(page, says)
        if form is None:
            tokens.refuse(provider, page)
            raise ProviderFailed(f"{provider.name} shows no form to log in at {plain(at)}; check its auth settings")
        at, page = _walk(provider, ask, _filled(provider, form, at, says), hosts)
    if page is not None:
        raise _refusal(provider, at, page, says)
    code = _code(provider, at, state)
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}


def _walk(
    provider: Provider, ask: Ask, question: Question, hosts: set[auth.Authority | None]
) -> tuple[str, Answer | None]:
    """Ask, and where redirects lead; return the last address and its page, or None for what is not asked for."""
    says, name = tokens.settings(provider), provider.name
    for _ in range(MAX_REDIRECTS + 1):
        answer = ask(question)
        location = answer.headers.get("Location")
        if answer.status not in _REDIRECTS or not location:
            return question.url, answer
        url = _joined(provider, question.url, location)
        for pattern, meaning in says.get("exchange_url_error_pattern", {}).items():
            if pattern in url:
                raise AccessRefused(f"{name} refused the log-in: {meaning}; log in once at its web site")
        if _place(url) == _place(says["redirect_uri"]):
            return url, None
        if auth.authority(url) not in hosts and not auth.may_receive(provider, url):
            raise ProviderFailed(
                f"{name} leads from its log-in to {urlsplit(url).hostname}, which is not one of its hosts: if it is, "
                f"add it to {name}.auth.hosts"
            )
        question = Question(url, headers=_PAGE)  # by GET, also after 307: a password is not handed on
    raise ProviderFailed(f"{name} redirects without end at the log-in; try again later")


def _joined(provider: Provider, at: str, link: str) -> str:
    try:
        return urljoin(at, link)
    except ValueError:
        raise ProviderFailed(f"{provider.name} names an address that cannot be read at the log-in; try later") from None


def _place(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower(), parts.path or "/"


def _form(page: Answer, says: Mapping[str, Any]) -> Form | None:
    """Return the page's form that asks for a password; the one that ``login_form_xpath`` names, where it is there."""
    reader = _Forms()
    with contextlib.suppress(AssertionError):  # how it refuses marks that are no HTML
        reader.feed(page.body.decode("utf-8", "replace"))
    named = _ID.search(says.get("login_form_xpath", ""))
    forms = sorted((form for form in reader.found if form.has_password), key=lambda f: not named or f.id != named[1])
    return forms[0] if forms else None


def _filled(provider: Provider, form: Form, at: str, says: Mapping[str, Any]) -> Question:
    """Return the request that sends the form with the credentials in it, to its own host."""
    target = _joined(provider, at, form.action)
    if says.get("authentication_uri_source") == "config" and says.get("authentication_uri"):
        target = says["authentication_uri"]
    elif auth.authority(target) != auth.authority(at):
        raise AccessRefused(
            f"the form to log in to {provider.name} would send the password to {urlsplit(target).hostname}, which is "
            f"another host; if that is right, set {provider.name}.auth.authentication_uri to it, and "
            "authentication_uri_source to config"
        )
    # What eodag picks from the form by XPath is in its fields anyway.
    more = {n: text for n, text in says.get("additional_login_form_data", {}).items() if not text.startswith("xpath(")}
    data = {**form.fields, **more, **{name: provider.credentials[name] for name in auth.wanted(provider)}}
    headers = {**_PAGE, "Content-Type": "application/x-www-form-urlencoded"}
    return Question(target, "POST", headers, urlencode(data, errors="surrogateescape").encode("ascii"))


def _refusal(provider: Provider, at: str, page: Answer, says: Mapping[str, Any]) -> AccessRefused:
    """Return what it means that a page comes after the log-in."""
    if _form(page, says):
        return AccessRefused(
            f"{provider.name} refused the credentials at the log-in; check them: {auth.how_to_supply(provider)}"
        )
    tokens.refuse(provider, page)
    return AccessRefused(
        f"{provider.name} wants more than name and password, such as terms to be accepted; log in once with a browser "
        f"at {plain(at)}"
    )


def _code(provider: Provider, url: str, state: str) -> str:
    """Return the code in an address that the log-in leads back to (RFC 6749, sections 4.1.2 and 10.12)."""
    said = dict(parse_qsl(urlsplit(url).query))
    name = provider.name
    if not hmac.compare_digest(said.get("state", "").encode(), state.encode()):
        raise ProviderFailed(f"{name} answers a log-in that was not asked for (state); try again later")
    if error := said.get("error"):
        what = error if re.fullmatch(r"[a-z_]{1,60}", error) else "no reason given"
        if error == "access_denied":
            raise AccessRefused(f"{name} refused the log-in ({what}); check your rights at its web site")
        raise ProviderFailed(f"{name} gives no code for the log-in ({what}); check the settings in {name}.auth")
    if not said.get("code"):
        raise ProviderFailed(f"{name} gives no code for the log-in; check the settings in {name}.auth")
    return said["code"]
