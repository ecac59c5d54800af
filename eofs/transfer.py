"""Filling a file of the cache from a provider's reply, and making sure that what has come is right."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from eofs import archive, checksums, heads, replies
from eofs.blocks import View
from eofs.errors import AccessRefused, Corrupt, ProviderFailed, Unreachable
from eofs.faults import PassingFault
from eofs.links import names_a_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from eofs.archive import Source
    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.heads import Reply
    from eofs.model import Checksum, Member, Product

log = logging.getLogger(__name__)

STEP = 1 << 20  # bytes read at a time when a file is verified or inflated
GROWTH = 16 << 20  # bytes between two looks at the budget while a file grows whose size is not taken at once


def receive(
    file: PartialFile, cache: Cache, sender: Client, response: requests.Response, check: Callable[[], None]
) -> None:
    """Take the body of one reply into the file, each byte readable as soon as it is there.

    Raises:
        PassingFault: the reply broke off; what has come stays, and the next try goes on behind it.
        CacheFull: no room for it.
    """
    head = replies.reply(response)
    begin(file, cache, head)
    offset = head.start
    with cache.writing():
        for chunk in sender.body(response):
            check()
            if file.size is not None and offset + len(chunk) > file.size:
                file.restart()
                raise PassingFault(ProviderFailed(f"{sender.provider.name} sent more than it said; try again"))
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
        raise PassingFault(broken)


def hang_up(response: requests.Response) -> None:
    """End a reply at once, from another thread than the one that receives it."""
    with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has come to its end by itself
        response.raw.shutdown()


def begin(file: PartialFile, cache: Cache, head: Reply) -> None:
    """Make the file ready for a reply: nothing of another version of the bytes is kept beside it."""
    here = file.reaches(0)
    if head.start:
        if head.start != here or head.size not in {None, file.size} or heads.differ(head.validator, file.validator):
            file.restart()
            raise PassingFault(ProviderFailed("the provider answered with other bytes than were asked for"))
    elif heads.is_weak(file.validator) or head.validator != file.validator:
        file.restart()
    size = head.size if head.size is not None else file.size if head.start else None
    with cache.writing(), cache.room(file.path, size or here):
        file.begin(size, head.validator or file.validator, head.checksum)


def verify(file: PartialFile, product: Product, *, mend: bool = False) -> Checksum | None:
    """Make sure that all of a product has come as the provider holds it; returns the checksum that has told so.

    Where the provider gives a checksum, in the search result or else in the head of a reply, that decides. Where it
    gives none, every member of the archive has to have the CRC that the archive says; with `mend`, every member that
    can be found in an archive which is damaged.

    Raises:
        Corrupt: the bytes are wrong.
    """
    size = file.size if file.size is not None else file.reaches(0)
    if not size:
        raise Corrupt(f"{product.title} came from {product.served_by} without a single byte; search again")
    for checksum, who in ((product.checksum, "search result"), (file.checksum, "provider")):
        if checksum and checksums.is_known(checksum):
            if not checksums.agrees(checksum, steps(View(file), 0, size)):
                raise Corrupt(
                    f"{product.title} came from {product.served_by} with another {checksum.algorithm.upper()} "
                    f"than the {who} says; search again, or tell the provider"
                )
            return checksum
    try:
        _verify_contents(file, product, size, mend=mend)
    except Corrupt as error:
        raise Corrupt(f"{product.title} from {product.served_by} is damaged: {error}") from error
    return None


def _verify_contents(file: PartialFile, product: Product, size: int, *, mend: bool) -> None:
    view = View(file)
    is_page = view.read(0, 64).lstrip().lower().startswith((b"<!doctype html", b"<html"))
    if is_page and not names_a_page(product.title):
        file.restart()
        raise AccessRefused(f"{product.served_by} sent a web page instead of the data; check the credentials")
    listing = archive.list_members(view, product.title, mend=mend)
    if product.size not in {None, size} and not product.part_of:  # a loose file's size was compared when it was opened
        # The archives that are packed when they are asked for differ in size from time to time.
        said = f"{product.served_by} says {product.size} bytes, and sent {size}"
        if listing.format == "file":
            raise Corrupt(f"{said}; search again, or tell the provider")
        log.warning("%s: %s", product.title, said)
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
