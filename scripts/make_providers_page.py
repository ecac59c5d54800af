"""Write docs/PROVIDERS.md from the files of the providers, and what their first comments say.

A test tells when it has to be written anew:  python scripts/make_providers_page.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eofs import auth, config, providers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eofs.model import Provider

HOUSE = Path(__file__).resolve().parent.parent
PAGE = HOUSE / "docs" / "PROVIDERS.md"
ORDERED = {True: "by asking for it", False: "not from here", None: ""}

TEXT = """\
# Providers

Written by `scripts/make_providers_page.py` from the files in `eofs/providers`. `eofs providers` shows the same for your
own configuration, and whether your credentials are there. How to write them down: [SEMANTICS.md](SEMANTICS.md),
section 6.

{table}

* Log-in: the types are explained in SEMANTICS.md. A credential is sent to the provider's own hosts and to no other.
* Orders: what has to be done for a product that is OFFLINE; nothing is said where there are none.
* Files: all are read by byte ranges where the provider serves them. Those named here also list a product's files, and
  serve each by itself.
* Connections: at a time, at most.

## Credentials

Each as a variable, or under `auth: credentials:` of the provider in eodag's or eofs' own file. Those in brackets are
made use of where they are there.

{credentials}

## Notes

{notes}

## Adding a provider

A provider of your own takes a few lines in `~/.config/eofs/eofs.yml`, or in eodag's user file:

```yaml
my_archive:                     # as search results name it; those that name none are known by their hosts
  hosts: [data.example.org]     # the only ones that see the credentials
  auth:
    type: basic                 # or header, query, token, oidc_password, signed, s3…
    credentials: {{username: alice, password: wonderland}}
```

Everything else has a default. The keys are those of the built-in files, which the head of `eofs/providers/__init__.py`
lists, and where eodag has one for the same thing, they bear eodag's names: what you have described for eodag is
understood.

One that comes with eofs is such a file in `eofs/providers`, without credentials; its first comment becomes a note on
this page. It wants a conversation in `tests/test_conversations.py`: what is asked of which host, and what that sees.
"""


def known() -> Mapping[str, Provider]:
    """Return the built-in providers but for the demonstration, as somebody has them who has written nothing."""
    found = config.load({}, environ={"HOME": "/nowhere"}).providers
    return {name: found[name] for name in sorted(providers.builtin()) if name != "demo"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def overview(name: str, provider: Provider, says: Mapping[str, Any]) -> Sequence[str]:
    """Return the provider's row of the first table."""
    return (
        f"`{name}`",
        f"[{provider.title}]({says['url']})",
        "closed" if provider.closed else "open",
        f"`{provider.auth}`",
        orders(provider, says),
        f"`{provider.files}`" if provider.files else "",
        str(provider.max_connections),
    )


def orders(provider: Provider, says: Mapping[str, Any]) -> str:
    """Return how a product is ordered."""
    if provider.protocol is None:
        return ORDERED[says.get("download", {}).get("order_enabled")]
    if provider.protocol.quota is None:
        return "by a request of its own"
    number, seconds = provider.protocol.quota
    return f"by a request of its own, {number} in {seconds / 3600:g} h"


def variables(provider: Provider) -> str:
    """Return the variables of a provider's credentials."""

    def variable(name: str) -> str:
        return f"`EODAG__{provider.name}__AUTH__CREDENTIALS__{name}`".upper()

    wanted = [variable(name) for name in auth.wanted(provider)]
    return "<br>".join([*wanted, *(f"[{variable(name)}]" for name in auth.optional(provider))])


def note(name: str, provider: Provider) -> str:
    """Return what the provider's file says of it in its first comment, and what has become of it."""
    lines = (HOUSE / "eofs" / "providers" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    closed = f" Closed: {provider.closed}." if provider.closed else ""
    said = (" ".join(comment) + closed).strip()
    return f"* `{name}`: {said}" if said else ""


def page() -> str:
    """Return the whole page."""
    files = providers.builtin()
    rows = [overview(name, provider, files[name]) for name, provider in known().items()]
    wanting = [(f"`{name}`", variables(provider)) for name, provider in known().items() if variables(provider)]
    return TEXT.format(
        table=table(("name", "what", "state", "log-in", "orders", "files", "connections"), rows),
        credentials=table(("name", "variables"), wanting),
        notes="\n".join(filter(None, (note(name, provider) for name, provider in known().items()))),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
