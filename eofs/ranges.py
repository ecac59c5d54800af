"""Bringing the ranges of a file that somebody waits for, and, where all is wanted, the rest in the background.

Each job is one request for one range, in a thread of its own, over one of the provider's connections. What a reader
waits for goes first: jobs that only fill are short, and none is begun meanwhile.
A reader that reads on and on is served by one long request; where nothing but what is read is to be brought, that
request keeps a little ahead of the reader, and ends when the reader goes elsewhere.

Threads: `Ranges.run` belongs to the thread of the story, which hands out the jobs; their threads write to the file, and
leave what went wrong under the lock of this object.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from eofs import heads, replies, transfer
from eofs.blocks import POLL
from eofs.errors import Changed, Unreachable
from eofs.faults import PassingFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.jobs import Job

TAIL = 128 << 10  # bytes of the end that are asked for first: there is the index of a zip
HEAD = 16 << 10  # bytes of the front that are asked for first where that cannot be: there is the index of an image
WORTH = 8 << 20  # bytes of a file for which a reply that brings all of it is broken off, to ask for ranges instead
FILL = 1 << 20, 256 << 10, 16 << 20  # bytes of a request that only fills: the first one, at least and at most
FILLING = 0.5  # seconds that such a request should take: so long it is in the way of somebody who reads
NEXT = 256 << 10  # bytes that are brought with what somebody waits for, where all is wanted: small files lie together
AHEAD = 8 << 20  # bytes that may come beyond what has been read, where nothing else is wanted
IDLE = 2.0  # seconds after which a reader that has not read on has gone elsewhere


def first(*, bare: bool, eager: bool) -> dict[str, int]:
    """Return what `Client.get` is to ask for of a file of which nothing is known: its end, or its front if `bare`.

    Where all of it is wanted, the front is as much as a small file has.
    """
    return {"stop": FILL[0] if eager else HEAD} if bare else {"last": TAIL}


def begin(file: PartialFile, cache: Cache, sender: Client, response: requests.Response, stop: int | None) -> bool:
    """Take the reply to what was asked for first, if the provider serves ranges; tell whether it does.

    The bytes up to `stop` were asked for, or else those at the end.
    If so, the file's size is known now, and that part of it is here, unless the provider serves every range but that of
    the last so many bytes (Azure). Otherwise the reply carries the whole file.

    Raises:
        PassingFault, EofsError: it did not come.
    """
    head = replies.reply(response)
    partial = response.status_code == 206
    large = head.size is not None and head.size > WORTH
    if head.size is None or not (partial or (large and response.headers.get("Accept-Ranges") == "bytes")):
        return False
    with cache.writing(), cache.room(file.path, TAIL):
        file.begin(head.size, head.validator, head.checksum)
    file.ranged = True
    if partial:
        _take(file, cache, sender, response, head.start, min(head.size, stop or head.size))
    file.save(sync=False)
    return True


def _take(file: PartialFile, cache: Cache, sender: Client, response: requests.Response, offset: int, stop: int) -> None:
    """Take a reply's bytes, those from `offset` up to `stop`, into their place; there are few."""
    with cache.writing():
        for chunk in sender.body(response):
            file.write(offset, chunk[: max(0, stop - offset)])
            offset += len(chunk)
    if offset < stop:
        raise PassingFault(Unreachable(f"{sender.provider.name} broke off; try again"))


