"""The rows that read from a provider: over the line, and without it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import HERE, Bench
from benchmarks.reading import first_byte, tree, whole
from benchmarks.rows import Goal, Run, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.processes import Mount
    from benchmarks.products import Packed

PACKINGS = ("stored", "deflated")
STACKS = ("fuse-zip", "mount-zip", "ratarmount")
_INDEX = 1 << 16  # bytes at the end of an archive, with the list of its members
_BASIC = {"Authorization": "Basic " + base64.b64encode(b"demo:demo").decode()}


@row(
    "first-byte",
    "Remote, cold: first byte of a 30 KB member of a 650 MB zip",
    about="From `open` to the first byte, after the mount is up and before anything was listed. The minimum is an HTTP "
    "client that knows all in advance: one connection, the end of the archive, the member. eodag is a whole "
    "process: nothing can be read before it has downloaded and extracted everything.",
    columns={"first byte": "s"},
    goals=[
        Goal("at least 50 × faster than eodag", ("first byte",), ("eodag",), at_least=50),
        Goal("at most 1.5 × the minimum", ("first byte",), ("minimum",), at_most=1.5),
    ],
)
def first_bytes(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    packed = bench.products.stored
    small = packed.small or ""

    def eofs(*options: str) -> Mapping[str, float]:
        with bench.eofs(bench.line.port, *options) as mount:
            return {"first byte": first_byte(bench.root(mount, packed) / small)}

    return {
        "eofs": eofs,
        "eofs, lazy": lambda: eofs("--fetch", "lazy"),
        "minimum": lambda: {"first byte": _minimum(bench, packed, small)},
        "eodag": lambda: {"first byte": _eodag(bench, bench.line.port, packed)},
    }


def _minimum(bench: Bench, packed: Packed, name: str) -> float:
    begin, size = packed.member(name)
    total = packed.path.stat().st_size
    path = bench.url(bench.line.port, packed).split("/", 3)[3]
    begun = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", bench.line.port)) as client:
        for start, stop in ((total - _INDEX, total), (begin, begin + size)):
            client.request("GET", f"/{path}?issuerId=demo", headers={**_BASIC, "Range": f"bytes={start}-{stop - 1}"})
            answer = client.getresponse()
            if start == begin and answer.status == http.client.PARTIAL_CONTENT and answer.read(1):
                return time.perf_counter() - begun
            answer.read()
    raise OSError(0, "the provider serves no ranges")


def _eodag(bench: Bench, port: int, packed: Packed, *, then_read: bool = False) -> float:
    """Return how long eodag takes, from its start, to download and extract a product."""
    python = bench.peers.python_of("eodag")
    with bench.place() as place:
        begun = time.perf_counter()
        bench.run(python, HERE / "eodag_download.py", bench.url(port, packed), packed.title, place)
        if then_read:
            _read_all(next(place.glob(f"*/{packed.root}")))
        return time.perf_counter() - begun


def _read_all(folder: Path) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole(path)


@row(
    "listing",
    "Remote, cold: from nothing to the list of files and a 30 KB member",
    about="*Mounted*: from the start of the first program until the mount answers; the peers have read the archive's "
    "index by then. *Listed*: all files with their sizes. *Read*: the member, whole. *After the mount* is the sum of "
    "these two, *from nothing* that of all three.",
    columns={"mounted": "s", "listed": "s", "read": "s", "after the mount": "s", "from nothing": "s"},
    goals=[
        Goal("under 0.5 s after the mount is up", ("after the mount",), below=0.5),
        Goal("from nothing ahead of every peer", ("from nothing",), at_least=1),
    ],
)
def listing(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    packed = bench.products.stored

    def look(mount: Mount, root: Path) -> Mapping[str, float]:
        listed, number = tree(root)
        if number < 50:
            raise OSError(0, "the list is not complete")
        read = whole(root / (packed.small or ""))
        after = listed + read
        return {
            "mounted": mount.seconds,
            "listed": listed,
            "read": read,
            "after the mount": after,
            "from nothing": mount.seconds + after,
        }

    def eofs() -> Mapping[str, float]:
        with bench.eofs(bench.line.port) as mount:
            return look(mount, bench.root(mount, packed))

    peers = _stacks(bench, lambda _: packed, lambda mount, root, _: look(mount, root), packings=("stored",))
    return {"eofs": eofs, **peers}


def _stacks(
    bench: Bench,
    packed: Callable[[str], Packed],
    look: Callable[[Mount, Path, str], Mapping[str, float]],
    *,
    packings: tuple[str, ...] = PACKINGS,
) -> dict[str, Run]:
    """Return entries for what peers make of the provider's open directory; `look` gets mount, root and packing."""

    def stack(name: str) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for packing in packings:
            product = packed(packing)
            with bench.rclone_stack(name, product.path) as mount:
                found |= look(mount, mount.path / product.root, packing)
        return found

    def direct() -> Mapping[str, float]:
        if "deflated" in packings:
            bench.takes_long()
        found: dict[str, float] = {}
        for packing in packings:
            product = packed(packing)
            with bench.archive_mount("ratarmount", bench.file(bench.line.port, product.path)) as mount:
                found |= look(mount, mount.path / product.root, packing)
        return found

    return {**{f"rclone + {name}": partial(stack, name) for name in STACKS}, "ratarmount on the URL": direct}


