"""Quicklooks: small pictures, fetched once and then kept for good.

They are fetched by a few threads of their own: a program that waits for one can be interrupted, and a quicklook never
waits behind a download.
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

from eofs.blocks import POLL
from eofs.errors import Cancelled, EofsError, NotReady, NotSupported, ProviderFailed
from eofs.faults import PassingFault, Staging

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from eofs.cache import Cache
    from eofs.client import Client
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
    """Fetches quicklooks and keeps them in the cache's records."""

    def __init__(self, cache: Cache, client_of: Callable[[Product], Client]) -> None:
        self._cache = cache
        self._client_of = client_of
        self._slots = threading.Semaphore(AT_A_TIME)
        self._closing = threading.Event()
        self._under_way: dict[tuple[str, str], Future[bytes]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Start no further one."""
        self._closing.set()

    def known(self, product: Product) -> bytes | None:
        """Return a quicklook that needs no request, or None."""
        picture = inline(product.quicklook or "")
        return self._cache.records.quicklook(product) if picture is None else picture

    def fetch(self, product: Product, caller: Caller) -> bytes:
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
                picture = self.known(product) or self._fetch(product)
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
        link = product.quicklook or ""
        if not link.startswith(("http://", "https://")):
            raise NotSupported(f"the quicklook of {product.title} has a link that this version of eofs cannot follow")
        for _ in range(TRIES):
            try:
                picture = self._ask(self._client_of(product), link)
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
