"""Odd manners of providers: whatever they do, each byte that is served is right, or there is a clear error."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import re
import zipfile
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from engine_room import DEMO, LeapingClock, Room, aside, content, md5sums, unsure, until

from eofs.blocks import PartialFile
from eofs.demo import DemoProvider, Reply, Request, ten_products
from eofs.demo.replies import Part, file_reply
from eofs.errors import Corrupt, EofsError, NotReady, NotSupported, ProviderFailed, Unreachable
from eofs.maps import read_map
from eofs.model import Checksum
from eofs.nodes import NOBODY
from eofs.status import Local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eofs.fetch import Engine
    from eofs.model import Product

ONE = ten_products()[:1]
UID = ONE[0]["properties"]["uid"]
MEGABYTES = 3
HASTY = replace(DEMO, retry_delay=0.001)

pytestmark = pytest.mark.parametrize("fetch", ["whole", "lazy"])


class Mannered(DemoProvider):
    """A provider that sends `file` in a manner of its own; what `manner` does not answer is answered well."""

    manner: Callable[[Mannered, Request], Reply | None]
    file: Path
    tag: str | None = '"v1"'

    def answer(self, request: Request) -> Reply | None:
        if request.kind != "download":
            return None
        return self.manner(self, request) or self.well(request)

    def well(self, request: Request, **headers: str | None) -> Reply:
        """Answer well, but for the headers that are named; None leaves one out."""
        condition = request.headers.get("if-range")
        unconditional = without(request, "if-range")
        reply = headed(file_reply(unconditional, self.file, {}, ranges=self.ranges), **{"ETag": self.tag, **headers})
        if condition in {None, reply.headers.get("ETag"), reply.headers.get("Last-Modified")}:
            return reply
        return self.well(without(unconditional, "range"), **headers)


def headed(reply: Reply, **headers: str | None) -> Reply:
    said = {**reply.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return replace(reply, headers={name: value for name, value in said.items() if value is not None})


def without(request: Request, name: str) -> Request:
    return replace(request, headers={key: value for key, value in request.headers.items() if key != name})


def body(reply: Reply) -> bytes:
    return b"".join(reply.pieces(reply.size, 1 << 20))


def good(provider: Mannered, request: Request) -> Reply:
    return provider.well(request)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def provider(store: Path) -> Iterator[Mannered]:
    with Mannered(store, products=ONE, megabytes=MEGABYTES) as running:
        running.file, running.manner = running.archive(UID), good
        yield running


@pytest.fixture
def room(provider: Mannered, tmp_path: Path) -> Iterator[Room]:
    opened = Room(provider, tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def came(room: Room, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What has come of the archive, range by range.

    Not what the provider has sent: of a connection that breaks, the system throws away what nobody has read yet.
    """
    came, write = [], PartialFile.write

    def noted(file: PartialFile, offset: int, data: bytes) -> None:
        if file.path == room.cache.archive(room.products[UID]):
            came.append((offset, offset + len(data)))
        write(file, offset, data)

    monkeypatch.setattr(PartialFile, "write", noted)
    return came


# -- manners with which all can be served ----------------------------------------------------------------------------


def chunked(reply: Reply) -> Reply:
    data = body(reply)
    pieces = [data[at : at + 70_000] for at in range(0, len(data), 70_000)]
    coded = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    return headed(replace(reply, body=coded, length=-1), Transfer_Encoding="chunked")


def zipped(reply: Reply) -> Reply:
    return headed(replace(reply, body=gzip.compress(body(reply), 1)), Content_Encoding="gzip")


def longer(reply: Reply) -> Reply:
    return replace(reply, body=body(reply) + b"garbage" * 1000)


def of_parts(change: Callable[[Reply], Reply]) -> Callable[[Mannered, Request], Reply]:
    """Answer well, but for what `change` does to each part."""

    def manner(provider: Mannered, request: Request) -> Reply:
        reply = provider.well(request)
        return change(reply) if reply.status == 206 else reply

    return manner


def of_all(change: Callable[[Reply], Reply], **headers: str | None) -> Callable[[Mannered, Request], Reply]:
    return lambda provider, request: change(provider.well(request, **headers))


def of_some(first: int, change: Callable[[Reply], Reply], last: int = 9999) -> Callable[[Mannered, Request], Reply]:
    """Answer well, but for what `change` does to the answers from number `first` to number `last`."""

    def manner(provider: Mannered, request: Request) -> Reply:
        number = provider.count(UID, "download") + 1
        return change(provider.well(request)) if first <= number <= last else provider.well(request)

    return manner


