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
from urllib.parse import unquote_plus, urlencode, urlsplit, urlunsplit

from eofs.errors import AccessRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eofs.model import Provider

DEFAULT_PORTS = {"https": 443, "http": 80}

_NAME = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
# No user, no backslash, no percent sign, nothing but ASCII: what two programs could read in two ways is no host.
_AUTHORITY = re.compile(rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>{_NAME})\.?)(?::(?P<port>[0-9]{{0,5}}))?")
_ENTRY = re.compile(rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>\.?{_NAME})\.?)(?P<port>:[0-9]{{1,5}}|:\*)?")
_NAME_IN_BRACES = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def _nothing(_provider: Provider, _url: str) -> Mapping[str, str]:
    return {}


def _no_names(_provider: Provider) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to log in: a row of `KINDS`. Nothing here asks anybody: `eofs.logins` fetches tokens.

    Attributes:
        name: what a provider's ``auth.type`` says.
        wants: names of the credentials without which it cannot work.
        takes: names of those that it makes use of besides, where they are there.
        headers: the headers that carry the credentials to an address that may receive them.
        query: what carries them in the address' query, by name.
        asks: a token or a signature has to be fetched first, by `eofs.logins`.
    """

    name: str
    wants: Callable[[Provider], tuple[str, ...]]
    takes: Callable[[Provider], tuple[str, ...]] = _no_names
    headers: Callable[[Provider, str], Mapping[str, str]] = _nothing
    query: Callable[[Provider, str], Mapping[str, str]] = _nothing
    asks: bool = False


def _wanting(*names: str) -> Callable[[Provider], tuple[str, ...]]:
    return lambda _provider: names


def _basic(provider: Provider, _url: str) -> Mapping[str, str]:
    return {"Authorization": basic(provider.credentials["username"], provider.credentials["password"])}


def _earthdata(provider: Provider, url: str) -> Mapping[str, str]:
    """Log in where every host of NASA's redirects to; the host itself then gives a cookie, which the client keeps.

    See "How To Access Data With PYTHON" in the wiki of urs.earthdata.nasa.gov.
    """
    at = authority(str(provider.login.get("auth_uri", EARTHDATA)))
    return _basic(provider, url) if at is not None and authority(url) == at else {}


def _filled_headers(provider: Provider, _url: str) -> Mapping[str, str]:
    """Fill ``auth.headers``; a cookie is one of them: ``Cookie: "seeedtoken={apikey}"``."""
    return filled(provider.login.get("headers", {}), provider.credentials)


def _all_credentials(provider: Provider, _url: str) -> Mapping[str, str]:
    return provider.credentials


def _in_headers(provider: Provider) -> tuple[str, ...]:
    return tuple(name for name in names_in(provider.login.get("headers", {})) if name not in _optional(provider))


def _optional(provider: Provider) -> tuple[str, ...]:
    return tuple(provider.login.get("optional", ()))


def _for_token(provider: Provider) -> tuple[str, ...]:
    """Return what the request for a token says by name, else all that there is."""
    return names_in(provider.login.get("req_data", {})) or tuple(provider.credentials) or ("username", "password")


_S3_KEYS = ("aws_access_key_id", "aws_secret_access_key")


def _begun_keys(provider: Provider) -> tuple[str, ...]:
    """Return both parts of a pair of keys of which there is one; where there is none, `eofs.s3` looks elsewhere."""
    return _S3_KEYS if any(name in provider.credentials for name in _S3_KEYS) else ()


EARTHDATA = "https://urs.earthdata.nasa.gov/"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("none", _no_names),
        Kind("basic", _wanting("username", "password"), headers=_basic),
        Kind("header", _in_headers, headers=_filled_headers),
        Kind("query", lambda provider: tuple(provider.credentials) or ("apikey",), query=_all_credentials),
        Kind("earthdata", _wanting("username", "password"), headers=_earthdata),
        Kind("oidc_password", _wanting("username", "password"), takes=_wanting("totp"), asks=True),
        Kind("oidc_code", _wanting("username", "password"), asks=True),
        Kind("oidc_exchange", _wanting("username", "password"), asks=True),
        Kind("client_credentials", _wanting("username", "password"), asks=True),
        Kind("token", _for_token, asks=True),
        Kind("s3", _begun_keys, takes=_wanting(*_S3_KEYS)),
        Kind("signed", _in_headers, takes=_optional, asks=True),
    )
}

# The plug-ins of eodag that do the same, in lower case.
EODAG_KINDS = {
    "genericauth": "basic",
    "httpbasicauth": "basic",
    "httpheaderauth": "header",
    "httpquerystringauth": "query",
    "keycloakoidcpasswordauth": "oidc_password",
    "oidcauthorizationcodeflowauth": "oidc_code",
    "oidctokenexchangeauth": "oidc_exchange",
    "tokenauth": "token",
    "awsauth": "s3",
    "sasauth": "signed",
}


def basic(username: str, password: str) -> str:
    """Return HTTP Basic in UTF-8 (RFC 7617); bytes that a variable held and that are not UTF-8 go as they are."""
    pair = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return f"Basic {b64encode(pair).decode('ascii')}"


def names_in(templates: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in braces in some templates, each once."""
    return tuple(dict.fromkeys(name for text in templates.values() for name in _NAME_IN_BRACES.findall(text)))


