"""Checksums: how search results and the heads of replies write them down, and how bytes are compared with them.

In a search result: hex of MD5, ``name=hex``, or a multihash in hex, as STAC's ``file:checksum``
(https://github.com/stac-extensions/file, https://multiformats.io/multihash). In the head of a reply: base64, in the
headers of `_HEADERS`, and the ETag of Amazon S3. What cannot be understood is no checksum; nothing here raises.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from typing import TYPE_CHECKING

from eofs.model import Checksum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Bytes of a digest, by hashlib's name; CRC-32 is zlib's.
_SIZES = {
    "md5": 16,
    "sha1": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "sha3_224": 28,
    "sha3_256": 32,
    "sha3_384": 48,
    "sha3_512": 64,
    "blake2b": 64,
    "blake2s": 32,
    "crc32": 4,
}
# As they are written elsewhere, without hyphens: sha-256 (RFC 9530), sha2-256 (multihash), sha (RFC 3230) for SHA-1.
_NAMES = {name.replace("_", ""): name for name in _SIZES} | {"sha2256": "sha256", "sha2512": "sha512", "sha": "sha1"}

# https://github.com/multiformats/multicodec/blob/master/table.csv
_MULTIHASHES = {
    0x11: ("sha1", 20),
    0x12: ("sha256", 32),
    0x13: ("sha512", 64),
    0x14: ("sha3_512", 64),
    0x15: ("sha3_384", 48),
    0x16: ("sha3_256", 32),
    0x17: ("sha3_224", 28),
    0x20: ("sha384", 48),
    0xD5: ("md5", 16),
    0x1013: ("sha224", 28),
    **{0xB200 + size: ("blake2b", size) for size in range(1, 65)},
    **{0xB240 + size: ("blake2s", size) for size in range(1, 33)},
}
_TEXT = re.compile(r"(?:(?P<name>[a-z0-9_-]+)\s*[=:]\s*)?(?P<hex>(?:[0-9a-f]{2})+)")

# The headers that may hold a checksum of the whole file, the surest first: the algorithm, where the header's name says
# it; whether the header speaks of a mere part where one is sent; and the header that, if it is there, must say what.
_HEADERS = (
    ("Repr-Digest", "", False, None),  # RFC 9530, section 3
    ("Digest", "", False, None),  # RFC 3230, section 4.3.2
    ("Content-Digest", "", True, None),  # RFC 9530, section 2
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html; COMPOSITE ones are of the parts' checksums
    ("X-Amz-Checksum-Sha256", "sha256", True, ("X-Amz-Checksum-Type", "FULL_OBJECT")),
    ("X-Amz-Checksum-Sha1", "sha1", True, ("X-Amz-Checksum-Type", "FULL_OBJECT")),
    ("X-Amz-Checksum-Crc32", "crc32", True, ("X-Amz-Checksum-Type", "FULL_OBJECT")),
    # https://cloud.google.com/storage/docs/xml-api/reference-headers; of the bytes as stored, packed or not
    ("X-Goog-Hash", "", False, ("X-Goog-Stored-Content-Encoding", "identity")),
    # https://learn.microsoft.com/rest/api/storageservices/get-blob
    ("X-Ms-Blob-Content-Md5", "md5", False, None),
    ("Content-MD5", "md5", True, None),  # RFC 1864
)
_ETAG = re.compile(r'"([0-9a-f]{32})"')


def from_text(text: str) -> Checksum | None:
    """Return the checksum that a search result writes as bare MD5, as ``name=hex`` or as a multihash, in any case."""
    match = _TEXT.fullmatch(text.strip().lower())
    if match is None:
        return None
    digest = bytes.fromhex(match["hex"])
    return _checksum(match["name"] or "md5", digest) or (None if match["name"] else _multihash(digest))


def from_headers(headers: Mapping[str, str], *, whole: bool) -> Checksum | None:
    """Return the checksum of the whole file that the head of a reply gives.

    Args:
        headers: by their names in any case; of a reply whose body has not been compressed for its way.
        whole: the reply carries the whole file, and not a part of it.
    """
    for header, algorithm, of_part, condition in _HEADERS:
        name, needed = condition or ("", "")
        if (whole or not of_part) and headers.get(name, needed) == needed:
            for entry in headers.get(header, "").split(","):
                if found := _base64(f"{algorithm}={entry}" if algorithm else entry):
                    return found
    return _etag_of_s3(headers)


def to_text(checksum: Checksum) -> str:
    """Return what `from_text` reads: ``name=hex``."""
    return f"{checksum.algorithm}={checksum.digest}"


def is_known(checksum: Checksum) -> bool:
    """Tell whether bytes can be compared with it."""
    return checksum.algorithm in _SIZES


def agrees(checksum: Checksum, pieces: Iterable[bytes]) -> bool:
    """Tell whether the bytes have this checksum, which has to be a known one."""
    if checksum.algorithm == "crc32":
        crc = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        return f"{crc:08x}" == checksum.digest
    if checksum.algorithm in {"blake2b", "blake2s"}:  # one algorithm for each length of the digest
        digest = getattr(hashlib, checksum.algorithm)(digest_size=len(checksum.digest) // 2)
    else:
        digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    found: str = digest.hexdigest()
    return found == checksum.digest


def _checksum(name: str, digest: bytes) -> Checksum | None:
    algorithm = _NAMES.get(name.strip().lower().replace("-", "").replace("_", ""))
    return Checksum(algorithm, digest.hex()) if algorithm and len(digest) == _SIZES[algorithm] else None


def _multihash(data: bytes) -> Checksum | None:
    code, rest = _varint(data)
    length, digest = _varint(rest)
    algorithm, size = _MULTIHASHES.get(code, ("", 0))
    return Checksum(algorithm, digest.hex()) if algorithm and len(digest) == length == size else None


def _varint(data: bytes) -> tuple[int, bytes]:
    """Read a number in seven bits a byte, the lowest first (https://github.com/multiformats/unsigned-varint)."""
    number = 0
    for at, byte in enumerate(data):
        number |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return number, data[at + 1 :]
    return -1, b""


def _base64(entry: str) -> Checksum | None:
    """Read ``name=base64`` or, as a byte sequence of RFC 8941, ``name=:base64:``."""
    name, _, value = entry.strip().partition("=")
    try:
        return _checksum(name, base64.b64decode(value.strip().strip(":"), validate=True))
    except (binascii.Error, ValueError):
        return None


def _etag_of_s3(headers: Mapping[str, str]) -> Checksum | None:
    """Read the ETag of Amazon S3, which is the MD5 unless the object came in parts or is encrypted with a key of KMS.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html. Others that speak as it does name a request so.
    """
    match = _ETAG.fullmatch(headers.get("ETag", ""))
    plain = headers.get("X-Amz-Server-Side-Encryption", "AES256") == "AES256"
    own_key = "X-Amz-Server-Side-Encryption-Customer-Algorithm" in headers
    is_s3 = headers.get("Server") == "AmazonS3" or "X-Amz-Request-Id" in headers
    if match and plain and not own_key and is_s3:
        return Checksum("md5", match[1])
    return None
