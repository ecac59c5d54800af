"""Products that come as loose files: each is read by a story of its own, and is a file of its own in the cache.

A product is loose where its result says so (`Product.assets`), or where its provider lists the files of its archives
(`Provider.files`): then the archive is the fall-back.

Threads: one lock guards the choices between files and archive; nothing is called under it.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING

import cachetools

from eofs.errors import NOT_YET, Changed, EofsError, Gone, NotFound
from eofs.fetch import standing
from eofs.fetch.aside import Aside
from eofs.fetch.filelists import FileLists
from eofs.fetch.rest import Rest
from eofs.fetch.stage import begin_stage
from eofs.fetch.window import Following, Window
from eofs.listings import FOLDERS
from eofs.nodes import Held
from eofs.status import Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.archive import Listing
    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.fetch.clock import Clock
    from eofs.fetch.course import Surroundings
    from eofs.fetch.standing import Standing
    from eofs.fetch.stories import Running, Stories
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Reader
    from eofs.parts import Parts

log = logging.getLogger(__name__)

# Bytes that are read of an image in one place: some tiles, which come in a round trip, in the steps of the kernel.
TILES = (8 << 10) + 8 * (128 << 10)
CHOICES = 100_000  # products of which it is remembered whether they are read by their files


class Loose:
    """Serves products by their loose files.

    Args:
        around: returns what a story of a product needs.
        source: returns a product's one file, held for the caller, and the story that brings it, if one does.
        refuse: raises for a caller that is not to cause traffic.
    """

    def __init__(
        self,
        cache: Cache,
        clock: Clock,
        stories: Stories,
        around: Callable[[Product], Surroundings],
        source: Callable[[Product, Caller], tuple[PartialFile, Running | None]],
        refuse: Callable[[Caller], None],
    ) -> None:
        self._cache = cache
        self._stories = stories
        self._around = around
        self._source = source
        self._refuse = refuse
        self._files = FileLists(cache, clock, stories, around)
        self._rest = Rest(cache, stories)
        self._aside = Aside(cache, stories)
        self._chosen: cachetools.LRUCache[tuple[str, str], bool] = cachetools.LRUCache(CHOICES)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ask for nothing more."""
        self._files.close()

    def forget(self, product: Product) -> None:
        """Forget the product's files, and whether it is read by them."""
        self._files.forget(product)
        with self._lock:
            self._chosen.pop(product.key, None)

    def known(self, product: Product) -> list[Product]:
        """Return those of the product's files that are known, each a product. Never waits."""
        known = self._files.known(product)
        return list(known.files.values()) if known else []

    def cancel(self, product: Product) -> bool:
        """Stop asking for files, and bringing what nobody has read; returns whether that was going on."""
        return any([self._files.cancel(product), self._rest.cancel(product)])

    def retry(self, product: Product) -> None:
        """Forget that files could not be had."""
        self._files.retry(product)

    def serves(self, product: Product) -> bool:
        """Tell whether the product is read by its files, and not from its archive."""
        if product.assets:
            return True
        with self._lock:
            chosen = self._chosen.get(product.key)
        return self._may_serve(product) if chosen is None else chosen

    def listing(self, product: Product, caller: Caller) -> Listing | None:
        """Return the list of the product's files; waits. None where they cannot be had and the archive is to be read.

        Raises:
            EofsError: why there is no list, and no archive in its place; or not yet.
        """
        try:
            found = self._parts(product, caller).listing
        except NOT_YET:
            raise
        except EofsError as error:
            if product.assets or (self._is_folder(product) and not isinstance(error, Gone)):
                raise
            log.warning("%s: %s; its archive is read instead", product.title, error)
            found = None
        if not product.assets:
            with self._lock:
                self._chosen[product.key] = found is not None
        return found

    def parts(self, product: Product, caller: Caller) -> list[Product] | None:
        """Return those of the files that have bytes, each a product; waits. None as `listing` does."""
        if self.listing(product, caller) is None:
            return None
        return [part for part in self._parts(product, caller).files.values() if part.size]

    def open(self, product: Product, member: Member, caller: Caller) -> Reader:
        """Open one of the files; waits until it can be read while it comes."""
        parts = self._parts(product, caller)
        part = parts.files.get(member.path)
        if part is None or part.size is None:
            raise NotFound(f"{product.title} has no {member.path} any more")
        if not part.size:
            return Held(b"")
        file, running = self._source(part, caller)
        options = self._around(product).options
        try:
            self._must_have_size(product, part, part.size, file.size)
            if not options.block:
                self._aside.must_be_here(file, running, 0, part.size, part.title)
        except BaseException:
            self._cache.release(file)
            self._stories.leave(running)
            raise
        begin_rest = functools.cache(functools.partial(self._rest.begin, product, parts))

        def on_read() -> None:
            if running:
                running.story.read_on()
            if options.fetch == "whole":
                begin_rest()

        usual = TILES if member.path.lower().endswith((".tif", ".tiff")) else 0
        window = Window(file, 0, part.size, self._cache.release, part.title, usual=usual)
        return Following(window, on_read, functools.partial(self._stories.leave, running))

    def _must_have_size(self, product: Product, part: Product, said: int, size: int | None) -> None:
        """Refuse a file that has another size than was said, and note which."""
        if size is not None and size != said:
            self._files.correct(product, part, size)
            raise Changed(f"{part.title} has {size:,} bytes, and not {said:,} as was said; open it again")

    def standing(self, product: Product) -> Standing | None:
        """Return where the product stands, by its files; None where nothing is known of them."""
        settled = self._files.settled(product)
        known = settled or self._files.known(product)
        if known is None:
            return None
        files = [part for part in known.files.values() if part.size is not None or not settled]
        return standing.of_all(product, files, self._files.failure(product), self._cache, self._stories)

    def _parts(self, product: Product, caller: Caller) -> Parts:
        parts = self._files.settled(product)
        if parts is None:
            self._refuse(caller)
            parts = self._files.ask(product, caller)
        return parts

    def _may_serve(self, product: Product) -> bool:
        """Tell whether the provider may be asked for the files: nothing of the archive is here or has to be ordered."""
        around = self._around(product)
        provider, options = around.client.provider, around.options
        extracts = provider.extract if options.extract is None else options.extract
        if not provider.files or not (extracts or self._is_folder(product)):
            return False
        if self._cache.local(self._cache.archive(product))[0] is not Local.ABSENT:
            return False
        if self._is_folder(product) or self._files.known(product):
            return True
        return begin_stage(product, self._cache).storage is StorageStatus.ONLINE

    def _is_folder(self, product: Product) -> bool:
        """Tell whether its link is taken for that of a folder, whose files are all that there is of it."""
        return self._around(product).client.provider.files in FOLDERS
