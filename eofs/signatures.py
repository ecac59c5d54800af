"""Signed addresses: how one is asked for, and for what and how long it is good. Values only.

The settings are those of eodag's plug-in `SASAuth`: ``auth_uri`` with ``{url}`` in it, ``signed_url_key`` of the
answer, ``headers`` with the credentials. Microsoft's Planetary Computer signs with a shared access signature of Azure
for the whole container (learn.microsoft.com, "Create a service SAS": ``sr`` tells what it is for, ``se`` when it ends);
the Data-Terra store signs one file, as Amazon S3 does ("Authenticating Requests: Using Query Parameters").
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from eofs import auth, tokens
from eofs.errors import ProviderFailed

if TYPE_CHECKING:
    from eofs.model import Provider
    from eofs.tokens import Answer, Question


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, for one address or for all that lie in one container.

    Attributes:
        place: the address, or the container's (``https://account.blob.core.windows.net/container``).
        signed: the signed address, or the query that signs each address of the container.
        of_container: which of the two.
        stale: seconds since the epoch from which on it is renewed; None where nobody says when it ends.
    """

    place: str
    signed: str = field(repr=False)
    of_container: bool
    stale: float | None

    def sign(self, url: str) -> str:
        """Return `url` signed."""
        return f"{url}{'&' if urlsplit(url).query else '?'}{self.signed}" if self.of_container else self.signed


# What a signature of Azure or of Amazon S3 is made of; and what tells that there is one.
_PART = re.compile(r"s(?:t|e|p|pr|v|r|ig|ip|koid|ktid|kt|ke|ks|kv)|X-Amz-.*")
_WHOLE = re.compile(r"(?:^|&)(?:sig|X-Amz-Signature)=")


def unsigned(url: str) -> str:
    """Return an address without the signature that it was saved with, which has ended or soon will."""
    parts = urlsplit(url)
    if not _WHOLE.search(parts.query):
        return url
    kept = (pair for pair in parts.query.split("&") if not _PART.fullmatch(pair.partition("=")[0]))
    return urlunsplit(parts._replace(query="&".join(kept)))


def container(url: str) -> str:
    """Return the container that an address lies in: its host, and the first part of its path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{parts.path.lstrip('/').partition('/')[0]}"


def question(provider: Provider, url: str) -> Question:
    """Return the request for the signature of `url`."""
    headers = auth.filled(provider.login.get("headers", {}), provider.credentials)
    signer = str(provider.login.get("auth_uri", "")).replace("{url}", quote(url, safe=""))
    return tokens.Question(signer, headers=auth.checked(provider, {"Accept": "application/json", **headers}))


def read(provider: Provider, answer: Answer, url: str, now: float) -> Signature:
    """Return the signature in an answer.

    Raises:
        AccessRefused, PassingFault, ProviderFailed: it was refused; another try may help; there is none in it.
    """
    tokens.refuse(provider, answer)
    signed = tokens.message(answer).get(provider.login.get("signed_url_key", "href"))
    if not isinstance(signed, str) or not auth.may_receive(provider, signed):
        raise ProviderFailed(f"{provider.name} sent no signed address on a host of its own; try again later")
    ends, asked, parts = _end(signed), urlsplit(url), urlsplit(signed)
    stale = None if ends is None else tokens.stale(now, ends)
    if parse_qs(parts.query).get("sr") != ["c"] or parts.path != asked.path:
        return Signature(url, signed, of_container=False, stale=stale)
    of_file = asked.query.split("&")
    query = "&".join(pair for pair in parts.query.split("&") if pair not in of_file)
    return Signature(container(url), query, of_container=True, stale=stale)


def _end(signed: str) -> float | None:
    """Return when a signed address ends, in seconds since the epoch; None where it does not say."""
    says = {name: values[0] for name, values in parse_qs(urlsplit(signed).query).items()}
    with contextlib.suppress(ValueError, KeyError, OverflowError):
        if "se" in says:
            found = datetime.fromisoformat(says["se"].replace("Z", "+00:00"))
            return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
        if "X-Amz-Date" in says:
            begun = datetime.strptime(says["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            return (begun + timedelta(seconds=int(says["X-Amz-Expires"]))).timestamp()
        return float(says["Expires"])
    return None
