"""The rows that read what is on this machine already: archives for the peers, a filled cache for eofs."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.reading import first_byte, randomly, speed
from benchmarks.rows import Goal, Run, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.processes import Mount
    from benchmarks.products import Packed

ARCHIVERS = ("fuse-zip", "mount-zip", "ratarmount")
CEILING = "bare passthrough"
_READS = 10_000
_SLOW = 5  # seconds after which no more is read, however little that was
_IDLE = 60  # seconds
_HOW = (
    "The archive is on this machine; for eofs it is in the cache, and *first time* means that no large member was ever "
    "read, so that it is inflated now. The page cache is dropped before each first read. The bare passthrough and "
    "native read the extracted files; the passthrough is the ceiling of this binding of FUSE. Who is not ready after "
    f"{_SLOW} s has its speed taken until then. "
)


class Shelf:
    """Where the files of a product are to be read, by entry: opens them, and makes the page cache forget them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def entries(
        self,
        packed: Mapping[str, Packed],
        look: Callable[[list[Path], str], Mapping[str, float]],
        archivers: tuple[str, ...] = ARCHIVERS,
    ) -> Mapping[str, Run]:
        """Return one entry for each of those who can show archives; `look` gets the large files and the packing."""
        where: dict[str, Callable[[Packed], contextlib.AbstractContextManager[Path]]] = {
            "eofs": self._eofs,
            "eofs, first time": self._eofs_first_time,
            **{name: partial(self._archiver, name) for name in archivers},
            CEILING: self._passthrough,
            "native": self._native,
        }

        def measure(place: Callable[[Packed], contextlib.AbstractContextManager[Path]]) -> Mapping[str, float]:
            found: dict[str, float] = {}
            for packing, product in packed.items():
                with place(product) as root:
                    self._bench.forget()
                    found |= look([root / name for name in product.large], packing)
            return found

        return {name: partial(measure, place) for name, place in where.items()}

    @contextlib.contextmanager
    def _eofs(self, packed: Packed) -> Iterator[Path]:
        """Mount with a cache whose large members have been read before."""
        with self._bench.eofs(self._bench.port, cache=self._bench.cache_read_before) as mount:
            yield self._bench.root(mount, packed)

    @contextlib.contextmanager
    def _eofs_first_time(self, packed: Packed) -> Iterator[Path]:
        with (
            self._bench.untouched_cache() as cache,
            self._bench.eofs(self._bench.port, cache=cache) as mount,
        ):
            yield self._bench.root(mount, packed)

    @contextlib.contextmanager
    def _archiver(self, name: str, packed: Packed) -> Iterator[Path]:
        with self._bench.archive_mount(name, packed.path) as mount:
            yield mount.path / packed.root

    @contextlib.contextmanager
    def _passthrough(self, packed: Packed) -> Iterator[Path]:
        with self._bench.passthrough(packed.tree) as mount:
            yield mount.path / packed.root

    @contextlib.contextmanager
    def _native(self, packed: Packed) -> Iterator[Path]:
        yield packed.tree / packed.root


_PEERS_AND_CEILING = (
    Goal("at or above every peer", ("stored, first", "deflated, first"), at_least=1),
    Goal("at least 0.9 of the ceiling", ("stored, first", "deflated, first"), (CEILING,), at_least=0.9),
)
_AGAIN = (
    "A second read of a file does not reach eofs: the kernel serves it from its page cache, as it does for the bare "
    "passthrough. It keeps the pages of a file system in user space one by one, and those of a native one in larger "
    "pieces; no file system that libfuse 2 carries has a say in that. "
)
_COLUMNS = dict.fromkeys(("stored, first", "stored, again", "deflated, first", "deflated, again"), "MB/s")


