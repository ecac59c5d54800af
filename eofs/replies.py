"""What a provider's reply means: the table of replies of docs/SEMANTICS.md. Nothing here asks anybody."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import urllib3

from eofs import auth, complaints, heads
from eofs.errors import AccessRefused, Gone, NotReady, NotSupported, ProviderFailed
from eofs.faults import PassingFault, Staging, retry_after
from eofs.links import host_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

    from eofs.heads import Reply
    from eofs.model import Provider

LONGEST = 1 << 20  # bytes of what a provider has to say


def judge(
    response: requests.Response, provider: Provider, url: str, *, page: bool = False, body: bytes | None = None
) -> None:
    """Return if the reply carries bytes; raise what it means otherwise (the table of replies in docs/SEMANTICS.md).

    Args:
        response: the reply.
        provider: whose it is.
        url: what was asked for.
        page: a web page or JSON will do; data are refused where they are.
        body: what it carries, where that has been read.

    Raises:
        Staging, PassingFault, EofsError: not yet; another try may help, or would not.
    """
    status, name = response.status_code, provider.name
    said = heads.in_words(status)
    empty = response.headers.get("Content-Length") == "0"
    if status == 202 or (status in {200, 204} and empty) or status == 204:
        raise Staging(said)
    if status in {200, 206}:
        if not page:
            _refuse_messages(response, provider)
        _refuse_unknown_codings(response, provider)
        return
    if status in provider.auth_error_codes | {401, 403, 407}:
        raise _refused(provider, url, said)
    if status in {404, 410}:
        raise Gone(f"{name} no longer has the product ({said}); search again, or take it from another provider")
    if status == 429:
        if body is None:
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):  # its head is enough
                body = words_of(response)
        raise _slow_down(response.headers, provider, said, body or b"")
    if status in {408, 425} or status >= 500:
        raise PassingFault(ProviderFailed(f"{name} answers {said}; try again later"), retry_after(response.headers))
    raise ProviderFailed(f"{name} answers {said}; the link in the search result may be out of date")


def _refused(provider: Provider, url: str, said: str) -> AccessRefused:
    name = provider.name
    if not auth.may_receive(provider, url):
        return AccessRefused(
            f"{host_of(url)} refused ({said}); the credentials of {name} are not sent there, as it is not one of its "
            f"hosts: if it is, add it to {name}.auth.hosts"
        )
    if provider.terms and said.startswith("403"):
        return AccessRefused(f"{name} refused ({said}): {provider.terms}")
    return AccessRefused(f"{name} refused the credentials ({said}); check them, and your rights to this product")


def _slow_down(headers: Mapping[str, str], provider: Provider, said: str, body: bytes) -> PassingFault:
    words = complaints.in_words(provider, body)
    told = f"{said}: {words}" if words else said
    return PassingFault(
        NotReady(f"{provider.name} asks to slow down ({told}); try again later"), complaints.pause(headers, body)
    )


def words_of(response: requests.Response) -> bytes:
    """Return what a reply has to say, the beginning of it; nothing of what are data. Raises what urllib3 does."""
    kind = _kind(response)
    is_said = not kind or "json" in kind or kind.startswith("text/")
    return bytes(response.raw.read(LONGEST, decode_content=True)) if is_said else b""


def refuse_web_page(response: requests.Response, provider: Provider) -> None:
    """Refuse a web page, as for a log-in, that comes in place of what was asked for."""
    if _kind(response) in {"text/html", "application/xhtml+xml"}:
        raise AccessRefused(
            f"{provider.name} sent a web page instead of the data, as for a log-in; check the credentials, and whether "
            "its licence has been accepted on its web site"
        )


def _kind(response: requests.Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _refuse_messages(response: requests.Response, provider: Provider) -> None:
    """Refuse a web page or a message that comes in place of the data."""
    refuse_web_page(response, provider)
    kind = _kind(response)
    if kind in {"application/json", "application/problem+json"} and "Content-Disposition" not in response.headers:
        raise ProviderFailed(f"{provider.name} sent a message instead of the data; try again later")


def _refuse_unknown_codings(response: requests.Response, provider: Provider) -> None:
    """Refuse bytes that were compressed for their way by what cannot be undone here."""
    unknown = heads.codings(response.headers).difference(urllib3.HTTPResponse.CONTENT_DECODERS)
    if unknown:
        raise NotSupported(
            f"{provider.name} compresses what it sends ({', '.join(sorted(unknown))}), though it was asked not to; "
            "tell the provider"
        )


def reply(response: requests.Response) -> Reply:
    """Return what the head of a 200 or 206 says of the body.

    Raises:
        PassingFault: a 206 that does not say which bytes it carries.
    """
    found = heads.read(response.status_code, response.headers)
    if found is None:
        said = response.headers.get("Content-Range", "nothing")
        raise PassingFault(ProviderFailed(f"the provider says {said!r} of the bytes it sends; try again later"))
    return found
