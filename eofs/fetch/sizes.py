"""Asking how large files are: those of a product all at once, over the provider's connections.

Threads: as many as there are connections take one file after the other from a queue, and keep what they learn for
whoever asked. That one waits, and alone calls `check`; an event tells the others to stop.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
from typing import TYPE_CHECKING

from eofs import faults
from eofs.blocks import POLL
from eofs.errors import Cancelled, EofsError, ProviderFailed, unforeseen
from eofs.faults import Staging
from eofs.fetch.addresses import one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eofs.cache import Records
    from eofs.client import Client
    from eofs.fetch.addresses import Address
    from eofs.fetch.clock import Clock
    from eofs.model import Product

log = logging.getLogger(__name__)


class Sizes:
    """Asks for the sizes of files, by one request each where the provider has manners.

    Args:
        client: who asks for most of them.
        client_of: returns who asks at a link.
        bring: returns the size of a file that has to be ordered or fetched for that, or None; its second argument
            raises when it is not wanted any more.
    """

    def __init__(
        self,
        client: Client,
        client_of: Callable[[str], Client],
        records: Records,
        clock: Clock,
        bring: Callable[[Product, Callable[[], None]], int | None],
    ) -> None:
        self._client = client
        self._client_of = client_of
        self._records = records
        self._clock = clock
        self._bring = bring
        self._over = threading.Event()
        self._waiting: queue.SimpleQueue[Product] = queue.SimpleQueue()
        self._found: dict[str, int | EofsError] = {}

    def ask(self, files: Iterable[Product], check: Callable[[], None]) -> dict[str, int | EofsError]:
        """Return the bytes of each file by its uid, or why they cannot be known; what `check` raises passes through."""
        for file in files:
            self._waiting.put(file)
        number = min(self._client.slots.number, self._waiting.qsize())
        threads = [threading.Thread(target=self._run, name="sizes", daemon=True) for _ in range(number)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(POLL)
                    check()
        finally:
            self._over.set()
        return self._found

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                file = self._waiting.get_nowait()
            except queue.Empty:
                break
            try:
                self._found[file.uid] = self._size(file)
            except EofsError as error:
                self._found[file.uid] = error
            except Exception as error:
                log.exception("%s: a fault in eofs", file.title)
                self._found[file.uid] = unforeseen(error)
        self._records.close()  # this thread's connection to the data base

    def _size(self, file: Product) -> int:
        size = one_of(file, self._client_of, self._records, functools.partial(self._size_at, file))
        if size is None:
            size = self._bring(file, self._check)
        if size is None:
            raise ProviderFailed(f"{file.served_by} does not say how large {file.title} is; tell the provider")
        return size

    def _size_at(self, file: Product, address: Address) -> int | None:
        """Ask until there is an answer, as often as the provider's settings say; None is one that does not help."""
        client = address.client

        def once() -> int | None:
            with client.connection(self._check):
                return client.size(address.url)

        try:
            return faults.patiently(once, client.provider, file.title, functools.partial(self._clock.wait, self._over))
        except Staging:
            return None

    def _check(self) -> None:
        if self._over.is_set():
            raise Cancelled("the sizes of files are not wanted any more")
