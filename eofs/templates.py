"""Paths into an answer, and templates, as eodag writes them in its settings; see `eofs.orders`. Values only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP = re.compile(
    r"""
      \.?"(?P<quoted>[^"]*)"  |  \.(?P<name>[^.\["]+)  |  \[["'](?P<key>[^"']*)["']\]  |  \[(?P<index>[0-9]+)\]
    | \[\?\(?@?\.?"?(?P<field>[\w:.-]+)"?\s*==\s*["'](?P<value>[^"']*)["']\)?\]
    """,
    re.VERBOSE,
)
_NAME = r"\{(?P<name>[A-Za-z_][\w:.-]*)\}"
_PIECE = re.compile(rf"\{{\{{|\}}\}}|{_NAME}")
_CONVERSION = re.compile(r"\{[\w$:.][^{}]*#")
_AS_IT_IS = "=:@,"  # what may stand in any part of an address, beside letters, digits and ``-._~``


def evaluated(
    mapping: Mapping[str, str], roots: Mapping[str, Any], names: Mapping[str, Any], meaning: Callable[[str], str]
) -> dict[str, Any]:
    """Return what a mapping finds, without the names for which it finds nothing.

    Args:
        mapping: a path, a template or a text for each name.
        roots: what paths lead into: ``json`` and ``headers`` of an answer; empty where there is none.
        names: what templates may name, beside what was found before in the same mapping.
        meaning: by which name such a name is known.

    Raises:
        ValueError: what is written cannot be meant; the text says what.
    """
    found: dict[str, Any] = {}
    for name, written in mapping.items():
        known = {**names, **found}
        path = written[1:-1] if re.fullmatch(r"\{\$[^{}#]*\}", written) else written
        if _CONVERSION.search(written):
            raise ValueError(f"{written!r}, and eofs knows no conversions; write a path such as $.json.id")
        if path.startswith("$"):
            whole = filled(path, known, meaning, as_it_is=True)
            value = None if whole is None else at(roots, whole)
        else:
            value = filled(written, known, meaning)
        if value not in (None, "", "Not Available"):
            found[name] = value
    return found


def filled(
    template: str,
    names: Mapping[str, Any],
    meaning: Callable[[str], str] = str,
    *,
    as_it_is: bool = False,
) -> str | None:
    """Return a template with values in the place of names; None where one of them is not known.

    In an address they are quoted, in the JSON behind its question mark they are texts. A template that is one name is
    replaced as it is.
    """
    if not {meaning(piece["name"]) for piece in _PIECE.finditer(template) if piece["name"]}.issubset(names):
        return None

    def value(name: str) -> str:
        return str(names[meaning(name)])

    def put(text: str, spell: Callable[[str], str]) -> str:
        return _PIECE.sub(lambda piece: spell(value(piece["name"])) if piece["name"] else piece[0][0], text)

    if as_it_is or re.fullmatch(_NAME, template):
        return put(template, str)
    address, mark, rest = template.partition("?{{")
    whole = put(address, lambda text: quote(text, safe=_AS_IT_IS))
    if not mark:
        return whole
    said = json.loads("{" + rest.replace("{{", "{").replace("}}", "}"))
    return f"{whole}?{json.dumps(_each_text(said, lambda text: put(text, str)))}"


def _each_text(said: Any, change: Callable[[str], str]) -> Any:
    if isinstance(said, dict):
        return {name: _each_text(each, change) for name, each in said.items()}
    if isinstance(said, list):
        return [_each_text(each, change) for each in said]
    return change(said) if isinstance(said, str) else said


def at(roots: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a path, None where nothing does.

    Raises:
        ValueError: it is no path.
    """
    first = _STEP.match(path, 1)
    said: Any = roots if first and (first["name"] in {"json", "headers", "null"}) else roots.get("json")
    place = 1
    while place < len(path):
        step = _STEP.match(path, place)
        if not step:
            raise ValueError(f"{path!r}, which is no path such as $.json.features[0].status")
        said, place = _below(said, step), step.end()
    return said


def _below(said: Any, step: re.Match[str]) -> Any:
    if step["index"] is not None:
        number = int(step["index"])
        return said[number] if isinstance(said, list) and number < len(said) else None
    if step["field"] is not None:
        members = [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []
        return next((each for each in members if str(each.get(step["field"])) == step["value"]), None)
    name = next(filter(None, (step["quoted"], step["name"], step["key"])), "")
    return said.get(name) if isinstance(said, Mapping) else None
