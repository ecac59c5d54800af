"""``eofs providers``: who is known, what each wants for a log-in, and whether it is there; never what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eofs import auth
from eofs.commands.show import report
from eofs.errors import AccessRefused, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eofs.config import Config
    from eofs.model import Provider


def providers(settings: Config, names: Sequence[str], *, as_json: bool) -> None:
    """Print the named providers, else all, as a table or as JSON. Nobody is asked anything.

    Raises:
        UsageError: nobody knows a provider of that name.
    """
    rows = [row_of(provider) for provider in chosen(settings, names)]
    report(rows, ("NAME", "LOG-IN", "CREDENTIALS", "THERE", "FROM", "WHAT IT IS"), _cells, as_json=as_json)


def chosen(settings: Config, names: Sequence[str]) -> list[Provider]:
    """Return the providers of these names, in their order; all, by name, where there is no name.

    Raises:
        UsageError: nobody knows a provider of that name.
    """
    unknown = [name for name in names if name.lower() not in settings.providers]
    if unknown:
        raise UsageError(f"no provider is called {unknown[0]!r}; eofs providers lists those that are known")
    return [settings.providers[name.lower()] for name in names or sorted(settings.providers)]


def row_of(provider: Provider) -> dict[str, Any]:
    """Return what is told of a provider in JSON."""
    trouble = None
    try:
        auth.missing(provider)
    except AccessRefused as error:
        provider, trouble = replace(provider, credentials={}), str(error)
    return {
        "name": provider.name,
        "title": provider.title,
        "closed": provider.closed,
        "login": provider.auth,
        "credentials": list(auth.wanted(provider)),
        "optional": list(auth.optional(provider)),
        "missing": list(auth.missing(provider)),
        "from": provider.credentials_from,
        "trouble": trouble,
    }


def _cells(row: dict[str, Any]) -> Sequence[str]:
    return row["name"], _login(row), _wanted(row), _there(row), _from(row), row["closed"] or row["title"]


def _login(row: dict[str, Any]) -> str:
    return row["login"] if row["login"] in auth.KINDS else f"{row['login']} (unknown)"


def _wanted(row: dict[str, Any]) -> str:
    return ", ".join([*row["credentials"], *(f"[{name}]" for name in row["optional"])])


def _there(row: dict[str, Any]) -> str:
    """Say whether the credentials are there; nothing where none are wanted."""
    if not row["credentials"]:
        return ""
    if row["missing"] == row["credentials"]:
        return "no"
    return f"no {', '.join(row['missing'])}" if row["missing"] else "yes"


def _from(row: dict[str, Any]) -> str:
    return row["trouble"] or row["from"] or ""
