"""Options on a command line: offered by the rows of `eofs.options`, and read, as ``--name value`` or by ``-o``."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from eofs.config import COMMAND_LINE
from eofs.errors import ConfigError, UsageError
from eofs.options import BY_NAME, FLAGS, OPTIONS, is_absent, known_name, read
from eofs.providers.values import Unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def meant(read_value: Callable[[object], object]) -> Callable[[str], object]:
    """Return a reader as argparse wants it."""

    def read_argument(written: str) -> object:
        try:
            return read_value(written)
        except Unexpected as error:
            raise argparse.ArgumentTypeError(f"expected {error}") from None

    return read_argument


def add_options(parser: argparse.ArgumentParser, names: Sequence[str] = ()) -> None:
    """Offer options as ``--name value``; where none are named, all of a mount's, and as ``-o name=value,…`` too."""
    parser.set_defaults(pairs=[])
    if not names:
        parser.add_argument("-o", dest="pairs", metavar="NAME=VALUE,…", action="append", help="options as for mount(8)")
    title = "options of a mount" if names else "options, also as -o name=value; - and _ are the same in a name"
    group = parser.add_argument_group(title)
    for option in OPTIONS:
        if names and option.name not in names:
            continue
        spelt = sorted({f"--{option.name.replace('_', '-')}", f"--{option.name}"}, key=lambda name: "_" in name)
        default = f" [{option.default}]" if option.default and option.name != "crawlers" else ""
        text = f"{option.meaning}{default}".replace("%", "%%")
        how: dict[str, Any] = (
            {"metavar": option.metavar} if option.metavar else {"action": "store_const", "const": True}
        )
        if option.repeats:
            how["action"] = "append"
        group.add_argument(*spelt, dest=f"option_{option.name}", default=None, help=text, **how)
    for flag in () if names else FLAGS:
        spelt = sorted({f"--{flag.replace('_', '-')}", f"--{flag}"})
        group.add_argument(*spelt, dest=f"option_{flag}", action="store_true", default=None, help=argparse.SUPPRESS)


def options_of(given: argparse.Namespace) -> dict[str, object]:
    """Return the options of a command line by name; what comes last wins, ``--name`` over ``-o``, or adds to it."""
    found: dict[str, object] = {}
    for pairs in given.pairs:
        for pair in re.split(r"(?<!\\),", pairs):
            name, equals, value = pair.replace("\\,", ",").partition("=")
            if name in BY_NAME and BY_NAME[name].repeats and equals:
                found[name] = [*_listed(found.get(name)), value]
            elif name:
                found[name] = value if equals else True
    for key, value in vars(given).items():
        if key.startswith("option_") and value is not None:
            name = key.removeprefix("option_")
            found[name] = [*_listed(found.get(name)), *value] if isinstance(value, list) else value
    if given.verbose:
        found["verbose"] = str(given.verbose)
    _must_be_meant(found)
    return found


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _must_be_meant(typed: dict[str, object]) -> None:
    """Refuse options that cannot be meant; what is wrong in a file or a variable is found out later."""
    try:
        for name, value in typed.items():
            known = known_name(name, COMMAND_LINE)
            if known and not is_absent(known, value, typed=True):
                read(known, value, COMMAND_LINE)
    except ConfigError as error:
        raise UsageError(str(error)) from None
