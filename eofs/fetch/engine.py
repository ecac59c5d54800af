"""What the file system asks of the engine: a product's status, list of files, open files and quicklook.

Threads: one lock guards the table of stories, their waiters and the remembered failures and listings; nothing waits
under it, and no story, file or client is called under it.
"""

from __future__ import annotations

import fnmatch
import functools
import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cachetools

from eofs import archive, bare
from eofs.blocks import POLL, View
from eofs.errors import AccessRefused, Cancelled, Corrupt, EofsError, Interrupted, NotReady
from eofs.fetch.clock import Clock, WallClock
from eofs.fetch.members import Members
from eofs.fetch.message import message, order_line
from eofs.fetch.quicklooks import Quicklooks, file_name
from eofs.fetch.story import Story, Surroundings, begin_stage
from eofs.fetch.window import Following, is_readable_in_order
from eofs.links import plain
from eofs.status import Activity, Local, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.archive import Listing
    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Reader
    from eofs.options import Options

log = logging.getLogger(__name__)

FAILURE_MEMORY = 30.0  # seconds during which a failure is answered again without asking the provider again
FAILURES = 10_000  # products whose last failure is remembered for their status file
PARTING = 2.0  # seconds that are given to all that is under way to come to its end
LISTINGS = 512  # products whose list of files is kept in memory


@dataclass(slots=True)
class _Running:
    """A story and how many still need what it holds: itself, and those who wait for it."""

    story: Story
    waiters: int = 1


