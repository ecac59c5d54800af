"""``eofs providers --check``: whether the credentials that are there work.

A provider that gives tokens is logged in to. Another is shown the credentials at its ``check_url``, which refuses who
shows none. Each is asked once.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from eofs import auth
from eofs.client import Client
from eofs.commands.providers import chosen, row_of
from eofs.commands.show import report
from eofs.config import BUILT_IN
from eofs.errors import AccessRefused, ConfigError, EofsError, Gone, Stalled, Unreachable
from eofs.faults import PassingFault, Staging
from eofs.logins import Login

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eofs.config import Config, Network
    from eofs.model import Provider

AT_A_TIME = 8  # providers
SILENCE = 5.0  # seconds after which one that sends nothing is given up

WORKS, REFUSED, MISSING = "works", "refused", "missing"
UNREACHABLE, UNKNOWN = "cannot be reached", "cannot tell"


class Finding(NamedTuple):
    """What came of a check, and in a sentence why."""

    verdict: str
    why: str | None = None


class _CannotTell(EofsError):
    """The provider was not asked, or has not answered in a way that says anything of the credentials."""


def check(settings: Config, names: Sequence[str], *, as_json: bool) -> int:
    """Print whether the credentials of the named providers work, else of all that have some; as a table or as JSON.

    Returns:
        the exit status: 1 if some are refused, or cannot be had.

    Raises:
        UsageError: nobody knows a provider of that name.
        ConfigError: there are no credentials at all.
    """
    asked = [each for each in chosen(settings, names) if names or each.credentials_from not in {None, BUILT_IN}]
    if not asked:
        raise ConfigError("there are no credentials to check; eofs providers says what each provider wants")
    with ThreadPoolExecutor(max_workers=AT_A_TIME) as pool:
        found = list(pool.map(lambda provider: find_out(provider, settings.network), asked))
    rows = [
        {**row_of(each), "check": finding.verdict, "why": finding.why}
        for each, finding in zip(asked, found, strict=True)
    ]
    report(rows, ("NAME", "CHECK", "FROM", "WHY"), _cells, as_json=as_json)
    return int(any(finding.verdict in {REFUSED, MISSING} for finding in found))


def _cells(row: dict[str, Any]) -> Sequence[str]:
    return row["name"], row["check"], row["from"] or "", row["why"] or ""


def find_out(provider: Provider, network: Network) -> Finding:
    """Return whether the credentials of a provider work."""
    try:
        if missing := auth.missing(provider):
            return Finding(MISSING, f"no {' and no '.join(missing)}; {auth.how_to_supply(provider)}")
        given = dict(provider.credentials)  # reads those that a command or the keyring has, too
    except AccessRefused as error:
        return Finding(MISSING, str(error))
    try:
        if not given and provider.auth != "s3":  # of which botocore may find some
            raise _CannotTell(f"there are none, and {provider.name} can do without")
        _ask(provider, network)
    except PassingFault as fault:
        return _meaning(fault.error)
    except EofsError as error:
        return _meaning(error)
    return Finding(WORKS)


def _meaning(error: EofsError) -> Finding:
    if isinstance(error, AccessRefused):
        return Finding(REFUSED, str(error))
    return Finding(UNREACHABLE if isinstance(error, Unreachable | Stalled) else UNKNOWN, str(error))


def _ask(provider: Provider, network: Network) -> None:
    """Log in, or show the credentials at the provider's ``check_url``.

    Raises:
        AccessRefused: they were refused.
        PassingFault, EofsError: the provider cannot be asked, or its answer says nothing of them.
    """
    name, kind = provider.name, auth.KINDS.get(provider.auth)
    # eodag's `HttpQueryStringAuth` tries its credentials at `auth_uri`.
    url = str(provider.login.get("check_url") or (provider.auth == "query" and provider.login.get("auth_uri")) or "")
    if kind and kind.asks and (url or provider.auth != "signed"):
        with contextlib.closing(Login(provider, network, stall_timeout=SILENCE)) as login:
            _ = login.authorise(url) if provider.auth == "signed" else login.token()
        return
    if not kind or not url:
        raise _CannotTell(f"{name} has no address at which they could be tried")
    if not auth.may_receive(provider, url):
        raise _CannotTell(f"{name}.auth.check_url is not on one of its hosts, which are all that may see them")
    with contextlib.closing(Client(provider, network, connections=1, stall_timeout=SILENCE)) as client:
        try:
            response = client.message(url)
        except Gone:
            raise _CannotTell(f"there is nothing at {name}.auth.check_url") from None
        except Staging as staging:
            raise _CannotTell(f"{name} answers {staging} at {name}.auth.check_url") from None
        with response:
            if "html" in response.headers.get("Content-Type", ""):
                raise AccessRefused(
                    f"{name} answers with a web page, as to who is not logged in; check the credentials"
                )
