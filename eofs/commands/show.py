"""``eofs ls`` and ``eofs status``: what a result holds, and what goes on in a mount."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eofs import catalog, tree
from eofs.catalog.sources import Sources
from eofs.errors import MountError, ResultError
from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from eofs.catalog.filters import Choice
    from eofs.model import Product

WATCH_EVERY = 0.5  # seconds between two looks
_NUMBERS = ("downloaded", "size")


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
    """Tell whether a path is that of a mount, or of a product in one."""
    return bool(attributes(Path(place)))


def _saved(results: Sequence[str], choice: Choice) -> Iterable[dict[str, Any]]:
    for name, product in tree.name_all(Sources(results, choice).load()).items():
        yield _row(name, product, product.status.value, None)


def _mounted(mountpoint: Path, choice: Choice) -> Iterable[dict[str, Any]]:
    places = {product: directory for directory, product in mounted(product_directories(mountpoint)).items()}
    for product in choice.of(list(places), str(mountpoint)):
        said = attributes(places[product])
        row = _row(places[product].name, product, said["storageStatus"], said["local"])
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
    """Print where a product stands, or what goes on in a mount; with `watch` again whenever that changes.

    Raises:
        MountError: `place` is not in a mount of eofs.
    """
    directory = Path(place)
    before = None
    while True:
        lines = _product_lines(directory, as_json=as_json) or _mount_lines(directory, as_json=as_json)
        if lines != before:
            print("\n".join(lines) + ("\n" if watch and not as_json else ""))
            sys.stdout.flush()
        if not watch:
            return
        before = lines
        time.sleep(WATCH_EVERY)


def _product_lines(directory: Path, *, as_json: bool) -> list[str]:
    """Return a product's status file; nothing where `directory` is not a product's."""
    file = directory / "status"
    if not file.is_file() or not attributes(directory):
        return []
    return [json.dumps(attributes(directory))] if as_json else file.read_text(encoding="utf-8").splitlines()


def _mount_lines(mountpoint: Path, *, as_json: bool) -> list[str]:
    about = attributes(mountpoint)
    if "result" not in about:
        raise MountError(f"{mountpoint} is neither a mount of eofs nor a product's directory in one")
    said = [(directory.name, attributes(directory)) for directory in product_directories(mountpoint)]
    disk = os.statvfs(mountpoint)
    limit, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    if as_json:
        products = dict(said)
        return [json.dumps({**about, "cache": {"limit": limit, "used": limit - free}, "products": products})]
    complete = sum(values["local"] == Local.COMPLETE.value for _, values in said)
    counts = f"{len(said)} products, {complete} complete"
    lines = [f"{about['result']} on {mountpoint}: {counts}; cache {human(limit - free)} of {human(limit)}"]
    for name, values in said:
        if values["activity"] != Activity.IDLE.value or values["error"]:
            got = f", {human(values['downloaded'])} of {human(values['size'])}" if values["downloaded"] else ""
            lines.append(f"{name}: {values['activity']}{got}: {values['error'] or values['message']}")
    return lines


def product_directories(mountpoint: Path) -> list[Path]:
    """Return the products' directories of a mount, by name.

    Raises:
        ResultError: it is a directory, and no mount of eofs.
    """
    if "result" not in attributes(mountpoint):
        raise ResultError(f"{mountpoint} is a directory and not a mount of eofs; name a GeoJSON file or a mount")
    return sorted(mountpoint.iterdir())


def attributes(directory: Path) -> dict[str, Any]:
    """Return what a directory of a mount says of itself in its extended attributes; nothing for any other."""
    try:
        names = [name for name in os.listxattr(directory) if name.startswith("user.eofs.")]
        found: dict[str, Any] = {}
        for name in names:
            text = os.getxattr(directory, name).decode("utf-8", "replace")
            key = name.removeprefix("user.eofs.")
            found[key] = None if text == "null" else int(text) if key in _NUMBERS else text
    except OSError:
        return {}
    return found


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
