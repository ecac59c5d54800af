"""What is asked of the provider and what it answers, as values; and the rules for byte ranges (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping  # noqa: TC003 - the annotations of a public value must resolve
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from io import BytesIO
from pathlib import Path  # noqa: TC003 - likewise
from typing import TYPE_CHECKING, BinaryIO, Literal

if TYPE_CHECKING:
    import threading

Kind = Literal["download", "quicklook"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request; with its end filled in, a line of the provider's book.

    Attributes:
        path: as it was sent, without the query.
        query: the last value of each name.
        headers: by name in lower case; not shown, for they hold the credentials.
        authorised: the right user name and password came with it.
        time: when it began, by the provider's clock.
        kind: what the path stands for; None for anything but downloads and quicklooks.
        uid: of the product that the path names, if it names one.
        status: what was answered; 0 where the connection ended without an answer.
        sent: bytes of the body that were given to the network.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    authorised: bool
    time: float
    kind: Kind | None = None
    uid: str | None = None
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        """Return the ``Range`` header."""
        return self.headers.get("range")


@dataclass(frozen=True, slots=True)
class Part:
    """`size` bytes of a file, from `start` on."""

    path: Path
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, well-behaved or not.

    Attributes:
        status: None stands for the provider's usual answer, with the other fields laid over it.
        body: None is no body, or the usual one.
        length: what ``Content-Length`` says, where that is not the truth; -1: there is none. The connection is closed
            after the body.
        cut_after: the connection is closed after so many bytes of the body; -1: without any answer.
        stall_after: after so many bytes of the body nothing more comes until `release` is set, the client goes
            away or the provider stops; -1: not even the status line comes.
        release: ends the stall.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Part | None = None
    length: int | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    release: threading.Event | None = None

    @property
    def size(self) -> int:
        """Return the bytes of the body."""
        if self.body is None:
            return 0
        return self.body.size if isinstance(self.body, Part) else len(self.body)

    def over(self, usual: Reply) -> Reply:
        """Return `usual` with this reply's misbehaviour."""
        return replace(
            self,
            status=usual.status,
            headers={**usual.headers, **self.headers},
            body=usual.body if self.body is None else self.body,
        )

    def pieces(self, total: int, step: int) -> Iterator[bytes]:
        """Yield the first `total` bytes of the body, at most `step` at a time, with a seam where the stall is."""
        seams = {total} | ({self.stall_after} if self.stall_after and self.stall_after < total else set())
        at = 0
        with self._open() as body:
            for seam in sorted(seams):
                while at < seam and (piece := body.read(min(step, seam - at))):
                    yield piece
                    at += len(piece)

    def _open(self) -> BinaryIO:
        if not isinstance(self.body, Part):
            return BytesIO(self.body or b"")
        file = self.body.path.open("rb")
        file.seek(self.body.start)
        return file


def file_reply(request: Request, path: Path, headers: Mapping[str, str], *, ranges: bool) -> Reply:
    """Answer with a file: all of it, or the one byte range that the request asks for.

    `headers` holds the file's ``ETag``. With `ranges` off, the file comes whole whatever is asked.
    """
    stat = path.stat()
    said = {**headers, "Last-Modified": formatdate(stat.st_mtime, usegmt=True)}
    if not ranges:
        return Reply(200, said, Part(path, 0, stat.st_size))
    said["Accept-Ranges"] = "bytes"
    condition = request.headers.get("if-range")
    wanted = None
    if request.method == "GET" and condition in {None, said.get("ETag"), said["Last-Modified"]}:
        wanted = byte_range(request.range, stat.st_size)
    if wanted is None:
        return Reply(200, said, Part(path, 0, stat.st_size))
    if not wanted:
        return Reply(416, {"Content-Range": f"bytes */{stat.st_size}"})
    said["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{stat.st_size}"
    return Reply(206, said, Part(path, wanted.start, len(wanted)))


def byte_range(header: str | None, size: int) -> range | None:
    """Read a ``Range`` header for a file of `size` bytes.

    Returns:
        The bytes that are wanted; an empty range where the file has none of them; None for the whole file: no header,
        one that cannot be read, or several ranges at once, which a server may ignore.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").replace(" ", ""))
    if not match or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size) if int(last) else range(0)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last or size - 1) + 1, size))
