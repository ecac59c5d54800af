"""One product's story: ordered, waited for, brought, verified. Read `Story.run` from top to bottom.

However many programs open the product, there is one story at a time in this process; the claim on the product's file
makes it one among all processes that share the cache.

Threads: a story runs in a thread of its own, since a wait is no work and must not take a worker away from a download.
Other threads read `stage`, a value that is replaced as a whole, and `resting`; they wait for `done`, which who runs it
sets; and they may call `prolong` and `cancel`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eofs import ranges, status, transfer
from eofs.errors import Cancelled, Corrupt, EofsError, NotAllowed, NotReady, unforeseen
from eofs.faults import LONGEST_BACK_OFF, PassingFault, Staging, back_off
from eofs.fetch.addresses import one_of
from eofs.fetch.failures import cannot_be_ordered, explained
from eofs.fetch.stage import Stage
from eofs.model import Order
from eofs.status import Activity, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.fetch.clock import Clock
    from eofs.model import Product
    from eofs.options import Options

log = logging.getLogger(__name__)

OTHER_PROCESS = 0.25  # seconds between two looks at whether another process has finished what we want


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every story needs: where bytes go, whom to ask, what the user allows, and what time it is."""

    cache: Cache
    client: Client
    options: Options
    order_slots: threading.Semaphore
    clock: Clock


