"""What the head of a reply says of the bytes that follow (RFC 9110, sections 8, 13 and 14). Values only."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs import checksums

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eofs.model import Checksum

# The names that Content-Encoding may give to a compression; other words found there stand for none.
CODINGS = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd"})

_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of a reply that carries the bytes asked for.

    Attributes:
        start: offset of the first byte in the whole.
        size: bytes of the whole, or None where the provider does not say.
        validator: what tells this version of the bytes from another (a strong ETag, else Last-Modified, else a weak
            ETag), or None.
        checksum: of the whole, or None where the provider does not say.
    """

    start: int
    size: int | None
    validator: str | None
    checksum: Checksum | None = None


def in_words(status: int) -> str:
    """Return a status as it is told: ``404 Not Found``."""
    return f"{status} {http.client.responses.get(status, '')}".strip()


def read(status: int, headers: Mapping[str, str]) -> Reply | None:
    """Return what the head of a 200 or 206 says; None for a 206 that does not say which bytes it carries."""
    etag = headers.get("ETag", "")
    weak = etag if etag.startswith('W/"') else None
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", weak)
    packed = bool(codings(headers))  # then neither sizes nor checksums speak of the file
    if status == 206:
        part = None if packed else _content_range(headers)
        return Reply(*part, validator, checksums.from_headers(headers, whole=False)) if part else None
    if packed:
        return Reply(0, None, validator)
    length = "" if "Transfer-Encoding" in headers else headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    return Reply(0, size, validator, checksums.from_headers(headers, whole=True))


def length(status: int, headers: Mapping[str, str]) -> int | None:
    """Return the bytes of the whole, of a reply to HEAD or for a range, also where there is none; None where unsaid."""
    if status == 416:
        unit, _, size = headers.get("Content-Range", "").partition("*/")
        return int(size) if unit.strip() == "bytes" and size.isdecimal() else None
    found = read(status, headers) if status in {200, 206} else None
    return found.size if found else None


def is_another_range(status: int, headers: Mapping[str, str], start: int, last: int) -> bool:
    """Tell whether it answers a range with another one: than that from `start` on or, if not 0, the `last` bytes."""
    if status != 206:
        return status == 416
    found = read(status, headers)
    if found is None or (last and found.size is None):
        return True
    return found.start != (max(0, (found.size or 0) - last) if last else start)


def codings(headers: Mapping[str, str]) -> set[str]:
    """Return by what the body was compressed for its way; mostly nothing."""
    return {coding.strip().lower() for coding in headers.get("Content-Encoding", "").split(",")} & CODINGS


def differ(one: str | None, other: str | None) -> bool:
    """Tell whether two validators say that the bytes have changed; a strong ETag, a weak one and a date do not mix."""
    return one is not None and other is not None and one != other and _kind(one) == _kind(other)


def is_weak(validator: str | None) -> bool:
    """Tell whether two replies that share the validator may still be of different bytes."""
    return validator is None or _kind(validator) == "W/"


def _kind(validator: str) -> str:
    return validator.partition('"')[0] if '"' in validator else "date"


def _content_range(headers: Mapping[str, str]) -> tuple[int, int | None] | None:
    """Return the first offset, and the size of the whole if known, of ``bytes 100-199/500``; None for anything else."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None
    first, last, size = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    return (first, size) if first <= last and (size is None or last < size) else None
