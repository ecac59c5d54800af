"""Products that come as archives, or as one bare file: what they hold, and how it is read.

Threads: one lock guards the lists of files; nothing waits under it, and nothing else is called under it.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING

import cachetools

from eofs import archive, bare, transfer
from eofs.blocks import View
from eofs.errors import Changed, Corrupt
from eofs.fetch.aside import Aside
from eofs.fetch.members import Members, reach
from eofs.fetch.window import Following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.archive import Listing
    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.fetch.stories import Running, Stories
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Reader
    from eofs.options import Options

log = logging.getLogger(__name__)

LISTINGS = 512  # products whose list of files is kept in memory


class _Unreadable(Exception):
    """The list of files could not be read from the part of an archive that was here."""


class Packed:
    """Serves products by their archives.

    Args:
        source: returns a product's one file, held for the caller, and the story that brings it, if one does.
        client: returns what speaks with a provider.
    """

    def __init__(
        self,
        cache: Cache,
        options: Options,
        stories: Stories,
        source: Callable[[Product, Caller], tuple[PartialFile, Running | None]],
        client: Callable[[str], Client],
    ) -> None:
        self._cache = cache
        self._options = options
        self._stories = stories
        self._source = source
        self._client = client
        self._members = Members(cache)
        self._aside = Aside(cache, stories)
        self._listings: cachetools.LRUCache[tuple[str, str], Listing] = cachetools.LRUCache(LISTINGS)
        self._lock = threading.Lock()

    def listing(self, product: Product, caller: Caller) -> Listing:
        """Return what the archive holds, bringing it first where it is not here; waits."""
        with self._lock:
            listing = self._listings.get(product.key)
        if listing:
            return listing
        try:
            listing = self._read_listing(product, caller)
        except _Unreadable:  # now all of it is here, which has shown whether it came damaged, or is so at the provider
            listing = self._read_listing(product, caller)
        with self._lock:
            self._listings[product.key] = listing
        return listing

    def open(self, product: Product, member: Member, caller: Caller) -> Reader:
        """Open one file, bringing the product first where it is not here; waits."""
        format_name = self.listing(product, caller).format
        file, running = self._content(product, caller)
        try:
            if not self._options.block:
                self._must_be_here(file, running, member)
            reader = self._members.open(product, file, format_name, member, caller)
        except BaseException:
            self._stories.leave(running)
            raise
        if not running:
            return reader
        return Following(reader, running.story.read_on, functools.partial(self._stories.leave, running))

    def extract(self, product: Product, listing: Listing, caller: Caller) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yield each of the files that are listed with its bytes, unpacked straight from the archive."""
        file, running = self._content(product, caller)
        try:
            for member in listing.members:
                yield member, self._members.extract(product, file, listing.format, member, caller)
        finally:
            self._cache.release(file)
            self._stories.leave(running)

    def _must_be_here(self, file: PartialFile, running: Running | None, member: Member) -> None:
        try:
            self._aside.must_be_here(file, running, *reach(member), member.path)
        except BaseException:
            self._cache.release(file)
            raise

    def _read_listing(self, product: Product, caller: Caller) -> Listing:
        """Read what the product holds.

        Raises:
            _Unreadable: that could not be read from the part of it that was here; now all of it is.
        """
        file, running = self._content(product, caller)
        try:
            return self._list(product, file, caller)
        except Changed:
            raise
        except Corrupt as error:
            if not running:
                raise self._members.damaged(product, file, error) from error
            log.info("%s: %s; all of it is brought", product.title, error)
            self._stories.finish(running, caller)
            raise _Unreadable from error
        finally:
            self._cache.release(file)
            self._stories.leave(running)

    def _list(self, product: Product, file: PartialFile, caller: Caller) -> Listing:
        view = View(file, caller)
        if not self._extracts(product):
            return self._as_it_is(product, view)
        # A stream brings its end last; a file that its first bytes show to be no archive is not kept waiting for it.
        if not file.whole and not file.ranged and bare.is_bare(view.read(0, bare.HEAD)):
            return self._as_it_is(product, view)
        try:
            listing = archive.list_members(view, product.title)
        except Corrupt:
            if not file.whole:
                raise
            transfer.verify(file, product, mend=True)  # so it is at the provider, and did not go bad here
            listing = archive.list_members(view, product.title, mend=True)
            log.warning("the archive of %s is damaged at %s; what is whole is shown", product.title, product.served_by)
        return self._as_it_is(product, view) if listing.format == "file" else listing

    @staticmethod
    def _as_it_is(product: Product, view: View) -> Listing:
        return bare.as_it_is(view, bare.file_name(product, view.read(0, bare.HEAD)))

    def _extracts(self, product: Product) -> bool:
        extract = self._options.extract
        return self._client(product.served_by).provider.extract if extract is None else extract

    def _content(self, product: Product, caller: Caller) -> tuple[PartialFile, Running | None]:
        """Return what is listed and read, as `_source` does: the product's file, unpacked if all of it is packed."""
        extracts = self._extracts(product)
        file, running = self._source(product, caller)
        # The end of a zip is here first; its beginning, which would tell what else it is, would have to be asked for.
        if not extracts or (file.ranged and archive.is_zip(View(file, caller))):
            return file, running
        try:
            return self._members.unwrapped(product, file, caller), running
        except BaseException:
            self._stories.leave(running)
            raise

    def forget(self, product: Product) -> None:
        """Forget what a product's archive holds: it may be another than the one listed before."""
        with self._lock:
            self._listings.pop(product.key, None)
