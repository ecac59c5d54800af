"""``eofs quicklooks``: all quicklooks of search results in a directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eofs.catalog.sources import Sources
from eofs.commands.tasks import Task, do_all, open_engine
from eofs.errors import EofsError
from eofs.layout import name_all, safe_name
from eofs.options import choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eofs.config import Config
    from eofs.fetch import Engine
    from eofs.model import Product
    from eofs.nodes import Caller

AT_A_TIME = 4


def quicklooks(results: Sequence[str], directory: str, settings: Config) -> int:
    """Save the quicklooks of search results as ``DIR/TITLE.jpg`` and print their paths; returns the exit status.

    Raises:
        EofsError: there is no such result, or the directory or the cache cannot be used.
    """
    place = Path(directory).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EofsError(f"{directory} cannot be made: {error.strerror}; name another directory") from None
    named = name_all(Sources(results, choice(settings.options)).load())
    with open_engine(settings) as engine:
        tasks = []
        for name, product in named.items():
            picture = engine.quicklook_name(product)
            if picture:
                tasks.append(_task(engine, name, product, place / safe_name(f"{name}{Path(picture).suffix}", name)))
        if without := len(named) - len(tasks):
            print(f"eofs: {without} of {len(named)} products have no quicklook", file=sys.stderr)
        return do_all(tasks, "quicklooks", workers=AT_A_TIME)


def _task(engine: Engine, name: str, product: Product, place: Path) -> Task:
    def save(caller: Caller) -> Sequence[Path]:
        if not place.exists():
            picture = engine.quicklook(product, caller)
            under_way = place.with_name(safe_name(f".{place.name}.part", place.name))
            try:
                under_way.write_bytes(picture)
                under_way.replace(place)
            except OSError as error:
                raise EofsError(f"{place} cannot be written: {error.strerror}; make room there") from error
        return [place]

    return Task(name, save)
