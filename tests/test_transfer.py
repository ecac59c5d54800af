"""Filling a file of the cache from replies, verifying it, unpacking its members."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import logging
import os
import random
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from engine_room import BARE, DEMO, Canned, http
from hypothesis import given
from hypothesis import strategies as st

from eofs import archive, transfer
from eofs.blocks import View
from eofs.cache import Cache
from eofs.client import Client
from eofs.config import Network
from eofs.errors import AccessRefused, CacheFull, Cancelled, Corrupt, ProviderFailed, Unreachable
from eofs.faults import PassingFault
from eofs.model import Checksum, Member, Product
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.blocks import PartialFile

DATA = random.Random(1).randbytes(300_000)
TAG = '"v1"'
PRODUCT = Product(
    id="P",
    uid="P",
    title="P",
    provider="demo",
    status=StorageStatus.ONLINE,
    location=None,
    quicklook=None,
    size=None,
    checksum=None,
    collection=None,
    start=None,
    cloud_cover=None,
    feature=b"{}",
)


class Receiver:
    """A file of a cache, and how replies are taken into it."""

    def __init__(self, directory: Path, limit: int = 1 << 30) -> None:
        self.cache = Cache(directory, limit)
        self.client = Client(DEMO, Network(), connections=1, stall_timeout=30)
        self.file = self.open()

    def open(self) -> PartialFile:
        file = self.cache.open(self.cache.archive(PRODUCT))
        assert file
        return file

    def take(self, *answers: bytes | None, start: int | None = None) -> list[str]:
        """Take one reply after the other, each asked for from where the one before ended; return what was asked."""
        with Canned(*answers) as server:
            for _ in answers:
                here = self.file.reaches(0) if start is None else start
                with contextlib.closing(
                    self.client.get(server.url, start=here, validator=self.file.validator)
                ) as response:
                    transfer.receive(self.file, self.cache, self.client, response, lambda: None)
            return server.asked

    def broken(self, answer: bytes) -> PassingFault:
        with pytest.raises(PassingFault) as caught:
            self.take(answer)
        return caught.value

    @property
    def content(self) -> bytes:
        return os.pread(self.file.fileno(), self.file.reaches(0), 0)

    def fill(self, data: bytes) -> PartialFile:
        self.file.begin(len(data), None)
        self.file.write(0, data)
        return self.file


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "cache")
    yield made
    made.client.close()
    made.cache.close()


def part(start: int, stop: int | None = None, said: str = "", **headers: Any) -> bytes:
    """A reply with a range of DATA, cut off before its end where it says so."""
    body = DATA[start:stop]
    content_range = said or f"bytes {start}-{start + len(body) - 1}/{len(DATA)}"
    named: dict[str, Any] = {"Content_Range": content_range, "ETag": TAG, **headers}
    return http(206, body, **named)


# -- one reply -------------------------------------------------------------------------------------------------------


def chunked(body: bytes, *, end: bytes = b"0\r\n\r\n", **headers: Any) -> bytes:
    chunks = [body[at : at + 70_000] for at in range(0, len(body), 70_000)]
    coded = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)
    return http(200, coded + end, length=-1, Transfer_Encoding="chunked", **headers)


@pytest.mark.parametrize(
    "answer",
    [
        http(200, DATA),
        http(200, DATA, length=-1),
        chunked(DATA),
        chunked(DATA, ETag=TAG),
        http(200, gzip.compress(DATA), Content_Encoding="gzip"),
        part(0),
    ],
    ids=["length", "until the connection ends", "chunked", "chunked with a version", "gzip", "all of it as a range"],
)
def test_a_whole_reply_is_the_whole_file(receiver: Receiver, answer: bytes) -> None:
    receiver.take(answer)
    assert receiver.content == DATA
    assert receiver.file.size == len(DATA)


@pytest.mark.parametrize(
    "answer",
    [
        http(200, DATA[:100_000], length=len(DATA), ETag=TAG),
        chunked(DATA[:100_000], end=b"", ETag=TAG),
        part(0, 100_000),
    ],
    ids=["length", "chunked", "range"],
)
def test_what_has_come_of_a_reply_that_breaks_off_is_kept(receiver: Receiver, answer: bytes) -> None:
    caught = receiver.broken(answer)
    assert type(caught.error) is Unreachable
    assert receiver.content == DATA[:100_000]
    assert receiver.file.validator == TAG


def test_a_reply_that_breaks_off_says_how_far_it_came(receiver: Receiver) -> None:
    assert "broke off after 100,000 of 300,000 bytes" in str(receiver.broken(part(0, 100_000)))


def test_a_caller_can_stop_a_reply(receiver: Receiver) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with Canned(http(200, DATA)) as server:
        response = receiver.client.get(server.url)
        with pytest.raises(Cancelled, match="enough"), contextlib.closing(response):
            transfer.receive(receiver.file, receiver.cache, receiver.client, response, stop)


# -- the rest of it --------------------------------------------------------------------------------------------------


def test_a_range_goes_on_where_the_first_reply_stopped(receiver: Receiver) -> None:
    receiver.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    asked = receiver.take(part(100_000))
    assert "Range: bytes=100000-\r\n" in asked[0]
    assert f"If-Range: {TAG}\r\n" in asked[0]
    assert receiver.content == DATA


def test_a_range_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = Receiver(tmp_path)
    first.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    first.cache.release(first.file)
    first.cache.close()
    first.client.close()
    second = Receiver(tmp_path)
    assert second.file.reaches(0) == 100_000
    assert "Range: bytes=100000-\r\n" in second.take(part(100_000))[0]
    assert second.content == DATA
    second.cache.close()
    second.client.close()


def test_the_whole_again_in_place_of_a_range_is_taken_from_its_beginning(receiver: Receiver) -> None:
    receiver.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    receiver.take(http(200, DATA, ETag=TAG))
    assert receiver.content == DATA


OTHER = bytes(reversed(DATA))


@pytest.mark.parametrize("tag", ['"v2"', None])
def test_another_version_in_place_of_a_range_takes_the_place_of_what_has_come(
    receiver: Receiver, tag: str | None
) -> None:
    receiver.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    again: dict[str, Any] = {"ETag": tag} if tag else {}
    assert type(receiver.broken(http(200, OTHER[:50_000], length=len(OTHER), **again)).error) is Unreachable
    assert receiver.content == OTHER[:50_000]
    receiver.take(http(200, OTHER, **again))
    assert receiver.content == OTHER


@pytest.mark.parametrize(
    "answer",
    [
        part(100_001),
        part(99_999),
        part(100_000, said=f"bytes 100000-299999/{len(DATA) + 1}"),
        part(100_000, said=f"bytes 100001-299999/{len(DATA)}"),
        part(100_000, ETag='"v2"'),
        part(100_000, said="bytes"),
        part(100_000, said="bytes */300000"),
        part(100_000, said="items 100000-299999/300000"),
    ],
    ids=["later", "earlier", "other size", "other start", "other version", "no range", "unsatisfied", "other unit"],
)
def test_a_range_of_other_bytes_is_never_put_beside_what_has_come(receiver: Receiver, answer: bytes) -> None:
    receiver.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    assert type(receiver.broken(answer).error) is ProviderFailed
    assert receiver.content in {b"", DATA[:100_000]}


def test_a_range_that_begins_at_the_front_is_taken_from_there(receiver: Receiver) -> None:
    receiver.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    receiver.broken(part(0, 150_000))
    assert receiver.content == DATA[:150_000]


@pytest.mark.parametrize("said", ["bytes 100000-199999/*", "bytes 100000-199999/300000"])
def test_a_range_that_ends_before_the_file_is_not_the_end_of_it(receiver: Receiver, said: str) -> None:
    receiver.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    receiver.broken(part(100_000, 200_000, said=said))
    assert receiver.content == DATA[:200_000]
    receiver.take(part(200_000, said="bytes 200000-299999/*"))
    assert receiver.content == DATA
    assert receiver.file.size == len(DATA)


def test_no_more_bytes_are_taken_than_there_are(receiver: Receiver) -> None:
    receiver.broken(http(200, DATA[:100_000], length=len(DATA), ETag=TAG))
    body = DATA[100_000:] + b"too much"
    caught = receiver.broken(http(206, body, Content_Range="bytes 100000-299999/300000", ETag=TAG))
    assert type(caught.error) is ProviderFailed
    assert receiver.content == b""


# -- the budget ------------------------------------------------------------------------------------------------------


def test_what_is_larger_than_the_cache_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    small = Receiver(tmp_path, limit=200_000)
    with contextlib.closing(small.cache), contextlib.closing(small.client):
        with pytest.raises(CacheFull, match="raise cache_size"):
            small.take(http(200, DATA))
        assert small.content == b""


def test_what_grows_beyond_the_cache_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "GROWTH", 50_000)
    small = Receiver(tmp_path, limit=200_000)
    with contextlib.closing(small.cache), contextlib.closing(small.client):
        with pytest.raises(CacheFull, match="raise cache_size"):
            small.take(http(200, DATA, length=-1))
        assert len(small.content) <= 200_000


# -- verification ----------------------------------------------------------------------------------------------------


def zipped(*, method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


def md5(data: bytes) -> Checksum:
    return Checksum("md5", hashlib.md5(data).hexdigest())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("summed", [True, False])
def test_what_has_come_right_is_right(receiver: Receiver, method: int, summed: bool) -> None:
    data = zipped(method=method, a=DATA, b=b"", c=b"text")
    file = receiver.fill(data)
    transfer.verify(file, replace(PRODUCT, size=len(data), checksum=md5(data) if summed else None))


def test_a_bare_file_without_a_checksum_is_taken_as_it_is(receiver: Receiver) -> None:
    transfer.verify(receiver.fill(BARE), PRODUCT)


@pytest.mark.says("What has come is compared with the checksum of the search result")
def test_another_checksum_means_that_the_bytes_are_wrong(receiver: Receiver) -> None:
    data = zipped(a=DATA)
    with pytest.raises(Corrupt, match="MD5"):
        transfer.verify(receiver.fill(data), replace(PRODUCT, checksum=md5(data + b" ")))


def test_a_checksum_decides_over_the_size_of_the_result(receiver: Receiver) -> None:
    transfer.verify(receiver.fill(DATA), replace(PRODUCT, checksum=md5(DATA), size=1))


def test_a_checksum_that_nobody_knows_is_no_reason_not_to_look(receiver: Receiver) -> None:
    data = zipped(a=DATA)
    odd = replace(PRODUCT, checksum=Checksum("crc-of-the-moon", "00"))
    transfer.verify(receiver.fill(data), odd)
    with pytest.raises(Corrupt):
        transfer.verify(receiver.fill(data[:-5]), odd)


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


STORED, DEFLATED = zipped(a=DATA), zipped(a=DATA * 2, method=zipfile.ZIP_DEFLATED)


@pytest.mark.says("else with every member's CRC.")
@pytest.mark.parametrize(
    "data",
    [
        STORED[:-1],
        STORED[:200_000],
        damaged(STORED, 1000),
        damaged(STORED, len(STORED) - 53),
        damaged(DEFLATED, 1000),
        damaged(DEFLATED, len(DEFLATED) // 2),
        DEFLATED[: len(DEFLATED) // 2],
        b"",
    ],
    ids=["end", "two thirds", "stored byte", "index", "deflated byte", "deflated byte further on", "half", "nothing"],
)
def test_a_damaged_archive_without_a_checksum_is_found_out(receiver: Receiver, data: bytes) -> None:
    with pytest.raises(Corrupt):
        transfer.verify(receiver.fill(data), PRODUCT)


def test_a_bare_file_of_another_size_than_the_result_says_is_corrupt(receiver: Receiver) -> None:
    transfer.verify(receiver.fill(BARE), replace(PRODUCT, size=len(BARE)))
    with pytest.raises(Corrupt, match=rf"says 1 bytes, and sent {len(BARE)}"):
        transfer.verify(receiver.fill(BARE), replace(PRODUCT, size=1))


def test_a_web_page_that_does_not_say_that_it_is_one_is_refused_and_not_kept(receiver: Receiver) -> None:
    file = receiver.fill(b"\n <!DOCTYPE html><title>Log in</title>")
    with pytest.raises(AccessRefused, match="web page"):
        transfer.verify(file, PRODUCT)
    assert file.arrived == 0


def test_an_archive_of_another_size_than_the_result_says_is_logged(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        transfer.verify(receiver.fill(STORED), replace(PRODUCT, size=1))
    assert f"demo says 1 bytes, and sent {len(STORED)}" in caplog.text


# -- unpacking -------------------------------------------------------------------------------------------------------


class Source:
    """An archive in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, size: int, /) -> bytes:
        return self._data[offset : offset + size]


