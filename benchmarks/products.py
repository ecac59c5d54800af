"""The products that are read: made once with GDAL, kept in the work directory.

A Sentinel-2 product of JPEG 2000 bands (four of about 120 MB, five of about 31 MB, small files), once stored and once
deflated, which does little for it; a Sentinel-1-like one whose single TIFF of 241 MB deflates to half; a
cloud-optimised GeoTIFF of about 200 MB. Pixels are noise over a chequerboard. Bands of one resolution have the same
pixels: encoding each of them would take minutes, and nobody who reads them could tell.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping  # noqa: TC003 - annotations of a public value must resolve
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - likewise
from typing import Any

from eofs.demo.metadata import documents, manifest
from eofs.demo.scene import Scene

EDITION = 1  # raise it when other bytes are made
BANDS = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20}
METADATA = "MTD_MSIL1C.xml"
METADATA_SIZE = 30_000  # bytes
_STORED = "S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620"
_DEFLATED = "S2A_MSIL1C_20201219T110451_N0209_R094_T31TCL_20201219T131214"
_RADAR = "S1A_IW_GRDH_1SDV_20201229T060033_20201229T060058_035898_04343C_5C1B"
_COG = "S2A_31TCL_20201229_0_L2A"
# Metres a pixel, and how many values the noise has: so many that the files get the sizes said above.
_RASTERS = {"10": (10, 170), "20": (20, 215), "asset": (10, 256), "radar": (10, 40)}
_VRT = """<VRTDataset rasterXSize="{n}" rasterYSize="{n}"><SRS>EPSG:32631</SRS>
<GeoTransform>300000,{metres},0,4900020,0,-{metres}</GeoTransform>
<VRTRasterBand dataType="UInt16" band="1" subClass="VRTRawRasterBand">
<SourceFilename relativeToVRT="1">{raw}</SourceFilename><ImageOffset>0</ImageOffset><PixelOffset>2</PixelOffset>
<LineOffset>{line}</LineOffset><ByteOrder>LSB</ByteOrder></VRTRasterBand></VRTDataset>
"""
_JPEG_2000 = "JP2OpenJPEG REVERSIBLE=YES QUALITY=100 BLOCKXSIZE=1024 BLOCKYSIZE=1024"


@dataclass(frozen=True, slots=True)
class Packed:
    """A product in an archive.

    Attributes:
        path: the zip file, named after the title.
        tree: the same, extracted: the directory of that name.
        root: the archive's top directory.
        small: the path below `root` of a file of some 30 KB, None where there is none.
        large: the paths below `root` of the files that are read, of some 120 MB or more, the same in size.
        md5: of the zip file.
    """

    title: str
    path: Path
    tree: Path
    root: str
    small: str | None
    large: tuple[str, ...]
    md5: str

    @property
    def uid(self) -> str:
        """Return what the provider calls it."""
        return f"uid-{self.title}"

    @property
    def middle(self) -> str:
        """Return the one of the large files that lies in the middle of the archive."""
        return self.large[len(self.large) // 2]

    def member(self, name: str) -> tuple[int, int]:
        """Return where the packed bytes of a member begin in the archive, and how many they are."""
        with zipfile.ZipFile(self.path) as archive:
            info = archive.getinfo(f"{self.root}/{name}")
            begin = info.header_offset
            with self.path.open("rb") as file:
                file.seek(begin + 26)  # lengths of name and extra field: APPNOTE.TXT 4.3.7
                lengths = file.read(4)
        return begin + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), (
            info.compress_size
        )


@dataclass(frozen=True, slots=True)
class Products:
    """All of them."""

    folder: Path
    stored: Packed
    deflated: Packed
    radar: Packed
    cog: Path

    @property
    def packed(self) -> tuple[Packed, ...]:
        """Return those that are archives."""
        return self.stored, self.deflated, self.radar

    def packing(self, name: str) -> Packed:
        """Return the optical product: ``stored`` or ``deflated``."""
        return self.stored if name == "stored" else self.deflated


def features(products: Products, url: str) -> dict[str, Any]:
    """Return the search result of a provider at `url`, as PEPS gives it; the GeoTIFF is a STAC item's asset."""
    return {
        "type": "FeatureCollection",
        "features": [*(_listed(packed, url) for packed in products.packed), _item(products.cog, url)],
    }


def _listed(packed: Packed, url: str) -> dict[str, Any]:
    link = f"{url}/resto/collections/S2ST/{packed.uid}/download"
    properties = {
        "title": packed.title,
        "uid": packed.uid,
        "eodag_provider": "demo",
        "platform": "S1" if packed.title.startswith("S1") else "S2ST",
        "startTimeFromAscendingNode": "2020-12-29T11:04:51.024Z",
        "storageStatus": "ONLINE",
        "downloadLink": link,
        "resourceSize": packed.path.stat().st_size,
        "resourceChecksum": packed.md5,
    }
    return {"type": "Feature", "id": packed.title, "geometry": _SQUARE, "properties": properties}


