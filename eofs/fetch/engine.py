"""What the file system asks of the engine: a product's status, list of files, open files and quicklook.

Threads: one lock guards the lists of files, the clients and the failures of quicklooks; nothing waits under it, and no
story, file or client is called under it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import logging
import threading
from typing import TYPE_CHECKING

import cachetools

from eofs import archive, bare, transfer
from eofs.blocks import View
from eofs.cache import pins
from eofs.errors import AccessRefused, Changed, Corrupt, EofsError
from eofs.fetch import standing
from eofs.fetch.aside import Aside
from eofs.fetch.clock import Clock, WallClock
from eofs.fetch.failures import Failures
from eofs.fetch.loose import Loose
from eofs.fetch.members import Members, reach
from eofs.fetch.message import message, order_line
from eofs.fetch.quicklooks import Quicklooks, file_name
from eofs.fetch.stories import Running, Stories
from eofs.fetch.story import Surroundings
from eofs.fetch.window import Following
from eofs.links import plain
from eofs.status import Local, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from eofs.archive import Listing
    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Reader
    from eofs.options import Options

log = logging.getLogger(__name__)

LISTINGS = 512  # products whose list of files is kept in memory


class _Unreadable(Exception):
    """The list of files could not be read from the part of an archive that was here."""


class Engine:
    """Brings products into the cache and reads them from there; any number of threads may call it."""

    def __init__(
        self, cache: Cache, options: Options, client_for: Callable[[str], Client], clock: Clock | None = None
    ) -> None:
        self._cache = cache
        self._options = options
        self._client_for = client_for
        self._clock = clock or WallClock()
        self._order_slots = threading.Semaphore(options.max_orders)
        self._members = Members(cache)
        self._quicklooks = Quicklooks(cache, lambda product: self._client(product.provider))
        self._clients: dict[str, Client] = {}
        self._stories = Stories(cache, self._clock, self._surroundings, self._forget_listing)
        self._aside = Aside(cache, self._stories)
        self._loose = Loose(cache, self._clock, self._stories, self._surroundings, self._source, self._refuse_crawlers)
        self._without_quicklook = Failures(self._clock)
        self._listings: cachetools.LRUCache[tuple[str, str], Listing] = cachetools.LRUCache(LISTINGS)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop all that is under way; what has arrived and what has been ordered is kept."""
        self._quicklooks.close()
        self._loose.close()
        self._stories.close()
        for client in list(self._clients.values()):
            client.close()

    # -- what may be asked -------------------------------------------------------------------------------------------

    def status(self, product: Product, product_root: str) -> Status:
        """Return where the product stands; `product_root` is the path of its files in the mount. Never waits."""
        found = self._loose.standing(product) if self._loose.serves(product) else None
        found = found or standing.of_one(product, self._cache, self._stories)
        remote = plain(product.location)
        return Status(
            storageStatus=found.stage.storage,
            local=found.local,
            activity=found.stage.activity,
            message=message(found.stage, found.local, found.deadline, self._clock.now()),
            downloaded=found.arrived,
            size=found.size,
            provider=product.provider,
            id=product.id,
            title=product.title,
            location=f"file://{product_root}" if found.local is Local.COMPLETE else remote,
            remote_location=remote,
            order=order_line(found.stage.order),
            error=str(found.failure) if found.failure else None,
        )

    def listing(self, product: Product, caller: Caller) -> Listing:
        """Return what the product holds, bringing it first where it is not here; waits."""
        if self._loose.serves(product) and (files := self._loose.listing(product, caller)):
            return files
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
        """Open one file of the product, bringing the product first where it is not here; waits."""
        if self._loose.serves(product):
            return self._loose.open(product, member, caller)
        format_name = self.listing(product, caller).format
        file, running = self._content(product, caller)
        try:
            if not self._options.lets_wait(caller):
                self._must_be_here(file, running, member)
            reader = self._members.open(product, file, format_name, member, caller)
        except BaseException:
            self._stories.leave(running)
            raise
        if not running:
            return reader
        return Following(reader, running.story.read_on, functools.partial(self._stories.leave, running))

    def bring(self, product: Product, caller: Caller, turn: AbstractContextManager[object], *, pin: bool) -> list[Path]:
        """Bring all of the product into the cache, and return its files there: its archive, or its loose files.

        Args:
            product: the product.
            caller: who waits for it.
            turn: entered when it has been ordered and waited for, and all of it is to be downloaded.
            pin: it is to go last when the cache is full.
        """
        parts = self._loose.parts(product, caller) if self._loose.serves(product) else None
        if parts is None:
            return [self._bring(product, caller, turn, pin=pin)]
        self._cache.must_fit(sum(part.size or 0 for part in parts))
        return [self._bring(part, caller, turn, pin=pin) for part in parts]

    def extract(self, product: Product, caller: Caller) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yield each file of the product with its bytes, of which the cache keeps no copy beside the product itself."""
        listing = self.listing(product, caller)
        if self._loose.serves(product):
            for member in listing.members:
                yield member, self._read(product, member, caller)
            return
        file, running = self._content(product, caller)
        try:
            for member in listing.members:
                yield member, self._members.extract(product, file, listing.format, member, caller)
        finally:
            self._cache.release(file)
            self._stories.leave(running)

    def quicklook(self, product: Product, caller: Caller) -> bytes:
        """Return the product's quicklook, fetched once; waits for that one request."""
        picture = self._quicklooks.known(product)
        if picture is not None:
            return picture
        self._refuse_crawlers(caller)
        with self._lock:
            self._without_quicklook.check(product)
        try:
            return self._quicklooks.fetch(product, caller)
        except EofsError as error:
            with self._lock:
                self._without_quicklook.note(product, error)
            raise

    @staticmethod
    def quicklook_name(product: Product) -> str | None:
        """Return what the product's quicklook is called, or None where it has none."""
        return file_name(product)

    # -- bringing ----------------------------------------------------------------------------------------------------

    def _read(self, product: Product, member: Member, caller: Caller) -> Iterator[bytes]:
        with contextlib.closing(self._loose.open(product, member, caller)) as reader:
            for offset in range(0, member.size, transfer.STEP):
                yield reader.read(offset, min(transfer.STEP, member.size - offset), caller)

    def _bring(self, product: Product, caller: Caller, turn: AbstractContextManager[object], *, pin: bool) -> Path:
        file, running = self._source(product, caller)
        try:
            if running:
                with turn:
                    self._stories.finish(running, caller)
            if pin:
                pins.pin(file.fileno())
            return file.path
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
            log.warning("the archive of %s is damaged at %s; what is whole is shown", product.title, product.provider)
        return self._as_it_is(product, view) if listing.format == "file" else listing

    @staticmethod
    def _as_it_is(product: Product, view: View) -> Listing:
        return bare.as_it_is(view, bare.file_name(product, view.read(0, bare.HEAD)))

    def _extracts(self, product: Product) -> bool:
        extract = self._options.extract
        return self._client(product.provider).provider.extract if extract is None else extract

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

    def _source(self, product: Product, caller: Caller) -> tuple[PartialFile, Running | None]:
        """Return the product's file, held for the caller: whole, or such that it can be read while it comes.

        In the second case the story that brings it comes with it, to be left when the file is closed.
        """
        file = self._cache.open_whole(self._cache.archive(product))
        if file:
            return file, None
        self._refuse_crawlers(caller)
        return self._stories.bring(product, caller)

    def _forget_listing(self, product: Product) -> None:
        with self._lock:
            self._listings.pop(product.key, None)  # the archive may be another than the one listed before

    def _surroundings(self, product: Product) -> Surroundings:
        return Surroundings(self._cache, self._client(product.provider), self._options, self._order_slots, self._clock)

    def _client(self, provider: str) -> Client:
        client = self._clients.get(provider)
        if client is None:
            client = self._client_for(provider)
            with self._lock:  # results may know one provider by several hosts: its token and its limits are one
                client = self._clients[provider] = self._clients.setdefault(client.provider.name, client)
        return client

    # -- refusing ----------------------------------------------------------------------------------------------------

    def _refuse_crawlers(self, caller: Caller) -> None:
        program = caller.program() if self._options.crawlers else ""
        if program and any(fnmatch.fnmatchcase(program, pattern) for pattern in self._options.crawlers):
            raise AccessRefused(f"{program} is a crawler, and gets only what is in the cache")
