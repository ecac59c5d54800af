"""``eofs ls`` and ``eofs status``: what a result holds, and what goes on in a mount."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eofs import catalog
from eofs.catalog.sources import Sources
from eofs.commands.screen import Screen
from eofs.commands.waits import waits
from eofs.errors import MountError, ResultError
from eofs.layout import name_all
from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from eofs.catalog.filters import Choice
    from eofs.model import Product

WATCH_EVERY = 0.5  # seconds between two looks
_NUMBERS = ("downloaded", "size", "levels")
_TELLING = ("activity", "error", "waiters")  # attributes by which a product is seen to be of interest


def ls(places: Sequence[str], choice: Choice, *, as_json: bool) -> None:
    """Print the chosen products of search results, or of a mount, as a table or as JSON.

    Raises:
        ResultError: `places` are neither, or nothing in them is chosen.
    """
    is_mount = len(places) == 1 and is_in_mount(places[0])
    rows = list(_mounted(Path(places[0]), choice) if is_mount else _saved(places, choice))
    head = ("NAME", "PROVIDER", "STATUS", "SIZE", "DATE", "CLOUD")
    report(rows, head, _cells, right=(3, 5), as_json=as_json)


def _cells(row: dict[str, Any]) -> Sequence[str]:
    begun = (row["start"] or "")[:16]
    return row["name"], row["provider"], _status_word(row), human(row["size"]), begun, _percent(row["cloudCover"])


def is_in_mount(place: str) -> bool:
    """Tell whether a path is that of a mount, of a product in one, or of a directory above products."""
    return bool(attributes(Path(place)))


def _saved(results: Sequence[str], choice: Choice) -> Iterable[dict[str, Any]]:
    for name, product in name_all(Sources(results, choice).load()).items():
        yield _row(name, product, product.status.value, None)


def _mounted(mountpoint: Path, choice: Choice) -> Iterable[dict[str, Any]]:
    places = {product: directory for directory, product in mounted(product_directories(mountpoint)).items()}
    for product in choice.of(list(places), str(mountpoint)):
        said = attributes(places[product])
        row = _row(str(places[product].relative_to(mountpoint)), product, said["storageStatus"], said["local"])
        yield {**row, "size": said["size"]}


def mounted(directories: Iterable[Path]) -> dict[Path, Product]:
    """Return the products of these directories of a mount, with the storage status that is known by now."""
    found = {}
    for directory in directories:
        product = catalog.read((directory / "metadata.json").read_bytes(), str(directory)).products[0]
        found[directory] = replace(product, status=StorageStatus(attributes(directory)["storageStatus"]))
    return found


def _row(name: str, product: Product, status: str, local: str | None) -> dict[str, Any]:
    row = {
        "name": name,
        "id": product.id,
        "provider": product.provider,
        "storageStatus": status,
        "size": product.size,
        "start": product.start.isoformat() if product.start else None,
        "cloudCover": product.cloud_cover,
    }
    return {**row, "local": local} if local else row


def _status_word(row: dict[str, Any]) -> str:
    here = row.get("local", Local.ABSENT.value)
    return str(row["storageStatus"]) + (f", {here}" if here != Local.ABSENT.value else "")


def status(place: str, *, as_json: bool, watch: bool) -> None:
    """Print where a product stands, or what goes on in a mount, and who waits; with `watch` whenever that changes.

    A terminal shows what is so by now in the place of what was so before.

    Raises:
        MountError: `place` is not in a mount of eofs.
    """
    directory = Path(place)
    screen = Screen() if watch and not as_json and sys.stdout.isatty() else None
    before = None
    while True:
        lines = _product_lines(directory, as_json=as_json) or _mount_lines(directory, as_json=as_json)
        if screen:
            screen.show(lines)
        elif lines != before:
            print("\n".join(lines) + ("\n" if watch and not as_json else ""), flush=True)
        if not watch:
            return
        before = lines
        time.sleep(WATCH_EVERY)


def _product_lines(directory: Path, *, as_json: bool) -> list[str]:
    """Return a product's status file; nothing where `directory` is not a product's."""
    file = directory / "status"
    if not file.is_file() or not (said := attributes(directory)):
        return []
    if as_json:
        return [json.dumps(said)]
    who = [f"waiters: {waits(said['waiters'])}"] if "waiters" in said else []
    return [*file.read_text(encoding="utf-8").splitlines(), *who]


def _mount_lines(mountpoint: Path, *, as_json: bool) -> list[str]:
    about = attributes(mountpoint)
    if "levels" not in about:
        raise MountError(f"{mountpoint} is neither a mount of eofs nor a product's directory in one")
    wanted = () if as_json else ("local", *_TELLING)
    each = [(directory, attributes(directory, wanted)) for directory in product_directories(mountpoint)]
    said = {directory: values for directory, values in each if values}  # the others have gone meanwhile
    names = {directory: str(directory.relative_to(mountpoint)) for directory in said}
    disk = os.statvfs(mountpoint)
    limit, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    if as_json:
        products = {names[directory]: values for directory, values in said.items()}
        return [json.dumps({**about, "cache": {"limit": limit, "used": limit - free}, "products": products})]
    complete = sum(values["local"] == Local.COMPLETE.value for values in said.values())
    counts = f"{len(said)} products, {complete} complete"
    where = f"{about['result']} on {mountpoint}" if "result" in about else str(mountpoint)
    head = f"{where}: {counts}; cache {human(limit - free)} of {human(limit)}"
    return [head, *(line for directory, name in names.items() for line in _going_on(directory, name, said[directory]))]


def _going_on(directory: Path, name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what goes on with a product, of which `_TELLING` is known, and who waits for it."""
    if values["activity"] == Activity.IDLE.value and not values["error"] and "waiters" not in values:
        return
    if values := attributes(directory):
        got = f", {human(values['downloaded'])} of {human(values['size'])}" if values["downloaded"] else ""
        yield f"{name}: {values['activity']}{got}: {values['error'] or values['message']}"
        if "waiters" in values:
            yield f"    {waits(values['waiters'])}"


