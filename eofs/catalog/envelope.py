"""From the bytes of a search result to the bytes of each of its features, none of them looked into."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from typing import Any, TypeVar

import msgspec

from eofs.errors import ResultError

Shape = TypeVar("Shape")

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_RECORD = b"\x1e"  # begins each record of a GeoJSON text sequence, RFC 8142

# What the decoders raise for a text that is not JSON, not of the wanted shape, or nested too deeply.
NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)

_BLANK = re.compile(r"[ \t\r\n]*")


class _Envelope(msgspec.Struct):
    type: Any = None
    features: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def unpack(data: bytes) -> bytes:
    """Return the JSON text in `data`, which may be gzipped and may begin with a byte order mark.

    Raises:
        ResultError: the gzip is cut short or broken.
    """
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except EOFError:
            raise ResultError("is cut short (gzip); fetch or save it again") from None
        except (OSError, zlib.error) as error:
            raise ResultError(f"is broken gzip ({error}); fetch or save it again") from None
    return data.removeprefix(_BOM)


def split(text: bytes) -> list[bytes | msgspec.Raw]:
    """Return the features of a collection, of a sequence (one a line, or RFC 8142), or the only one.

    Raises:
        ResultError: `text` is not JSON or not GeoJSON; the sentence lacks its subject.
    """
    if not text or text.isspace():
        raise ResultError("is empty; save the search result again")
    if text.lstrip().startswith(_RECORD):
        return _sequence(text.split(_RECORD))
    try:
        return _document(text)
    except NOT_JSON as error:
        lines = text.strip().splitlines()
        if len(lines) > 1 and _stands_alone(lines[0]):
            return _sequence(lines)
        try:
            return _walk(text.decode("latin-1"))
        except NOT_JSON:
            raise ResultError(_why(error)) from None


def decode(decoder: msgspec.json.Decoder[Shape], text: bytes | msgspec.Raw) -> Shape:
    """Return what `decoder` makes of `text`, repaired first where it must be.

    Raises:
        ValueError: not JSON, or not of that shape (`msgspec.ValidationError`).
        RecursionError: nested too deeply.
    """
    try:
        return decoder.decode(text)
    except NOT_JSON:
        return decoder.decode(repair(bytes(text)))


def repair(text: bytes) -> bytes:
    """Return JSON that msgspec takes for JSON that only Python's own decoder takes.

    NaN, infinities and numbers beyond a float become null; stray bytes and lone surrogates question marks.

    Raises:
        ValueError: not even so.
        RecursionError: nested too deeply.
    """
    loose = json.loads(
        text.decode("utf-8", "replace"), parse_constant=lambda _: None, parse_float=_finite, strict=False
    )
    return json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace")


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _document(text: bytes) -> list[bytes | msgspec.Raw]:
    try:
        envelope = _ENVELOPE.decode(text)
    except msgspec.ValidationError as error:
        raise ResultError(f"is not GeoJSON ({error}); save the search result as GeoJSON") from None
    if isinstance(envelope.features, list):
        return [*envelope.features]
    if envelope.features is None:
        return []
    if envelope.type == "Feature":
        return [text.strip()]
    raise ResultError("is not GeoJSON (neither features nor a feature); save the search result as GeoJSON")


def _sequence(records: list[bytes]) -> list[bytes | msgspec.Raw]:
    features: list[bytes | msgspec.Raw] = []
    for record in filter(None, map(bytes.strip, records)):
        features += _record(record)
    return features


def _record(record: bytes) -> list[bytes | msgspec.Raw]:
    try:
        return _document(record)
    except (ResultError, *NOT_JSON):
        return [record]  # whoever reads it says what is wrong, and goes on with the next


def _stands_alone(line: bytes) -> bool:
    try:
        return repair(line).startswith(b"{")
    except NOT_JSON:
        return False


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is not GeoJSON (nested too deeply); save the search result as GeoJSON"
    if "truncated" in str(error):
        return "is cut short; fetch or save it again"
    return f"is not JSON ({error}); save the search result as GeoJSON"


def _walk(text: str) -> list[bytes | msgspec.Raw]:
    """Split what msgspec refuses, for a NaN or a lone surrogate somewhere.

    `text` has one character a byte (Latin-1), so that each feature is still cut out byte for byte.

    Raises:
        ValueError: not even Python's own decoder takes it, or it is not GeoJSON.
    """
    decoder = json.JSONDecoder(strict=False)
    kind, features = None, None
    at = _past("{", text, 0)
    while not text.startswith("}", at):
        name, at = decoder.raw_decode(text, at)
        at = _past(":", text, at)
        if name == "features" and text.startswith("[", at):
            features, at = _items(text, at, decoder)
        else:
            value, at = decoder.raw_decode(text, at)
            kind = value if name == "type" else kind
        at = _past("," if text.startswith(",", _past("", text, at)) else "", text, at)
    if _past("}", text, at) != len(text) or (features is None and kind != "Feature"):
        raise ValueError("not GeoJSON")
    return [text.strip().encode("latin-1")] if features is None else features


def _items(text: str, at: int, decoder: json.JSONDecoder) -> tuple[list[bytes | msgspec.Raw], int]:
    """Return the elements of the array that begins at `at`, and the place after it."""
    features: list[bytes | msgspec.Raw] = []
    at = _past("[", text, at)
    while not text.startswith("]", at):
        if features:
            at = _past(",", text, at)
        start, at = at, decoder.raw_decode(text, at)[1]
        features.append(text[start:at].encode("latin-1"))
        at = _past("", text, at)
    return features, at + 1


def _past(sign: str, text: str, at: int) -> int:
    """Return the place after `sign` and the blanks around it."""
    at = _blank_end(text, at)
    if not text.startswith(sign, at):
        raise ValueError(f"no {sign} at byte {at}")
    return _blank_end(text, at + len(sign))


def _blank_end(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at
