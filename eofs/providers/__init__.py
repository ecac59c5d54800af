"""How to talk to each provider: a YAML file a provider, and their reading.

A file has the shape that a user may write for the same provider, with eodag's names for its keys:

    title, url, closed                         texts; `closed` says what became of a service that has ended
    terms                                      what to say where 403 means that terms are not accepted: where to do so
    like                                       of a built-in file: the one that it is laid over
    formerly                                   of a built-in file: its name in versions of eodag that gave it to another
                                               since; what a user writes under that name holds for both
    hosts                                      the provider's own hosts (`eofs.auth` says how one is written)
    known_by                                   the hosts of search results that name no provider, and are this one's;
                                               its own hosts where nothing is said. Further names of it, too
    auth:
      type                                     a row of `eofs.auth.KINDS`, or the eodag plug-in that does the same
      credentials                              by name; in lower case
      hosts                                    further hosts that may see them
      auth_error_code                          HTTP statuses that mean "log in"
      headers                                  those that carry a credential or a ``{token}``, by name
      optional                                 names of credentials in them that can be done without
      oidc_config_url, token_uri, auth_uri, refresh_uri, client_id, client_secret, request_method, req_data, req_format,
      retrieve_headers, auth_tuple, post_credentials, token_type, token_key, refresh_token_key, token_expiration_key,
      token_provision, token_qs_key, signed_url_key, audience, subject_issuer
                                               how a token or a signature is asked for, and sent (`eofs.tokens`)
      authorization_uri, redirect_uri, scope, login_form_xpath, authentication_uri_source, authentication_uri,
      additional_login_form_data, exchange_url_error_pattern, token_exchange_params, token_exchange_post_data_method
                                               how a log-in's page is filled in, and its code redeemed (`eofs.forms`)
      requester_pays                           true: the user pays for what he reads at S3 (`eofs.s3`)
      s3_endpoint                              as below
      subject                                  the settings of the log-in whose token is exchanged for the provider's
      netrc, password_command, keyring         where credentials are looked for besides (`eofs.credentials`)
      matching_url, matching_conf              as eodag: two providers that say the same share their credentials
      check_url                                an address that answers only to who is logged in
    download:
      base_uri, dl_url_params, ssl_verify, extract, order_enabled
      max_connections (or eodag's max_workers), retries, retry_delay, auth_error_code
      files                                    a row of `eofs.listings.LISTINGS`, or none
      s3_endpoint                              the store that has what is at ``s3://``; Amazon's where nothing is said
      order_link, order_method, order_headers, order_on_response, order_status, order_first, order_always, order_quota
                                               how it is ordered by a request, and asked after (`eofs.orders`)
    lookup:
      odata                                    the ``Products`` of an OData catalogue that finds a product by its name
      download_link                            where a product is that was found so: an address with ``{id}`` in it;
                                               ``…/Products({id})/$value`` of the catalogue where nothing is said

Other keys are let pass: eodag has many. The files say what, never if.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from eofs import auth
from eofs.errors import ConfigError
from eofs.model import OrderProtocol, Provider
from eofs.providers import protocols
from eofs.providers.layers import laid_over
from eofs.providers.values import (
    Unexpected,
    boolean,
    boolean_or_text,
    canonical,
    command,
    is_blank,
    number,
    text,
    texts,
    whole,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_NEVER_SHOWN = {
    *("credentials", "dl_url_params", "client_secret", "headers", "retrieve_headers", "req_data"),
    *("additional_login_form_data", "password_command"),
}
# The rows of `eofs.listings.LISTINGS`, which stands on a higher floor.
FILES = ("odata-nodes", "eumetsat-entries", "s3-objects")


def _hosts(value: object) -> tuple[tuple[str, bool], ...]:
    entries = tuple(auth.host_entry(word) for word in words(value))
    if None in entries:
        raise Unexpected("hosts such as 'example.org', 'example.org:8443', '.example.org' or 'http://10.0.0.1:8080'")
    return tuple(entry for entry in entries if entry is not None)


def _auth_type(value: object) -> str:
    """Read an auth type; a plug-in of eodag that eofs does not have is kept, and refused when it is needed."""
    written = text(value).strip()
    kind = auth.EODAG_KINDS.get(written.lower(), written.lower())
    if kind in auth.KINDS:
        return kind
    if written[0].isupper():
        return written
    raise Unexpected(f"one of {', '.join(auth.KINDS)}, or the name of an eodag plug-in")


def _credentials(value: object) -> dict[str, str]:
    return {name.lower(): each for name, each in texts(value).items()}


def _statuses(value: object) -> frozenset[int]:
    return frozenset(map(whole(100, 599), words(text(value) if isinstance(value, int) else value)))


def _order(value: object) -> str:
    return "get" if boolean(value) else "none"


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if (word := text(value).strip().lower()) not in choices:
            raise Unexpected(" or ".join(choices))
        return word

    return read


def _method(value: object) -> str:
    return _one_of("get", "post")(value).upper()


def _address(value: object) -> str:
    if auth.authority(written := text(value).strip()) is None:
        raise Unexpected("an address such as 'https://example.org/token'")
    return written


def _link_of_id(value: object) -> str:
    if "{id}" not in (written := _address(value)):
        raise Unexpected("an address with {id} in it, such as 'https://example.org/Products({id})/$value'")
    return written


def _files(value: object) -> str | None:
    """Read how files are listed; ``none`` undoes what a built-in file says."""
    word = text(value).strip().lower()
    if word not in {*FILES, "none"}:
        raise Unexpected(f"one of {', '.join(FILES)}, or none")
    return None if word == "none" else word


def _post_data_method(value: object) -> str:
    """Read eodag's word for the form of a request's body; its ``params`` would show the code in the address."""
    return {"data": "form", "json": "json"}[_one_of("data", "json")(value)]


@dataclass(frozen=True, slots=True)
class _Key:
    """One key of a provider's settings: where it stands, how it is read, the field of `Provider` that it fills."""

    path: str
    field: str
    read: Callable[[object], Any]