def ranged(change: Callable[[int, int, int], str]) -> Callable[[Mannered, Request], Reply]:
    """Answer parts with what `change` makes of the first byte, the last byte and the size."""

    def said(reply: Reply) -> Reply:
        span, _, size = reply.headers["Content-Range"].removeprefix("bytes ").partition("/")
        first, _, last = span.partition("-")
        return headed(reply, Content_Range=change(int(first), int(last), int(size)))

    return of_parts(said)


def without_ranges(provider: Mannered, request: Request, *, change: Callable[[Reply], Reply]) -> Reply:
    provider.ranges = False
    return change(provider.well(request))


def suffix_from_the_front(provider: Mannered, request: Request) -> Reply | None:
    asked = (request.range or "").replace("bytes=-", "bytes=0-")
    return provider.well(replace(request, headers={**request.headers, "range": asked}))


def to_the_end(provider: Mannered, request: Request) -> Reply | None:
    start, _, stop = (request.range or "").partition("-")
    asked = f"{start}-" if stop and start != "bytes=" else request.range or ""
    return provider.well(replace(request, headers={**request.headers, "range": asked}))


def small_parts(provider: Mannered, request: Request) -> Reply | None:
    start, _, stop = (request.range or "").removeprefix("bytes=").partition("-")
    if not start:
        return None
    asked = f"bytes={start}-{min(int(stop or 1 << 40), int(start) + 99_999)}"
    return provider.well(replace(request, headers={**request.headers, "range": asked}))


def if_range_ignored(provider: Mannered, request: Request) -> Reply:
    return provider.well(without(request, "if-range"))


def once_then_all(provider: Mannered, request: Request) -> Reply:
    provider.ranges = not provider.count(UID, "download")
    return provider.well(request)


def same(reply: Reply) -> Reply:
    return reply


def multipart(reply: Reply) -> Reply:
    return headed(reply, Content_Range=None, Content_Type="multipart/byteranges; boundary=THIS")


# Each with whether every byte can come exactly once.
MANNERS = {
    "good ones": (good, True),
    "no ranges": (partial(without_ranges, change=same), True),
    "no ranges, no length": (partial(without_ranges, change=partial(replace, length=-1)), True),
    "no ranges, chunked": (partial(without_ranges, change=chunked), True),
    "no ranges, gzip": (partial(without_ranges, change=zipped), True),
    "no ranges, gzip, chunked": (partial(without_ranges, change=lambda reply: chunked(zipped(reply))), True),
    "gzip": (of_all(zipped), True),
    "an encoding that is none": (of_all(partial(headed, Content_Encoding="binary")), True),
    "no length": (of_all(partial(replace, length=-1)), True),
    "chunked": (of_all(chunked), True),
    "another start": (ranged(lambda first, last, size: f"bytes {first + 1}-{last}/{size}"), True),
    "another size": (ranged(lambda first, last, size: f"bytes {first}-{last}/{size + 1000}"), True),
    "no size": (ranged(lambda first, last, size: f"bytes {first}-{last}/*"), True),
    "a size below the range": (ranged(lambda first, last, size: f"bytes {first}-{last}/{last}"), True),
    "garbage for a range": (ranged(lambda *_: "all of them"), True),
    "no range said": (of_parts(partial(headed, Content_Range=None)), True),
    "several parts in one": (of_parts(multipart), True),
    "another start, later on": (of_some(2, partial(headed, Content_Range="bytes 7-1000006/3000000")), False),
    "the end asked for, the front sent": (suffix_from_the_front, True),
    "more than was asked for": (to_the_end, True),
    "less than was asked for": (small_parts, True),
    "parts longer than they say": (of_parts(longer), True),
    "parts shorter than they say": (of_parts(lambda reply: replace(reply, length=reply.size + 1000)), True),
    "416": (of_parts(lambda _: Reply(416, {"Content-Range": "bytes */*"})), True),
    "416, later on": (of_some(2, lambda reply: Reply(416) if reply.status == 206 else reply), False),
    "weak ETags": (of_all(same, ETag='W/"v1"'), True),
    "weak ETags, no dates": (of_all(same, ETag='W/"v1"', Last_Modified=None), True),
    "dates only": (of_all(same, ETag=None), True),
    "neither ETags nor dates": (of_all(same, ETag=None, Last_Modified=None), True),
    "If-Range ignored": (if_range_ignored, True),
    "206 once, then 200": (once_then_all, False),
    "cut after 1 MB": (of_all(partial(replace, cut_after=1_000_000)), True),
    "cut after 100 kB": (of_all(partial(replace, cut_after=100_000)), True),
    "cut after 100 kB, chunked": (of_all(lambda reply: replace(chunked(reply), cut_after=100_000)), True),
    "cut after 100 kB, neither ETags nor dates": (
        of_all(partial(replace, cut_after=100_000), ETag=None, Last_Modified=None), True,
    ),
    "empty at first": (of_some(1, lambda _: Reply(200, body=b""), 1), True),
    "empty and chunked at first": (of_some(1, lambda _: chunked(Reply(200, body=b"")), 1), True),
}  # fmt: skip


