"""How far one product's story is, and its waits: what its ordering and its bringing share.

Threads: its story's thread runs it. Other threads read `stage`, a value that is replaced as a whole, `deadline` and
`resting`; and they may call `prolong` and `cancel`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eofs import status
from eofs.errors import Cancelled, NotReady
from eofs.faults import LONGEST_BACK_OFF, PassingFault, back_off
from eofs.fetch.stage import Stage
from eofs.status import Activity, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.errors import EofsError
    from eofs.fetch.clock import Clock
    from eofs.model import Order, Product
    from eofs.options import Options

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every story needs: where bytes go, whom to ask, what the user allows, and what time it is.

    `client_of` returns who asks at a link: most links are the provider's, whom `client` asks; some are another's.
    `tell` is called when a product that had to be waited for can be read, or with why it cannot; it takes no time.
    """

    cache: Cache
    client: Client
    client_of: Callable[[str], Client]
    options: Options
    order_slots: threading.Semaphore
    clock: Clock
    tell: Callable[[Product, EofsError | None], None]


class Course:
    """How far a story is: its stage, the time that it has, whether it is to stop."""

    def __init__(self, product: Product, around: Surroundings, stage: Stage, deadline: float) -> None:
        self.product = product
        self.around = around
        self.stage = stage
        self.deadline = deadline
        self.was_awaited = False  # while its provider did not have it ready, and nobody has been told how that came out
        self.resting = False  # it waits for its time or its turn, and not for an answer of the provider
        self._stop = threading.Event()

    def prolong(self, deadline: float) -> None:
        """Go on trying at least until `deadline`: somebody else has begun to wait."""
        self.deadline = max(self.deadline, deadline)

    def cancel(self) -> None:
        """Stop as soon as possible; what has arrived stays, an order stays placed."""
        self._stop.set()

    @property
    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self.around.clock.now()

    @property
    def cancelled(self) -> Cancelled:
        """Return what those get who wait, when it has been stopped."""
        return Cancelled(f"{self.product.title} was stopped; what has arrived is kept, and an order stays placed")

    @property
    def is_late(self) -> bool:
        """Tell whether its time is over."""
        return self.now >= self.deadline

    @property
    def is_urgent(self) -> bool:
        """Tell whether somebody waits for the answer to what is asked now.

        To look after an order is not urgent: what others only fill would stand still, look after look.
        """
        return self.stage.activity is not Activity.WAITING

    def move(
        self,
        activity: Activity,
        *,
        storage: StorageStatus | None = None,
        note: str = "",
        next_check: float | None = None,
        order: Order | None = None,
    ) -> None:
        """Be at another stage; what is not given is as it was, but for the words."""
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

    @contextlib.contextmanager
    def connection(self) -> Iterator[None]:
        """Take one of the provider's connections for a while; waits for it."""
        with self.around.client.connection(self.rest, lambda: self.is_urgent):
            self.resting = False
            yield

    def pause_after(self, fault: PassingFault, tries: int) -> None:
        """Sleep before another try, or give up: too many tries, or no time left."""
        self.check()
        provider, now = self.around.client.provider, self.now
        pause = back_off(tries, provider.retry_delay, fault.retry_after)
        throttled = isinstance(fault.error, NotReady)
        # A download that has begun may go on beyond the deadline.
        late = now + pause > self.deadline and (throttled or self.stage.activity is not Activity.DOWNLOADING)
        too_long = pause > max(LONGEST_BACK_OFF, 60 * self.around.options.timeout)
        if late or too_long or (tries > provider.retries and not throttled):
            raise fault.error
        log.warning("%s: %s (try %d, next in %.1f s)", self.product.title, fault.error, tries, pause)
        self.stage = replace(self.stage, note=f"{fault.error}", next_check=now + pause)
        self.sleep(pause)

    def sleep(self, seconds: float) -> None:
        """Wait for its time."""
        self.was_awaited |= self.stage.activity is Activity.WAITING and self.stage.storage is not StorageStatus.ONLINE
        self.rest()
        self.around.clock.wait(self._stop, seconds)
        self.resting = False
        self.check()

    def rest(self) -> None:
        """Begin to wait."""
        self.resting = True
        self.check()

    def check(self) -> None:
        """Stop here if it is to stop.

        Raises:
            Cancelled: it is.
        """
        if self._stop.is_set():
            raise self.cancelled
