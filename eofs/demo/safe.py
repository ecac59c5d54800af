"""Archives that look like Sentinel-2 products: the SAFE tree, real names, made-up contents.

The tree follows the Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD, level 1C, baseline 02.09); the
contents are pseudo-random but the same for the same title, so that every run and every reader can be compared by
checksum. As in the archives of Copernicus there are no entries for directories, which is why the empty ``AUX_DATA/``
at the top of a real product is missing here too.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
import zlib
from typing import TYPE_CHECKING

from eofs.demo.metadata import documents, manifest
from eofs.demo.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    Chunk = bytes | memoryview

# Metres a pixel; TCI is the true-colour picture.
BANDS = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20,
    "B08": 10, "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20, "TCI": 10,
}  # fmt: skip

# The signature box and the file-type box of ISO/IEC 15444-1, annex I.
JPEG_2000 = bytes.fromhex("0000000C6A5020200D0A870A" + "00000014667479706A703220000000006A703220")

_BLOCK = 1 << 20
_STEP = 40503  # bytes that the block is turned by from chunk to chunk, so that no two neighbours are alike


def write_safe(path: Path, title: str, *, megabytes: float = 24, deflated: bool = False) -> dict[str, str]:
    """Write the archive of a product; `path` appears when it is complete.

    Args:
        path: the zip file to write.
        title: the product's title.
        megabytes: millions of bytes of all bands together, unpacked; they share them by their resolution.
        deflated: deflate the bands too, not only the metadata; they shrink by about an eighth.

    Returns:
        The MD5, in lower-case hex, of each member by its path in the archive. The manifest holds them as well.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            md5s = _fill(archive, Scene.of(title), round(megabytes * 1_000_000), deflated=deflated)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return md5s


def _fill(archive: zipfile.ZipFile, scene: Scene, size: int, *, deflated: bool) -> dict[str, str]:
    noise = _noise(scene.title)
    pixels = sum((60 // metres) ** 2 for metres in BANDS.values())
    packing = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    texts = {name: text.encode() for name, text in documents(scene, BANDS).items()}
    listed: dict[str, tuple[int, str]] = {}
    for name, content in texts.items():
        listed[name] = len(content), _add(archive, scene, name, [content], packing=zipfile.ZIP_DEFLATED)
    tile = f"GRANULE/{scene.granule}"
    pictures = {f"{tile}/QI_DATA/{scene.tile}_{scene.sensed}_PVI.jp2": 20_000}
    for band, metres in BANDS.items():
        pictures[f"{scene.images}{band}.jp2"] = max(len(JPEG_2000), size * (60 // metres) ** 2 // pixels)
    for name, length in pictures.items():
        chunks = _contents(JPEG_2000, length, noise, zlib.crc32(name.encode()))
        listed[name] = length, _add(archive, scene, name, chunks, length, packing)
    weather = f"{tile}/AUX_DATA/AUX_ECMWFT"
    listed[weather] = 9_000, _add(archive, scene, weather, _contents(b"GRIB", 9_000, noise, 7), 9_000)
    md5s = {f"{scene.root}/{name}": md5 for name, (_, md5) in listed.items()}
    text = manifest(scene, listed).encode()
    md5s[f"{scene.root}/manifest.safe"] = _add(archive, scene, "manifest.safe", [text], packing=zipfile.ZIP_DEFLATED)
    return md5s


def _add(
    archive: zipfile.ZipFile,
    scene: Scene,
    name: str,
    chunks: Iterable[Chunk],
    size: int = 0,
    packing: int = zipfile.ZIP_STORED,
) -> str:
    """Add one member and return its MD5; `size` lets zipfile choose ZIP64 where it must."""
    made = scene.made
    info = zipfile.ZipInfo(f"{scene.root}/{name}", (*made.timetuple()[:6],))
    info.compress_type = packing
    info.create_system = 3  # Unix, which the permissions below belong to
    info.external_attr = 0o100644 << 16
    info.file_size = size
    md5 = hashlib.md5(usedforsecurity=False)
    with archive.open(info, "w") as member:
        for chunk in chunks:
            md5.update(chunk)
            member.write(chunk)
    return md5.hexdigest()


def _noise(title: str) -> bytes:
    """Return the product's own block of noise, twice over, so that every turn of it is one slice.

    A byte holds seven bits only: so deflating has something to do, and the contents are the same either way.
    """
    block = hashlib.shake_128(title.encode()).digest(_BLOCK).translate(bytes(value & 0x7F for value in range(256)))
    return block * 2


def _contents(begin: bytes, size: int, noise: bytes, salt: int) -> Iterator[Chunk]:
    """Yield `size` bytes that begin with `begin`, a chunk at a time; `salt` tells one member from another."""
    yield begin[:size]
    left, turn, view = size - len(begin), salt, memoryview(noise)
    while left > 0:
        turn = (turn + _STEP) % _BLOCK
        yield view[turn : turn + min(left, _BLOCK)]
        left -= _BLOCK
