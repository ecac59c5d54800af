"""``eofs cancel``, ``evict`` and ``retry``: of one product of a mount, by the program behind it."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eofs.cache.units import lockers
from eofs.commands.holders import called, readers
from eofs.commands.show import attributes, human
from eofs.commands.unmount import CRASHED
from eofs.control import Control, call
from eofs.errors import EofsError, InUse, MountError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eofs.cache import Cache
    from eofs.fetch import Engine
    from eofs.model import Product


def control(do: str, places: Sequence[str]) -> int:
    """Have something done with products, and print what became of it; one that fails does not stop the others.

    Args:
        do: a name in `DEEDS`.
        places: directories of products, or anything inside.

    Returns:
        the exit status: 1 if any failed.
    """
    failed = False
    for place in places:
        try:
            socket, product = _product_at(place)
            print(call(socket, do, product))
        except EofsError as error:
            failed = True
            print(f"eofs: {error}", file=sys.stderr)
    return int(failed)


def _product_at(place: str) -> tuple[Path, str]:
    """Return where the program behind a path's mount is called, and the product's path below the mount.

    Nothing in the mount is looked at: to look into a product that is not here would be to wait for it.
    """
    path = Path(os.path.abspath(place))  # noqa: PTH100 - `resolve` would look at each part of it
    for ancestor in (*reversed(path.parents), path):
        try:
            os.getxattr(ancestor, "user.eofs.pid")
        except OSError as error:
            if error.errno in CRASHED:
                raise MountError(
                    f"the program behind {ancestor} has crashed; free the mount: eofs unmount {ancestor}"
                ) from None
            if error.errno == errno.EACCES:
                raise MountError(f"{ancestor} does not let you in; ask as the user who has mounted it") from None
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                raise MountError(f"{ancestor} does not exist") from None
            continue
        about, parts = attributes(ancestor), path.relative_to(ancestor).parts
        if len(parts) < about["levels"]:
            what = "holds products" if parts else "is a mount"
            raise MountError(f"{place} {what}; name the directory of a product in it")
        return Path(about["control"]), "/".join(parts[: about["levels"]])
    raise MountError(f"{place} is in no mount of eofs; name the directory of a product in a mount")


class Deeds:
    """What the program behind a mount does when it is told.

    Args:
        named: returns the product whose directory has a path below the mount, if one has.
    """

    def __init__(self, engine: Engine, cache: Cache, named: Callable[[str], Product | None], mountpoint: str) -> None:
        self._engine = engine
        self._cache = cache
        self._named = named
        self._mountpoint = mountpoint
        self._deeds = {"cancel": self._cancel, "evict": self._evict, "retry": self._retry}

    def listen(self) -> Control:
        """Be told from now on."""
        return Control(self._cache.directory / "control", self.do)

    def do(self, what: str, name: str) -> str:
        """Do something with the product whose directory has this path; returns a sentence.

        Raises:
            EofsError: it cannot be done.
        """
        product = self._named(name)
        if product is None:
            raise EofsError(f"{self._mountpoint} has no product {name}")
        return f"{name}: {self._deeds[what](name, product)}"

    def _cancel(self, _: str, product: Product) -> str:
        was_going_on = self._engine.upkeep.cancel(product)
        now = self._engine.status(product, "")
        said = ["stopped" if was_going_on else "nothing goes on"]
        if was_going_on and now.downloaded:
            said.append(f"{human(now.downloaded)} of {human(now.size) or 'it'} are kept")
        if now.order:
            said.append("its order stays placed")
        return "; ".join(said)

    def _evict(self, name: str, product: Product) -> str:
        try:
            freed = self._engine.upkeep.evict(product)
        except InUse:
            who = [*readers(f"{self._mountpoint}/{name}/data"), *self._others(product)]
            if who:
                raise InUse(f"{product.title} is in use by {', '.join(who)}; close its files first") from None
            raise
        return f"{human(freed)} freed" if freed else "nothing of it is in the cache"

    def _retry(self, _: str, product: Product) -> str:
        had_failed = self._engine.status(product, "").error is not None
        self._engine.upkeep.retry(product)
        said = "its failure is forgotten" if had_failed else "it has not failed"
        return f"{said}; who opens it next makes eofs ask {product.served_by} again"

    def _others(self, product: Product) -> list[str]:
        """Return the other processes on this cache that have files of a product open."""
        numbers = {number for unit in self._engine.upkeep.units(product) for number in lockers(unit.path)}
        return [called(number) for number in sorted(numbers - {os.getpid()})]