def product_directories(place: Path) -> list[Path]:
    """Return the products' directories of a mount, or of a directory above products in one, by name.

    Raises:
        ResultError: it is a directory, and neither.
    """
    levels = attributes(place).get("levels")
    if levels is None:
        raise ResultError(f"{place} is a directory and not a mount of eofs; name a GeoJSON file or a mount")
    found = [place]
    for _ in range(levels):
        found = [inside for directory in found for inside in sorted(directory.iterdir())]
    return found


def attributes(directory: Path, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a directory of a mount says of itself in its extended attributes; nothing for any other.

    All of them, or those with these names alone: each costs the mount a look at where the product stands.
    """
    found: dict[str, Any] = {}
    try:
        for name in [f"user.eofs.{name}" for name in names] or os.listxattr(directory):
            if name.startswith("user.eofs."):
                found |= _attribute(directory, name)
    except OSError:
        return {}
    return found


def _attribute(directory: Path, name: str) -> dict[str, Any]:
    """Return an extended attribute by the last part of its name; nothing where it has gone since it was listed."""
    key = name.removeprefix("user.eofs.")
    try:
        text = os.getxattr(directory, name).decode("utf-8", "replace")
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return {}
    if key == "waiters":
        return {key: json.loads(text)}
    return {key: None if text == "null" else int(text) if key in _NUMBERS else text}


def human(size: int | None) -> str:
    """Return a number of bytes as people write it: ``659 MiB``; empty where it is unknown."""
    if size is None:
        return ""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def report(
    rows: Sequence[dict[str, Any]],
    head: Sequence[str],
    cells: Callable[[dict[str, Any]], Sequence[str]],
    *,
    right: Sequence[int] = (),
    as_json: bool,
) -> None:
    """Print rows as JSON, or as a table.

    Args:
        rows: what JSON has of each.
        head: the names of the table's columns.
        cells: returns what stands in them for a row.
        right: the columns that hold numbers.
        as_json: which of the two.
    """
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        _table(head, [cells(row) for row in rows], right)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
