"""Who may see a credential, and how it is sent. Nothing here speaks to the network.

A host entry, as a user writes it and as `Provider.hosts` holds it (`host_entry` turns the one into the other):

    peps.cnes.fr            that host at its scheme's own port (443, or 80 where plain http is allowed)
    peps.cnes.fr:8443       that host at that port
    127.0.0.1:*             that host at any port
    .cnes.fr                every host below cnes.fr, not cnes.fr itself; takes a port as above
    [::1]:8080              an IPv6 address, in brackets
    http://mirror.lan:8080  as without ``http://``, and plain http is good enough there

Loopback may always be spoken to in plain http, every other host only where an entry says ``http://``.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from eofs.errors import AccessRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eofs.model import Provider

DEFAULT_PORTS = {"https": 443, "http": 80}

_NAME = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
# No user, no backslash, no percent sign, nothing but ASCII: what two programs could read in two ways is no host.
_AUTHORITY = re.compile(rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>{_NAME})\.?)(?::(?P<port>[0-9]{{0,5}}))?")
_ENTRY = re.compile(rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>\.?{_NAME})\.?)(?P<port>:[0-9]{{1,5}}|:\*)?")


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to log in: a row of `KINDS`.

    Attributes:
        name: what a provider's ``auth.type`` says.
        wants: names of the credentials without which it cannot work.
        apply: credentials → the headers that carry them. It asks nobody: a kind that has to fetch a token first
            gets the token among its credentials.
    """

    name: str
    wants: tuple[str, ...]
    apply: Callable[[Mapping[str, str]], Mapping[str, str]]


def _no_headers(_credentials: Mapping[str, str]) -> Mapping[str, str]:
    return {}


def _basic(credentials: Mapping[str, str]) -> Mapping[str, str]:
    """HTTP Basic in UTF-8 (RFC 7617); bytes that a variable held and that are not UTF-8 go as they are."""
    pair = f"{credentials['username']}:{credentials['password']}".encode("utf-8", "surrogateescape")
    return {"Authorization": f"Basic {b64encode(pair).decode('ascii')}"}


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("none", (), _no_headers),
        Kind("basic", ("username", "password"), _basic),
    )
}

# The plug-ins of eodag that do the same, in lower case.
EODAG_KINDS = {"genericauth": "basic", "httpbasicauth": "basic"}


@dataclass(frozen=True, slots=True)
class Authority:
    """The part of an http address that says who is asked; `host` in lower case, without brackets or final dot."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Say whether the host is this machine, whatever a name server says."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def entries(self) -> frozenset[str]:
        """Return every host entry that would let this authority in."""
        names = [f"[{self.host}]" if ":" in self.host else self.host]
        names += [self.host[dot:] for dot, character in enumerate(self.host) if character == "."]
        ports = [f":{self.port}", ":*", *([""] if self.port == DEFAULT_PORTS[self.scheme] else [])]
        return frozenset(name + port for name in names for port in ports)


def authority(url: str) -> Authority | None:
    """Return whom an http or https address asks; None where that is not beyond doubt."""
    if any(character <= " " for character in url):
        return None
    try:
        parts = urlsplit(url)
        found = _AUTHORITY.fullmatch(parts.netloc.lower())
        if parts.scheme not in DEFAULT_PORTS or not found or not parts.netloc.isascii():
            return None
        host = str(ipaddress.IPv6Address(found["v6"])) if found["v6"] else found["name"]
    except ValueError:
        return None
    port = int(found["port"]) if found["port"] else DEFAULT_PORTS[parts.scheme]
    return Authority(parts.scheme, host, port) if port <= 65535 else None


def host_entry(text: str) -> tuple[str, bool] | None:
    """Return a user's host entry in the form of `Provider.hosts`, and whether plain http is good enough there.

    Returns:
        None where `text` is no host entry.
    """
    scheme, _, rest = text.strip().lower().rpartition("://")
    found = _ENTRY.fullmatch(rest.removesuffix("/"))
    if scheme not in {"", *DEFAULT_PORTS} or not found or not text.isascii():
        return None
    try:
        host = f"[{ipaddress.IPv6Address(found['v6'])}]" if found["v6"] else found["name"]
    except ValueError:
        return None
    return host + (found["port"] or ""), scheme == "http"


def may_receive(provider: Provider, url: str) -> bool:
    """Say whether credentials of `provider` may be sent to `url`: one of its hosts, in a scheme that is fit."""
    asked = authority(url)
    if asked is None:
        return False
    matching = asked.entries().intersection(provider.hosts)
    if asked.scheme == "http" and not asked.is_loopback:
        matching = matching.intersection(provider.insecure_hosts)
    return bool(matching)


def headers(provider: Provider, url: str) -> dict[str, str]:
    """Return the headers that log in at `url`.

    Returns:
        nothing where `url` may not receive credentials, or where there are none to send.

    Raises:
        AccessRefused: the configuration names a way to log in that this version does not know.
    """
    if not may_receive(provider, url) or missing(provider):
        return {}
    if provider.auth not in KINDS:
        raise AccessRefused(f"no way to log in to {provider.name}: {how_to_supply(provider)}")
    return dict(KINDS[provider.auth].apply(provider.credentials))


def missing(provider: Provider) -> tuple[str, ...]:
    """Return the names of the credentials that are wanted but absent."""
    return tuple(name for name in _wants(provider) if not provider.credentials.get(name))


def how_to_supply(provider: Provider) -> str:
    """Return what a user can do to give the credentials that are wanted."""
    if provider.auth not in KINDS:
        return f"this version of eofs does not know the auth type {provider.auth!r}, use one of {', '.join(KINDS)}"
    names = missing(provider) or _wants(provider)
    if not names:
        return f"{provider.name} wants no credentials"
    file = f"to ~/.config/eodag/eodag.yml (under {provider.name}.auth.credentials)"
    if not re.fullmatch(r"[a-z0-9_]+", provider.name):
        return f"write {' and '.join(names)} {file}"
    variables = [f"EODAG__{provider.name}__AUTH__CREDENTIALS__{name}".upper() for name in names]
    return f"set {' and '.join(variables)}, or write {'it' if len(names) == 1 else 'them'} {file}"


def _wants(provider: Provider) -> tuple[str, ...]:
    return KINDS[provider.auth].wants if provider.auth in KINDS else ()
