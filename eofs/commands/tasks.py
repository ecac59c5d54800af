"""Many things done at once, of which one that fails does not stop the others.

Threads: each worker takes a task from a queue and puts what becomes of it into another one, which the main thread
reads; that alone prints. Workers are daemons: nobody waits for one that waits in the kernel for a mount's answer.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eofs.cache import Cache
from eofs.commands.bars import display
from eofs.commands.mount import client
from eofs.errors import Changed, EofsError, Interrupted
from eofs.fetch import Engine
from eofs.log import start_logging
from eofs.nodes import Caller
from eofs.options import cache_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from eofs.commands.bars import Display
    from eofs.config import Config

    Outcome = Sequence[Path] | EofsError | None  # None: it has begun
    Events = queue.SimpleQueue[tuple["Task", Outcome]]

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds between two looks at how far things are
PARTING = 2.0  # seconds that are given to those who are to stop


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done for one product.

    Attributes:
        name: of the product.
        do: does it, and returns the paths of what is there then; raises EofsError.
        status: returns where the product stands, as in its status file; None where that is not worth a bar.
        waits: most of the time it waits, for an order; it takes no worker away from those that need not.
    """

    name: str
    do: Callable[[Caller], Sequence[Path]]
    status: Callable[[], Mapping[str, Any]] | None = None
    waits: bool = False


@contextlib.contextmanager
def open_engine(settings: Config) -> Iterator[Engine]:
    """Open the cache as a mount does, and an engine on it."""
    options = settings.options
    start_logging(options.log_file, options.verbose, foreground=True)
    cache = Cache(options.cache_dir, cache_limit(options))
    engine = Engine(cache, options, functools.partial(client, settings))
    try:
        yield engine
    finally:
        engine.close()
        cache.close()


def do_all(tasks: Sequence[Task], what: str, *, workers: int, waiting: int = 0) -> int:
    """Do all tasks and print the paths as they come; `workers` at a time, and `waiting` of those that wait.

    Those that failed are told at the end. Returns the exit status: 1 if any failed.
    """
    stopping = threading.Event()
    events: Events = queue.SimpleQueue()
    caller = Caller(check=functools.partial(_check, stopping))
    at_work = [
        worker
        for number, waits in ((workers, False), (waiting, True))
        for worker in _begin([task for task in tasks if task.waits is waits], number, caller, events)
    ]
    failures: list[str] = []
    try:
        with display(len(tasks), what) as shown:
            _show(events, len(tasks), shown, failures)
    except KeyboardInterrupt:
        print("eofs: stopped; what has come is kept, and the same command goes on from there", file=sys.stderr)
        raise
    finally:
        stopping.set()
        enough = time.monotonic() + PARTING
        for worker in at_work:
            worker.join(max(0.0, enough - time.monotonic()))
    if failures:
        print(f"eofs: {len(failures)} of {len(tasks)} failed:", *failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


def _show(events: Events, left: int, shown: Display, failures: list[str]) -> None:
    """Show what becomes of the tasks until none is left."""
    under_way: list[Task] = []
    while left:
        try:
            task, outcome = events.get(timeout=LOOK)
        except queue.Empty:
            for task in under_way:
                if task.status and (status := task.status()):
                    shown.look(task.name, status)
            continue
        if outcome is None:
            under_way.append(task)
            continue
        left -= 1
        under_way.remove(task)
        if isinstance(outcome, EofsError):
            failures.append(f"{task.name}: {outcome}")
            shown.end(task.name, "failed")
        else:
            for path in outcome:
                shown.tell(str(path))
            shown.end(task.name, "")


def _check(stopping: threading.Event) -> None:
    if stopping.is_set():
        raise Interrupted("stopped")


def _begin(tasks: Sequence[Task], workers: int, caller: Caller, events: Events) -> list[threading.Thread]:
    todo: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        todo.put(task)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                task = todo.get_nowait()
                events.put((task, None))
                events.put((task, _attempt(task, caller)))

    threads = [threading.Thread(target=work, name="task", daemon=True) for _ in range(min(workers, len(tasks)))]
    for thread in threads:
        thread.start()
    return threads


def _attempt(task: Task, caller: Caller) -> Sequence[Path] | EofsError:
    try:
        caller.check()
        try:
            return task.do(caller)
        except Changed as error:
            log.info("%s; once more", error)
            return task.do(caller)
    except EofsError as error:
        return error
    except Exception as error:
        log.exception("%s: a fault in eofs", task.name)
        return EofsError(f"a fault in eofs ({type(error).__name__}); the log says more")
