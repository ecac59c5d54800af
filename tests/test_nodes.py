"""Reading what lies in a file of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from eofs.nodes import PIECE, Place

if TYPE_CHECKING:
    from pathlib import Path

LONG = os.urandom(3 * PIECE)


@pytest.mark.parametrize(
    ("start", "size", "offset", "asked"),
    [
        (0, len(LONG), 0, 4096),
        (10, 100, 0, 100),
        (10, 100, 90, 4096),
        (10, 100, 100, 4096),
        (10, 100, 2 * PIECE, 4096),
        (10, 0, 0, 4096),
        (77, 2 * PIECE + 5, PIECE - 3, 10),
        (77, 2 * PIECE + 5, 2 * PIECE, PIECE),
    ],
    ids=["all", "a window", "to its end", "at its end", "behind it", "empty", "over two pieces", "the last piece"],
)
def test_a_place_gives_its_bytes_and_none_beyond(
    tmp_path: Path, start: int, size: int, offset: int, asked: int
) -> None:
    (tmp_path / "archive").write_bytes(LONG)
    file = os.open(tmp_path / "archive", os.O_RDONLY)
    try:
        place, room = Place(file, start, size), bytearray(asked)
        for _ in range(2):
            done = place.read_into(memoryview(room), offset)
            assert room[:done] == LONG[start : start + size][offset : offset + asked]
    finally:
        os.close(file)
