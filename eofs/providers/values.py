"""Values as users write them, in YAML, a variable or a command line, read as what they must be.

Each reader takes what was written and returns what it means, or raises `Unexpected`, whose text says what would
have been right and never repeats what was written: that may be a password.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Unexpected(ValueError):
    """What was written cannot be meant; the text says what was expected."""


class _Texts(yaml.SafeLoader):
    """Reads every plain value as the text that stands there: a password may look like a number or a date."""


_Texts.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] in {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def texts_of_yaml(content: bytes) -> object:
    """Return what a YAML file holds: mappings, lists, texts and None.

    Raises:
        Unexpected: it is not one YAML document; the text names the line where that is known, and quotes nothing.
    """
    try:
        loader = _Texts(content)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
    raise Unexpected(f"{where}not YAML; a value that begins with a sign such as @ % ! * or holds ': ' needs quotes")


def is_blank(value: object) -> bool:
    """Say whether nothing was written: a template's empty line, a variable set to nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def text(value: object) -> str:
    """Read a text; a number or a truth value is the text that says it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list | tuple | set | bytes):
        raise Unexpected("a single text")
    return str(value)


def boolean(value: object) -> bool:
    """Read a truth value."""
    if isinstance(value, bool):
        return value
    truth = _TRUTH.get(text(value).strip().lower())
    if truth is None:
        raise Unexpected("true or false")
    return truth


def boolean_or_text(value: object) -> bool | str:
    """Read a truth value, or a text that is none."""
    try:
        return boolean(value)
    except Unexpected:
        return text(value).strip()


def canonical(value: object) -> str:
    """Read whatever was written as a text that is the same for what means the same."""
    return json.dumps(value, sort_keys=True, default=str)


def command(value: object) -> tuple[str, ...]:
    """Read a command: a list of words, or one text, taken apart as a shell does it."""
    try:
        found = words(value) if isinstance(value, list) else tuple(shlex.split(text(value)))
    except ValueError:
        found = ()
    if not found or any("\0" in word for word in found):
        raise Unexpected("a command such as 'pass show cdse'")
    return found


def whole(least: int, most: int | None = None) -> Callable[[object], int]:
    """Return a reader of whole numbers from `least` to `most`."""
    expected = f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most}"

    def read(value: object) -> int:
        written = text(value).strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", written):
            raise Unexpected(expected)
        number = int(written)
        if number < least or (most is not None and number > most):
            raise Unexpected(expected)
        return number

    return read


def number(
    what: str, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> Callable[[object], float]:
    """Return a reader of numbers, fractions included; `what` says what they count and where they begin and end."""

    def read(value: object) -> float:
        try:
            found = float(text(value))
        except ValueError:
            raise Unexpected(what) from None
        if not math.isfinite(found) or found <= above or not least <= found <= most:
            raise Unexpected(what)
        return found

    return read


def words(value: object, separators: str = r"[,\s]+") -> tuple[str, ...]:
    """Read a list of words: a YAML list, or one text with commas or spaces between them."""
    if isinstance(value, list | tuple):
        return tuple(text(word).strip() for word in value if not is_blank(word))
    return tuple(word for word in re.split(separators, text(value)) if word)


def texts(value: object) -> dict[str, str]:
    """Read a mapping of names to texts, without those left blank."""
    if not isinstance(value, Mapping):
        raise Unexpected("names with a text each")
    return {str(name): text(each) for name, each in value.items() if not is_blank(each)}


def path(value: object) -> Path:
    """Read a path; ``~`` is the home directory, and a relative path begins where the program was started."""
    try:
        return Path(text(value).strip()).expanduser().absolute()
    except RuntimeError:
        raise Unexpected("a path whose ~name is a user of this machine") from None