@row(
    "member",
    "Remote, cold: one 120 MB member read whole",
    about="After the mount is up. `curl` fetches just the packed bytes of the member, whose place it is told.",
    columns={"stored": "MB/s", "deflated": "MB/s"},
    goals=[
        Goal("at least 0.95 of curl's speed", PACKINGS, ("curl",), at_least=0.95),
        Goal("ahead of every peer", PACKINGS, at_least=1),
    ],
)
def member(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def read(root: Path, packing: str) -> Mapping[str, float]:
        path = root / bench.products.packing(packing).middle
        size = _size(bench.products.packing(packing))
        return {packing: size / whole(path, size) / 1e6}

    def eofs(*options: str) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for packing in PACKINGS:
            with bench.eofs(bench.line.port, *options) as mount:
                found |= read(bench.root(mount, bench.products.packing(packing)), packing)
        return found

    def curl() -> Mapping[str, float]:
        found = {}
        for packing in PACKINGS:
            packed = bench.products.packing(packing)
            begin, size = packed.member(packed.middle)
            url = f"{bench.url(bench.line.port, packed)}?issuerId=demo"
            wanted = ["-r", f"{begin}-{begin + size - 1}", "-o", "/dev/null", "-w", "%{time_total}"]
            taken = bench.run("curl", "-s", "-f", "-u", "demo:demo", *wanted, url)
            found[packing] = _size(packed) / float(taken) / 1e6
        return found

    peers = _stacks(bench, bench.products.packing, lambda _, root, packing: read(root, packing))
    return {"eofs": eofs, "eofs, lazy": lambda: eofs("--fetch", "lazy"), "curl": curl, **peers}


def _size(packed: Packed) -> int:
    return (packed.tree / packed.root / packed.middle).stat().st_size


@row(
    "window",
    "Remote, cold: a 512 × 512 window of a JPEG 2000 band in the zip",
    about="GDAL opens the band and reads the window, after the mount is up. *Moved* is what came over the line.",
    columns={"stored": "s", "deflated": "s", "stored, moved": "MB", "deflated, moved": "MB"},
    goals=[
        Goal("ahead of every one", PACKINGS, at_least=1),
        Goal("lazy: ahead of every one", PACKINGS, at_least=1, own="eofs, lazy"),
    ],
    remark="Of the stored band, OpenJPEG walks the headers of all 121 tiles, each of which says where the next one is: "
    "121 round trips of 40 ms, one after the other, are 4.8 of the seconds, for eofs as for GDAL's own reader. rclone "
    "reads ahead by megabytes, and so trades the round trips for twenty times the bytes, which takes as long here.",
)
def window(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def look(path: Path | str, packing: str) -> Mapping[str, float]:
        before = bench.line.traffic()
        [first] = pixels(bench, path, 1)
        moved = bench.line.traffic().since(before).down
        return {packing: first, f"{packing}, moved": moved / 1e6}

    def eofs(*options: str) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for packing in PACKINGS:
            packed = bench.products.packing(packing)
            with bench.eofs(bench.line.port, *options) as mount:
                found |= look(bench.root(mount, packed) / packed.middle, packing)
        return found

    def gdal() -> Mapping[str, float]:
        found: dict[str, float] = {}
        for packing in PACKINGS:
            packed = bench.products.packing(packing)
            archive = f"/vsicurl/{bench.file(bench.line.port, packed.path)}"
            found |= look(f"/vsizip/{{{archive}}}/{packed.root}/{packed.middle}", packing)
        return found

    peers = _stacks(
        bench,
        bench.products.packing,
        lambda _, root, packing: look(root / bench.products.packing(packing).middle, packing),
    )
    return {"eofs": eofs, "eofs, lazy": lambda: eofs("--fetch", "lazy"), "GDAL /vsizip/vsicurl/": gdal, **peers}


def pixels(bench: Bench, path: Path | str, times: int) -> list[float]:
    """Return how long GDAL takes for a window of an image, so many times in one process, in seconds."""
    taken = bench.run(bench.peers.python_with_gdal, HERE / "window.py", path, str(times)).split()
    return [float(seconds) for seconds in taken]


@row(
    "gdal",
    "Remote: a window of a cloud-optimised GeoTIFF, and of a JPEG 2000 band in a stored zip",
    about="*Warm* is the same window again, of a file opened anew in the same process, as `/vsicurl/` forgets with it. "
    "The GeoTIFF is an asset of a STAC item. *Moved* is what came over the line for the first window.",
    columns={
        "COG, cold": "s",
        "COG, moved": "KB",
        "COG, warm": "s",
        "JPEG 2000, cold": "s",
        "JPEG 2000, moved": "KB",
        "JPEG 2000, warm": "s",
    },
    goals=[
        Goal(
            "bytes at most 1.2 ×",
            ("COG, moved", "JPEG 2000, moved"),
            ("GDAL /vsicurl/",),
            at_most=1.2,
            own="eofs, lazy",
        ),
        Goal(
            "time at most 1.2 ×",
            ("COG, cold", "COG, warm", "JPEG 2000, cold", "JPEG 2000, warm"),
            ("GDAL /vsicurl/",),
            at_most=1.2,
            own="eofs, lazy",
        ),
    ],
    remark="Of the GeoTIFF the kernel itself asks for 2.1 MB: it reads each of the two rows of tiles in requests of "
    "128 KB, up to 256 KB beyond their end, and lets the program wait for these too. GDAL's own reader asks for the "
    "tiles alone. What eofs brings is what the kernel asks for, each row in one request.",
)
def gdal(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    packed, cog = bench.products.stored, bench.products.cog

    def look(kind: str, path: Path | str) -> Mapping[str, float]:
        before = bench.line.traffic()
        [first] = pixels(bench, path, 1)
        moved = bench.line.traffic().since(before).down
        _, again = pixels(bench, path, 2)  # another process: what the first one had is forgotten, where it forgets
        return {f"{kind}, cold": first, f"{kind}, moved": moved / 1e3, f"{kind}, warm": again}

    def eofs(*options: str) -> Mapping[str, float]:
        with bench.eofs(bench.line.port, *options) as mount:
            band = look("JPEG 2000", bench.root(mount, packed) / packed.middle)
        with bench.eofs(bench.line.port, *options) as mount:
            return {**band, **look("COG", mount.path / cog.stem / "data" / cog.stem / cog.name)}

    def vsicurl() -> Mapping[str, float]:
        archive, asset = (f"/vsicurl/{bench.file(bench.line.port, path)}" for path in (packed.path, cog))
        band = look("JPEG 2000", f"/vsizip/{{{archive}}}/{packed.root}/{packed.middle}")
        return {**band, **look("COG", asset)}

    return {"eofs, lazy": lambda: eofs("--fetch", "lazy"), "eofs": eofs, "GDAL /vsicurl/": vsicurl}


@row(
    "copy",
    "Remote, cold: whole product to local disk",
    about="eofs: `cp -r`, after the mount is up. `curl` fetches the archive and `unzip` extracts it. All without the "
    "start of eodag's process would be the same: it takes two seconds of its figures.",
    columns={"stored": "s", "deflated": "s"},
    goals=[Goal("no slower than any", PACKINGS, ("eodag", "curl + unzip"), at_least=1)],
)
def copy(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def eofs(packed: Packed) -> float:
        with bench.eofs(bench.line.port) as mount, bench.place() as place:
            begun = time.perf_counter()
            bench.run("cp", "-r", bench.root(mount, packed), place)
            return time.perf_counter() - begun

    def curl(packed: Packed) -> float:
        url = f"{bench.url(bench.line.port, packed)}?issuerId=demo"
        with bench.place() as place:
            begun = time.perf_counter()
            bench.run("curl", "-s", "-f", "-u", "demo:demo", "-o", place / "it.zip", url)
            bench.run("unzip", "-q", place / "it.zip", "-d", place)
            return time.perf_counter() - begun

    return {
        "eofs": lambda: _both(bench, eofs),
        "curl + unzip": lambda: _both(bench, curl),
        "eodag": lambda: _both(bench, lambda packed: _eodag(bench, bench.line.port, packed)),
    }


def _both(bench: Bench, measure: Callable[[Packed], float]) -> Mapping[str, float]:
    """Measure with the stored product and, unless it has to be quick, with the deflated one."""
    packings = PACKINGS[:1] if bench.quick else PACKINGS
    return {packing: measure(bench.products.packing(packing)) for packing in packings}


@row(
    "local",
    "Local provider, cold: 650 MB product read whole",
    about="Without the line. From the start of the program until every file has been read, front to end, one after the "
    "other: eofs mounts and is read through the mount; eodag downloads and extracts, then the files are read.",
    columns={"stored": "s", "deflated": "s"},
    goals=[Goal("at least as fast as eodag", PACKINGS, ("eodag",), at_least=1)],
    remark="Of the deflated product the daemon takes 2.5 s of processor time, beside the reader and the provider on "
    "two processors, and 1.2 s more to compare the checksum, which eodag does not. What is unpacked is written to the "
    "cache, and read from there through the kernel while the rest is still coming.",
)
def local(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def eofs(packed: Packed) -> float:
        with bench.eofs(bench.port) as mount:
            begun = time.perf_counter()
            _read_all(bench.root(mount, packed))
            return mount.seconds + time.perf_counter() - begun

    return {
        "eofs": lambda: _both(bench, eofs),
        "eodag": lambda: _both(bench, lambda packed: _eodag(bench, bench.port, packed, then_read=True)),
    }


@row(
    "line",
    "The simulated line itself",
    about="`curl` over the line: the first byte over a new connection takes two round trips, one to connect and one to "
    "ask; then 100 MB by one connection, and by four at once.",
    columns={"first byte": "s", "one": "MB/s", "four": "MB/s"},
    goals=[],
)
def line(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    url = bench.file(bench.line.port, bench.products.stored.path)
    said = ["-s", "-f", "-o", "/dev/null", "-w", "%{time_starttransfer} %{time_total} %{size_download}\n"]

    def curl() -> Mapping[str, float]:
        first, total, size = map(float, bench.run("curl", *said, "-r", "0-99999999", url).split())
        parts = [
            word
            for start in range(4)
            for word in (*said, "-r", f"{start * 25}000000-{start * 25 + 24}999999", url, "--next")
        ]
        begun = time.perf_counter()
        bench.run("curl", "-Z", *parts[:-1])
        return {"first byte": first, "one": size / (total - first) / 1e6, "four": 100 / (time.perf_counter() - begun)}

    return {"curl": curl}
