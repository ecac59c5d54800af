"""Notifications on the desktop: an order is ready, or its product cannot be had.

They are shown by `notify-send` (package libnotify-bin), in a process of its own. What comes out within a moment is
told together.

Threads: one of its own shows them, so that who has something to tell need not wait for a desktop. Two that tell of one
product's files at once may both be heard; then it is told once all the same, as it is in one moment.
"""

from __future__ import annotations

import html
import logging
import queue
import re
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from eofs.errors import EofsError, NotReady

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from eofs.config import Config
    from eofs.model import Product

log = logging.getLogger(__name__)

PROGRAM = "notify-send"
PACKAGE = "libnotify-bin"  # Debian's name
MOMENT = 1.5  # seconds in which further ones are awaited
PATIENCE = 10.0  # seconds that a desktop has to take one
FEW = 3  # products of which each has a notification of its own; those of more are told together
LONGEST = 500  # characters of a text
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # control characters, halves of characters


class News(NamedTuple):
    """How the wait for a product has come out: `failure` is why it cannot be read, None where it can."""

    title: str
    failure: EofsError | None = None


class Text(NamedTuple):
    """What is shown."""

    head: str
    body: str


def hindrance(settings: Config) -> str | None:
    """Return why notifications, which are wanted, cannot be shown; None where they can, or are not wanted."""
    if not settings.options.notify:
        return None
    if shutil.which(PROGRAM) is None:
        return f"notify: {PROGRAM} is missing, so nothing is shown on the desktop; install it: apt install {PACKAGE}"
    if not settings.session_bus:
        return "notify: this mount belongs to no desktop session (it has no session bus), so nothing is shown on any"
    return None


def warn_of_hindrance(settings: Config) -> None:
    """Say in the log why notifications that are wanted cannot be shown, if so."""
    if reason := hindrance(settings):
        log.warning("%s", reason)


class Notices:
    """Shows how waits for products have come out, until `close`; nothing without `wanted`."""

    def __init__(self, mountpoint: str, *, wanted: bool) -> None:
        self._mountpoint = mountpoint
        self._wanted = wanted
        self._news: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._told: set[str] = set()  # products of loose files
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        if wanted:
            self._thread.start()

    @classmethod
    def of(cls, settings: Config, mountpoint: str) -> Notices:
        """Return what shows those of a mount, as its user wants, and where that can be."""
        return cls(mountpoint, wanted=settings.options.notify and not hindrance(settings))

    def tell(self, product: Product, failure: EofsError | None) -> None:
        """Show that a product can be read, or why it cannot. The first of a product's loose files stands for all."""
        whole = product.part_of
        if self._wanted and whole not in self._told:
            if whole:
                self._told.add(whole)
            self._news.put(News(whole or product.title, failure))

    def close(self) -> None:
        """Show what has been told, and nothing more; a desktop that does not answer is not waited for."""
        self._news.put(None)
        if self._wanted:
            self._thread.join(MOMENT)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            news, goes_on = self._together()
            for text in texts(news, self._mountpoint):
                self._show(text)

    def _together(self) -> tuple[Collection[News], bool]:
        """Return what is told next, with what else is told within a moment; and False when that was the end."""
        news: dict[str, News] = {}  # the last word on each
        over: float | None = None
        while True:
            try:
                one = self._news.get(timeout=None if over is None else max(0.0, over - time.monotonic()))
            except queue.Empty:
                return news.values(), True
            if one is None:
                return news.values(), False
            news[one.title] = one
            over = over or time.monotonic() + MOMENT

    def _show(self, text: Text) -> None:
        complaint = show(text)
        if complaint and not self._complained:
            self._complained = True  # what a desktop does not take once it may take later; to say so once is enough
            log.warning("notify: a notification cannot be shown: %s", complaint)


def texts(news: Iterable[News], mountpoint: str) -> Iterator[Text]:
    """Yield what is to be shown: of a few products one by one, of more together."""
    kinds: dict[str, list[News]] = {"ready": [], "not ready yet": [], "failed": []}
    for one in news:
        kind = "ready" if one.failure is None else "not ready yet" if isinstance(one.failure, NotReady) else "failed"
        kinds[kind].append(one)
    for kind, those in kinds.items():
        if len(those) <= FEW:
            for title, failure in those:
                yield Text(f"{title} {_IS[kind]}", str(failure or f"It can be read in {mountpoint}"))
        else:
            names = "\n".join(one.title for one in those[:FEW])
            yield Text(f"{len(those)} products {_ARE[kind]}", f"{names}\nand {len(those) - FEW} others in {mountpoint}")


_IS = {"ready": "is ready", "not ready yet": "is not ready yet", "failed": "cannot be had"}
_ARE = {"ready": "are ready", "not ready yet": "are not ready yet", "failed": "cannot be had"}


def show(text: Text) -> str:
    """Show a notification; returns what `notify-send` complained of.

    The body is taken for mark-up by desktops (Desktop Notifications Specification), and `notify-send` itself reads
    backslashes in it.
    """
    head, body = (_plain(line) for line in text)
    marked_up = html.escape(body, quote=False).replace("\\", r"\\")
    # In the locale "C", in which services run, it would take nothing but ASCII.
    words = ["env", "LC_ALL=C.UTF-8", PROGRAM, "--app-name=eofs", "--", head, marked_up]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and all that comes from outside is behind `--`
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            start_new_session=True,  # what is meant for our terminal is not for it
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{PROGRAM} did not come to its end in {PATIENCE:g} seconds"
    except OSError as error:
        return f"{PROGRAM}: {error.strerror}"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"{PROGRAM}: {said[-1] if said else f'status {done.returncode}'}" if done.returncode else ""


def _plain(text: str) -> str:
    lines = (_UNFIT.sub(" ", line) for line in text.split("\n"))
    shown = "\n".join(lines)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
