"""The order of one product: placed once, waited for, asked after; and where its bytes are when it is carried out.

There are two ways (`Provider.order`, `Provider.protocol`). Where asking for the bytes is the order, the answer says
that they are on their way. Where orders are requests of their own, `link` places one and asks after it, and says by
`Staging` that it is not ready yet; what was said of it is in the records, so that it is not placed again.

Threads: that of the product's story; the slots are shared.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from eofs import auth, orders
from eofs.errors import Gone, NotAllowed, NotReady, ProviderFailed, Stalled, Unreachable
from eofs.faults import PassingFault, Staging
from eofs.fetch.failures import cannot_be_ordered
from eofs.fetch.message import moment
from eofs.links import download_url
from eofs.model import Order
from eofs.status import Activity, StorageStatus

if TYPE_CHECKING:
    from eofs.cache import Records
    from eofs.errors import EofsError
    from eofs.fetch.course import Course
    from eofs.model import Provider
    from eofs.orders import Plan
    from eofs.tokens import Answer, Question

log = logging.getLogger(__name__)


class Ordering:
    """The order of the product whose story `course` is."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._product = course.product
        self._planned: Plan | None = None
        self._has_slot = False
        self._link: str | None = None  # where the order has put it; it may be signed, so it is kept nowhere else
        self._was_refused = False  # a link, since bytes came last
        self._was_lost = False  # an order, and it has been placed again

    # -- what a story asks of it -------------------------------------------------------------------------------------

    @property
    def is_needed(self) -> bool:
        """Tell whether an order by a request of its own says where the product is."""
        is_there = self._course.stage.storage is StorageStatus.ONLINE and not self._plan.protocol.always
        return self._plan.is_possible and (not is_there or self._known() is not None)

    def begin(self) -> None:
        """Be allowed to order what has to be: the user wants it, and not too many orders are under way."""
        course = self._course
        is_there = self._link is not None or course.stage.storage is StorageStatus.ONLINE
        if (self._link is None and self.is_needed) or (not is_there and self._provider.order != "none"):
            self._be_allowed()
            course.move(Activity.WAITING if self._known() else Activity.ORDERING)

    def link(self, url: str) -> str:
        """Return the address to ask for the bytes: `url`, unless there is an order to say it, which is placed first.

        Raises:
            Staging: the order is not ready yet.
            PassingFault, EofsError: another try may help, or would not.
        """
        if self._link is None and self.is_needed:
            self._link = self._ask_for_link()
        return self._link or url

    def wait(self, answer: str) -> None:
        """The provider is bringing it: note the order, and sleep until the next check."""
        course, now = self._course, self._course.now
        if self._provider.order == "none":
            raise cannot_be_ordered(self._product, self._provider)
        known = self._known()  # another process may have placed it, while we waited for that one
        if known is None and self._plan.is_possible:
            course.move(Activity.WAITING, storage=StorageStatus.OFFLINE)  # said to be ONLINE, and is to be ordered
            return
        order = replace(known or Order(placed=now), answer=answer)
        self._note(order)
        if not self._has_slot:  # said to be ONLINE, and is not
            if course.around.options.order == "never":
                raise NotAllowed(f"{self._product.title} is not ONLINE, and order=never forbids to wait for an order")
            self._take_slot()
        pause = min(60 * course.around.options.wait, max(0.0, course.deadline - now))
        course.move(Activity.WAITING, storage=StorageStatus.STAGING, next_check=now + pause, order=order)
        if now >= course.deadline:
            where = "being prepared" if self._plan.is_possible else "on its way from tape"
            raise NotReady(f"{self._product.title} is still {where}; the order stays placed: open it again later")
        course.sleep(pause)

    def begin_again(self, error: EofsError, *, has_come_further: bool) -> None:
        """Have a fresh link where that of the order is over, and then, once, a fresh order; else raise `error`."""
        link = self._link
        # A host of the provider's refuses for a reason of its own, a signed address when its time is over.
        over = isinstance(error, Gone) or (link and not auth.may_receive(self._provider, link))
        if not link or not over or link == self._plan.values["download_link"]:
            raise error
        if self._was_refused and not has_come_further:
            self._lose(error)
        log.info("%s: the link of its order is over (%s)", self._product.title, error)
        self._was_refused, self._link = True, None

    def is_online(self) -> None:
        """The bytes come."""
        self._course.move(Activity.DOWNLOADING, storage=StorageStatus.ONLINE)
        self._records.note_storage(self._product, StorageStatus.ONLINE)
        if self._link is None:  # to ask for them was the order, and it has been carried out
            self.end()
        self.give_slot_back()

    def end(self) -> None:
        """Nobody needs the order any more."""
        self._course.stage = replace(self._course.stage, order=None)
        self._records.note_order(self._product, None)

    def give_slot_back(self) -> None:
        """Let another order be placed."""
        if self._has_slot:
            self._has_slot = False
            self._course.around.order_slots.release()

    # -- orders by requests of their own -----------------------------------------------------------------------------

    def _ask_for_link(self) -> str:
        """Ask after the order, which is placed where there is none; return where it has put the product."""
        order = self._known()
        said = self._plan.known(order.said if order else {})
        try:
            question = self._plan.asking(said)
            answer = self._ask(question) if question else None
        except Gone as error:
            if order and not self._is_asked_by_name(said):
                self._lose(error)
                return self._place()
            answer = None  # the product is known there, or not, whoever has ordered it: its own link will tell
        if answer is None:
            return download_url(self._product, self._provider) if order else self._place()
        word = self._plan.word(answer, said)
        if word.state == "ready":
            search = self._plan.searching(said)
            return self._plan.link(self._ask(search) if search else answer, said)
        if word.state == "failed" and order:
            self._fail(order, word.words)
        if order is None or word.state == "failed":
            return self._place()
        raise Staging(word.words)

    def _is_asked_by_name(self, said: dict[str, str]) -> bool:
        """Tell whether an order is asked after by what the product is called, and not by what the order is."""
        return self._plan.known({}).get("status_link") == said.get("status_link")

    def _place(self) -> str:
        """Place the order and note it, before anything else can go wrong; return where the product will be."""
        course = self._course
        self._be_allowed()
        course.move(Activity.ORDERING)
        if first := self._plan.protocol.first:
            more = orders.FIRST[first](self._plan, self._ask)
            self._planned = replace(self._plan, values={**self._plan.values, **more})
        answer = self._order()
        said = self._plan.placed(answer)
        order = Order(course.now, said.get("order_id"), answer.said, said)
        self._note(order)
        course.move(Activity.ORDERING, storage=StorageStatus.STAGING, order=order)
        log.info("%s is ordered%s", self._product.title, f": {order.id}" if order.id else "")
        return self._plan.link_at_once(answer) or self._ask_for_link()

    def _order(self) -> Answer:
        """Send the order when its turn has come.

        An order whose answer is lost on its way back cannot be told from one that never arrived. It is sent again, as
        other requests are: most providers take two orders of one product for one, others do some work twice; but not
        to send it could be to wait for ever. What may have arrived counts, where orders are counted.
        """
        question = self._plan.order()
        turn = self._await_turn()
        try:
            return self._ask(question)
        except PassingFault as fault:
            if not isinstance(fault.error, Unreachable | Stalled):
                self._records.give_turn_back(self._provider.name, turn)
            raise
        except Exception:
            self._records.give_turn_back(self._provider.name, turn)
            raise

    def _ask(self, question: Question) -> Answer:
        with self._course.connection():
            return self._course.around.client.ask(question, final=self._plan.final)

    def _fail(self, order: Order, words: str) -> None:
        """The order has failed: the next open orders it anew; at once, where the one that failed is not ours."""
        error = ProviderFailed(
            f"{self._provider.name} could not carry out the order ({words}); opened again later, it is ordered anew"
        )
        if order.placed is None:
            self._lose(error)
            return
        self._forget()
        raise error

    def _lose(self, error: EofsError) -> None:
        """Forget an order that is lost, so that it is placed again; raise `error` where that has been done before."""
        self._forget()
        if self._was_lost:
            raise error
        log.warning("%s: its order is lost (%s); it is ordered again", self._product.title, error)
        self._was_lost = True

    # -- what is known, and whose turn it is -------------------------------------------------------------------------

    @property
    def _provider(self) -> Provider:
        return self._course.around.client.provider

    @property
    def _records(self) -> Records:
        return self._course.around.cache.records

    @property
    def _plan(self) -> Plan:
        if self._planned is None or self._planned.provider is not self._provider:
            self._planned = orders.plan(self._product, self._provider)
        return self._planned

    def _known(self) -> Order | None:
        """Return the order that has been placed: by this story, by another one, or as the result says."""
        known = self._course.stage.order or self._records.order(self._product)
        # One that the result knows of, and that turned out to be lost, has been noted to be so.
        if known or not self._plan.is_possible or self._records.storage(self._product) is StorageStatus.OFFLINE:
            return known
        said = self._plan.earlier and self._plan.known(self._plan.earlier)
        return Order(None, said.get("order_id"), said=said) if said else None

    def _note(self, order: Order) -> None:
        kept = replace(order, said=self._plan.to_keep(order.said)) if order.said else order
        self._records.note_order(self._product, kept)
        self._records.note_storage(self._product, StorageStatus.STAGING)

    def _forget(self) -> None:
        self.end()
        self._records.note_storage(self._product, StorageStatus.OFFLINE)
        self._course.move(Activity.WAITING, storage=StorageStatus.OFFLINE)

    def _be_allowed(self) -> None:
        if self._course.around.options.order == "never" and self._known() is None:
            storage = self._course.stage.storage.value
            raise NotAllowed(f"{self._product.title} is {storage}, and order=never forbids to order it")
        self._take_slot()

    def _take_slot(self) -> None:
        course, limit = self._course, self._course.around.options.max_orders
        if not self._has_slot and not course.around.order_slots.acquire(blocking=False):
            course.move(Activity.WAITING, note=f"waits its turn: {limit} orders are under way (max_orders)")
            while not course.around.order_slots.acquire(blocking=False):
                course.sleep(0.1)
                if course.is_late:
                    raise NotReady(f"{limit} orders are under way, and its turn did not come; open it again later")
        self._has_slot = True

    def _await_turn(self) -> float:
        """Wait until the provider takes one more order; return when that was. Meanwhile, others may order elsewhere."""
        course, quota = self._course, self._plan.protocol.quota
        while quota and (free := self._records.take_turn(self._provider.name, *quota, turn := course.now)):
            taken = f"{self._provider.name} takes {quota[0]} orders in {quota[1] / 3600:g} h"
            if course.is_late:
                raise NotReady(f"{taken}, and this one's turn comes at {moment(free)}; open it again then")
            self.give_slot_back()
            course.move(Activity.WAITING, note=f"waits its turn until {moment(free)}: {taken}")
            course.sleep(max(0.0, min(free, course.deadline) - turn))
            self._take_slot()
        course.move(Activity.ORDERING)
        return turn if quota else course.now