def filled(templates: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Put values in the place of their names in braces; a template of which one is not known is left out."""
    known = {name for name, value in values.items() if value}
    return {
        key: _NAME_IN_BRACES.sub(lambda found: values[found[1]], text)
        for key, text in templates.items()
        if known.issuperset(_NAME_IN_BRACES.findall(text))
    }


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
        AccessRefused: the configuration names a way to log in that this version does not know, or a credential is
            none that a header could carry.
    """
    kind = _kind_for(provider, url)
    return checked(provider, kind.headers(provider, url)) if kind else {}


def address(provider: Provider, url: str) -> str:
    """Return `url` with the credentials that go in its query, if it may receive them.

    Raises:
        AccessRefused: the configuration names a way to log in that this version does not know.
    """
    kind = _kind_for(provider, url)
    return with_query(url, kind.query(provider, url)) if kind else url


def checked(provider: Provider, headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that can be sent.

    Raises:
        AccessRefused: one holds a line break or another character that no header can carry (RFC 9110, section 5.5).
    """
    for name, value in headers.items():
        if not re.fullmatch(r"[ -~]*", value):
            raise AccessRefused(
                f"the credentials of {provider.name} hold a character that the header {name} cannot carry; check them"
            )
    return dict(headers)


def with_query(url: str, added: Mapping[str, str]) -> str:
    """Return an address with these names in its query, in place of those of the same names; to the letter else."""
    if not added:
        return url
    parts = urlsplit(url)
    pairs = filter(None, parts.query.split("&"))
    kept = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) not in added]
    return urlunsplit(parts._replace(query="&".join([*kept, urlencode(added)])))


def _kind_for(provider: Provider, url: str) -> Kind | None:
    """Return the way to log in at `url`; None where nothing is to be sent."""
    if not may_receive(provider, url) or missing(provider):
        return None
    if provider.auth not in KINDS:
        raise AccessRefused(f"no way to log in to {provider.name}: {how_to_supply(provider)}")
    return KINDS[provider.auth]


def optional(provider: Provider) -> tuple[str, ...]:
    """Return the names of further credentials that the provider makes use of, where they are there."""
    return KINDS[provider.auth].takes(provider) if provider.auth in KINDS else ()


def missing(provider: Provider) -> tuple[str, ...]:
    """Return the names of the credentials that are wanted but absent."""
    return tuple(name for name in wanted(provider) if name not in provider.credentials)


def how_to_supply(provider: Provider) -> str:
    """Return what a user can do to give the credentials that are wanted."""
    if provider.auth not in KINDS:
        return f"this version of eofs does not know the auth type {provider.auth!r}, use one of {', '.join(KINDS)}"
    names = missing(provider) or wanted(provider)
    if not names:
        return f"{provider.name} wants no credentials"
    if provider.login.get("netrc") and provider.hosts:
        machine = re.sub(r"^\.|:[0-9*]+$", "", provider.hosts[0])
        return f"add 'machine {machine} login … password …' to {provider.credentials_from}"
    file = f"to ~/.config/eodag/eodag.yml (under {provider.name}.auth.credentials)"
    if not re.fullmatch(r"[a-z0-9_]+", provider.name):
        return f"write {' and '.join(names)} {file}"
    variables = [f"EODAG__{provider.name}__AUTH__CREDENTIALS__{name}".upper() for name in names]
    return f"set {' and '.join(variables)}, or write {'it' if len(names) == 1 else 'them'} {file}"


def wanted(provider: Provider) -> tuple[str, ...]:
    """Return the names of the credentials without which nobody can log in."""
    return KINDS[provider.auth].wants(provider) if provider.auth in KINDS else ()
