"""Checksums as search results and the heads of replies write them."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from eofs import checksums
from eofs.model import Checksum

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = b"the bytes of a product"
MD5, SHA1, SHA256 = (Checksum(name, hashlib.new(name, DATA).hexdigest()) for name in ("md5", "sha1", "sha256"))
CRC32 = Checksum("crc32", f"{zlib.crc32(DATA):08x}")


def in_base64(checksum: Checksum) -> str:
    return base64.b64encode(bytes.fromhex(checksum.digest)).decode()


def blake2b(size: int) -> str:
    return hashlib.blake2b(DATA, digest_size=size).hexdigest()


MULTIHASHES = {
    "sha1": ("1114", hashlib.sha1(DATA).hexdigest()),
    "sha2-224": ("93201c", hashlib.sha224(DATA).hexdigest()),
    "sha2-256": ("1220", hashlib.sha256(DATA).hexdigest()),
    "sha2-384": ("2030", hashlib.sha384(DATA).hexdigest()),
    "sha2-512": ("1340", hashlib.sha512(DATA).hexdigest()),
    "sha3-224": ("171c", hashlib.sha3_224(DATA).hexdigest()),
    "sha3-256": ("1620", hashlib.sha3_256(DATA).hexdigest()),
    "sha3-384": ("1530", hashlib.sha3_384(DATA).hexdigest()),
    "sha3-512": ("1440", hashlib.sha3_512(DATA).hexdigest()),
    "md5": ("d50110", hashlib.md5(DATA).hexdigest()),
    "blake2b-160": ("94e40214", blake2b(20)),
    "blake2b-256": ("a0e40220", blake2b(32)),
    "blake2b-512": ("c0e40240", blake2b(64)),
    "blake2s-256": ("e0e40220", hashlib.blake2s(DATA).hexdigest()),
}


@pytest.mark.says("(MD5, SHA-1, SHA-2, SHA-3, BLAKE2; multihashes)")
@pytest.mark.parametrize("write", [str.lower, str.upper], ids=["lower case", "upper case"])
@pytest.mark.parametrize(("prefix", "digest"), MULTIHASHES.values(), ids=MULTIHASHES)
def test_a_multihash_is_read_and_tells_right_bytes_from_wrong_ones(
    prefix: str, digest: str, write: Callable[[str], str]
) -> None:
    found = checksums.from_text(write(prefix + digest))
    assert found
    assert found.digest == digest
    assert checksums.is_known(found)
    assert checksums.agrees(found, [DATA[:5], DATA[5:]])
    assert not checksums.agrees(found, [DATA[:5], DATA[6:]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"md5={MD5.digest}", MD5),
        (f" SHA-256: {SHA256.digest.upper()} ", SHA256),
        (f"sha2-256={SHA256.digest}", SHA256),
        (f"crc32={CRC32.digest}", CRC32),
        (f"blake3={SHA256.digest}", None),
        ("1e20" + SHA256.digest, None),  # BLAKE3, which hashlib does not have
        ("1320" + SHA256.digest, None),  # SHA-512 cut to half its length
        ("1220" + SHA256.digest[2:], None),
        ("122", None),
        ("80808080", None),
        ("a0e402", None),
        (SHA256.digest, None),  # which of the many algorithms of this length?
        ("", None),
    ],
)
def test_other_texts_are_read_where_they_can_be_understood(text: str, expected: Checksum | None) -> None:
    assert checksums.from_text(text) == expected


@given(st.text() | st.binary().map(bytes.hex))
def test_no_text_is_too_odd(text: str) -> None:
    found = checksums.from_text(text)
    assert found is None or checksums.is_known(found)


def test_crc32_tells_right_bytes_from_wrong_ones() -> None:
    assert checksums.agrees(CRC32, [DATA[:3], DATA[3:]])
    assert not checksums.agrees(CRC32, [DATA[1:]])


S3 = {"Server": "AmazonS3", "ETag": f'"{MD5.digest}"'}

# What the head says; what it says of the whole file where it comes with the whole, and where it comes with a part.
HEADS = {
    "nothing": ({}, None, None),
    "RFC 9530": ({"Repr-Digest": f"sha-256=:{in_base64(SHA256)}:"}, SHA256, SHA256),
    "RFC 9530, several": ({"repr-digest": f"unixsum=:AAA=:, sha-256=:{in_base64(SHA256)}:, md5=::"}, SHA256, SHA256),
    "RFC 9530, of the content": ({"Content-Digest": f"sha-256=:{in_base64(SHA256)}:"}, SHA256, None),
    "RFC 3230": ({"Digest": f"adler32=03da0195, SHA={in_base64(SHA1)}"}, SHA1, SHA1),
    "RFC 1864": ({"Content-MD5": in_base64(MD5)}, MD5, None),
    "RFC 1864, in hex": ({"Content-MD5": MD5.digest}, None, None),
    "Azure": ({"x-ms-blob-content-md5": in_base64(MD5), "Content-MD5": in_base64(CRC32)}, MD5, MD5),
    "Google": ({"x-goog-hash": f"crc32c=n03x6A==, md5={in_base64(MD5)}"}, MD5, MD5),
    "Google, a composite object": ({"x-goog-hash": "crc32c=n03x6A=="}, None, None),
    "Google, unpacked on its way": (
        {"x-goog-hash": f"md5={in_base64(MD5)}", "x-goog-stored-content-encoding": "gzip"}, None, None,
    ),
    "Google, stored as it is": (
        {"x-goog-hash": f"md5={in_base64(MD5)}", "x-goog-stored-content-encoding": "identity"}, MD5, MD5,
    ),
    "S3, SHA-256": ({"x-amz-checksum-sha256": in_base64(SHA256)}, SHA256, None),
    "S3, SHA-1": ({"x-amz-checksum-sha1": in_base64(SHA1), "x-amz-checksum-type": "FULL_OBJECT"}, SHA1, None),
    "S3, CRC-32": ({"x-amz-checksum-crc32": in_base64(CRC32)}, CRC32, None),
    "S3, CRCs that are not known here": (
        {"x-amz-checksum-crc32c": "n03x6A==", "x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, None, None,
    ),
    "S3, in parts": ({"x-amz-checksum-sha256": f"{in_base64(SHA256)}-7"}, None, None),
    "S3, of the parts": (
        {"x-amz-checksum-sha256": in_base64(SHA256), "x-amz-checksum-type": "COMPOSITE"}, None, None,
    ),
    "S3, ETag": (S3, MD5, MD5),
    "S3, ETag, another store": ({**S3, "Server": "nginx", "x-amz-request-id": "1"}, MD5, MD5),
    "S3, ETag, encrypted by S3 itself": ({**S3, "x-amz-server-side-encryption": "AES256"}, MD5, MD5),
    "S3, ETag, in parts": ({**S3, "ETag": f'"{MD5.digest}-3"'}, None, None),
    "S3, weak ETag": ({**S3, "ETag": f'W/"{MD5.digest}"'}, None, None),
    "S3, ETag, a key of KMS": ({**S3, "x-amz-server-side-encryption": "aws:kms"}, None, None),
    "S3, ETag, a key of KMS twice": ({**S3, "x-amz-server-side-encryption": "aws:kms:dsse"}, None, None),
    "S3, ETag, a key of the customer": (
        {**S3, "x-amz-server-side-encryption-customer-algorithm": "AES256"}, None, None,
    ),
    "ETag of somebody else": ({**S3, "Server": "nginx"}, None, None),
}  # fmt: skip


@pytest.mark.says(
    "else with that in the head of the provider's reply (`Repr-Digest`, `Content-MD5`, those of Azure, Google and "
    "Amazon S3)"
)
@pytest.mark.parametrize(("headers", "with_the_whole", "with_a_part"), HEADS.values(), ids=HEADS)
def test_the_head_of_a_reply_tells_the_checksum_of_the_whole_file(
    headers: dict[str, str], with_the_whole: Checksum | None, with_a_part: Checksum | None
) -> None:
    said = CaseInsensitiveDict(headers)
    assert checksums.from_headers(said, whole=True) == with_the_whole
    assert checksums.from_headers(said, whole=False) == with_a_part
