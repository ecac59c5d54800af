"""Bringing a file for who does not wait for it: it is there when he comes again.

Threads: one lock guards the set of what is being brought; each is brought in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from eofs import transfer
from eofs.blocks import View
from eofs.errors import EofsError, NotReady

if TYPE_CHECKING:
    from pathlib import Path

    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.fetch.stories import Running, Stories

log = logging.getLogger(__name__)


class Aside:
    """Brings what was asked for by those who did not wait."""

    def __init__(self, cache: Cache, stories: Stories) -> None:
        self._cache = cache
        self._stories = stories
        self._under_way: set[tuple[Path, int]] = set()
        self._lock = threading.Lock()

    def must_be_here(self, file: PartialFile, running: Running | None, start: int, stop: int, name: str) -> None:
        """Return if the bytes from `start` up to `stop` are here; else have them brought.

        Raises:
            NotReady: they are not here yet.
        """
        stop = stop if file.size is None else min(stop, file.size)
        if not running or file.whole or file.reaches(start) >= stop:
            return
        with self._lock:
            ours = (file.path, start) not in self._under_way
            self._under_way.add((file.path, start))
        if ours:
            self._cache.hold(file)
            work = (file, self._stories.stay(running), start, stop)
            threading.Thread(target=self._bring, args=work, name="aside", daemon=True).start()
        raise NotReady(f"{name} is not here yet; it is being brought: open it again")

    def _bring(self, file: PartialFile, running: Running, start: int, stop: int) -> None:
        try:
            running.story.read_on()
            for _ in transfer.steps(View(file, until=stop), start, stop):
                pass
        except EofsError as error:
            log.info("%s: %s", running.story.product.title, error)
        finally:
            with self._lock:
                self._under_way.discard((file.path, start))
            self._cache.release(file)
            self._stories.leave(running)
