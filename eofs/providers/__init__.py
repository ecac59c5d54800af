"""How to talk to each provider: a YAML file a provider, and their reading.

A file has the shape that a user may write for the same provider, with eodag's names for its keys:

    title, url, closed                         texts; `closed` says what became of a service that has ended
    hosts                                      the provider's own hosts (`eofs.auth` says how one is written)
    known_by                                   the hosts of search results that name no provider, and are this one's;
                                               its own hosts where nothing is said
    auth:
      type                                     a row of `eofs.auth.KINDS`, or the eodag plug-in that does the same
      credentials                              by name; in lower case
      hosts                                    further hosts that may see them
      auth_error_code                          HTTP statuses that mean "log in"
      headers                                  those that carry a credential or a ``{token}``, by name
      oidc_config_url, token_uri, auth_uri, refresh_uri, client_id, client_secret, request_method, req_data, req_format,
      retrieve_headers, auth_tuple, post_credentials, token_type, token_key, refresh_token_key, token_expiration_key,
      token_provision, token_qs_key, signed_url_key
                                               how a token or a signature is asked for, and sent (`eofs.tokens`)
    download:
      base_uri, dl_url_params, ssl_verify, extract, order_enabled
      max_connections (or eodag's max_workers), retries, retry_delay, auth_error_code
      files                                    a row of `eofs.listings.LISTINGS`, or none

Other keys are let pass: eodag has many. The files say what, never if.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from eofs import auth
from eofs.errors import ConfigError
from eofs.model import Provider
from eofs.providers.values import Unexpected, boolean, is_blank, number, text, texts, whole, words

if TYPE_CHECKING:
    from collections.abc import Callable

_NEVER_SHOWN = {"credentials", "dl_url_params", "client_secret", "headers", "retrieve_headers", "req_data"}
FILES = ("odata-nodes", "eumetsat-entries")  # the rows of `eofs.listings.LISTINGS`, which stands on a higher floor


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


def _address(value: object) -> str:
    if auth.authority(written := text(value).strip()) is None:
        raise Unexpected("an address such as 'https://example.org/token'")
    return written


def _files(value: object) -> str | None:
    """Read how files are listed; ``none`` undoes what a built-in file says."""
    word = text(value).strip().lower()
    if word not in {*FILES, "none"}:
        raise Unexpected(f"one of {', '.join(FILES)}, or none")
    return None if word == "none" else word


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
    _Key("download.retries", "retries", whole(0, 100)),
    _Key("download.retry_delay", "retry_delay", number("seconds, 0 or more", least=0)),
)

# What `Provider.login` holds: settings of `auth` that only a kind of log-in knows.
_LOGIN_KEYS = tuple(
    _Key(f"auth.{name}", name, read)
    for read, names in (
        (_address, "oidc_config_url token_uri auth_uri refresh_uri"),
        (text, "client_id client_secret token_key refresh_token_key token_expiration_key token_qs_key signed_url_key"),
        (texts, "headers retrieve_headers req_data"),
        (words, "auth_tuple"),
        (boolean, "post_credentials"),
        (_one_of("json", "text"), "token_type"),
        (_one_of("json", "form"), "req_format"),
        (_one_of("header", "qs"), "token_provision"),
        (_one_of("get", "post"), "request_method"),
    )
    for name in names.split()
)


@functools.cache
def builtin() -> dict[str, dict[str, Any]]:
    """Return the settings of the built-in providers, by name; not to be changed."""
    files = {file.name: file for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml")}
    return {name.removesuffix(".yaml"): yaml.safe_load(files[name].read_bytes()) for name in sorted(files)}


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
    login = {key.field: value for key in _LOGIN_KEYS if (value := _read(key, name, settings, source)) is not None}
    if found.pop("method", None) == "digest":
        found["auth"] = "GenericAuth, method digest"
    entries = [*_own_entry(found.get("base_uri")), *found.pop("hosts", ()), *found.pop("more_hosts", ())]
    known_by = found.pop("known_by", entries)
    return Provider(
        name=name,
        hosts=tuple(dict.fromkeys(entry for entry, _ in entries)),
        insecure_hosts=tuple(dict.fromkeys(entry for entry, insecure in entries if insecure)),
        known_by=tuple(dict.fromkeys(entry for entry, _ in known_by)),
        credentials_from=source if found.get("credentials") else None,
        login=login,
        **found,
    )


def _own_entry(base_uri: str | None) -> tuple[tuple[str, bool], ...]:
    """Return the host of the address that the settings themselves put in front of every link; https unless loopback."""
    asked = auth.authority(base_uri) if base_uri else None
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
