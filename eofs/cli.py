"""The command line: reads it, calls a command, and turns every failure into one sentence and an exit status.

Exit status: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eofs import __version__, config
from eofs.config import COMMAND_LINE
from eofs.errors import ConfigError, EofsError, UsageError
from eofs.log import start_logging
from eofs.options import BY_NAME, FLAGS, OPTIONS, choice, is_absent, known_name, read
from eofs.providers.values import Unexpected, path, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS = ("mount", "unmount", "ls", "status", "fetch", "quicklooks", "providers", "demo")
CHOOSING = ("filter", "intersects", "min_overlap")  # what is wanted of a search result


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
    _add_options(ls, (*CHOOSING, "config"))

    status = _command(commands, "status", _status, "tell what is going on in a mount or with a product")
    status.add_argument("place", metavar="MOUNTPOINT|PRODUCT_DIR")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument("--watch", action="store_true", help="until Ctrl-C, whenever something changes")

    _add_fetching(commands)

    known = _command(
        commands, "providers", _providers, "list the known providers, and whether their credentials are there"
    )
    known.add_argument("--json", action="store_true", help="as JSON")
    _add_options(known, ("config",))

    demo = _command(commands, "demo", _demo, "mount ten products of a built-in provider; no account, no network")
    demo.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="an empty directory, made if missing")
    _add_options(demo)
    return parser


def _add_fetching(commands: Any) -> None:
    fetch = _command(commands, "fetch", _fetch, "order, wait for and download products")
    fetch.description = _FETCH
    fetch.add_argument("places", metavar="RESULT|PRODUCT_DIR", nargs="+", help="as for mount; or a product in a mount")
    fetch.add_argument(
        "-j", "--jobs", metavar="N", type=_meant(whole(1, 1000)), default=4, help="products downloaded at a time [4]"
    )
    fetch.add_argument(
        "--output", metavar="DIR", type=_meant(path), help="put the products there, extracted: DIR/TITLE/TITLE.SAFE"
    )
    _add_options(fetch, _OF_FETCH)

    quicklooks = _command(commands, "quicklooks", _quicklooks, "save the quicklooks of all products in a directory")
    quicklooks.add_argument("result", metavar="RESULT", help="a GeoJSON file of eodag or STAC; - for standard input")
    quicklooks.add_argument("directory", metavar="DIR", help="made if missing; what is there already is kept")
    _add_options(quicklooks, (*CHOOSING, "cache_dir", "cache_size", "stall_timeout", "config", "log_file"))


def _meant(read_value: Callable[[object], object]) -> Callable[[str], object]:
    """Return a reader as argparse wants it."""

    def read_argument(written: str) -> object:
        try:
            return read_value(written)
        except Unexpected as error:
            raise argparse.ArgumentTypeError(f"expected {error}") from None

    return read_argument


def _command(commands: Any, name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(run=run)
    parser.add_argument("-v", action="count", dest="verbose", default=0, help="tell what is going on; -vv: everything")
    return parser


def _add_options(parser: argparse.ArgumentParser, names: Sequence[str] = ()) -> None:
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


def _mount(given: argparse.Namespace) -> None:
    from eofs import catalog
    from eofs.commands.mount import mount, usable

    settings = config.load(options_of(given))
    usable(given.mountpoint)
    wanted = choice(settings.options)
    result = catalog.load(given.result)
    result = replace(result, products=wanted.of(result.products, result.source))
    mount(result, given.mountpoint, settings, foreground=given.foreground)


def _unmount(given: argparse.Namespace) -> None:
    from eofs.commands.unmount import unmount

    unmount(given.mountpoint)


def _ls(given: argparse.Namespace) -> None:
    from eofs.commands.show import ls

    ls(given.place, choice(config.load(options_of(given)).options), as_json=given.json)


def _status(given: argparse.Namespace) -> None:
    from eofs.commands.show import status

    status(given.place, as_json=given.json, watch=given.watch)


def _fetch(given: argparse.Namespace) -> int:
    from eofs.commands.fetch import fetch

    return fetch(given.places, config.load(options_of(given)), jobs=given.jobs, output=given.output)


def _quicklooks(given: argparse.Namespace) -> int:
    from eofs.commands.quicklooks import quicklooks

    return quicklooks(given.result, given.directory, config.load(options_of(given)))


def _providers(given: argparse.Namespace) -> None:
    from eofs.commands.providers import providers

    providers(config.load(options_of(given)), as_json=given.json)


def _demo(given: argparse.Namespace) -> None:
    from eofs.commands.demo import demo

    demo(given.mountpoint, options_of(given))


_OF_FETCH = (
    "cache_dir", "cache_size", "wait", "timeout", "order", "max_orders", "extract", *CHOOSING, "connections",
    "stall_timeout", "config", "log_file",
)  # fmt: skip
_FETCH = """\
Orders, waits for and downloads products, several at a time; one that fails does not stop the others. Prints where each
lies as soon as it is there: with --output, or where the configuration names a directory (output_dir, outputs_prefix),
the product's extracted directory; else its archive in the cache, which mounts then serve without asking anybody, and
which goes last when the cache is full. Called again, it goes on where it was stopped."""
