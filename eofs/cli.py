"""The command line: reads it, calls a command, and turns every failure into one sentence and an exit status.

Exit status: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from eofs import __version__, config
from eofs.commands.arguments import add_options, meant, options_of
from eofs.errors import EofsError, UsageError
from eofs.log import start_logging
from eofs.options import choice
from eofs.providers.values import path, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "mount", "unmount", "ls", "status", "fetch", "quicklooks", "cancel", "evict", "retry", "cache", "providers",
    "doctor", "demo",
)  # fmt: skip
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

    mount = _command(commands, "mount", _mount, "mount search results, and follow them when they change")
    mount.description = _MOUNT
    mount.add_argument("results", metavar="RESULT", nargs="+", help=_RESULT)
    mount.add_argument("mountpoint", metavar="MOUNTPOINT", help="an empty directory")
    mount.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground")
    add_options(mount)

    unmount = _command(commands, "unmount", _unmount, "unmount")
    unmount.add_argument("mountpoint", metavar="MOUNTPOINT")

    ls = _command(commands, "ls", _ls, "list the products of search results or of a mount")
    ls.add_argument("places", metavar="RESULT|MOUNTPOINT", nargs="+", help=f"{_RESULT}; or one mount")
    ls.add_argument("--json", action="store_true", help="as JSON")
    add_options(ls, (*CHOOSING, "config"))

    status = _command(commands, "status", _status, "tell what is going on in a mount or with a product")
    status.add_argument("place", metavar="MOUNTPOINT|PRODUCT_DIR")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument("--watch", action="store_true", help="until Ctrl-C, whenever something changes")

    _add_fetching(commands)
    _add_upkeep(commands)
    _add_cache(commands)
    _add_providers(commands)

    doctor = _command(commands, "doctor", _doctor, "check the machine, the configuration and the cache")
    add_options(doctor, ("cache_dir", "cache_size", "allow_other", "config"))

    demo = _command(commands, "demo", _demo, "mount ten products of a built-in provider; no account, no network")
    demo.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="an empty directory, made if missing")
    add_options(demo)
    return parser


def _add_providers(commands: Any) -> None:
    known = _command(
        commands, "providers", _providers, "list the known providers, and whether their credentials are there"
    )
    known.add_argument("names", metavar="NAME", nargs="*", help="these, and no others")
    known.add_argument("--check", action="store_true", help="try the credentials that are there: ask their providers")
    known.add_argument("--json", action="store_true", help="as JSON")
    add_options(known, ("config",))


def _add_fetching(commands: Any) -> None:
    fetch = _command(commands, "fetch", _fetch, "order, wait for and download products")
    fetch.description = _FETCH
    fetch.add_argument(
        "places", metavar="RESULT|PRODUCT_DIR", nargs="+", help=f"{_RESULT}; a mount; or a product in one"
    )
    fetch.add_argument(
        "-j", "--jobs", metavar="N", type=meant(whole(1, 1000)), default=4, help="products downloaded at a time [4]"
    )
    fetch.add_argument(
        "--output", metavar="DIR", type=meant(path), help="put the products there, extracted: DIR/TITLE/TITLE.SAFE"
    )
    add_options(fetch, _OF_FETCH)

    quicklooks = _command(commands, "quicklooks", _quicklooks, "save the quicklooks of all products in a directory")
    quicklooks.add_argument("results", metavar="RESULT", nargs="+", help=_RESULT)
    quicklooks.add_argument("directory", metavar="DIR", help="made if missing; what is there already is kept")
    add_options(quicklooks, (*CHOOSING, "fallback", "cache_dir", "cache_size", "stall_timeout", "config", "log_file"))


def _add_upkeep(commands: Any) -> None:
    for name, text in (
        ("cancel", "stop what goes on for a product: what has arrived is kept, and an order stays placed"),
        ("evict", "remove from the cache what it has of a product; refused while one of its files is open"),
        ("retry", "forget how a product failed: who opens it next makes eofs ask its provider again"),
    ):
        command = _command(commands, name, _control, text)
        command.set_defaults(do=name)
        command.add_argument("places", metavar="PRODUCT_DIR", nargs="+", help="a product in a mount, or a path inside")


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser("cache", help="tell what is in the cache, verify it, make room")
    deeds = cache.add_subparsers(metavar="info|ls|verify|clear", required=True)
    for name, text in (
        ("info", "tell where the cache is, and what it holds in all"),
        ("ls", "list the products in the cache"),
        ("verify", "read all that is whole in the cache again, and remove what is damaged"),
        ("clear", "remove products from the cache, but for those in use"),
    ):
        deed = _command(deeds, name, _cache, text)
        deed.set_defaults(do=name)
        if name in {"info", "ls"}:
            deed.add_argument("--json", action="store_true", help="as JSON")
        if name == "clear":
            deed.add_argument("--partial", action="store_true", help="only what is partly here")
            deed.add_argument("--pinned", action="store_true", help="also what eofs fetch has left there")
            deed.add_argument("--yes", action="store_true", help="do not ask")
        add_options(deed, ("cache_dir", "cache_size", "config"))


def _command(commands: Any, name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(run=run)
    parser.add_argument("-v", action="count", dest="verbose", default=0, help="tell what is going on; -vv: everything")
    return parser


def _mount(given: argparse.Namespace) -> None:
    from eofs.catalog.sources import Sources
    from eofs.commands.mount import mount, usable

    config.come_home()
    settings = config.load(options_of(given))
    usable(given.mountpoint)
    sources = Sources(given.results, choice(settings.options))
    sources.load()
    mount(sources, given.mountpoint, settings, foreground=given.foreground)


def _unmount(given: argparse.Namespace) -> None:
    from eofs.commands.unmount import unmount

    unmount(given.mountpoint)


def _ls(given: argparse.Namespace) -> None:
    from eofs.commands.show import ls

    ls(given.places, choice(config.load(options_of(given)).options), as_json=given.json)


def _status(given: argparse.Namespace) -> None:
    from eofs.commands.show import status

    status(given.place, as_json=given.json, watch=given.watch)


def _fetch(given: argparse.Namespace) -> int:
    from eofs.commands.fetch import fetch

    return fetch(given.places, config.load(options_of(given)), jobs=given.jobs, output=given.output)


def _control(given: argparse.Namespace) -> int:
    from eofs.commands.control import control

    return control(given.do, given.places)


def _cache(given: argparse.Namespace) -> int:
    from eofs.commands import cache

    options = config.load(options_of(given)).options
    if given.do == "clear":
        return cache.clear(options, partial=given.partial, pinned=given.pinned, sure=given.yes)
    if given.do == "verify":
        return cache.verify(options)
    (cache.info if given.do == "info" else cache.ls)(options, as_json=given.json)
    return 0


def _quicklooks(given: argparse.Namespace) -> int:
    from eofs.commands.quicklooks import quicklooks

    return quicklooks(given.results, given.directory, config.load(options_of(given)))


def _providers(given: argparse.Namespace) -> int:
    settings = config.load(options_of(given))
    if given.check:
        from eofs.commands.checks import check

        return check(settings, given.names, as_json=given.json)
    from eofs.commands.providers import providers

    providers(settings, given.names, as_json=given.json)
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from eofs.commands.doctor import doctor

    return doctor(lambda: config.load(options_of(given)))


def _demo(given: argparse.Namespace) -> None:
    from eofs.commands.demo import demo

    demo(given.mountpoint, options_of(given))


_RESULT = "GeoJSON of eodag or STAC: a file, a directory of them, - for standard input"
_MOUNT = """\
Mounts search results: a directory for each product. Returns when the mount is usable. It follows its results: what is
written into them later, or into their directory, is there a second later; SIGHUP has them read at once. As one word,
several are written with : in between (A.geojson:B.geojson), which is how mount(8) takes them."""
_OF_FETCH = (
    "cache_dir", "cache_size", "wait", "timeout", "order", "max_orders", "fallback", "extract", *CHOOSING,
    "connections", "stall_timeout", "config", "log_file",
)  # fmt: skip
_FETCH = """\
Orders, waits for and downloads products, several at a time; one that fails does not stop the others. Prints where each
lies as soon as it is there: with --output, or where the configuration names a directory (output_dir, outputs_prefix),
the product's extracted directory; else its archive in the cache, which mounts then serve without asking anybody, and
which goes last when the cache is full. Called again, it goes on where it was stopped."""
