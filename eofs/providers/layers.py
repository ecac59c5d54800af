"""Layers of settings: each a list of values with the place where it was found; laid over each other, one tree.

Value by value, a later one can win alone, and one that cannot be meant is reported with the place where it stands.
Blank values are no settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from eofs.providers.values import is_blank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OWN = "eofs"  # the section that holds options, each of a single value; every other one is a provider
_DEPTH = 4  # provider, block, key, name: nothing that matters lies deeper
# The blocks where eodag keeps what a download needs to log in, the weakest first. (`search_auth` is not one.)
_LOGIN = ("api", "auth", "download_auth")
# What may stand in place of such a block: where else the credentials are.
_PLACES = ("netrc", "keyring")
# What eodag's `api` block says of downloads; the rest of it is about searching.
_API_DOWNLOAD = {"extract", "outputs_prefix", "output_dir", "dl_url_params"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that was written: where it belongs (``peps``, ``auth``, …), and where it was found."""

    path: tuple[str, ...]
    value: object = field(repr=False)
    source: str


def leaves(node: Mapping[Any, Any], source: str, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield what a mapping holds, one value at a time, without those left blank.

    Keys are eodag's, in lower case; what lies below them (``issuerId``) is spelt as the provider wants it.
    """
    for key, value in node.items():
        below = (*path, str(key) if len(path) == _DEPTH - 1 else str(key).lower())
        if isinstance(value, Mapping) and len(below) < (2 if below[0] == OWN else _DEPTH):
            yield from leaves(value, source, below)
        elif not is_blank(value):
            yield Setting(below, value, source)


def also_said(layer: Sequence[Setting], former: Mapping[str, str]) -> list[Setting]:
    """Return a layer in which what is said of a name holds for who bore it formerly, too; what is said of him wins."""
    twice = [replace(s, path=(former[s.path[0]], *s.path[1:])) for s in layer if s.path[0] in former]
    return [*twice, *layer]


def folded(layer: Sequence[Setting]) -> list[Setting]:
    """Return a layer's settings of providers, each at the one place where eofs reads it; of two, the later is meant.

    In eodag, credentials stand in one of three blocks, and the output directory has two names.
    """
    login: dict[str, str] = {}
    for block in _LOGIN:
        login.update((s.path[0], block) for s in layer if s.path[1:3] == (block, "credentials"))

    def strength(setting: Setting) -> tuple[int, bool]:
        block = setting.path[1]
        return (_LOGIN.index(block) if block in _LOGIN else len(_LOGIN), setting.path[2:] != ("outputs_prefix",))

    found = []
    for setting in sorted(layer, key=strength):
        name, block, key = (*setting.path, "")[:3]
        if key == "credentials" and block in _LOGIN and login[name] != block:
            continue
        word = str(setting.value).strip().lower() if len(setting.path) == 2 and block in _LOGIN else ""
        if word in _PLACES:
            found.append(Setting((name, "auth", word), value=True, source=setting.source))
        elif path := _place(setting.path):
            found.append(replace(setting, path=path))
    return found


def _place(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return where eofs reads what eodag keeps at `path`, None where eofs has no use for it."""
    name, block, *rest = path
    key = rest[0] if rest else ""
    if block == "api":
        if key not in {"credentials", *_API_DOWNLOAD}:
            return None
        block = "auth" if key == "credentials" else "download"
    elif block == "download_auth":
        block = "auth"
    if block == "auth" and rest == ["credentials", "password_command"]:
        return (name, block, "password_command")
    return (name, block, "output_dir", *rest[1:]) if key == "outputs_prefix" else (name, block, *rest)


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree with another laid over it, value by value."""
    both = {key for key in above if isinstance(above[key], Mapping) and isinstance(below.get(key), Mapping)}
    return {**below, **above, **{key: laid_over(below[key], above[key]) for key in both}}


def merged(settings: Iterable[Setting]) -> tuple[dict[str, Any], dict[str, str]]:
    """Lay settings over each other, the weakest first.

    A key is the same in any case, spelt as the first that wrote it: a variable cannot say ``issuerId``.

    Returns:
        the tree, and the source of each value in it by its dotted path.
    """
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in settings:
        node, path = tree, []
        for part in setting.path:
            path.append(next((known for known in node if known.lower() == part.lower()), part))
            if len(path) < len(setting.path):
                if not isinstance(node.get(path[-1]), dict):
                    node[path[-1]] = {}
                node = node[path[-1]]
        node[path[-1]] = setting.value
        sources[".".join(path)] = setting.source
    return tree, sources
