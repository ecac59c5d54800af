"""The bench that everything is measured on: products, provider, line, mounts, and a place that is emptied."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import Mount, NotMeasured, is_mounted, kill, mounted, run
from benchmarks.products import Packed, Products, features
from benchmarks.reading import forget, whole
from benchmarks.shape import Shaped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from benchmarks.peers import Peers

HERE = Path(__file__).parent
LIMIT = 120  # seconds for whatever is measured once
_LARGE = 1 << 20


class Bench:
    """All that a row needs; to be used in ``with``.

    Attributes:
        peers: the programs to compare with.
        products: what is read.
        quick: measure once, and shorten what takes its time.
        scratch: a directory for what is made on the way.
        env: for all programs: nothing that this user has configured has a part in it.
    """

    def __init__(self, work: Path, peers: Peers, products: Products, *, quick: bool) -> None:
        self.peers = peers
        self.products = products
        self.quick = quick
        self.scratch = work / "scratch"
        self._caches = self.scratch / "caches"
        self._names = itertools.count()
        self._at_the_end = contextlib.ExitStack()
        self.env = {
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(HERE.parent),
        }

    def __enter__(self) -> Self:
        clear(self.scratch)
        self._caches.mkdir(parents=True)
        self._at_the_end.callback(clear, self.scratch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at_the_end.close()

    @functools.cached_property
    def port(self) -> int:
        """Return the port of the provider, which is started now if it is not there yet."""
        command = [sys.executable, "-m", "benchmarks.provider", str(self.products.folder)]
        process = subprocess.Popen(
            command, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._at_the_end.callback(kill, process)
        return int(process.stdout.readline() if process.stdout else 0)

    @functools.cached_property
    def line(self) -> Shaped:
        """Return the line to the provider, of 40 ms and 25 MB/s."""
        shaped = Shaped(self.port)
        self._at_the_end.callback(shaped.close)
        return shaped

    def url(self, port: int, packed: Packed) -> str:
        """Return the link of a product's download at the provider, seen through a port."""
        return f"http://127.0.0.1:{port}/resto/collections/S2ST/{packed.uid}/download"

    def file(self, port: int, path: Path) -> str:
        """Return the link of a file in the open directory."""
        return f"http://127.0.0.1:{port}/files/{path.name}"

    def fresh(self) -> Path:
        """Return the path of a directory or file that does not exist yet."""
        return self.scratch / f"{next(self._names):04}"

    def run(self, *command: str | Path, limit: float = LIMIT, cwd: Path | None = None) -> str:
        """Run a program; see `processes.run`."""
        return run(command, limit=limit, env=self.env, cwd=cwd)

    @contextlib.contextmanager
    def place(self, *, cache: bool = False) -> Iterator[Path]:
        """Make a directory, for a cache or for anything, and remove it with all that is in it."""
        place = self._caches / self.fresh().name if cache else self.fresh()
        place.mkdir()
        try:
            yield place
        finally:
            clear(place)

    @contextlib.contextmanager
    def mount(self, *command: str | Path, limit: float = LIMIT) -> Iterator[Mount]:
        """Mount with a program whose last argument, the mount point, is added here."""
        path = self.fresh()
        with mounted([*command, path], path, limit=limit, env=self.env, log=path.with_suffix(".log")) as mount:
            yield mount

    # eofs

    @contextlib.contextmanager
    def eofs(self, port: int, *options: str | Path, cache: Path | None = None, limit: float = LIMIT) -> Iterator[Mount]:
        """Mount the products with eofs, in an empty cache if no other is given; options follow the mount point."""
        result, path = self.fresh(), self.fresh()
        result.write_text(json.dumps(features(self.products, f"http://127.0.0.1:{port}")), encoding="utf-8")
        with contextlib.ExitStack() as at_the_end:
            folder = cache or at_the_end.enter_context(self.place(cache=True))
            command = [sys.executable, "-m", "eofs", "mount", result, path, "-f", "--cache-dir", folder, *options]
            log = path.with_suffix(".log")
            yield at_the_end.enter_context(mounted(command, path, limit=limit, env=self.env, log=log))

    @staticmethod
    def root(mount: Mount, packed: Packed) -> Path:
        """Return where a product's own files begin in a mount of eofs."""
        return mount.path / packed.title / "data" / packed.root

    @functools.cached_property
    def cache(self) -> Path:
        """Return a cache of eofs that holds all products whole, none of whose large deflated members was read yet."""
        cache = self._caches / self.fresh().name
        cache.mkdir()
        with self.eofs(self.port, cache=cache) as mount:
            for packed in self.products.packed:
                (self.root(mount, packed) / "manifest.safe").read_bytes()  # the rest comes behind it
                status = mount.path / packed.title / "status"
                while "local: complete" not in status.read_text(encoding="utf-8"):
                    time.sleep(0.05)
        return cache

    @functools.cached_property
    def cache_read_before(self) -> Path:
        """Return a cache of eofs that holds all products whole, and their large members inflated."""
        cache = self._caches / self.fresh().name
        shutil.copytree(self.cache, cache, copy_function=_link_or_copy)
        with self.eofs(self.port, cache=cache) as mount:
            for packed in self.products.packed:
                for name in packed.large:
                    whole(self.root(mount, packed) / name)
        return cache

    @contextlib.contextmanager
    def untouched_cache(self) -> Iterator[Path]:
        """Make a copy of the cache; what is large is linked, as eofs never changes it."""
        with self.place(cache=True) as place:
            copy = place / "cache"
            shutil.copytree(self.cache, copy, copy_function=_link_or_copy)
            yield copy

    # peers

    @contextlib.contextmanager
    def archive_mount(self, name: str, archive: Path | str, limit: float = LIMIT) -> Iterator[Mount]:
        """Mount an archive with one of the peers that mount archives."""
        program = self.peers.path(name)
        options = {
            "archivemount": ["-f", "-o", "readonly"],
            "fuse-zip": ["-f", "-r"],
            "mount-zip": ["-f", "-o", "notrim"],
            "ratarmount": ["-f", "--index-file", ":memory:"],
        }[name]
        with self.mount(program, *options, archive, limit=limit) as mount:
            yield mount

    @contextlib.contextmanager
    def rclone(self, *source: str, limit: float = LIMIT) -> Iterator[Mount]:
        """Mount a remote of rclone, with a full cache."""
        program = self.peers.path("rclone")
        with self.place(cache=True) as cache:
            options = ["--read-only", "--vfs-cache-mode", "full", "--cache-dir", str(cache), "--config", os.devnull]
            with self.mount(program, "mount", *options, *source, limit=limit) as mount:
                yield mount

    @contextlib.contextmanager
    def rclone_stack(self, name: str, archive: Path, limit: float = LIMIT) -> Iterator[Mount]:
        """Mount an archive of the open directory: rclone brings it, another peer looks into it."""
        url = f"http://127.0.0.1:{self.line.port}/files/"
        begun = time.perf_counter()
        with (
            self.rclone("--http-url", url, ":http:", limit=limit) as below,
            self.archive_mount(name, below.path / archive.name, limit=limit) as mount,
        ):
            mount.seconds = time.perf_counter() - begun
            yield mount

    @contextlib.contextmanager
    def passthrough(self, source: Path, limit: float = LIMIT) -> Iterator[Mount]:
        """Mount a directory with next to nothing in between."""
        with self.mount(sys.executable, "-m", "benchmarks.passthrough", source, limit=limit) as mount:
            yield mount

    def takes_long(self) -> None:
        """Say that what follows takes long.

        Raises:
            NotMeasured: this is a quick run.
        """
        if self.quick:
            raise NotMeasured("takes too long for a quick run")

    def forget(self) -> None:
        """Drop what the kernel keeps of the files that are read here."""
        forget(self.products.folder, self._caches)


def clear(folder: Path) -> None:
    """Remove a directory with all that is in it, after all that is mounted below it was unmounted.

    Raises:
        NotMeasured: something cannot be unmounted.
    """
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    for place in reversed([line.split()[1] for line in mounts]):
        if place.startswith(f"{folder}/"):
            subprocess.run(["fusermount", "-uz", place], check=False, capture_output=True)
            if is_mounted(Path(place)):
                raise NotMeasured(f"{place} cannot be unmounted; unmount it first")
    shutil.rmtree(folder, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> str:
    if Path(source).stat().st_size > _LARGE:
        os.link(source, target)
        return target
    return shutil.copy2(source, target)