@dataclass(frozen=True, slots=True)
class _Failure:
    """The last failure, answered to all who ask until the time `until`."""

    error: EofsError
    until: float


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
        self._running: dict[tuple[str, str], _Running] = {}
        self._memory: cachetools.LRUCache[tuple[tuple[str, str], str], _Failure] = cachetools.LRUCache(FAILURES)
        self._listings: cachetools.LRUCache[tuple[str, str], Listing] = cachetools.LRUCache(LISTINGS)
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def close(self) -> None:
        """Stop all that is under way; what has arrived and what has been ordered is kept."""
        self._closing.set()
        self._quicklooks.close()
        with self._lock:
            stories = [running.story for running in self._running.values()]
        for story in stories:
            story.cancel()
        enough = time.monotonic() + PARTING
        for story in stories:
            story.done.wait(max(0.0, enough - time.monotonic()))
        for client in list(self._clients.values()):
            client.close()

    # -- what may be asked -------------------------------------------------------------------------------------------

    def status(self, product: Product, product_root: str) -> Status:
        """Return where the product stands; `product_root` is the path of its files in the mount. Never waits."""
        local, arrived, size = self._cache.local(self._cache.archive(product))
        with self._lock:
            running = self._running.get(product.key)
            failure = None if local is Local.COMPLETE else self._memory.get((product.key, "data"))
        stage = running.story.stage if running else begin_stage(product, self._cache)
        if failure and not running and not isinstance(failure.error, NotReady | Cancelled):
            stage = replace(stage, activity=Activity.FAILED)
        elif running and running.story.ready.is_set() and running.story.file and not running.story.file.jobs():
            stage = replace(stage, activity=Activity.IDLE)
        deadline = running.story.deadline if running else None
        remote = plain(product.location)
        return Status(
            storageStatus=stage.storage,
            local=local,
            activity=stage.activity,
            message=message(stage, local, deadline, self._clock.now()),
            downloaded=arrived,
            size=size if size is not None else product.size,
            provider=product.provider,
            id=product.id,
            title=product.title,
            location=f"file://{product_root}" if local is Local.COMPLETE else remote,
            remote_location=remote,
            order=order_line(stage.order),
            error=str(failure.error) if failure else None,
        )

    def listing(self, product: Product, caller: Caller) -> Listing:
        """Return what the product holds, bringing it first where it is not here; waits."""
        with self._lock:
            listing = self._listings.get(product.key)
        if listing:
            return listing
        file, running = self._content(product, caller)
        try:
            listing = self._list(product, file, caller)
        except Corrupt as error:
            raise self._members.damaged(product, file, error) from error
        finally:
            self._cache.release(file)
            self._leave(running)
        with self._lock:
            self._listings[product.key] = listing
        return listing

    def open(self, product: Product, member: Member, caller: Caller) -> Reader:
        """Open one file of the product, bringing the product first where it is not here; waits."""
        format_name = self.listing(product, caller).format
        file, running = self._content(product, caller)
        if running and self._options.fetch == "whole":
            running.story.eager = True
        try:
            reader = self._members.open(product, file, format_name, member, caller)
        except BaseException:
            self._leave(running)
            raise
        return Following(reader, functools.partial(self._leave, running)) if running else reader

    def quicklook(self, product: Product, caller: Caller) -> bytes:
        """Return the product's quicklook, fetched once; waits for that one request."""
        picture = self._quicklooks.known(product)
        if picture is not None:
            return picture
        self._refuse_crawlers(caller)
        with self._lock:
            self._raise_remembered(product, "quicklook")
        try:
            return self._quicklooks.fetch(product, caller)
        except EofsError as error:
            self._remember(product, "quicklook", error)
            raise

    @staticmethod
    def quicklook_name(product: Product) -> str | None:
        """Return what the product's quicklook is called, or None where it has none."""
        return file_name(product)

    # -- bringing ----------------------------------------------------------------------------------------------------

    def _list(self, product: Product, file: PartialFile, caller: Caller) -> Listing:
        view = View(file, caller)
        if not self._extracts(product):
            return self._as_it_is(product, view)
        # A stream brings its end last; a file that its first bytes show to be no archive is not kept waiting for it.
        if not file.whole and not file.ranged and bare.is_bare(view.read(0, bare.HEAD)):
            return self._as_it_is(product, view)
        listing = archive.list_members(view, product.title)
        return self._as_it_is(product, view) if listing.format == "file" else listing

    @staticmethod
    def _as_it_is(product: Product, view: View) -> Listing:
        return bare.as_it_is(view, bare.file_name(product, view.read(0, bare.HEAD)))

    def _extracts(self, product: Product) -> bool:
        extract = self._options.extract
        return self._client(product.provider).provider.extract if extract is None else extract

    def _content(self, product: Product, caller: Caller) -> tuple[PartialFile, _Running | None]:
        """Return what is listed and read, as `_source` does: the product's file, unpacked if all of it is packed."""
        extracts = self._extracts(product)
        file, running = self._source(product, caller)
        # The end of a zip is here first; its beginning, which would tell what else it is, would have to be asked for.
        if not extracts or (file.ranged and archive.is_zip(View(file, caller))):
            return file, running
        try:
            return self._members.unwrapped(product, file, caller), running
        except BaseException:
            self._leave(running)
            raise

    def _source(self, product: Product, caller: Caller) -> tuple[PartialFile, _Running | None]:
        """Return the product's file, held for the caller: whole, or such that it can be read while it comes.

        In the second case the story that brings it comes with it, to be left when the file is closed.
        """
        file = self._cache.open_whole(self._cache.archive(product))
        if file:
            return file, None
        self._refuse_crawlers(caller)
        deadline = self._clock.now() + 60 * self._options.timeout
        running = self._join(product, deadline)
        try:
            file = self._await(running.story, deadline, caller)
            return self._cache.hold(file), running
        except BaseException:
            self._leave(running)
            raise

    def _await(self, story: Story, deadline: float, caller: Caller) -> PartialFile:
        """Wait until the story has ended well, or its file can be read while it comes; returns the file."""
        while not story.ready.wait(POLL):
            if story.file and is_readable_in_order(story.file):
                return story.file
            caller.check()
            if self._closing.is_set():
                raise Cancelled("eofs is being unmounted")
            if not (caller.patient and self._options.block):
                raise NotReady(f"{story.product.title} is not ready; its status file says how far it is")
            if self._clock.now() > deadline and story.resting and story.stage.activity is not Activity.DOWNLOADING:
                raise NotReady(f"{story.product.title} is not ready yet and stays ordered; open it again later")
        if story.failure or not story.file:
            raise (story.failure or NotReady(f"{story.product.title} is not ready; open it again")).again()
        return story.file

    def _join(self, product: Product, deadline: float) -> _Running:
        """Return the product's story, begun now unless it is under way."""
        around, stage = self._surroundings(product), begin_stage(product, self._cache)
        with self._lock:
            running = self._running.get(product.key)
            if running and not running.story.done.is_set():
                running.waiters += 1
                running.story.prolong(deadline)
                return running
            if self._closing.is_set():
                raise Cancelled("eofs is being unmounted")
            # Looked at under the same lock that begins a story: the one that failed may have ended just now.
            self._raise_remembered(product, "data")
            self._memory.pop((product.key, "data"), None)
            # two to begin with: the story itself, and who asks
            story = Story(product, around, stage, deadline, lambda: self._may_end(product))
            running = self._running[product.key] = _Running(story, waiters=2)
        threading.Thread(target=self._tell, args=(running,), name=f"story {product.title}", daemon=True).start()
        return running

    def _tell(self, running: _Running) -> None:
        story = running.story
        story.run()
        if story.failure:
            self._remember(story.product, "data", story.failure)
        with self._lock:
            self._listings.pop(story.product.key, None)  # the archive may be another than the one listed before
        self._cache.records.close()  # this thread's connection to the data base
        story.done.set()  # not before all is in place that those who waited may ask for next
        story.ready.set()
        self._leave(running)

    def _may_end(self, product: Product) -> bool:
        """Tell a story that brings only what is read whether nobody reads; from then on it takes no one in."""
        with self._lock:
            running = self._running.get(product.key)
            if running and running.waiters == 1:
                del self._running[product.key]
            return not running or running.waiters == 1

    def _leave(self, running: _Running | None) -> None:
        if not running:
            return
        with self._lock:
            running.waiters -= 1
            last = not running.waiters
            if running.story.done.is_set() and self._running.get(running.story.product.key) is running:
                del self._running[running.story.product.key]
        if last and running.story.file:
            self._cache.release(running.story.file)

    def _surroundings(self, product: Product) -> Surroundings:
        return Surroundings(self._cache, self._client(product.provider), self._options, self._order_slots, self._clock)

    def _client(self, provider: str) -> Client:
        client = self._clients.get(provider)
        if client is None:
            client = self._client_for(provider)
            with self._lock:
                client = self._clients.setdefault(provider, client)
        return client

    # -- refusing ----------------------------------------------------------------------------------------------------

    def _refuse_crawlers(self, caller: Caller) -> None:
        program = caller.program() if self._options.crawlers else ""
        if program and any(fnmatch.fnmatchcase(program, pattern) for pattern in self._options.crawlers):
            raise AccessRefused(f"{program} is a crawler, and gets only what is in the cache")

    def _remember(self, product: Product, what: str, error: EofsError) -> None:
        # A product that was not ready may be at any moment; any other failure is not asked for again at once.
        passing = isinstance(error, NotReady | Cancelled | Interrupted)
        until = self._clock.now() + (0 if passing else FAILURE_MEMORY)
        with self._lock:
            self._memory[product.key, what] = _Failure(error, until)

    def _raise_remembered(self, product: Product, what: str) -> None:
        """Raise the failure that is still remembered; to be called under the lock."""
        failure = self._memory.get((product.key, what))
        if failure and self._clock.now() < failure.until:
            raise failure.error.again()