def read_as_far_as_it_goes(engine: Engine, product: Product) -> tuple[dict[str, str], EofsError | None]:
    """Read file by file; return what was read, and the error that ended it."""
    found = {}
    try:
        for each in engine.listing(product, NOBODY).members:
            found[each.path] = hashlib.md5(content(engine, product, each.path)).hexdigest()
    except EofsError as error:
        return found, error
    return found, None


def whole(room: Room, engine: Engine, product: Product) -> bytes:
    """Wait until the product is whole, and return it."""
    until(lambda: room.status(engine, product).local is Local.COMPLETE)
    return room.cache.archive(product).read_bytes()


@pytest.mark.says("no byte is served that did not come from the provider at that offset")
@pytest.mark.says("A part that is not the part asked for, or that was compressed on its way, is not taken")
@pytest.mark.parametrize(("manner", "once"), MANNERS.values(), ids=MANNERS)
def test_every_byte_is_right(
    room: Room,
    provider: Mannered,
    came: list[tuple[int, int]],
    fetch: str,
    manner: Callable[[Mannered, Request], Reply],
    once: bool,
) -> None:
    provider.manner = manner
    engine, product = room.start(fetch=fetch, speaks=HASTY), unsure(room.products[UID])
    assert md5sums(engine, product) == provider.md5sums(UID)
    assert whole(room, engine, product) == provider.file.read_bytes()
    size = provider.file.stat().st_size
    assert max(stop for _, stop in came) == size
    if once:
        assert sum(stop - start for start, stop in came) == size


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_what_has_come_is_not_asked_for_again_after_a_restart(
    room: Room, provider: Mannered, came: list[tuple[int, int]], fetch: str, requests: int
) -> None:
    provider.manner = of_some(requests + 1, lambda _: Reply(503))
    _, error = read_as_far_as_it_goes(room.start(fetch=fetch, speaks=HASTY), room.products[UID])
    assert error is None or isinstance(error, ProviderFailed)
    room.close()
    provider.manner = good
    engine, product = room.start(fetch=fetch, speaks=HASTY), room.products[UID]
    assert md5sums(engine, product) == provider.md5sums(UID)
    assert whole(room, engine, product) == provider.file.read_bytes()
    assert sum(stop - start for start, stop in came) == provider.file.stat().st_size


# -- manners with which nothing can be served ------------------------------------------------------------------------


def other_md5(provider: Mannered, request: Request) -> Reply:
    return provider.well(request, X_Ms_Blob_Content_MD5=base64.b64encode(b"0123456789abcdef").decode())


