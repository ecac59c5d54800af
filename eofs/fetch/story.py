"""One product's story: ordered, waited for, brought, verified. Read `Story.run` from top to bottom.

However many programs open the product, there is one story at a time in this process; the claim on the product's file
makes it one among all processes that share the cache.

Threads: a story runs in a thread of its own, since a wait is no work and must not take a worker away from a download.
Other threads read what `course` says they may, `file`, `failure` and `eager`; they wait for `ready`, and for `done`,
which who runs it sets; and they may call `prolong`, `read_on` and `cancel`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from eofs import ranges, status, transfer
from eofs.errors import AccessRefused, Cancelled, Corrupt, EofsError, Gone, NotReady, unforeseen
from eofs.faults import PassingFault, Staging
from eofs.fetch.addresses import one_of
from eofs.fetch.course import Course
from eofs.fetch.failures import explained
from eofs.fetch.ordering import Ordering
from eofs.fetch.stage import Stage
from eofs.status import Activity

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.blocks import PartialFile
    from eofs.fetch.addresses import Address
    from eofs.fetch.course import Surroundings
    from eofs.model import Product

log = logging.getLogger(__name__)

OTHER_PROCESS = 0.25  # seconds between two looks at whether another process has finished what we want


class Story(Course):
    """One attempt at bringing a product into the cache, from the first question to the verified file."""

    def __init__(
        self, product: Product, around: Surroundings, stage: Stage, deadline: float, may_end: Callable[[], bool]
    ) -> None:
        super().__init__(product, around, stage, deadline)
        self.file: PartialFile | None = None
        self.failure: EofsError | None = None
        self.done = threading.Event()
        self.ready = threading.Event()  # any byte of the file can be asked for; or the story has ended
        self.eager = False  # all of the product is wanted, not only what is read
        self._ordering = Ordering(self)
        self._hang_up: Callable[[], None] = _nothing
        self._may_end = may_end
        self._in_order = False
        self._empty, self._mark = True, 0

    # -- what others may ask of it -----------------------------------------------------------------------------------

    def read_on(self) -> None:
        """Somebody reads: what he does not read comes behind it, unless only what is read is to come."""
        self.eager = self.around.options.fetch == "whole"

    def cancel(self) -> None:
        """Stop as soon as possible; what has arrived stays, an order stays placed."""
        super().cancel()
        if self.file:  # it may come to its end only when its provider says something
            self.file.fail(self.cancelled)
        self._hang_up()

    @property
    def is_urgent(self) -> bool:
        """Tell whether somebody waits for it, beyond those who wait for all of it."""
        return super().is_urgent and not (self.eager and self.file and not self.file.wanted)

    @property
    def is_idle(self) -> bool:
        """Tell whether it only waits for somebody to read what is not here yet."""
        return self.ready.is_set() and not self.eager and self.file is not None and not self.file.jobs()

    @property
    def fresh(self) -> bool:
        """Tell whether its file may be another than the one that was here before it."""
        return self.file is not None and (self._empty or self.file.forgotten.mark != self._mark)

    def tell(self) -> None:
        """Tell that the product can be read, or why it cannot: once, and only if it had to be waited for."""
        if self.was_awaited and not isinstance(self.failure, Cancelled):
            self.was_awaited = False
            self.around.tell(self.product, self.failure)

    # -- the story ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Bring the product. Never raises: how it ended is in `failure`, None for well."""
        with contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self._ordering.give_slot_back)
            try:
                self._bring()
                self.stage = Stage(self.stage.storage, status.move(self.stage.activity, Activity.IDLE))
            except NotReady as error:
                self._end(error, Activity.IDLE)  # the order stays placed; the next open goes on waiting
            except EofsError as error:
                self._end(error, Activity.FAILED)
            except Exception as error:
                log.exception("%s: a fault in eofs", self.product.title)
                self._end(unforeseen(error), Activity.FAILED)

    def _bring(self) -> None:
        file = self._claim()
        if file.whole:
            return
        self.around.cache.records.note_product(self.product, None)
        self.around.cache.must_fit(self.product.size)
        if self._ordering.is_needed:  # which says where it is
            self._bring_from(file, "")
            return
        client_of, records = self.around.client_of, self.around.cache.records
        # Bytes of two addresses are never mixed.
        one_of(self.product, client_of, records, functools.partial(self._bring_from_address, file), file.restart)

    def _bring_from_address(self, file: PartialFile, address: Address) -> None:
        self.around = replace(self.around, client=address.client)
        self._bring_from(file, address.url)

    def _bring_from(self, file: PartialFile, url: str) -> None:
        for last_try in (False, True):
            if not self._ask_until_it_has_come(file, url):
                return  # nobody needs more of it now
            try:
                checksum = transfer.verify(file, self.product, mend=last_try)
                break
            except Corrupt as error:
                file.restart()
                if last_try:
                    raise
                log.warning("%s; it is fetched afresh", error)
        self.around.cache.finish(file)
        self.around.cache.records.note_product(self.product, checksum)
        self._ordering.end()
        log.info("%s is complete, %s bytes", self.product.title, f"{file.size:,}")

    def _claim(self) -> PartialFile:
        """Open the product's file: whole, or to be filled by us alone; waits while another process fills it."""
        cache = self.around.cache
        while True:
            file = cache.open(cache.archive(self.product))
            if file:
                self.file, self._empty, self._mark = file, not file.arrived, file.forgotten.mark
                return file
            if self.is_late:
                raise NotReady(f"another eofs process is still bringing {self.product.title}; open it again later")
            self.move(Activity.WAITING, note="another eofs process is bringing it")
            self.sleep(OTHER_PROCESS)

    def _ask_until_it_has_come(self, file: PartialFile, url: str) -> bool:
        """Order the product where it has to be, ask for its bytes until they are there, and bring them.

        Returns whether all has come; if not, nobody needs it any more, and the file is no longer ours.
        """
        tries, furthest = 0, 0
        self._ordering.begin()
        while not file.complete:
            before, furthest = furthest, max(furthest, file.arrived)
            try:
                link = self._ordering.link(url)
                if not file.ranged:
                    self._receive(file, link)
                if file.ranged and not file.complete:
                    return self._serve(file, link)
            except Staging as answer:
                tries = 0
                self._ordering.wait(str(answer))
            except (AccessRefused, Gone) as error:
                self._ordering.begin_again(error, has_come_further=file.arrived > before)
            except PassingFault as fault:
                tries = 1 if file.arrived > furthest else tries + 1
                self.pause_after(fault, tries)
        return True

    def _receive(self, file: PartialFile, url: str) -> None:
        """Ask for the end of the file; where the provider does not serve ranges, take all of it in order."""
        cache, client = self.around.cache, self.around.client
        # Without a size, nothing would tell that what goes on is the same file.
        here = file.reaches(0) if file.size is not None else 0
        with self.connection():
            in_order = bool(file.arrived) or self._in_order
            wanted = {"start": here} if in_order else ranges.first(bare=bool(self.product.part_of), eager=self.eager)
            with contextlib.closing(client.get(url, **wanted, validator=file.validator)) as response:
                self._hang_up = functools.partial(transfer.hang_up, response)
                self._ordering.is_online()
                if in_order or not ranges.begin(file, cache, client, response, wanted.get("stop")):
                    transfer.receive(file, cache, client, response, self.check)

    def _serve(self, file: PartialFile, url: str) -> bool:
        """Bring the ranges that are wanted, until the file is complete or nobody needs more of it."""
        self._ordering.is_online()
        file.begin(file.size, file.validator)  # what went wrong before is over
        work = ranges.Ranges(file, self.around.cache, self.around.client, url)
        self._hang_up = work.hang_up
        self.ready.set()  # and stays so: a fault is a pause, for whose end the readers wait
        self.tell()
        try:
            return work.run(eager=lambda: self.eager, may_end=self._may_end, check=self.check)
        finally:
            self._in_order = not file.ranged  # it said that it serves ranges, and does not

    def _end(self, error: EofsError, activity: Activity) -> None:
        self.failure = error = explained(error, self.product, self.around.client.provider, self.stage.storage)
        log.log(logging.INFO if isinstance(error, Cancelled) else logging.WARNING, "%s: %s", self.product.title, error)
        self.move(activity)
        if self.file:
            self.file.fail(error)


def _nothing() -> None:
    """There is no reply to hang up."""