def first(data: bytes, **changes: Any) -> tuple[Source, str, Member]:
    source = Source(data)
    listing = archive.list_members(source, "x")
    return source, listing.format, replace(listing.members[0], **changes)


@given(st.binary(max_size=5000), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_a_member_comes_out_as_it_went_in(content: bytes, method: int) -> None:
    assert b"".join(transfer.unpack(*first(zipped(a=content, method=method)))) == content


def test_a_large_member_comes_out_in_steps() -> None:
    content = DATA * 20
    steps = list(transfer.unpack(*first(zipped(a=content, method=zipfile.ZIP_DEFLATED))))
    assert b"".join(steps) == content
    assert len(steps) > 4
    assert max(map(len, steps)) <= transfer.STEP


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (DEFLATED, {"crc": 1}),
        (STORED, {"crc": 1}),
        (DEFLATED, {"size": 2 * len(DATA) - 1}),
        (DEFLATED, {"size": 2 * len(DATA) + 1}),
        (STORED, {"size": len(DATA) + 1}),
        (damaged(DEFLATED, len(DEFLATED) // 2), {}),
    ],
    ids=["CRC", "CRC of a stored one", "shorter", "longer", "longer than stored", "damaged"],
)
def test_the_end_of_a_wrong_member_never_comes_out(data: bytes, changes: dict[str, Any]) -> None:
    whole = len(DATA) * (2 if data is not STORED else 1)
    steps = transfer.unpack(*first(data, **changes))
    came: list[bytes] = []
    with pytest.raises(Corrupt):
        came.extend(steps)
    assert len(b"".join(came)) < whole


def test_a_stored_member_of_an_archive_on_its_way_is_unpacked_as_it_comes(receiver: Receiver) -> None:
    file = receiver.file
    file.begin(len(STORED), None)
    listing = archive.list_members(Source(STORED), "x")
    file.write(0, STORED)
    assert b"".join(transfer.unpack(View(file), listing.format, listing.members[0])) == DATA