_count = whole(1, 1000)
_KEYS = (  # of two that fill one field, the later wins
    _Key("title", "title", text),
    _Key("closed", "closed", text),
    _Key("terms", "terms", text),
    _Key("hosts", "hosts", _hosts),
    _Key("known_by", "known_by", _hosts),
    _Key("auth.type", "auth", _auth_type),
    _Key("auth.method", "method", _one_of("basic", "digest")),
    _Key("auth.credentials", "credentials", _credentials),
    _Key("auth.hosts", "more_hosts", _hosts),
    _Key("download.auth_error_code", "auth_error_codes", _statuses),
    _Key("auth.auth_error_code", "auth_error_codes", _statuses),
    _Key("download.base_uri", "base_uri", text),
    _Key("download.dl_url_params", "dl_url_params", texts),
    _Key("download.ssl_verify", "ssl_verify", boolean),
    _Key("download.extract", "extract", boolean),
    _Key("download.order_enabled", "order", _order),
    _Key("download.max_workers", "max_connections", _count),
    _Key("download.max_connections", "max_connections", _count),
    _Key("download.files", "files", _files),
    _Key("download.s3_endpoint", "s3_endpoint", _address),
    _Key("auth.s3_endpoint", "s3_endpoint", _address),
    _Key("lookup.odata", "lookup", _address),
    _Key("lookup.download_link", "download_link", _link_of_id),
    _Key("download.retries", "retries", whole(0, 100)),
    _Key("download.retry_delay", "retry_delay", number("seconds, 0 or more", least=0)),
)

# What `Provider.protocol` holds: settings of `download`.
_ORDER_KEYS = (
    _Key("order_link", "link", text),
    _Key("order_method", "method", _method),
    _Key("order_headers", "headers", texts),
    _Key("order_first", "first", protocols.first),
    _Key("order_on_response.metadata_mapping", "on_response", texts),
    _Key("order_status.request.method", "status_method", _method),
    _Key("order_status.request.headers", "status_headers", texts),
    _Key("order_status.metadata_mapping", "status", texts),
    _Key("order_status.ordered", "ordered", protocols.conditions),
    _Key("order_status.success", "success", protocols.conditions),
    _Key("order_status.error", "error", protocols.conditions),
    _Key("order_status.on_success.metadata_mapping", "on_success", texts),
    _Key("order_status.on_success.need_search", "need_search", boolean),
    _Key("order_quota.orders", "most_orders", whole(1)),
    _Key("order_quota.hours", "quota_seconds", protocols.hours),
    _Key("order_always", "always", boolean),
)