def half(reply: Reply) -> Reply:
    return replace(reply, body=body(reply)[: reply.size // 2])


ERRORS = {
    "no ranges, cut after 1 MB": (
        partial(without_ranges, change=partial(replace, cut_after=1_000_000)), Unreachable, "demo",
    ),
    "a length beyond the end": (
        partial(without_ranges, change=lambda reply: replace(reply, length=reply.size + 1000)), Unreachable, "demo",
    ),
    "a length before the end": (partial(without_ranges, change=half), Corrupt, "another MD5 than the search result"),
    "garbage at the end": (partial(without_ranges, change=longer), Corrupt, "another MD5 than the search result says"),
    "compressed in a manner of old": (
        of_all(partial(headed, Content_Encoding="compress")), NotSupported, "demo compresses what it sends",
    ),
    "no gzip that is said to be": (
        of_all(partial(headed, Content_Encoding="gzip")), ProviderFailed, "demo sent bytes that cannot be unpacked",
    ),
    "empty each time": (of_all(lambda _: Reply(200, body=b"")), NotReady, "on its way from tape"),
    "empty and chunked each time": (
        of_all(lambda _: chunked(Reply(200, body=b""))), Corrupt, "came from demo without a single byte",
    ),
    "a part each time": (of_all(lambda _: Reply(206, body=b"part")), ProviderFailed, "the provider says 'nothing' of"),
}  # fmt: skip


@pytest.mark.parametrize(("manner", "error", "sentence"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_right_is_a_clear_error_and_the_next_open_is_right(
    room: Room,
    provider: Mannered,
    fetch: str,
    manner: Callable[[Mannered, Request], Reply],
    error: type[EofsError],
    sentence: str,
) -> None:
    provider.manner = manner
    engine, product = room.start(fetch=fetch, speaks=HASTY, clock=LeapingClock()), room.products[UID]
    with pytest.raises(error, match=sentence) as caught:
        md5sums(engine, product)
    if error is Corrupt:
        assert f"{product.title} came from demo" in str(caught.value)
    room.close()
    provider.manner, provider.ranges = good, True
    assert md5sums(room.start(fetch=fetch, speaks=HASTY), product) == provider.md5sums(UID)


# -- checksums in the head -------------------------------------------------------------------------------------------


@pytest.mark.says("else with that in the head of the provider's reply")
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_checksum_of_the_head_is_compared_where_the_result_has_none(
    room: Room, provider: Mannered, fetch: str, caplog: pytest.LogCaptureFixture, ranges: bool
) -> None:
    provider.manner, provider.ranges = other_md5, ranges
    engine, product = room.start(fetch=fetch, speaks=HASTY), unsure(room.products[UID])
    sentence = f"{product.title} came from demo with another MD5 than the provider says"
    if ranges:
        read_as_far_as_it_goes(engine, product)  # each member has the CRC that it should have
        until(lambda: sentence in caplog.text)
    else:
        with pytest.raises(Corrupt, match=sentence):
            md5sums(engine, product)
        assert provider.count(UID, "download") == 2
    assert room.status(engine, product).local is not Local.COMPLETE


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_the_checksum_of_the_result_is_the_surer_one(room: Room, provider: Mannered, fetch: str, right: bool) -> None:
    provider.manner, provider.ranges = other_md5, False
    engine, product = room.start(fetch=fetch, speaks=HASTY), room.products[UID]
    if right:
        assert md5sums(engine, product) == provider.md5sums(UID)
    else:
        with pytest.raises(Corrupt, match="another MD5 than the search result says"):
            md5sums(engine, replace(product, checksum=Checksum("md5", "0" * 32)))


def test_a_checksum_of_the_head_is_kept_over_a_restart(room: Room, provider: Mannered, fetch: str) -> None:
    provider.ranges = False
    provider.manner = lambda provider, request: replace(other_md5(provider, request), cut_after=1_000_000)
    product = unsure(room.products[UID])
    with pytest.raises(Unreachable):
        md5sums(room.start(fetch=fetch, speaks=replace(HASTY, retries=0)), product)
    room.close()
    assert read_map(room.cache.archive(product))["checksum"] == Checksum("md5", b"0123456789abcdef".hex())
    provider.manner, provider.ranges = good, True
    engine = room.start(fetch=fetch, speaks=HASTY)
    assert md5sums(engine, product) == provider.md5sums(UID)


# -- wrong bytes -----------------------------------------------------------------------------------------------------


def flipped(at: int, times: int) -> Callable[[Mannered, Request], Reply]:
    """Answer well, but for one byte of the file, that is wrong so many times."""
    left = [times]

    def manner(provider: Mannered, request: Request) -> Reply:
        reply = provider.well(request)
        assert isinstance(reply.body, Part)
        here = at - reply.body.start
        if not (0 <= here < reply.size and left[0]):
            return reply
        left[0] -= 1
        data = body(reply)
        return replace(reply, body=data[:here] + bytes([data[here] ^ 1]) + data[here + 1 :])

    return manner


@pytest.mark.says("Whole or absent")
@pytest.mark.parametrize("times", [1, 2, 999], ids=["once", "twice", "each time"])
@pytest.mark.parametrize("name", ["_B02.jp2", "MTD_MSIL1C.xml"], ids=["stored", "deflated"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_wrong_byte_is_never_served(
    room: Room, provider: Mannered, fetch: str, ranges: bool, name: str, times: int
) -> None:
    with zipfile.ZipFile(provider.file) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith(name))
        truth = archive.read(info)
    provider.ranges = ranges
    provider.manner = flipped(info.header_offset + 200 + info.compress_size // 2, times)
    engine, product = room.start(fetch=fetch, speaks=HASTY), unsure(room.products[UID])
    found = aside(content, engine, product, name)
    error = found.exception(60)
    if error:
        assert isinstance(error, Corrupt)
        assert re.search(f"{name} from demo|{product.title} from demo is damaged", str(error))
    else:
        assert found.result() == truth
        assert times == 1
    room.close()
    provider.manner, engine = good, room.start(fetch=fetch, speaks=HASTY)
    with contextlib.suppress(Corrupt):  # the wrong byte may have come again, and lie there
        assert content(engine, product, name) == truth
    assert content(engine, product, name) == truth


# -- a product that is replaced on the way ---------------------------------------------------------------------------


def rewritten(path: Path, old: Path, mask: int, *, more: bool = False) -> Path:
    """Write an archive of the same names and sizes as another one, of other bytes; or of one file more."""
    flip = bytes(byte ^ mask for byte in range(256))
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(path, "w") as made:
        for info in source.infolist():
            made.writestr(info.filename, source.read(info).translate(flip))
        if more:
            made.writestr(f"{info.filename.partition('/')[0]}/more.txt", b"more")
    return path


def sums(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: hashlib.md5(archive.read(name)).hexdigest() for name in archive.namelist()}


TELLING: dict[
    str, tuple[dict[str, str | None], dict[str, str | None]]
] = {  # what tells the two apart, in the heads of old and new
    "ETags": ({"ETag": '"v1"'}, {"ETag": '"v2"'}),
    "ETags, If-Range ignored": ({"ETag": '"v1"'}, {"ETag": '"v2"'}),
    "weak ETags": ({"ETag": 'W/"v1"', "Last_Modified": None}, {"ETag": 'W/"v2"', "Last_Modified": None}),
    "dates": (
        {"ETag": None, "Last_Modified": "Sat, 02 Jan 2021 00:00:00 GMT"},
        {"ETag": None, "Last_Modified": "Sun, 03 Jan 2021 00:00:00 GMT"},
    ),
    "the size": ({"ETag": None, "Last_Modified": None}, {"ETag": None, "Last_Modified": None}),
}


@dataclass(frozen=True)
class Replaced:
    """A product that is another one after so many requests, the connections of which may break."""

    old: Path
    new: Path
    telling: str
    after: int
    cut: int | None

    def __call__(self, provider: Mannered, request: Request) -> Reply:
        replaced = provider.count(UID, "download") >= self.after
        provider.file = self.new if replaced else self.old
        if self.telling == "ETags, If-Range ignored":
            request = without(request, "if-range")
        reply = provider.well(request, **TELLING[self.telling][replaced])
        return reply if replaced else replace(reply, cut_after=self.cut)


@pytest.mark.says("Bytes of two versions are never mixed: another size, ETag or date than before is noticed.")
@pytest.mark.parametrize(
    "case",
    [(True, 1, None), (True, 2, None), (True, 1, 200_000), (True, 4, 200_000), (True, 8, 200_000), (False, 1, 200_000)],
    ids=["after 1", "after 2", "after 1, cut", "after 4, cut", "after 8, cut", "no ranges, after 1, cut"],
)
@pytest.mark.parametrize("telling", TELLING)
def test_a_product_that_is_replaced_is_never_mixed(
    room: Room, provider: Mannered, tmp_path: Path, fetch: str, telling: str, case: tuple[bool, int, int | None]
) -> None:
    ranges, after, cut = case
    old = rewritten(tmp_path / "old.zip", provider.archive(UID), 0)
    new = rewritten(tmp_path / "new.zip", provider.archive(UID), 0xFF, more=telling == "the size")
    provider.manner, provider.ranges = Replaced(old, new, telling, after, cut), ranges
    engine, product = room.start(fetch=fetch, speaks=HASTY), unsure(room.products[UID])
    found, error = read_as_far_as_it_goes(engine, product)
    assert error is None or isinstance(error, Corrupt), error
    first, then = sums(old), sums(new)
    assert all(digest in {first.get(path), then[path]} for path, digest in found.items())
    if not error:
        assert found in (first, then)
    room.close()
    assert md5sums(room.start(fetch=fetch, speaks=HASTY), product) in (then, found)
