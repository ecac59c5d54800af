"""On what terms a search result says that its links can be asked: STAC's extensions for log-ins and for object stores.

https://github.com/stac-extensions/authentication (version 1.1) and https://github.com/stac-extensions/storage (versions
1 and 2). They are read when a product is brought, from its own feature: a result of very many products does not keep
what one of them needs now and then.

Nothing here makes a result's word good for a credential: where one may go is said by the user and by the built-in
providers alone. So an ``authorizationApi`` that signs addresses, a token's or a discovery's address are not even read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from eofs.buckets import is_link
from eofs.catalog.envelope import NOT_JSON, decode
from eofs.catalog.values import text
from eofs.model import LogIn, Terms

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKS = (b'"auth:', b'"storage:')


class _Item(msgspec.Struct):
    properties: Any = None
    assets: Any = None


_ITEM = msgspec.json.Decoder(_Item)
_VARIABLE = re.compile(r"\{(\w+)\}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what may stand in a sentence that a user is to follow
_STORE = re.compile(r"https?://(?P<host>[A-Za-z0-9.-]+)(?::[0-9]+)?(?:/[^?#\s]*)?")
_AMAZON = re.compile(r"(?:.*\.)?amazonaws\.com(?:\.cn)?")

# How each type of log-in reads, and what a user's own provider file would say of it.
_BASIC = "{type: basic, credentials: {username: …, password: …}}"
_BEARER = '{type: header, headers: {Authorization: "Bearer {token}"}, credentials: {token: …}}'
_LOG_INS = {
    "http": ("HTTP authentication", _BASIC),
    "http basic": ("a user name and a password (HTTP Basic)", _BASIC),
    "http bearer": ("a token in the header Authorization", _BEARER),
    "oauth2": ("a token of OAuth 2", "{type: oidc_password, token_uri: …, client_id: …, credentials: …}"),
    "openIdConnect": (
        "a log-in by OpenID Connect",
        "{type: oidc_password, oidc_config_url: …, client_id: …, credentials: …}",
    ),
    "signedUrl": ("signed addresses", "{type: signed, auth_uri: …}"),
    "s3": (
        "keys of an object store (S3)",
        "{type: s3, s3_endpoint: …, credentials: {aws_access_key_id: …, aws_secret_access_key: …}}",
    ),
}
_API_KEYS = {
    "header": (
        "an API key in the header {}",
        '{{type: header, headers: {{{}: "{{apikey}}"}}, credentials: {{apikey: …}}}}',
    ),
    "query": ("an API key as {} in the query", "{{type: query, credentials: {{{}: …}}}}"),
    "cookie": (
        "an API key in the cookie {}",
        '{{type: header, headers: {{Cookie: "{}={{apikey}}"}}, credentials: {{apikey: …}}}}',
    ),
}


def read_terms(feature: bytes) -> dict[str, tuple[Terms, ...]]:
    """Return what a feature says of its assets' links, by link; one `Terms` for each service that has the link's bytes.

    A link of which nothing is said is not in it.
    """
    if not any(mark in feature for mark in _MARKS):
        return {}
    try:
        item = decode(_ITEM, feature)
    except NOT_JSON:
        return {}
    properties, found = _mapping(item.properties), {}
    for place in _places(_mapping(item.assets)):
        if (link := text(place.get("href"))) and (terms := _terms(link, place, properties)) != (Terms(),):
            found[link] = terms
    return found


def _places(assets: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield each asset and its alternates; what an alternate does not say of itself holds for it as for the asset."""
    for asset in map(_mapping, assets.values()):
        yield asset
        for other in map(_mapping, _mapping(asset.get("alternate")).values()):
            yield {"auth:refs": asset.get("auth:refs"), "storage:refs": asset.get("storage:refs"), **other}


def _terms(link: str, place: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[Terms, ...]:
    known = _mapping(properties.get("auth:schemes"))
    refs = _listed(place.get("auth:refs"))
    login = next((login for ref in refs if (login := _login(_mapping(known.get(ref))))), None)
    if not is_link(link):
        return (Terms(login=login, is_open=bool(known) and not refs),)
    schemes = _mapping(properties.get("storage:schemes"))
    stores = [_mapping(schemes.get(ref)) for ref in _listed(place.get("storage:refs")) if ref in schemes]
    if not stores:  # version 1
        pays = place.get("storage:requester_pays", properties.get("storage:requester_pays"))
        return (Terms(login=login, requester_pays=pays is True),)
    return tuple(
        Terms(login=login, endpoint=_endpoint(store), requester_pays=store.get("requester_pays") is True)
        for store in stores
    )


def _endpoint(store: Mapping[str, Any]) -> str | None:
    """Return the address of a store that is not Amazon's; a bucket that is part of its host may stand in the path."""
    platform = (text(store.get("platform")) or "").replace("{bucket}.", "").replace("/{bucket}", "")
    platform = _VARIABLE.sub(lambda name: text(store.get(name[1])) or name[0], platform)
    found = _STORE.fullmatch(platform)
    return platform.rstrip("/") if found and not _AMAZON.fullmatch(found["host"].lower()) else None


def _login(scheme: Mapping[str, Any]) -> LogIn | None:
    """Return what a scheme asks for; of the result's own words only a name that is beyond doubt is repeated."""
    kind = scheme.get("type")
    if kind == "apiKey":
        name, place = text(scheme.get("name")) or "", text(scheme.get("in"))
        if _NAME.fullmatch(name) and place in _API_KEYS:
            words, settings = _API_KEYS[place]
            return LogIn(words.format(name), settings.format(name))
        return LogIn("an API key", "{type: header, headers: …, credentials: …}")
    if kind == "http":
        kind = f"http {text(scheme.get('scheme')) or ''}".strip().lower()
        kind = kind if kind in _LOG_INS else "http"
    if isinstance(kind, str) and kind in _LOG_INS:
        return LogIn(*_LOG_INS[kind])
    return LogIn("a log-in", "…") if kind else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(value: object) -> list[str]:
    """Return the texts of a list; a text by itself is a list of one, as version 2 of the storage extension has it."""
    found = [value] if isinstance(value, str) else value
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
