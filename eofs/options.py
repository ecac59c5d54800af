"""The options of a mount, as a table: their names, defaults, meaning, and how each is read.

``--help``, the documentation and `read` all go by the rows of `OPTIONS`.
"""

from __future__ import annotations

import difflib
import re
import shutil
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from eofs.catalog.areas import read_area
from eofs.catalog.filters import Choice, parse
from eofs.errors import ConfigError
from eofs.layout import FLAT, Layout, read_layout
from eofs.providers.values import Unexpected, boolean, is_blank, number, path, text, whole, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eofs.catalog.areas import Area
    from eofs.catalog.filters import Filter
    from eofs.nodes import Caller

# The kernel cuts a process' name after 15 bytes: `updatedb.plocate` is known as `updatedb.plocat`.
_COMM = 15
CRAWLERS = (
    "updatedb", "updatedb.plocat", "updatedb.mlocat", "plocate", "locate",
    "tracker-miner-f", "tracker-extract", "localsearch*", "baloo_file*", "gvfsd-*",
    "tumblerd", "*-thum*", "totem-video-thu", "ffmpegthumb*",
)  # fmt: skip
FALLBACK = ("cop_dataspace",)
_UNITS = {unit: 1024**power for power, unit in enumerate(("", "K", "M", "G", "T", "P"))}
_LIST = r"[,:\s]+"  # between names: a comma in ``-o`` would begin another option


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one mount; `OPTIONS` says what each means.

    Attributes:
        cache_size: as written, but known to be good; `cache_limit` says how many bytes it stands for.
        wait: minutes.
        timeout: minutes; 0 or less means that nothing is waited for: the provider is asked once.
        extract: None leaves it to the provider's own setting.
        min_overlap: percent; `choice` puts it together with `filter` and `intersects`.
        stall_timeout: seconds.
        fallback: names of providers, the best first.
        crawlers: patterns (`fnmatch`) of process names as the kernel knows them, cut after 15 characters.
        flags: options that go to FUSE as they are.
    """

    cache_dir: Path
    cache_size: str = "50G"
    wait: float = 2.0
    timeout: float = 20.0
    block: bool = True
    notify: bool = False
    order: Literal["auto", "never"] = "auto"
    max_orders: int = 10
    fetch: Literal["whole", "lazy"] = "whole"
    fallback: tuple[str, ...] = FALLBACK
    extract: bool | None = None
    filter: tuple[Filter, ...] = ()
    intersects: Area | None = None
    min_overlap: float = 0.0
    layout: Layout = FLAT
    connections: int = 4
    requester_pays: bool = False
    stall_timeout: float = 60.0
    crawlers: tuple[str, ...] = CRAWLERS
    config: Path | None = None
    log_file: Path | None = None
    verbose: int = 0
    allow_other: bool = False
    allow_root: bool = False
    uid: int | None = None
    gid: int | None = None
    umask: int | None = None
    flags: tuple[str, ...] = ()

    def lets_wait(self, caller: Caller, *, is_online: bool = False) -> bool:
        """Tell whether a program may be kept waiting.

        One that asked not to be is kept waiting for bytes of a product that is ONLINE all the same, as on every disk:
        `tar` and `grep -r` ask so of each file (O_NONBLOCK), lest it be a pipe, and take EAGAIN for a failure.
        """
        return self.block and (caller.patient or is_online)


@dataclass(frozen=True, slots=True)
class Option:
    """One option: a row of `OPTIONS`.

    Attributes:
        name: with ``_``; on the command line ``-`` is as good.
        metavar: what stands for the value in ``--help``; empty where the bare name says it all.
        default: in words, as in the documentation; empty where there is none.
        meaning: one line.
        read: what was written → what `Options` holds.
        may_be_empty: on the command line, an empty text is a value and not the lack of one.
        repeats: it may be given more than once; each adds to the others of the same source.
    """

    name: str
    metavar: str
    default: str
    meaning: str
    read: Callable[[object], object]
    may_be_empty: bool = False
    repeats: bool = False


def _size(value: object) -> str:
    written = text(value).strip()
    _bytes(written, lambda: 1 << 63)
    return written


def _bytes(written: str, total: Callable[[], int]) -> int:
    """Return the bytes that a size stands for; `total` gives those that a percentage is taken of."""
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?(?:(%)|([kmgtp]?)(?:i?b)?)", written, re.IGNORECASE)
    if found and found[2]:
        limit = int(Fraction(found[1]) * total() / 100) if Fraction(found[1]) <= 100 else 0
    else:
        limit = int(Fraction(found[1]) * _UNITS[found[3].upper()]) if found else 0
    if limit < 1:
        raise Unexpected("a size above 0 such as 10G, 1.5T or 80%")
    return limit


def _choice(*allowed: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        word = text(value).strip().lower()
        if word not in allowed:
            raise Unexpected(" or ".join(allowed))
        return word

    return read


def _crawlers(value: object) -> tuple[str, ...]:
    """Read names of processes: those with ``+`` are added to the default, others stand in its place."""
    names = words(value, _LIST)
    keeps = bool(names) and all(name.startswith("+") for name in names)
    cut = (_cut(name.removeprefix("+")) for name in names)
    return tuple(dict.fromkeys((*(CRAWLERS if keeps else ()), *(name for name in cut if name))))


def _fallback(value: object) -> tuple[str, ...]:
    """Read names of providers; ``none`` alone is none of them."""
    names = tuple(dict.fromkeys(name.lower() for name in words(value, _LIST)))
    return () if names == ("none",) else names


def _cut(pattern: str) -> str:
    """Cut a pattern as the kernel cuts the names that it is compared with."""
    return pattern if re.search(r"[*?[]", pattern[:_COMM]) else pattern[:_COMM]


def _filters(value: object) -> tuple[Filter, ...]:
    """Read filters: one text is one of them, for a title may hold commas and spaces."""
    written = value if isinstance(value, list | tuple) else [value]
    return tuple(parse(text(each)) for each in written if not is_blank(each))


def _area(value: object) -> Area:
    return read_area(text(value))


def _layout(value: object) -> Layout:
    return read_layout(text(value))


def _verbose(value: object) -> int:
    return int(value) if isinstance(value, bool) else whole(0, 9)(value)


def _umask(value: object) -> int:
    written = text(value).strip()
    if not re.fullmatch(r"(0o)?[0-7]{1,4}", written) or int(written, 8) > 0o777:
        raise Unexpected("octal digits such as 022")
    return int(written, 8)


_id = whole(0, 2**32 - 2)
_count = whole(1, 1000)
_percent = number("a number of percent, from 0 to 100", least=0, most=100)
_minutes = number("a number of minutes")
_some_minutes = number("a number of minutes above 0", above=0)
_some_seconds = number("a number of seconds above 0", above=0)

OPTIONS: tuple[Option, ...] = (
    Option("cache_dir", "DIR", "$XDG_CACHE_HOME/eofs", "where downloaded products are kept", path),
    Option("cache_size", "SIZE", "50G", "how much of the disk they may take: 10G, 1.5T, 80%", _size),
    Option("wait", "MINUTES", "2", "minutes between two checks of a product that is not ready", _some_minutes),
    Option("timeout", "MINUTES", "20", "minutes until giving up on it; 0: ask once", _minutes),
    Option("block", "BOOL", "true", "false: never wait, answer 'try again' at once", boolean),
    Option("notify", "BOOL", "false", "true: tell on the desktop when an order is ready, or has failed", boolean),
    Option("order", "WHEN", "auto", "never: no order is ever placed", _choice("auto", "never")),
    Option("max_orders", "N", "10", "orders under way at a time; a further one waits its turn", _count),
    Option("fetch", "HOW", "whole", "lazy: only the bytes that are read", _choice("whole", "lazy")),
    Option(
        "fallback", "PROVIDERS", " ".join(FALLBACK),
        "where a product is looked up by its name that its provider has no more; none: nowhere", _fallback,
    ),
    Option("extract", "BOOL", "true", "false: serve the archive as one file", boolean),
    Option("filter", "FILTER", "", "only products such as cloudCover<20, storageStatus=ONLINE", _filters, repeats=True),
    Option("intersects", "AREA", "", "only products that meet a GeoJSON file, WKT or W,S,E,N in degrees", _area),
    Option("min_overlap", "PERCENT", "0", "and share so much of themselves, or of the area, with it", _percent),
    Option("layout", "TEMPLATE", "{title}", "paths of products, such as {collection}/{start:%Y/%m}/{title}", _layout),
    Option("connections", "N", "4", "at a time to one provider, or as few as it takes itself", _count),
    Option("requester_pays", "BOOL", "false", "true: pay where Amazon's S3 bills who reads", boolean),
    Option("stall_timeout", "SECONDS", "60", "without a byte until a connection is given up", _some_seconds),
    Option(
        "crawlers", "NAMES", " ".join(CRAWLERS), "programs that never cause traffic; +NAME adds", _crawlers,
        may_be_empty=True,
    ),
    Option("config", "FILE", "~/.config/eofs/eofs.yml", "the configuration file", path),
    Option("log_file", "FILE", "", "where to write the log", path),
    Option("verbose", "N", "0", "1: tell what is going on, 2: tell everything", _verbose),
    Option("allow_other", "", "", "let other users in (FUSE)", boolean),
    Option("allow_root", "", "", "let root in (FUSE)", boolean),
    Option("uid", "N", "", "who owns the files: yourself where not given", _id),
    Option("gid", "N", "", "the group that owns the files: yours where not given", _id),
    Option("umask", "OCTAL", "", "permissions to take away", _umask),
)  # fmt: skip
BY_NAME = {option.name: option for option in OPTIONS}

# Options that FUSE takes as they are, without a value.
FLAGS = ("ro", "nodev", "nosuid", "noexec", "noatime", "nonempty", "auto_unmount", "default_permissions")
# What mount(8) and fstab may say and what is true, meaningless or none of our business in a read-only mount.
IGNORED = (
    "rw", "dev", "suid", "exec", "atime", "relatime", "norelatime", "strictatime", "lazytime", "nodiratime",
    "diratime", "sync", "async", "dirsync", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group",
    "nofail", "_netdev",
)  # fmt: skip


def known_name(written: str, source: str) -> str | None:
    """Return the name of the option that was written, None for one that is to be ignored.

    Raises:
        ConfigError: there is no such option; the sentence begins with `source`.
    """
    name = written.strip().lower().replace("-", "_")
    if name in BY_NAME or name in FLAGS:
        return name
    if name in IGNORED or written.startswith("x-") or name == "comment":
        return None
    near = difflib.get_close_matches(name, (*BY_NAME, *FLAGS), n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"{source}: unknown option {written!r}; {meant}see eofs mount --help")


def read(name: str, value: object, source: str) -> object:
    """Return what the value of a known option or flag means; True stands for a bare name.

    Raises:
        ConfigError: it cannot be meant; the sentence begins with `source`.
    """
    try:
        return boolean(value) if name in FLAGS else _read(BY_NAME[name], value)
    except Unexpected as error:
        written = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        shown = "" if isinstance(value, bool) else f" cannot be {written[:60]!r}"
        raise ConfigError(f"{source}: {name}{shown}: expected {error}") from None


def _read(option: Option, value: object) -> object:
    if isinstance(value, bool) and option.read not in {boolean, _verbose}:
        raise Unexpected(f"a value, as in {option.name}={option.metavar}")
    return option.read(value)


def is_absent(name: str, value: object, *, typed: bool) -> bool:
    """Say whether an option was left blank; `typed`: it stands on the command line, not in a template or variable."""
    may_be_empty = typed and name in BY_NAME and BY_NAME[name].may_be_empty
    return value is None or (is_blank(value) and not may_be_empty)


def choice(options: Options) -> Choice:
    """Return which products of a search result are wanted.

    Raises:
        ConfigError: a share is wanted and nobody says of which area.
    """
    if options.min_overlap and not options.intersects:
        raise ConfigError("min_overlap says how much of an area is shared; name the area with intersects")
    return Choice(options.filter, options.intersects, options.min_overlap)


def cache_limit(options: Options) -> int:
    """Return how many bytes the cache may hold: `cache_size`, a percentage being of the cache's file system.

    Raises:
        ConfigError: the cache's file system cannot be asked for its size.
    """

    def total() -> int:
        there = next(folder for folder in (options.cache_dir, *options.cache_dir.parents) if folder.exists())
        return shutil.disk_usage(there).total

    try:
        return _bytes(options.cache_size, total)
    except Unexpected as error:
        raise ConfigError(f"cache_size cannot be {options.cache_size!r}: expected {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot tell the size of the disk of {options.cache_dir}: {error.strerror}") from None
