"""``eofs providers``: who is known, what each wants for a log-in, and whether it is there; never what it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from eofs import auth
from eofs.commands.show import table

if TYPE_CHECKING:
    from eofs.config import Config
    from eofs.model import Provider


def providers(settings: Config, *, as_json: bool) -> None:
    """Print the built-in providers and the user's own, as a table or as JSON. Nobody is asked anything."""
    rows = [_row(provider) for _, provider in sorted(settings.providers.items())]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    cells = [
        (row["name"], _login(row), _wanted(row), _there(row), row["from"] or "", row["closed"] or row["title"])
        for row in rows
    ]
    table(("NAME", "LOG-IN", "CREDENTIALS", "THERE", "FROM", "WHAT IT IS"), cells)


def _row(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "title": provider.title,
        "closed": provider.closed,
        "login": provider.auth,
        "credentials": list(auth.wanted(provider)),
        "optional": list(auth.optional(provider)),
        "missing": list(auth.missing(provider)),
        "from": provider.credentials_from,
    }


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