class Story:
    """One attempt at bringing a product into the cache, from the first question to the verified file."""

    def __init__(
        self, product: Product, around: Surroundings, stage: Stage, deadline: float, may_end: Callable[[], bool]
    ) -> None:
        self.product = product
        self.stage = stage
        self.deadline = deadline
        self.file: PartialFile | None = None
        self.failure: EofsError | None = None
        self.done = threading.Event()
        self.ready = threading.Event()  # any byte of the file can be asked for; or the story has ended
        self.eager = False  # all of the product is wanted, not only what is read
        self.resting = False  # it waits for its time or its turn, and not for an answer of the provider
        self._hang_up: Callable[[], None] = _nothing
        self._may_end = may_end
        self._around = around
        self._stop = threading.Event()
        self._has_order_slot = self._in_order = False
        self._empty, self._mark = True, 0

    # -- what others may ask of it -----------------------------------------------------------------------------------

    def prolong(self, deadline: float) -> None:
        """Go on trying at least until `deadline`: somebody else has begun to wait."""
        self.deadline = max(self.deadline, deadline)

    def read_on(self) -> None:
        """Somebody reads: what he does not read comes behind it, unless only what is read is to come."""
        self.eager = self._around.options.fetch == "whole"

    def cancel(self) -> None:
        """Stop as soon as possible; what has arrived stays, an order stays placed."""
        self._stop.set()
        self._hang_up()

    @property
    def is_idle(self) -> bool:
        """Tell whether it only waits for somebody to read what is not here yet."""
        return self.ready.is_set() and not self.eager and self.file is not None and not self.file.jobs()

    @property
    def fresh(self) -> bool:
        """Tell whether its file may be another than the one that was here before it."""
        return self.file is not None and (self._empty or self.file.forgotten.mark != self._mark)

    # -- the story ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Bring the product. Never raises: how it ended is in `failure`, None for well."""
        with contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self._give_order_slot_back)
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
        self._around.cache.must_fit(self.product.size)
        provider, records = self._around.client.provider, self._around.cache.records
        # Bytes of two addresses are never mixed.
        one_of(self.product, provider, records, functools.partial(self._bring_from, file), file.restart)

    def _bring_from(self, file: PartialFile, url: str) -> None:
        client, product = self._around.client, self.product
        client.must_have_credentials(url)
        for last_try in (False, True):
            if not self._ask_until_it_has_come(file, url):
                return  # nobody needs more of it now
            try:
                transfer.verify(file, product, mend=last_try)
                break
            except Corrupt as error:
                file.restart()
                if last_try:
                    raise
                log.warning("%s; it is fetched afresh", error)
        self._around.cache.finish(file)
        log.info("%s is complete, %s bytes", product.title, f"{file.size:,}")

    def _claim(self) -> PartialFile:
        """Open the product's file: whole, or to be filled by us alone; waits while another process fills it."""
        cache = self._around.cache
        while True:
            file = cache.open(cache.archive(self.product))
            if file:
                self.file, self._empty, self._mark = file, not file.arrived, file.forgotten.mark
                return file
            if self._around.clock.now() >= self.deadline:
                raise NotReady(f"another eofs process is still bringing {self.product.title}; open it again later")
            self._move(Activity.WAITING, note="another eofs process is bringing it")
            self._sleep(OTHER_PROCESS)

    def _ask_until_it_has_come(self, file: PartialFile, url: str) -> bool:
        """Ask for the bytes: this orders the product, tells whether it is there, and brings it (PEPS' protocol).

        Returns whether all has come; if not, nobody needs it any more, and the file is no longer ours.
        """
        tries, furthest = 0, 0
        if self.stage.storage is not StorageStatus.ONLINE and self._around.client.provider.order != "none":
            self._order()
        while not file.complete:
            furthest = max(furthest, file.arrived)
            try:
                if not file.ranged:
                    self._receive(file, url)
                if file.ranged and not file.complete:
                    return self._serve(file, url)
            except Staging as answer:
                tries = 0
                self._wait_for_staging(str(answer))
            except PassingFault as fault:
                tries = 1 if file.arrived > furthest else tries + 1
                self._wait_after(fault, tries)
        return True

    def _receive(self, file: PartialFile, url: str) -> None:
        """Ask for the end of the file; where the provider does not serve ranges, take all of it in order."""
        cache, client = self._around.cache, self._around.client
        # Without a size, nothing would tell that what goes on is the same file.
        here = file.reaches(0) if file.size is not None else 0
        # To look after an order is not urgent: what others only fill would stand still, look after look.
        with client.connection(self._rest, lambda: self.stage.activity is not Activity.WAITING):
            self.resting = False
            in_order = bool(file.arrived) or self._in_order
            wanted = {"start": here} if in_order else ranges.first(bare=self.product.bare)
            with contextlib.closing(client.get(url, **wanted, validator=file.validator)) as response:
                self._hang_up = functools.partial(transfer.hang_up, response)
                self._is_online()
                if in_order or not ranges.begin(file, cache, client, response, bare=self.product.bare):
                    transfer.receive(file, cache, client, response, self._check)

    def _serve(self, file: PartialFile, url: str) -> bool:
        """Bring the ranges that are wanted, until the file is complete or nobody needs more of it."""
        self._is_online()
        file.begin(file.size, file.validator)  # what went wrong before is over
        work = ranges.Ranges(file, self._around.cache, self._around.client, url)
        self._hang_up = work.hang_up
        self.ready.set()  # and stays so: a fault is a pause, for whose end the readers wait
        try:
            return work.run(eager=lambda: self.eager, may_end=self._may_end, check=self._check)
        finally:
            self._in_order = not file.ranged  # it said that it serves ranges, and does not

    def _is_online(self) -> None:
        self._move(Activity.DOWNLOADING, storage=StorageStatus.ONLINE)
        self.stage = replace(self.stage, order=None)  # it has been carried out
        self._around.cache.records.note_storage(self.product, StorageStatus.ONLINE)
        self._around.cache.records.note_order(self.product, None)
        self._give_order_slot_back()

    # -- ordering and waiting ----------------------------------------------------------------------------------------

    def _order(self) -> None:
        """Be allowed to order: the user wants it, and not too many orders are under way."""
        if self._around.options.order == "never" and not self.stage.order:
            raise NotAllowed(f"{self.product.title} is {self.stage.storage.value}, and order=never forbids to order it")
        self._take_order_slot()
        self._move(Activity.WAITING if self.stage.order else Activity.ORDERING)

    def _wait_for_staging(self, answer: str) -> None:
        """The provider is bringing it from tape: note the order, and sleep until the next check."""
        options, now = self._around.options, self._around.clock.now()
        if (provider := self._around.client.provider).order == "none":
            raise cannot_be_ordered(self.product, provider)
        # Another process may have placed it, while we waited for that one.
        known = self.stage.order or self._around.cache.records.order(self.product)
        order = Order(placed=known.placed if known else now, id=known.id if known else None, answer=answer)
        self._around.cache.records.note_order(self.product, order)
        if not self._has_order_slot:  # said to be ONLINE, and is not
            if self._around.options.order == "never":
                raise NotAllowed(f"{self.product.title} is not ONLINE, and order=never forbids to wait for an order")
            self._take_order_slot()
        pause = min(60 * options.wait, max(0.0, self.deadline - now))
        self._move(Activity.WAITING, storage=StorageStatus.STAGING, next_check=now + pause, order=order)
        if now >= self.deadline:
            raise NotReady(
                f"{self.product.title} is still on its way from tape; the order stays placed: open it again later"
            )
        self._sleep(pause)

    def _wait_after(self, fault: PassingFault, tries: int) -> None:
        """Sleep before another try, or give up: too many tries, or no time left."""
        self._check()
        provider, now = self._around.client.provider, self._around.clock.now()
        pause = back_off(tries, provider.retry_delay, fault.retry_after)
        throttled = isinstance(fault.error, NotReady)
        # A download that has begun may go on beyond the deadline.
        late = now + pause > self.deadline and (throttled or self.stage.activity is not Activity.DOWNLOADING)
        too_long = pause > max(LONGEST_BACK_OFF, 60 * self._around.options.timeout)
        if late or too_long or (tries > provider.retries and not throttled):
            raise fault.error
        log.warning("%s: %s (try %d, next in %.1f s)", self.product.title, fault.error, tries, pause)
        self.stage = replace(self.stage, note=f"{fault.error}", next_check=now + pause)
        self._sleep(pause)

    def _take_order_slot(self) -> None:
        limit = self._around.options.max_orders
        if not self._has_order_slot and not self._around.order_slots.acquire(blocking=False):
            self._move(Activity.WAITING, note=f"waits its turn: {limit} orders are under way (max_orders)")
            while not self._around.order_slots.acquire(blocking=False):
                if self._around.clock.now() >= self.deadline:
                    raise NotReady(f"{limit} orders are under way, and its turn did not come; open it again later")
                self._sleep(0.1)
        self._has_order_slot = True

    def _give_order_slot_back(self) -> None:
        if self._has_order_slot:
            self._has_order_slot = False
            self._around.order_slots.release()

    # -- small steps -------------------------------------------------------------------------------------------------

    def _move(
        self,
        activity: Activity,
        *,
        storage: StorageStatus | None = None,
        note: str = "",
        next_check: float | None = None,
        order: Order | None = None,
    ) -> None:
        now = self.stage
        if activity not in {now.activity, Activity.FAILED} or storage not in {None, now.storage}:
            log.info("%s: %s%s", self.product.title, activity.value, f", {storage.value}" if storage else "")
        self.stage = Stage(
            storage=status.move(now.storage, storage) if storage else now.storage,
            activity=status.move(now.activity, activity),
            note=note,
            next_check=next_check,
            order=order or now.order,
        )

    def _end(self, error: EofsError, activity: Activity) -> None:
        self.failure = error = explained(error, self.product, self._around.client.provider, self.stage.storage)
        log.log(logging.INFO if isinstance(error, Cancelled) else logging.WARNING, "%s: %s", self.product.title, error)
        self._move(activity)
        if self.file:
            self.file.fail(error)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled(f"{self.product.title} was stopped; what has arrived is kept")

    def _rest(self) -> None:
        self.resting = True
        self._check()

    def _sleep(self, seconds: float) -> None:
        self._rest()
        self._around.clock.wait(self._stop, seconds)
        self.resting = False
        self._check()


def _nothing() -> None:
    """There is no reply to hang up."""