def _item(cog: Path, url: str) -> dict[str, Any]:
    asset = {
        "href": f"{url}/files/{cog.name}",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "file:size": cog.stat().st_size,
    }
    properties = {"datetime": "2020-12-29T11:04:51Z", "eodag_provider": "demo", "title": cog.stem}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": cog.stem,
        "collection": "sentinel-2-l2a",
        "geometry": _SQUARE,
        "bbox": [0.5, 44.1, 1.9, 45.1],
        "properties": properties,
        "links": [],
        "assets": {"B04": asset},
    }


_SQUARE = {"type": "Polygon", "coordinates": [[[0.5, 44.1], [1.9, 44.1], [1.9, 45.1], [0.5, 45.1], [0.5, 44.1]]]}


def products(folder: Path) -> Products:
    """Return the products in `folder`, made now if they are not there.

    Raises:
        OSError, subprocess.CalledProcessError: they cannot be made.
    """
    record = folder / "made.json"
    known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if known.get("edition") != EDITION:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        known = {"edition": EDITION, "md5": _make(folder)}
        record.write_text(json.dumps(known), encoding="utf-8")
    scenes = [Scene.of(title) for title in (_STORED, _DEFLATED)]
    optical = [
        _packed(folder, scene.title, METADATA, tuple(f"{scene.images}{band}.jp2" for band in list(BANDS)[:4]), known)
        for scene in scenes
    ]
    radar = _packed(folder, _RADAR, None, (f"measurement/{_RADAR.lower()}-001.tiff",), known)
    return Products(folder, optical[0], optical[1], radar, folder / f"{_COG}.tif")


def _packed(folder: Path, title: str, small: str | None, large: tuple[str, ...], known: Mapping[str, Any]) -> Packed:
    tree = folder / "extracted" / title
    return Packed(title, folder / f"{title}.zip", tree, f"{title}.SAFE", small, large, known["md5"][title])


def _make(folder: Path) -> dict[str, str]:
    """Make all files and return the MD5 of each archive by its title."""
    for name, (metres, values) in _RASTERS.items():
        _pixels(folder / name, 109800 // metres, metres, values)
    for metres in (10, 20):
        _translate(folder / f"{metres}.vrt", folder / f"{metres}.jp2", _JPEG_2000)
    _translate(folder / "asset.vrt", folder / f"{_COG}.tif", "COG COMPRESS=DEFLATE")
    _translate(folder / "radar.vrt", folder / "radar.tiff", "GTiff")
    for title in (_STORED, _DEFLATED):
        _optical_tree(folder, Scene.of(title))
    _radar_tree(folder)
    for temporary in (*folder.glob("*.raw"), *folder.glob("*.vrt"), *folder.glob("*.jp2"), folder / "radar.tiff"):
        temporary.unlink()
    return {title: _pack(folder, title, stored=title == _STORED) for title in (_STORED, _DEFLATED, _RADAR)}


def _pixels(stem: Path, size: int, metres: int, values: int) -> None:
    """Write a raster of 16-bit pixels: noise in the low byte, squares of 512 pixels in the high one."""
    noise = bytes(value * values // 256 for value in range(256))
    high = [bytes(((column >> 9) + square) & 7 for column in range(size)) for square in range(8)]
    row = bytearray(2 * size)
    with stem.with_suffix(".raw").open("wb") as file:
        for line in range(size):
            row[0::2] = os.urandom(size).translate(noise)
            row[1::2] = high[line >> 9 & 7]
            file.write(row)
    text = _VRT.format(n=size, metres=metres, raw=f"{stem.name}.raw", line=2 * size)
    stem.with_suffix(".vrt").write_text(text, encoding="utf-8")


def _translate(source: Path, target: Path, driver: str) -> None:
    name, *options = driver.split()
    given = [word for option in options for word in ("-co", option)]
    subprocess.run(["gdal_translate", "-q", "-of", name, *given, source, target], check=True)


def _optical_tree(folder: Path, scene: Scene) -> None:
    root = folder / "extracted" / scene.title / scene.root
    listed = {}
    for name, text in documents(scene, BANDS).items():
        padding = f"<!--{'.' * max(0, METADATA_SIZE - len(text) - 8)}-->\n" if name == METADATA else ""
        listed[name] = _write(root / name, text + padding)
    for band, metres in BANDS.items():
        path = root / f"{scene.images}{band}.jp2"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / f"{metres}.jp2", path)
        listed[f"{scene.images}{band}.jp2"] = path.stat().st_size, ""
    _write(root / "manifest.safe", manifest(scene, listed))


def _radar_tree(folder: Path) -> None:
    root = folder / "extracted" / _RADAR / f"{_RADAR}.SAFE"
    _write(root / "manifest.safe", "<xfdu/>\n")
    (root / "measurement").mkdir()
    shutil.copyfile(folder / "radar.tiff", root / "measurement" / f"{_RADAR.lower()}-001.tiff")


def _write(path: Path, text: str) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path.stat().st_size, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _pack(folder: Path, title: str, *, stored: bool) -> str:
    """Pack an extracted product and return the archive's MD5."""
    tree, path = folder / "extracted" / title, folder / f"{title}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in tree.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(tree))
    with path.open("rb") as packed:
        md5 = hashlib.md5(usedforsecurity=False)
        while piece := packed.read(1 << 20):
            md5.update(piece)
    return md5.hexdigest()
