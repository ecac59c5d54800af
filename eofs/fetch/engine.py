"""What the file system asks of the engine: a product's status, list of files, open files and quicklook.

Threads: one lock guards the clients; nothing waits under it, and no client is called under it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import logging
import threading
from concurrent import futures
from typing import TYPE_CHECKING

from eofs import transfer
from eofs.cache import pins
from eofs.errors import AccessRefused
from eofs.fetch import standing
from eofs.fetch.addresses import owner
from eofs.fetch.clock import Clock, WallClock
from eofs.fetch.course import Surroundings
from eofs.fetch.loose import Loose
from eofs.fetch.message import message, order_line
from eofs.fetch.mirrors import Mirrors, found_again
from eofs.fetch.packed import Packed
from eofs.fetch.quicklooks import Quicklooks, file_name
from eofs.fetch.stories import Running, Stories
from eofs.fetch.upkeep import Upkeep
from eofs.fetch.walkers import Walkers
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
    from eofs.errors import EofsError
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Reader
    from eofs.options import Options

log = logging.getLogger(__name__)


class Engine:
    """Brings products into the cache and reads them from there; any number of threads may call it.

    Args:
        cache: where they are kept.
        options: what the user allows.
        client_for: returns what speaks with a provider.
        clock: the time; the real one where not given.
        tell: called with a product that had to be waited for when it can be read, or with why it cannot.
    """

    def __init__(
        self,
        cache: Cache,
        options: Options,
        client_for: Callable[[str], Client],
        clock: Clock | None = None,
        tell: Callable[[Product, EofsError | None], None] = lambda *_: None,
    ) -> None:
        self._cache = cache
        self._options = options
        self._client_for = client_for
        self._clock = clock or WallClock()
        self._tell = tell
        self._order_slots = threading.Semaphore(options.max_orders)
        self._walkers = Walkers(options.max_orders)
        self._mirrors = Mirrors(cache, self._clock, options, self._client, self._refuse_crawlers, self._forget)
        self._quicklooks = Quicklooks(cache, self._clock, self._mirrors, self._client, self._refuse_crawlers)
        self._clients: dict[str, Client] = {}
        self._stories = Stories(cache, self._clock, self._surroundings, self._forget_listing)
        self._packed = Packed(cache, options, self._stories, self._source, self._client)
        self._loose = Loose(cache, self._clock, self._stories, self._surroundings, self._source, self._refuse_crawlers)
        self.upkeep = Upkeep(cache, self._stories, self._loose, self._mirrors, self._quicklooks, self._forget_listing)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop all that is under way; what has arrived and what has been ordered is kept."""
        self._mirrors.close()
        self._quicklooks.close()
        self._loose.close()
        self._stories.close()
        for client in list(self._clients.values()):
            client.close()

    # -- what may be asked -------------------------------------------------------------------------------------------

    def status(self, product: Product, product_root: str) -> Status:
        """Return where the product stands; `product_root` is the path of its files in the mount. Never waits."""
        elsewhere, asked = self._mirrors.words(product), self._mirrors.known(product)
        found = self._loose.standing(asked) if self._loose.serves(asked) else None
        found = found or standing.of_one(asked, self._cache, self._stories)
        remote = plain(asked.location)
        return Status(
            storageStatus=found.stage.storage,
            local=found.local,
            activity=found.stage.activity,
            message=message(found.stage, found.local, found.deadline, self._clock.now(), elsewhere),
            downloaded=found.arrived,
            size=found.size,
            provider=product.provider,
            id=product.id,
            title=product.title,
            location=f"file://{product_root}" if found.local is Local.COMPLETE else remote,
            remote_location=remote,
            order=order_line(found.stage.order),
            error=str(self._mirrors.told(product, found.failure)) if found.failure else None,
        )

    def listing(self, product: Product, caller: Caller) -> Listing:
        """Return what the product holds, bringing it first where it is not here; waits."""
        return self._mirrors.serve(product, caller, lambda asked: self._listing(asked, caller))

    def open(self, product: Product, member: Member, caller: Caller) -> Reader:
        """Open one file of the product, bringing the product first where it is not here; waits."""

        def ask(asked: Product) -> Reader:
            # It may have been listed before another provider served it, whose archive has it elsewhere.
            found = found_again(member, self._listing(asked, caller)) if asked.mirror else member
            return self._open(asked, found, caller)

        reader = self._mirrors.serve(product, caller, ask)
        self._walkers.open(product, caller)
        return reader

    def bring(self, product: Product, caller: Caller, turn: AbstractContextManager[object], *, pin: bool) -> list[Path]:
        """Bring all of the product into the cache, and return its files there: its archive, or its loose files.

        Args:
            product: the product.
            caller: who waits for it.
            turn: entered when it has been ordered and waited for, and all of it is to be downloaded.
            pin: it is to go last when the cache is full.
        """
        return self._mirrors.serve(product, caller, lambda asked: self._bring_all(asked, caller, turn, pin=pin))

    def extract(self, product: Product, caller: Caller) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yield each file of the product with its bytes, of which the cache keeps no copy beside the product itself."""
        listing = self.listing(product, caller)
        product = self._mirrors.known(product)
        if not self._loose.serves(product):
            yield from self._packed.extract(product, listing, caller)
            return
        for member in listing.members:
            yield member, self._read(product, member, caller)

    def quicklook(self, product: Product, caller: Caller) -> bytes:
        """Return the product's quicklook, fetched once; waits for that one request."""
        return self._quicklooks.picture(product, caller)

    @staticmethod
    def quicklook_name(product: Product) -> str | None:
        """Return what the product's quicklook is called, or None where it has none."""
        return file_name(product)

    # -- bringing ----------------------------------------------------------------------------------------------------

    def _listing(self, product: Product, caller: Caller) -> Listing:
        if self._loose.serves(product) and (files := self._loose.listing(product, caller)):
            return files
        return self._packed.listing(product, caller)

    def _open(self, product: Product, member: Member, caller: Caller) -> Reader:
        files = self._loose if self._loose.serves(product) else self._packed
        return files.open(product, member, caller)

    def _bring_all(
        self, product: Product, caller: Caller, turn: AbstractContextManager[object], *, pin: bool
    ) -> list[Path]:
        parts = self._loose.parts(product, caller) if self._loose.serves(product) else None
        if parts is None:
            return [self._bring(product, caller, turn, pin=pin)]
        self._cache.must_fit(sum(part.size or 0 for part in parts))
        bring = functools.partial(self._bring_part, caller=caller, pin=pin)
        with turn, futures.ThreadPoolExecutor(self._client(product.served_by).slots.number, "part") as several:
            return [*several.map(bring, parts)]

    def _bring_part(self, part: Product, caller: Caller, *, pin: bool) -> Path:
        try:
            return self._bring(part, caller, contextlib.nullcontext(), pin=pin, eager=True)
        finally:
            self._cache.records.close()  # this thread's connection to the data base

    def _read(self, product: Product, member: Member, caller: Caller) -> Iterator[bytes]:
        with contextlib.closing(self._loose.open(product, member, caller)) as reader:
            for offset in range(0, member.size, transfer.STEP):
                yield reader.read(offset, min(transfer.STEP, member.size - offset), caller)

    def _bring(
        self,
        product: Product,
        caller: Caller,
        turn: AbstractContextManager[object],
        *,
        pin: bool,
        eager: bool = False,
    ) -> Path:
        file, running = self._source(product, caller, eager=eager)
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

    def _source(self, product: Product, caller: Caller, *, eager: bool = False) -> tuple[PartialFile, Running | None]:
        """Return the product's file, held for the caller: whole, or such that it can be read while it comes.

        In the second case the story that brings it comes with it, to be left when the file is closed.
        """
        file = self._cache.open_whole(self._cache.archive(product))
        if file:
            return file, None
        self._refuse_crawlers(caller)
        if not product.part_of:  # a file of a product, which is read
            self._walkers.look(product, caller)
        return self._stories.bring(product, caller, eager=eager)

    def _forget_listing(self, product: Product) -> None:
        self._packed.forget(product)

    def _forget(self, product: Product) -> None:
        self._packed.forget(product)
        self._loose.forget(product)

    def _surroundings(self, product: Product) -> Surroundings:
        client = self._client(product.served_by)
        client_of = functools.partial(owner, own=client, by_host=self._client)
        options, slots = self._options, self._order_slots
        return Surroundings(self._cache, client, client_of, options, slots, self._clock, self._tell)

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
