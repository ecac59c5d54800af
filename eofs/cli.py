"""The command line: reads it, calls a command, and turns every failure into one sentence and an exit status.

Exit status: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from eofs import __version__, config
from eofs.config import COMMAND_LINE
from eofs.errors import ConfigError, EofsError, UsageError
from eofs.log import start_logging
from eofs.options import FLAGS, OPTIONS, is_absent, known_name, read

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = ("mount", "unmount", "ls", "status", "demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = _parser().parse_args(_with_command(words))
    try:
        start_logging(None, given.verbose, foreground=True)
        status = given.run(given)
        sys.stdout.flush()
    except EofsError as error:
        print(f"eofs: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `eofs ls … | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        logging.getLogger("eofs").debug("a fault in eofs", exc_info=True)
        print(f"eofs: a fault in eofs ({type(error).__name__}: {error}); -vv tells more", file=sys.stderr)
        return 1
    return int(status or 0)


def _with_command(words: list[str]) -> list[str]:
    """Return the command line with ``mount`` put in where mount(8) has called us: ``eofs RESULT DIR -o …``."""
    first = next((word for word in words if not word.startswith("-") or word == "-"), None)
    if first is None or first in COMMANDS:
        return words
    plain = [word for word in words if not word.startswith("-") or word == "-"]
    return ["mount", *words] if len(plain) > 1 else words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eofs", description="Mount search results of Earth-observation products.")
    parser.add_argument("--version", action="version", version=f"eofs {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    mount = _command(commands, "mount", _mount, "mount a search result")
    mount.add_argument("result", metavar="RESULT", help="a GeoJSON file of eodag or STAC; - for standard input")
    mount.add_argument("mountpoint", metavar="MOUNTPOINT", help="an empty directory")
    mount.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground")
    _add_options(mount)

    unmount = _command(commands, "unmount", _unmount, "unmount")
    unmount.add_argument("mountpoint", metavar="MOUNTPOINT")

    ls = _command(commands, "ls", _ls, "list the products of a search result or of a mount")
    ls.add_argument("place", metavar="RESULT|MOUNTPOINT")
    ls.add_argument("--json", action="store_true", help="as JSON")

    status = _command(commands, "status", _status, "tell what is going on in a mount or with a product")
    status.add_argument("place", metavar="MOUNTPOINT|PRODUCT_DIR")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument("--watch", action="store_true", help="until Ctrl-C, whenever something changes")

    demo = _command(commands, "demo", _demo, "mount ten products of a built-in provider; no account, no network")
    demo.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="an empty directory, made if missing")
    _add_options(demo)
    return parser


def _command(commands: Any, name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(run=run)
    parser.add_argument("-v", action="count", dest="verbose", default=0, help="tell what is going on; -vv: everything")
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Offer every option of a mount as ``--name value``, and all of them as ``-o name=value,…``."""
    parser.add_argument(
        "-o", dest="pairs", metavar="NAME=VALUE,…", action="append", default=[], help="options as for mount(8)"
    )
    group = parser.add_argument_group("options", "also as -o name=value; - and _ are the same in a name")
    for option in OPTIONS:
        names = sorted({f"--{option.name.replace('_', '-')}", f"--{option.name}"}, key=lambda name: "_" in name)
        default = f" [{option.default}]" if option.default and option.name != "crawlers" else ""
        text = f"{option.meaning}{default}".replace("%", "%%")
        how: dict[str, Any] = (
            {"metavar": option.metavar} if option.metavar else {"action": "store_const", "const": True}
        )
        group.add_argument(*names, dest=f"option_{option.name}", default=None, help=text, **how)
    for flag in FLAGS:
        names = sorted({f"--{flag.replace('_', '-')}", f"--{flag}"})
        group.add_argument(*names, dest=f"option_{flag}", action="store_true", default=None, help=argparse.SUPPRESS)


def options_of(given: argparse.Namespace) -> dict[str, str | bool]:
    """Return the options of a command line by name; what comes last wins, ``--name`` over ``-o``."""
    found: dict[str, str | bool] = {}
    for pairs in given.pairs:
        for pair in re.split(r"(?<!\\),", pairs):
            name, equals, value = pair.replace("\\,", ",").partition("=")
            if name:
                found[name] = value if equals else True
    for key, value in vars(given).items():
        if key.startswith("option_") and value is not None:
            found[key.removeprefix("option_")] = value
    if given.verbose:
        found["verbose"] = str(given.verbose)
    _must_be_meant(found)
    return found


def _must_be_meant(typed: dict[str, str | bool]) -> None:
    """Refuse options that cannot be meant; what is wrong in a file or a variable is found out later."""
    try:
        for name, value in typed.items():
            known = known_name(name, COMMAND_LINE)
            if known and not is_absent(known, value, typed=True):
                read(known, value, COMMAND_LINE)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def _mount(given: argparse.Namespace) -> None:
    from eofs import catalog
    from eofs.commands.mount import mount, usable

    settings = config.load(options_of(given))
    usable(given.mountpoint)
    mount(catalog.load(given.result), given.mountpoint, settings, foreground=given.foreground)


def _unmount(given: argparse.Namespace) -> None:
    from eofs.commands.unmount import unmount

    unmount(given.mountpoint)


def _ls(given: argparse.Namespace) -> None:
    from eofs.commands.show import ls

    ls(given.place, as_json=given.json)


def _status(given: argparse.Namespace) -> None:
    from eofs.commands.show import status

    status(given.place, as_json=given.json, watch=given.watch)


def _demo(given: argparse.Namespace) -> None:
    from eofs.commands.demo import demo

    demo(given.mountpoint, options_of(given))
