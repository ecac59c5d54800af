"""Quicklooks: small pictures, fetched once and then kept for good.

They are fetched by a few threads of their own: a program that waits for one can be interrupted, and a quicklook never
waits behind a download.

Threads: one lock guards those under way and the failures; nothing waits under it, and nothing else is called under it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import re
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING

from eofs import buckets
from eofs.blocks import POLL
from eofs.errors import Cancelled, EofsError, Gone, NotReady, NotSupported, ProviderFailed
from eofs.faults import PassingFault, Staging
from eofs.fetch.failures import Failures
from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.fetch.clock import Clock
    from eofs.fetch.mirrors import Mirrors
    from eofs.model import Product
    from eofs.nodes import Caller

log = logging.getLogger(__name__)

LARGEST = 32 << 20  # bytes; what is larger is no quicklook
TRIES = 2
PATIENCE = 10.0  # seconds; the kernel lets nobody look up other names of the directory meanwhile. It still comes.
AT_A_TIME = 4
SUFFIXES = {"jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "jp2"}
DATA_URI = re.compile(r"data:image/(?P<kind>[\w.+-]+)?[^,]*,", re.ASCII)


def file_name(product: Product) -> str | None:
    """Return ``quicklook`` with the suffix that its link says, ``.jpg`` where it says none; None without a link."""
    if not product.quicklook:
        return None
    if inline(product.quicklook) is not None:
        return "quicklook.png" if DATA_URI.sub("", product.quicklook).startswith("iVBOR") else "quicklook.jpg"
    suffix = re.split(r"[?#]", product.quicklook)[0].rpartition("/")[2].rpartition(".")[2].lower()
    return f"quicklook.{suffix if suffix in SUFFIXES else 'jpg'}"


def inline(quicklook: str) -> bytes | None:
    """Return the picture that the result itself holds as base64 text, or None where `quicklook` is a link."""
    if "://" in quicklook[:16]:
        return None
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(DATA_URI.sub("", quicklook), validate=True)
    return None


class Quicklooks:
    """Fetches quicklooks and keeps them in the cache's records.

    Args:
        mirrors: tell who is asked.
        client: returns what speaks with a provider.
        refuse: raises for a caller that is not to cause traffic.
    """

    def __init__(
        self,
        cache: Cache,
        clock: Clock,
        mirrors: Mirrors,
        client: Callable[[str], Client],
        refuse: Callable[[Caller], None],
    ) -> None:
        self._cache = cache
        self._mirrors = mirrors
        self._client = client
        self._refuse = refuse
        self._failures = Failures(clock)
        self._slots = threading.Semaphore(AT_A_TIME)
        self._closing = threading.Event()
        self._under_way: dict[tuple[str, str], Future[bytes]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Start no further one."""
        self._closing.set()

    def retry(self, product: Product) -> None:
        """Forget how the product's quicklook failed."""
        with self._lock:
            self._failures.forget(product)

    def picture(self, product: Product, caller: Caller) -> bytes:
        """Return the product's quicklook, fetched once; waits for that."""
        picture = self._known(product)
        if picture is not None:
            return picture
        self._refuse(caller)
        with self._lock:
            self._failures.check(product)
        try:
            return self._wait_for(product, caller)
        except EofsError as error:
            with self._lock:
                self._failures.note(product, error)
            raise

    def _known(self, product: Product) -> bytes | None:
        """Return a quicklook that needs no request, or None."""
        picture = inline(product.quicklook or "")
        return self._cache.records.quicklook(product) if picture is None else picture

    def _wait_for(self, product: Product, caller: Caller) -> bytes:
        """Return the quicklook, asking the provider for it; one request however many ask."""
        with self._lock:
            future = self._under_way.get(product.key)
            if future is None:
                future = self._under_way[product.key] = futures.Future()
                # A daemon, unlike an executor's threads: the program's end does not wait for a provider that is silent.
                threading.Thread(target=self._work, args=(future, product), name="quicklook", daemon=True).start()
        enough = time.monotonic() + PATIENCE
        while not futures.wait((future,), POLL).done:
            caller.check()
            if time.monotonic() > enough:
                raise NotReady(f"the quicklook of {product.title} is slow to come; try again later")
        return future.result()

    def _work(self, future: Future[bytes], product: Product) -> None:
        picture, failure = b"", None
        try:
            with self._slots:
                # It may have come between the question for it and now.
                picture = self._known(product) or self._fetch(self._mirrors.found(product, NOBODY))
        except Exception as error:  # noqa: BLE001 - it is raised where the quicklook is waited for
            failure = error
        self._cache.records.close()  # this thread's connection to the data base
        # Before anybody is told: who asks after that asks afresh.
        with self._lock:
            del self._under_way[product.key]
        if failure:
            future.set_exception(failure)
        else:
            future.set_result(picture)

    def _fetch(self, product: Product) -> bytes:
        if self._closing.is_set():
            raise Cancelled("eofs is being unmounted")
        if product.quicklook is None:
            raise Gone(f"{product.served_by}, which serves {product.title} now, has no quicklook of it")
        client = self._client(product.served_by)
        place = buckets.of_link(product.quicklook)
        link = place.address(client.provider.s3_endpoint) if place else product.quicklook
        if not link.startswith(("http://", "https://")):
            raise NotSupported(f"the quicklook of {product.title} has a link that this version of eofs cannot follow")
        for _ in range(TRIES):
            try:
                picture = self._ask(client, link)
                self._cache.records.note_quicklook(product, picture)
                return picture
            except PassingFault as fault:
                error: EofsError = fault.error
            except Staging:
                error = NotReady(f"the quicklook of {product.title} is not ready; try again later")
        raise error

    @staticmethod
    def _ask(client: Client, link: str) -> bytes:
        with contextlib.closing(client.get(link)) as response:
            picture = b""
            for chunk in client.body(response):
                picture += chunk
                if len(picture) > LARGEST:
                    raise ProviderFailed(f"{client.provider.name} sent a quicklook of more than {LARGEST >> 20} MB")
            return picture
