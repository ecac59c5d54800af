"""``eofs fetch``: orders, waits for and downloads all products of search results, or some products of a mount."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eofs.catalog.sources import Sources
from eofs.commands.output import Entry, entries, find, write
from eofs.commands.show import attributes, is_in_mount, mounted, product_directories
from eofs.commands.tasks import LOOK, Task, do_all, open_engine
from eofs.errors import EofsError
from eofs.layout import name_all, safe_name
from eofs.options import choice
from eofs.status import Activity, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from eofs.config import Config
    from eofs.fetch import Engine
    from eofs.model import Product
    from eofs.nodes import Caller

STEP = 1 << 20  # bytes that a mount is asked for at a time


def fetch(places: Sequence[str], settings: Config, *, jobs: int, output: Path | None) -> int:
    """Bring the products of `places`, and print where each lies; returns the exit status.

    Args:
        places: search results, mounts, and directories of products in a mount.
        settings: the options of the command; a product of a mount goes by those of its mount.
        jobs: how many products are downloaded at a time.
        output: the directory to put them into; the configuration's own where not given.

    Raises:
        EofsError: there is nothing to be fetched, or the cache cannot be used.
    """
    options = replace(settings.options, block=True, fetch="whole", crawlers=())
    settings = replace(settings, options=options)
    in_mounts = mounted(_directories(places))
    results = [place for place in places if not is_in_mount(place)]
    saved = Sources(results).load() if results else ()
    wanted = set(choice(options).of([*in_mounts.values(), *saved], ", ".join(places)))
    called = _names(in_mounts)
    names = name_all(product for product in saved if product in wanted)
    turn = threading.BoundedSemaphore(jobs)
    with contextlib.ExitStack() as at_the_end:
        tasks = [
            _of_mount(place, called[place], product, output or settings.output_dir(product.provider), turn)
            for place, product in in_mounts.items()
            if product in wanted
        ]
        if names:
            engine = at_the_end.enter_context(open_engine(settings))
            tasks += [_of_result(engine, settings, name, product, output, turn) for name, product in names.items()]
        return do_all(tasks, "fetched", workers=jobs, waiting=options.max_orders)


def _directories(places: Iterable[str]) -> Iterator[Path]:
    for place in filter(is_in_mount, places):
        directory = Path(place).absolute()
        yield from [directory] if "storageStatus" in attributes(directory) else product_directories(directory)


# -- products of a result --------------------------------------------------------------------------------------------


def _of_result(
    engine: Engine, settings: Config, name: str, product: Product, output: Path | None, turn: threading.BoundedSemaphore
) -> Task:
    directory = output or settings.output_dir(product.provider)
    extract = settings.options.extract
    extracted = bool(product.assets) or (settings.provider(product.provider).extract if extract is None else extract)

    def bring(caller: Caller) -> Sequence[Path]:
        if directory is None:
            return engine.bring(product, caller, turn, pin=True)
        there = find(directory, name, extracted=extracted)
        if there is None:
            engine.bring(product, caller, turn, pin=False)
            with turn, contextlib.closing(entries(engine, product, caller)) as content:
                there = write(directory, name, content, caller, extracted=extracted)
        return [there]

    waits = product.status is not StorageStatus.ONLINE
    return Task(name, bring, lambda: engine.status(product, "").values(), waits)


# -- products of a mount ---------------------------------------------------------------------------------------------


def _names(places: Iterable[Path]) -> dict[Path, str]:
    """Return what products are called outside of their mounts: as their directories, `~2` where another is as well."""
    taken: dict[str, Path] = {}
    for place in places:
        name, number = place.name, 1
        while name in taken:
            number += 1
            name = safe_name(f"{place.name}~{number}", f"{place.name}~{number}")
        taken[name] = place
    return {place: name for name, place in taken.items()}


def _of_mount(
    place: Path, name: str, product: Product, directory: Path | None, turn: threading.BoundedSemaphore
) -> Task:
    """Return what brings a product by reading it through its mount."""

    def bring(caller: Caller) -> Sequence[Path]:
        there = find(directory, name, extracted=True) if directory else None
        if there:
            return [there]
        with _explained(place):
            [root] = (place / "data").iterdir()
            list(root.iterdir())  # waits until it is there
        with turn, contextlib.closing(_read(place, root, caller)) as content:
            if directory:
                return [write(directory, name, content, caller, extracted=True)]
            for entry in content:
                for _ in entry.pieces or ():
                    caller.check()
            while attributes(place).get("activity") == Activity.DOWNLOADING.value:  # what no file is made of
                caller.check()
                threading.Event().wait(LOOK)
        return [root]

    return Task(name, bring, functools.partial(attributes, place), product.status is not StorageStatus.ONLINE)


def _read(place: Path, root: Path, caller: Caller) -> Generator[Entry, None, None]:
    """Yield what a product in a mount is made of, the links last."""
    links = []
    with _explained(place):
        for directory, folders, files in os.walk(root, onerror=_raise):
            yield Entry(str(Path(directory).relative_to(root.parent)))
            for found in (Path(directory) / name for name in sorted([*folders, *files])):
                below = str(found.relative_to(root.parent))
                if found.is_symlink():
                    links.append(Entry(below, link=str(found.readlink())))
                elif not found.is_dir():
                    yield Entry(below, _pieces(place, found, caller), found.stat().st_mtime_ns)
    yield from links


def _pieces(place: Path, file: Path, caller: Caller) -> Iterator[bytes]:
    with _explained(place), file.open("rb", buffering=0) as opened:
        while piece := opened.read(STEP):
            caller.check()
            yield piece


@contextlib.contextmanager
def _explained(place: Path) -> Iterator[None]:
    """Say why a mount refuses to be read, as the product's status file does."""
    try:
        yield
    except OSError as error:
        raise EofsError(attributes(place).get("error") or f"{error.filename}: {error.strerror}") from error


def _raise(error: OSError) -> None:
    raise error
