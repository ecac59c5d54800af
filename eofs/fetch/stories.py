"""All stories that are under way: one a product, however many programs want it.

Threads: one lock guards the table of stories, their users and the last failures; nothing waits under it, and no story,
file or client is called under it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs.blocks import POLL
from eofs.errors import Cancelled, NotReady
from eofs.fetch.failures import Failures
from eofs.fetch.stage import begin_stage
from eofs.fetch.story import Story
from eofs.fetch.window import is_readable_in_order
from eofs.status import Activity, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.errors import EofsError
    from eofs.fetch.clock import Clock
    from eofs.fetch.course import Surroundings
    from eofs.model import Product
    from eofs.nodes import Caller

SELDOM = 0.3  # seconds between two looks of who has waited for a while: hundreds who wait must not slow who reads
PARTING = 2.0  # seconds that are given to all that is under way to come to its end


@dataclass(slots=True)
class Running:
    """A story and how many still need what it holds: itself, and those who wait for it or read from it."""

    story: Story
    users: int = 1


class Stories:
    """The stories under way, and how the last of each product ended.

    Args:
        around: returns what a story of a product needs.
        afresh: called with a product whose story has ended before anybody else hears of it, where the file may be
            another than the one that was here before.
    """

    def __init__(
        self, cache: Cache, clock: Clock, around: Callable[[Product], Surroundings], afresh: Callable[[Product], None]
    ) -> None:
        self._cache = cache
        self._around = around
        self._afresh = afresh
        self._failures = Failures(clock)
        self._running: dict[tuple[str, str], Running] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def close(self) -> None:
        """Stop all that is under way; what has arrived and what has been ordered is kept."""
        self._closing.set()
        with self._lock:
            stories = [running.story for running in self._running.values()]
        for story in stories:
            story.cancel()
        enough = time.monotonic() + PARTING
        for story in stories:
            story.done.wait(max(0.0, enough - time.monotonic()))

    def of(self, product: Product) -> tuple[Story | None, EofsError | None]:
        """Return the product's story, if it is under way, and its last failure."""
        with self._lock:
            running = self._running.get(product.key)
            return running.story if running else None, self._failures.last(product)

    def cancel(self, product: Product) -> Story | None:
        """Stop the product's story and return it; None where none is under way."""
        with self._lock:
            running = self._running.get(product.key)
        if running is None or running.story.done.is_set():
            return None
        running.story.cancel()
        return running.story

    def retry(self, product: Product) -> None:
        """Forget the product's last failure."""
        with self._lock:
            self._failures.forget(product)

    def bring(self, product: Product, caller: Caller, *, eager: bool = False) -> tuple[PartialFile, Running]:
        """Return the product's file, held for the caller: whole, or such that it can be read while it comes.

        The story that brings it comes with it, to be left when the file is closed; all of it, if `eager`.
        """
        around = self._around(product)
        running = self.begin(product, eager=eager)
        try:
            file = self._await(running.story, around, caller)
            return self._cache.hold(file), running
        except BaseException:
            self.leave(running)
            raise

    def stay(self, running: Running) -> Running:
        """Need a story for one more user, who leaves it in the end; returns it."""
        with self._lock:
            running.users += 1
        return running

    def finish(self, running: Running, caller: Caller) -> None:
        """Wait until all of the file has come and was verified, whatever of it is read; raises what went wrong."""
        story = running.story
        story.eager = True
        while not story.done.wait(POLL):
            caller.check()
        if story.failure:
            raise story.failure.again()

    def leave(self, running: Running | None) -> None:
        """Need a story no more."""
        if not running:
            return
        story = running.story
        with self._lock:
            running.users -= 1
            last = not running.users
            if story.done.is_set() and self._running.get(story.product.key) is running:
                del self._running[story.product.key]
        if last and story.file:
            self._cache.release(story.file)

    def begin(self, product: Product, *, eager: bool = False) -> Running:
        """Return the product's story, begun now unless it is under way; it is to be left.

        All of the file is wanted if `eager`, else only what will be read.
        """
        around = self._around(product)
        stage = begin_stage(product, self._cache)
        deadline = around.clock.now() + 60 * around.options.timeout
        with self._lock:
            running = self._running.get(product.key)
            if running and not running.story.done.is_set():
                running.users += 1
                running.story.prolong(deadline)
                running.story.eager |= eager
                return running
            if self._closing.is_set():
                raise Cancelled("eofs is being unmounted")
            # Looked at under the same lock that begins a story: the one that failed may have ended just now.
            self._failures.check(product)
            self._failures.forget(product)
            # two to begin with: the story itself, and who asks
            story = Story(product, around, stage, deadline, lambda: self._may_end(product))
            story.eager = eager
            running = self._running[product.key] = Running(story, users=2)
        threading.Thread(target=self._tell, args=(running,), name=f"story {product.title}", daemon=True).start()
        return running

    def _await(self, story: Story, around: Surroundings, caller: Caller) -> PartialFile:
        """Wait until the story has ended well, or its file can be read while it comes; returns the file."""
        options, deadline = around.options, around.clock.now() + 60 * around.options.timeout
        pause = POLL
        while not story.ready.wait(pause):
            pause = min(SELDOM, 1.1 * pause)
            if story.file and is_readable_in_order(story.file):
                return story.file
            caller.check()
            if self._closing.is_set():
                raise Cancelled("eofs is being unmounted")
            story.check()  # it may come to its end only when its provider says something
            if not options.lets_wait(caller, is_online=story.stage.storage is StorageStatus.ONLINE):
                raise NotReady(f"{story.product.title} is not ready; its status file says how far it is")
            if around.clock.now() > deadline and story.resting and story.stage.activity is not Activity.DOWNLOADING:
                raise NotReady(f"{story.product.title} is not ready yet and stays ordered; open it again later")
        if story.failure or not story.file:
            raise (story.failure or NotReady(f"{story.product.title} is not ready; open it again")).again()
        return story.file

    def _tell(self, running: Running) -> None:
        story = running.story
        story.run()
        with self._lock:
            if story.failure:
                self._failures.note(story.product, story.failure)
        if story.fresh:
            self._afresh(story.product)
        self._cache.records.close()  # this thread's connection to the data base
        story.done.set()  # not before all is in place that those who waited may ask for next
        story.ready.set()
        story.tell()
        self.leave(running)

    def _may_end(self, product: Product) -> bool:
        """Tell a story that brings only what is read whether nobody reads; from then on it takes no one in."""
        with self._lock:
            running = self._running.get(product.key)
            if running and (running.users > 1 or running.story.eager):  # who has read may have left since
                return False
            self._running.pop(product.key, None)
            return True