class Ranges:
    """Brings the ranges of one file."""

    def __init__(self, file: PartialFile, cache: Cache, sender: Client, url: str) -> None:
        self._file = file
        self._cache = cache
        self._sender = sender
        self._url = url
        self._fault: BaseException | None = None
        self._over = threading.Event()
        self._eager = False
        self._fill, *_ = FILL
        self._promised = 0
        self._replies: list[requests.Response] = []
        self._lock = threading.Lock()

    def run(self, *, eager: Callable[[], bool], may_end: Callable[[], bool], check: Callable[[], None]) -> bool:
        """Bring what is waited for, until the file is complete, or until nobody needs it.

        Args:
            eager: tells whether all of the file is wanted.
            may_end: tells whether nobody needs the file any more; asked only when nothing is under way.
            check: raises when this has to stop.

        Returns:
            whether the file is complete; if not, it may be somebody else's by now.

        Raises:
            Staging, PassingFault, EofsError: what went wrong with a job; the others have ended.
        """
        try:
            while not self._file.complete:
                check()
                if self._fault:
                    raise self._fault
                self._be_eager(wanted=eager())
                slots = self._sender.slots
                filling = self._eager and len(self._file.jobs()) < max(1, slots.number - 1) and not slots.pressed
                least, fill = NEXT if self._eager else 0, self._fill if filling else 0
                job = self._file.next_job(least=least, fill=fill, patience=POLL)
                if job and self._fault:  # what has just failed is not asked for again
                    self._file.end_job(job)
                elif job:
                    threading.Thread(target=self._do, args=(job, check), name="range", daemon=True).start()
                elif not (self._eager or self._file.jobs() or self._file.wanted or self._file.complete) and may_end():
                    return False
        except Changed:
            self._stop()
            self._file.restart()  # not before: what other jobs still write is of what it was
            raise
        finally:
            self._stop()
        return True

    def _stop(self) -> None:
        """End all that is under way; returns when it has ended."""
        self.hang_up()
        while self._file.jobs():
            time.sleep(0.01)

    def hang_up(self) -> None:
        """End all that is under way, at once."""
        self._over.set()
        with self._lock:
            replies = list(self._replies)
        for response in replies:
            transfer.hang_up(response)

    @contextlib.contextmanager
    def _ask(self, job: Job) -> Iterator[requests.Response]:
        """Ask for a range; until the end of the context `hang_up` can end the reply."""
        response = self._sender.get(self._url, start=job.at, stop=job.stop, validator=self._file.validator)
        with contextlib.closing(response):
            with self._lock:
                self._replies.append(response)
            try:
                yield response
            finally:
                with self._lock:
                    self._replies.remove(response)

    def _be_eager(self, *, wanted: bool) -> None:
        """Take the room for the whole file, once it is all wanted."""
        if wanted and not self._eager:
            with self._cache.room(self._file.path, self._file.size or 0), self._cache.writing():
                self._file.reserve()
        self._eager = wanted

    def _take_room(self, job: Job) -> None:
        """Make room for what a job brings, unless there is room for the whole file already."""
        file = self._file
        needed = file.arrived + job.stop - job.at
        if not self._eager and needed > self._promised:
            self._promised = min(file.size or needed, needed + transfer.GROWTH)
            with self._cache.room(file.path, self._promised):
                pass

    def _do(self, job: Job, check: Callable[[], None]) -> None:
        try:
            with self._sender.connection(check, lambda: job.urgent):
                self._bring(job, check)
        except BaseException as fault:  # noqa: BLE001 - raised again by `run`
            with self._lock:
                self._fault = self._fault or fault
        finally:
            self._file.end_job(job)

    def _bring(self, job: Job, check: Callable[[], None]) -> None:
        file = self._file
        self._take_room(job)
        with self._ask(job) as response:
            self._must_be_the_range(response, job)
            job.begun = time.monotonic()
            for chunk in self._sender.body(response):
                check()
                with self._cache.writing():
                    file.write(job.at, chunk[: max(0, job.stop - job.at)])
                job.at += len(chunk)
                if job.at >= job.stop or self._over.is_set() or not self._keeps_pace(job, check):
                    break
            else:
                if job.at < job.stop:
                    early = f"{self._sender.provider.name} broke off {job.stop - job.at:,} bytes early; try again"
                    raise PassingFault(Unreachable(early))
        if not job.until:
            speed = (job.at - job.start) / max(0.001, time.monotonic() - job.begun)
            _, least, most = FILL
            self._fill = min(max(least, int(speed * FILLING)), most)

    def _must_be_the_range(self, response: requests.Response, job: Job) -> None:
        """Never splice: what comes has to be the range that was asked for, of the same version of the file."""
        head, file = replies.reply(response), self._file
        name = self._sender.provider.name
        if head.size not in {None, file.size} or heads.differ(head.validator, file.validator):
            raise Changed(f"the product changed at {name} while it was read; open it again")
        if response.status_code != 206:  # ranges are no longer served: then all of it, from the front
            file.ranged = False
            raise PassingFault(Unreachable(f"{name} sent the whole file instead of a part; it is brought as a whole"))
        if head.start != job.at:
            raise PassingFault(Unreachable(f"{name} sent another part of the file than was asked for; try again"))

    def _keeps_pace(self, job: Job, check: Callable[[], None]) -> bool:
        """Wait where the reader is far behind, and no more than he reads is wanted; tell whether to go on at all."""
        while not self._over.is_set():
            if self._eager:  # who read has left, and somebody else waits: what is left is brought later
                return job.urgent or job.stop - job.at <= self._fill or not self._sender.slots.urgent
            if job.at <= job.reader + AHEAD:
                return True
            if time.monotonic() - job.touched > IDLE:
                return False
            check()
            time.sleep(0.01)
        return False