@row(
    "sequential",
    "Cached: sequential read of a 120 MB member",
    about=_HOW + "*Again* follows at once, with whatever the kernel was allowed to keep.",
    columns=_COLUMNS,
    goals=[
        *_PEERS_AND_CEILING,
        Goal("second read at least 0.95 of native", ("stored, again", "deflated, again"), ("native",), at_least=0.95),
    ],
    remark=_AGAIN + "First reads wait for the disk, and those of one entry differ by a factor of two from run to run, "
    "also where they are native. Every one of these is asked by the kernel for 128 KB at a time; mount-zip, which is "
    "written in C++, takes less time for each request than any program in Python can, the bare passthrough included.",
)
def sequential(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def look(paths: list[Path], packing: str) -> Mapping[str, float]:
        return {f"{packing}, {turn}": speed(paths[:1], _SLOW) for turn in ("first", "again")}

    packed = {"stored": bench.products.stored, "deflated": bench.products.deflated}
    return Shelf(bench).entries(packed, look, (*ARCHIVERS, "archivemount"))


@row(
    "readers",
    "Cached: four readers of four bands at once",
    about=_HOW + "Four threads read a band each; the figure is what they get together.",
    columns=_COLUMNS,
    goals=[
        *_PEERS_AND_CEILING,
        Goal("second read at least 0.9 of native", ("stored, again", "deflated, again"), ("native",), at_least=0.9),
    ],
    remark=_AGAIN,
)
def readers(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def look(paths: list[Path], packing: str) -> Mapping[str, float]:
        return {f"{packing}, {turn}": speed(paths, _SLOW) for turn in ("first", "again")}

    packed = {"stored": bench.products.stored, "deflated": bench.products.deflated}
    return Shelf(bench).entries(packed, look, (*ARCHIVERS, "archivemount"))


@row(
    "random",
    "Cached: 10 000 random reads of 4 to 64 KB in a deflated member",
    about=_HOW + "All have the same places. The JPEG 2000 band hardly deflates; the TIFF of 241 MB deflates to half.",
    columns={"JPEG 2000": "reads/s", "TIFF": "reads/s"},
    goals=[
        Goal("ahead of ratarmount and mount-zip", ("JPEG 2000", "TIFF"), ("ratarmount", "mount-zip"), at_least=1),
        Goal("at least 0.8 of the ceiling", ("JPEG 2000", "TIFF"), (CEILING,), at_least=0.8),
    ],
)
def random(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def look(paths: list[Path], kind: str) -> Mapping[str, float]:
        return {kind: randomly(paths[0], _READS, _SLOW)}

    return Shelf(bench).entries({"JPEG 2000": bench.products.deflated, "TIFF": bench.products.radar}, look)


@row(
    "inflate",
    "Cached: a TIFF of 241 MB that truly deflates",
    about=_HOW + "From `open` to the first byte, then the whole file, then the whole file again.",
    columns={"first byte": "s", "first": "MB/s", "again": "MB/s"},
    goals=[
        Goal("first byte in milliseconds, first time", ("first byte",), below=0.02, own="eofs, first time"),
        Goal("at or above every peer, first time", ("first",), at_least=1, own="eofs, first time"),
        Goal("at or above every peer", ("first", "again"), at_least=1),
    ],
)
def inflate(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def look(paths: list[Path], _: str) -> Mapping[str, float]:
        return {"first byte": first_byte(paths[0]), "first": speed(paths, _SLOW), "again": speed(paths, _SLOW)}

    return Shelf(bench).entries({"": bench.products.radar}, look)


@row(
    "idle",
    "An idle mount, 60 s",
    about="After a look at one product of the filled cache; processor time, and how often a thread woke up.",
    columns={"processor": "s", "wake-ups": "times"},
    goals=[
        Goal("no processor time to speak of: at most 0.05 s", ("processor",), below=0.05),
        Goal("no wake-ups that are not needed: at most one in 10 s", ("wake-ups",), below=6),
    ],
)
def idle(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    packed = bench.products.stored
    seconds = 20 if bench.quick else _IDLE

    def watch(
        mounting: Callable[[], contextlib.AbstractContextManager[Mount]], where: Callable[[Mount], Path]
    ) -> Mapping[str, float]:
        with mounting() as mount:
            list(where(mount).iterdir())
            time.sleep(3)
            cpu, wakeups = mount.cpu(), mount.wakeups()
            time.sleep(seconds)
            minute = 60 / seconds
            return {"processor": (mount.cpu() - cpu) * minute, "wake-ups": (mount.wakeups() - wakeups) * minute}

    return {
        "eofs": lambda: watch(
            lambda: bench.eofs(bench.port, cache=bench.cache), lambda mount: bench.root(mount, packed)
        ),
        CEILING: lambda: watch(lambda: bench.passthrough(packed.tree), lambda mount: mount.path),
    }
