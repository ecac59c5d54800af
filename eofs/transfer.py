"""Filling a file of the cache from a provider's reply, and making sure that what has come is right."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING

from eofs import archive, client
from eofs.blocks import View
from eofs.errors import AccessRefused, Corrupt, ProviderFailed, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from eofs.archive import Source
    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.client import Client, Reply
    from eofs.model import Checksum, Member, Product

log = logging.getLogger(__name__)

STEP = 1 << 20  # bytes read at a time when a file is verified or inflated
GROWTH = 16 << 20  # bytes between two looks at the budget while a file of unknown size grows


def receive(
    file: PartialFile, cache: Cache, sender: Client, response: requests.Response, check: Callable[[], None]
) -> None:
    """Take the body of one reply into the file, each byte readable as soon as it is there.

    Raises:
        PassingFault: the reply broke off; what has come stays, and the next try goes on behind it.
        CacheFull: no room for it.
    """
    head = client.reply(response)
    begin(file, cache, head)
    offset = head.start
    with cache.writing():
        for chunk in sender.body(response):
            check()
            if file.size is not None and offset + len(chunk) > file.size:
                file.restart()
                raise client.PassingFault(ProviderFailed(f"{sender.provider.name} sent more than it said; try again"))
            if file.size is None and offset // GROWTH != (offset + len(chunk)) // GROWTH:
                with cache.room(file.path, offset + len(chunk) + GROWTH):
                    pass
            file.write(offset, chunk)
            offset += len(chunk)
    check()
    if file.size is None:  # it ended, so that is all; `verify` finds out whether it is
        file.begin(offset, file.validator)
    elif offset < file.size:
        broken = Unreachable(f"{sender.provider.name} broke off after {offset:,} of {file.size:,} bytes; try again")
        raise client.PassingFault(broken)


def hang_up(response: requests.Response) -> None:
    """End a reply at once, from another thread than the one that receives it."""
    with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has come to its end by itself
        response.raw.shutdown()


def begin(file: PartialFile, cache: Cache, head: Reply) -> None:
    """Make the file ready for a reply: nothing of another version of the bytes is kept beside it."""
    here = file.reaches(0)
    if head.start:
        if head.start != here or head.size not in {None, file.size} or differ(head.validator, file.validator):
            file.restart()
            raise client.PassingFault(ProviderFailed("the provider answered with other bytes than were asked for"))
    elif here and (file.validator is None or head.validator != file.validator):
        file.restart()
    size = head.size if head.size is not None else file.size if head.start else None
    with cache.writing(), cache.room(file.path, size or here):
        file.begin(size, head.validator or file.validator)


def differ(one: str | None, other: str | None) -> bool:
    """Tell whether two validators say that the bytes have changed; an ETag and a date cannot be compared."""
    return one is not None and other is not None and one != other and one.startswith('"') == other.startswith('"')


def verify(file: PartialFile, product: Product) -> None:
    """Make sure that all of a product has come as the provider holds it.

    Where the provider gives a checksum, that decides. Where it gives none, every member of the archive has to have
    the CRC that the archive says.

    Raises:
        Corrupt: the bytes are wrong.
    """
    size = file.size if file.size is not None else file.reaches(0)
    if not size:
        raise Corrupt(f"{product.title} came from {product.provider} without a single byte; search again")
    if product.checksum and product.checksum.algorithm in hashlib.algorithms_available:
        _verify_checksum(file, product, product.checksum, size)
    else:
        _verify_contents(file, product, size)


def _verify_checksum(file: PartialFile, product: Product, checksum: Checksum, size: int) -> None:
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    for data in steps(View(file), 0, size):
        digest.update(data)
    if digest.hexdigest() != checksum.digest:
        raise Corrupt(
            f"{product.title} came from {product.provider} with another {checksum.algorithm.upper()} "
            "than the search result says; search again, or tell the provider"
        )


def _verify_contents(file: PartialFile, product: Product, size: int) -> None:
    view = View(file)
    if view.read(0, 64).lstrip().lower().startswith((b"<!doctype html", b"<html")):
        file.restart()
        raise AccessRefused(f"{product.provider} sent a web page instead of the data; check the credentials")
    listing = archive.list_members(view, product.title)
    if product.size not in {None, size}:
        # The archives that are packed when they are asked for differ in size from time to time.
        said = f"{product.title}: {product.provider} says {product.size} bytes, and sent {size}"
        if listing.format == "file":
            raise Corrupt(f"{said}; search again, or tell the provider")
        log.warning("%s", said)
    for member in listing.members:
        if member.crc is not None and not member.encrypted and member.method in {"stored", *archive.DECODERS}:
            for _ in unpack(view, listing.format, member):
                pass


def unpack(source: Source, format_name: str, member: Member) -> Iterator[bytes]:
    """Yield the unpacked bytes of an archive member, at most `STEP` at a time, reading the archive in order.

    The last of them come when it is known that all are right.

    Raises:
        Corrupt: size or CRC are not what the archive says, or the compressed bytes are damaged.
    """
    yield from archive.unpack(source, archive.data_offset(source, format_name, member), member)


def steps(source: Source, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes from `start` up to `stop` in order, at most `STEP` at a time."""
    for offset in range(start, stop, STEP):
        yield source.read(offset, min(STEP, stop - offset))
