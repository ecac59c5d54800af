"""``eofs cache``: what lies there, whether it is still right, and making room."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eofs.cache import Cache
from eofs.cache.records import named
from eofs.cache.units import evict
from eofs.commands.bars import display
from eofs.commands.show import human, report
from eofs.errors import ConfigError, Corrupt, UsageError
from eofs.fetch.recheck import recheck
from eofs.options import cache_limit
from eofs.status import Local

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from eofs.cache.units import Unit
    from eofs.model import Product
    from eofs.options import Options


@dataclass(frozen=True, slots=True)
class Stored:
    """A product in the cache.

    Attributes:
        name: its title, as far as that is known.
        units: its files there.
        parts: its archive, or each of its loose files, by where it lies.
    """

    name: str
    provider: str
    units: list[Unit] = field(default_factory=list)
    parts: dict[Path, Product] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return the bytes that it takes."""
        return sum(unit.size for unit in self.units)

    @property
    def pinned(self) -> bool:
        """Tell whether it is among the last to go."""
        return any(unit.pinned for unit in self.units)

    @property
    def used(self) -> int:
        """Return when it was last used, in seconds since the epoch."""
        return max(unit.used for unit in self.units) // 10**9


@contextlib.contextmanager
def opened(options: Options) -> Iterator[Cache]:
    """Open the cache that is there.

    Raises:
        ConfigError: there is none.
    """
    directory = options.cache_dir
    if not (directory / "products").is_dir():
        raise ConfigError(f"there is no cache in {directory}; eofs mount makes one, or name it with cache_dir")
    with contextlib.closing(Cache(directory, cache_limit(options))) as cache:
        yield cache


def stored(cache: Cache) -> list[Stored]:
    """Return the products in the cache, by name."""
    known = {cache.archive(product).parent: product for product in cache.records.products()}
    found: dict[tuple[str, ...], Stored] = {}
    products = cache.directory / "products"
    for unit in cache.units():
        provider, uid = unit.path.relative_to(products).parts[:2]
        place = products / provider / uid
        product = known.get(place) or named(provider, uid, uid)
        name = product.part_of or product.title
        key = (product.provider, "parts of", name) if product.part_of else product.key
        one = found.setdefault(key, Stored(name, product.provider))
        one.units.append(unit)
        one.parts[place / "archive"] = product
    return sorted(found.values(), key=lambda one: (one.name, one.provider))


def info(options: Options, *, as_json: bool) -> None:
    """Print where the cache is, and what it holds in all."""
    with opened(options) as cache:
        rows = [_row(cache, one) for one in stored(cache)]
        whole = sum(row["local"] == Local.COMPLETE.value for row in rows)
        said = {
            "directory": str(cache.directory),
            "limit": cache.limit,
            "used": cache.used(),
            "whole": whole,
            "partial": len(rows) - whole,
            "pinned": sum(row["pinned"] for row in rows),
            "records": cache.records.volume(),
        }
    if as_json:
        print(json.dumps(said))
        return
    print(f"directory: {said['directory']}")
    print(f"used: {human(said['used'])} of {human(said['limit'])}, {human(said['records'])} of them for records")
    print(f"products: {said['whole']} whole, {said['partial']} partly here, {said['pinned']} pinned")


def ls(options: Options, *, as_json: bool) -> None:
    """Print a row for each product in the cache."""
    with opened(options) as cache:
        rows = [_row(cache, one) for one in stored(cache)]
    head = ("NAME", "PROVIDER", "SIZE", "HERE", "PINNED", "LAST USED (UTC)")
    report(rows, head, _cells, right=(2,), as_json=as_json)


def _cells(row: dict[str, Any]) -> Sequence[str]:
    pinned, used = "yes" if row["pinned"] else "", row["used"].replace("T", " ").removesuffix("Z")
    return row["name"], row["provider"], human(row["size"]), _here(row), pinned, used


def _row(cache: Cache, one: Stored) -> dict[str, Any]:
    """Return what is told of a product in JSON; of loose files only those count that have been begun."""
    local = [cache.local(path) for path in one.parts]
    sizes = [size for _, _, size in local]
    whole = all(where is Local.COMPLETE for where, _, _ in local)
    return {
        "name": one.name,
        "provider": one.provider,
        "id": None if len(local) > 1 else next(iter(one.parts.values())).uid,
        "size": one.size,
        "local": (Local.COMPLETE if whole else Local.PARTIAL).value,
        "arrived": sum(arrived for _, arrived, _ in local),
        "whole": None if None in sizes else sum(size or 0 for size in sizes),
        "files": sum(bool(product.part_of) for product in one.parts.values()),
        "pinned": one.pinned,
        "used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.used)),
    }


def _here(row: dict[str, Any]) -> str:
    files = f"{row['files']} files, " if row["files"] > 1 else "1 file, " if row["files"] else ""
    if row["local"] == Local.COMPLETE.value:
        return f"{files}whole"
    return f"{files}{100 * row['arrived'] // row['whole']} %" if row["whole"] else f"{files}{human(row['arrived'])}"


def verify(options: Options) -> int:
    """Read all whole products again, and remove what is damaged; returns the exit status, 1 if anything was."""
    damaged = []
    with opened(options) as cache:
        whole = [one for one in stored(cache) if any(path.exists() for path in one.parts)]
        with display(len(whole), "verified") as shown:
            for one in whole:
                faults = list(_faults(cache, one))
                shown.end(one.name, "damaged" if faults else "")
                damaged += [f"{one.name}: {', '.join(faults)}"] if faults else []
    if damaged:
        print("eofs: damaged, and removed; it comes afresh when it is asked for:", *damaged, sep="\n", file=sys.stderr)
    print(f"products verified: {len(whole)}, damaged: {len(damaged)}")
    return 1 if damaged else 0


def _faults(cache: Cache, one: Stored) -> Iterator[str]:
    for path, product in one.parts.items():
        try:
            recheck(cache, path, product)
        except Corrupt as error:
            yield str(error)


def clear(options: Options, *, partial: bool, pinned: bool, sure: bool) -> int:
    """Remove products from the cache, but for those in use; asks first unless `sure`; returns the exit status.

    Args:
        options: of the command.
        partial: only what is partly here.
        pinned: also what is pinned.
        sure: do not ask.
    """
    with opened(options) as cache:
        there = [(one, _units(one, partial=partial)) for one in stored(cache)]
        chosen = [(one, units) for one, units in there if units and (pinned or not one.pinned)]
        size = sum(unit.size for _, units in chosen for unit in units)
        spared = sum(one.pinned for one, units in there if units) if not pinned else 0
        if chosen and not (sure or _agreed(f"Remove {len(chosen)} products, {human(size)}, from {cache.directory}?")):
            return 1
        freed, in_use = 0, 0
        for _, units in chosen:
            if evict(units):
                in_use += 1
            else:
                freed += sum(unit.size for unit in units)
    said = [f"freed: {human(freed)}"]
    if in_use:
        said.append(f"kept, as they are in use: {in_use}")
    if spared:
        said.append(f"kept, as they are pinned (--pinned): {spared}")
    print("; ".join(said))
    return 0


def _units(one: Stored, *, partial: bool) -> Sequence[Unit]:
    return [unit for unit in one.units if not (partial and unit.path.exists())]


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("eofs cache clear asks before it removes anything; where nobody can answer, say --yes")
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
