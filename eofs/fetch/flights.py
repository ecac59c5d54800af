"""Questions that a product's story cannot ask, for they come before it: once each, however many want to know.

Threads: one lock guards the questions under way and the failures; nothing waits under it, and nothing else is called
under it. A question is asked in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Generic, TypeVar

from eofs.blocks import POLL
from eofs.errors import Cancelled, EofsError, NotReady, unforeseen
from eofs.fetch.failures import Failures

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from eofs.cache import Cache
    from eofs.fetch.clock import Clock
    from eofs.model import Product
    from eofs.nodes import Caller
    from eofs.options import Options

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Flights(Generic[Answer]):
    """Questions about products that are under way, and how the last about each of them failed."""

    def __init__(self, cache: Cache, clock: Clock, what: str) -> None:
        self._cache = cache
        self._what = what  # is asked for
        self._failures = Failures(clock)
        self._under_way: dict[tuple[str, str], Future[Answer | EofsError]] = {}
        self._lock = threading.Lock()
        self._here = threading.local()  # a thread's own question: `future`
        self.closing = threading.Event()

    def close(self) -> None:
        """Ask for nothing more."""
        self.closing.set()

    def check(self) -> None:
        """Raise where nobody wants an answer any more."""
        if self.closing.is_set():
            raise Cancelled("eofs is being unmounted")
        if (future := getattr(self._here, "future", None)) and future.done():
            raise Cancelled("it is not wanted any more")

    def cancel(self, product: Product) -> bool:
        """Want no answer about a product any more; those who wait get `Cancelled`. Returns whether one was awaited."""
        with self._lock:
            future = self._under_way.pop(product.key, None)
        if future:
            future.set_result(Cancelled(f"{product.title} was stopped"))
        return future is not None

    def retry(self, product: Product) -> None:
        """Forget why there was no answer last."""
        with self._lock:
            self._failures.forget(product)

    def failure(self, product: Product) -> EofsError | None:
        """Return why there was no answer last, if so."""
        with self._lock:
            return self._failures.last(product)

    def ask(self, product: Product, find: Callable[[], Answer], caller: Caller, options: Options) -> Answer:
        """Return what `find` returns, called by nobody else meanwhile; waits, if the caller may be kept waiting.

        Raises:
            EofsError: what `find` raises, also if that was a short while ago.
        """
        with self._lock:
            self._failures.check(product)
            future = self._under_way.get(product.key)
            if future is None:
                future = self._under_way[product.key] = futures.Future()
                work, name = (product, find, future), f"story {self._what} of {product.title}"
                threading.Thread(target=self._work, args=work, name=name, daemon=True).start()
        while not futures.wait((future,), POLL).done:
            caller.check()
            self.check()
            if not options.lets_wait(caller):
                raise NotReady(f"the {self._what} of {product.title} is being asked for; open it again")
        answer = future.result()
        if isinstance(answer, EofsError):
            raise answer.again()
        return answer

    def _work(self, product: Product, find: Callable[[], Answer], future: Future[Answer | EofsError]) -> None:
        self._here.future = future
        try:
            answer: Answer | EofsError = find()
        except EofsError as error:
            answer = error
        except Exception as error:
            log.exception("%s: a fault in eofs", product.title)
            answer = unforeseen(error)
        self._cache.records.close()  # this thread's connection to the data base
        with self._lock:
            if self._under_way.get(product.key) is not future:
                return  # cancelled
            del self._under_way[product.key]
            if isinstance(answer, EofsError):
                self._failures.note(product, answer)
            else:
                self._failures.forget(product)
        future.set_result(answer)