# What `Provider.login` holds: settings of `auth`, or of its `subject`, that only a kind of log-in knows.
_LOGIN_READERS: tuple[tuple[Callable[[object], Any], str], ...] = (
    (_address, "oidc_config_url token_uri auth_uri refresh_uri authorization_uri authentication_uri redirect_uri"),
    (_address, "check_url"),
    (text, "client_id client_secret token_key refresh_token_key token_expiration_key token_qs_key signed_url_key"),
    (text, "scope login_form_xpath subject_issuer audience matching_url"),
    (canonical, "matching_conf"),
    (texts, "headers retrieve_headers req_data"),
    (texts, "token_exchange_params additional_login_form_data exchange_url_error_pattern"),
    (words, "auth_tuple optional"),
    (boolean, "post_credentials requester_pays netrc"),
    (command, "password_command"),
    (boolean_or_text, "keyring"),
    (_one_of("json", "text"), "token_type"),
    (_one_of("json", "form"), "req_format"),
    (_one_of("header", "qs"), "token_provision"),
    (_one_of("get", "post"), "request_method"),
    (_one_of("config", "login-form"), "authentication_uri_source"),
)
_LOGIN_KEYS = (
    *(_Key(name, name, read) for read, names in _LOGIN_READERS for name in names.split()),
    _Key("token_exchange_post_data_method", "req_format", _post_data_method),
)


@functools.cache
def builtin() -> dict[str, dict[str, Any]]:
    """Return the settings of the built-in providers, by name; not to be changed."""
    files = {file.name: file for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml")}
    read = {name.removesuffix(".yaml"): yaml.safe_load(files[name].read_bytes()) for name in sorted(files)}
    return {name: laid_over(read.get(says.pop("like", ""), {}), says) for name, says in read.items()}


def build(name: str, settings: Mapping[str, Any], *, source: str | None) -> Provider:
    """Return the provider that `settings` describe.

    Args:
        name: the provider's name.
        settings: a mapping of the shape above; blank values count as absent.
        source: where the credentials come from, for the user to read; errors name it too.

    Raises:
        ConfigError: a value cannot be meant.
    """
    read = {key: _read(key, name, settings, source) for key in _KEYS}
    found = {key.field: value for key, value in read.items() if value is not None}
    login = _below("auth", _LOGIN_KEYS, name, settings, source)
    if subject := _below("auth.subject", _LOGIN_KEYS, name, settings, source):
        login["subject"] = subject
    if protocol := _below("download", _ORDER_KEYS, name, settings, source):
        found["protocol"] = OrderProtocol(**protocol)
    if found.pop("method", None) == "digest":
        found["auth"] = "GenericAuth, method digest"
    own = [*_own_entry(found.get("base_uri")), *_own_entry(found.get("s3_endpoint"))]
    entries = [*own, *found.pop("hosts", ()), *found.pop("more_hosts", ())]
    known_by = found.pop("known_by", tuple(entries))
    if found.get("auth") == "s3" and "s3_endpoint" not in found:
        entries.append((".amazonaws.com", False))  # the store that is meant where none is named
    return Provider(
        name=name,
        hosts=tuple(dict.fromkeys(entry for entry, _ in entries)),
        insecure_hosts=tuple(dict.fromkeys(entry for entry, insecure in entries if insecure)),
        known_by=tuple(dict.fromkeys(entry for entry, _ in known_by)),
        credentials_from=source if found.get("credentials") else None,
        login=login,
        **found,
    )


def _below(
    place: str, keys: tuple[_Key, ...], name: str, settings: Mapping[str, Any], source: str | None
) -> dict[str, Any]:
    """Return what the settings below one place say, by the fields of its keys."""
    placed = (replace(key, path=f"{place}.{key.path}") for key in keys)
    return {key.field: value for key in placed if (value := _read(key, name, settings, source)) is not None}


def _own_entry(address: str | None) -> tuple[tuple[str, bool], ...]:
    """Return the host of an address that the settings themselves put in front of links; https unless loopback."""
    asked = auth.authority(address) if address else None
    if asked is None:
        return ()
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    return ((f"{host}:{asked.port}", False),)


def _read(key: _Key, name: str, settings: Mapping[str, Any], source: str | None) -> Any:
    """Return what the settings say of one key, None where they say nothing."""
    value: object = None
    try:
        value = _look_up(settings, key.path)
        return None if is_blank(value) else key.read(value)
    except Unexpected as error:
        shows = isinstance(value, str | int | float) and key.path.split(".")[-1] not in _NEVER_SHOWN
        shown = f" cannot be {str(value)[:60]!r}" if shows and "@" not in str(value) else ""
        place = f"{source}: {name}" if source else name
        raise ConfigError(f"{place}.{key.path}{shown}: expected {error}") from None


def _look_up(settings: Mapping[str, Any], path: str) -> object:
    """Return the value at a dotted path, None where there is none."""
    value: object = settings
    for part in path.split("."):
        if is_blank(value):
            return None
        if not isinstance(value, Mapping):
            raise Unexpected("a mapping of settings above it")
        value = value.get(part)
    return value
