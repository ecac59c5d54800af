"""Writes files as scientists' programs do, and reads them; run by the system's Python, which has GDAL and others.

usage: science.py make DIR | science.py bands STEM NAME… | science.py READER FILE

A reader prints what it has read, in short.
"""

from __future__ import annotations

import hashlib
import sqlite3
import sys
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import rasterio
import xarray
from osgeo import gdal, osr
from rasterio.windows import Window

SIDE = 1024  # pixels of a raster
ORIGIN, METRES = (300000, 4900020), 10
BLOCKED = ["TILED=YES", "BLOCKXSIZE=256", "BLOCKYSIZE=256"]


def digest(values: object) -> str:
    """Return a few letters that stand for an array."""
    array = np.ascontiguousarray(values)
    return f"{array.shape} {array.dtype} {hashlib.md5(array.tobytes(), usedforsecurity=False).hexdigest()}"


def noise(seed: int, side: int = SIDE) -> np.ndarray:
    """Return a raster that hardly packs."""
    return np.random.default_rng(seed).integers(0, 1 << 12, (side, side), dtype=np.uint16)


# -- writing ---------------------------------------------------------------------------------------------------------


def make(directory: Path) -> None:
    """Write one file of each kind."""
    scene = in_memory(noise(1))
    gdal.GetDriverByName("GTiff").CreateCopy(str(directory / "image.tif"), scene, options=BLOCKED)
    gdal.GetDriverByName("COG").CreateCopy(str(directory / "cog.tif"), scene, options=["COMPRESS=DEFLATE"])
    jpeg_2000(directory / "band.jp2", scene)
    with h5py.File(directory / "data.h5", "w") as file:
        file.create_dataset("noise", data=noise(2, 512), chunks=(64, 64), compression="gzip")
        file.attrs["title"] = "noise"
    with netCDF4.Dataset(directory / "data.nc", "w") as nc:
        for name in ("y", "x"):
            nc.createDimension(name, 512)
        nc.createVariable("noise", "u2", ("y", "x"), zlib=True, chunksizes=(128, 128))[:] = noise(3, 512)
    np.save(directory / "array.npy", noise(4, 512))
    for mode in ("delete", "wal"):
        base = sqlite3.connect(directory / f"{mode}.sqlite")
        base.execute(f"pragma journal_mode={mode}")
        base.execute("create table items (number integer primary key, text)")
        base.executemany("insert into items (text) values (?)", ((f"item {n}",) for n in range(20_000)))
        base.commit()
        base.close()


def in_memory(values: np.ndarray) -> gdal.Dataset:
    """Return a georeferenced raster of GDAL's."""
    height, width = values.shape
    scene = gdal.GetDriverByName("MEM").Create("", width, height, 1, gdal.GDT_UInt16)
    scene.SetGeoTransform((ORIGIN[0], METRES, 0, ORIGIN[1], 0, -METRES))
    system = osr.SpatialReference()
    system.ImportFromEPSG(32631)
    scene.SetProjection(system.ExportToWkt())
    scene.GetRasterBand(1).WriteArray(values)
    return scene


def jpeg_2000(path: Path, scene: gdal.Dataset) -> None:
    """Write a band as those of Sentinel-2 are."""
    options = ["REVERSIBLE=YES", "QUALITY=100", "BLOCKXSIZE=256", "BLOCKYSIZE=256"]
    gdal.GetDriverByName("JP2OpenJPEG").CreateCopy(str(path), scene, options=options)


def bands(stem: Path, names: list[str]) -> None:
    """Write bands of 10 m a pixel, named after the product that they are part of."""
    for number, name in enumerate(names):
        jpeg_2000(stem.with_name(f"{stem.name}{name}.jp2"), in_memory(noise(number, 512)))


# -- reading ---------------------------------------------------------------------------------------------------------


def numpy_map(path: Path) -> str:
    """Map an array and read some of its rows."""
    mapped = np.load(path, mmap_mode="r")
    own = np.load(path, mmap_mode="c")
    own[0] = 0  # a copy of our own
    return f"{digest(mapped[5::100])} {digest(mapped)} {own[0].sum()}"


def hdf5(path: Path) -> str:
    """Read a dataset of an HDF5 file, which the library locks meanwhile."""
    with h5py.File(path, "r", locking=True) as file:
        return f"{file.attrs['title']} {digest(file['noise'][100:300, 5])} {digest(file['noise'][()])}"


def hdf5_twice(path: Path) -> str:
    """Read it while another reader has it open."""
    with h5py.File(path, "r", locking=True):
        return hdf5(path)


def netcdf(path: Path) -> str:
    """Read a variable of a netCDF file."""
    with netCDF4.Dataset(path) as file:
        return f"{digest(file['noise'][3:9])} {digest(file['noise'][:])}"


def lazily(path: Path) -> str:
    """Read a few values of a netCDF file with xarray."""
    with xarray.open_dataset(path) as data:
        return f"{dict(data.sizes)} {float(data.noise[7:70].mean())}"


def window(path: Path) -> str:
    """Read a window of a raster, and all of it in little."""
    with rasterio.open(path) as raster:
        part = raster.read(1, window=Window(500, 300, 100, 200))
        little = raster.read(1, out_shape=(64, 64))
        return f"{raster.crs} {raster.bounds} {digest(part)} {digest(little)}"


READERS = {
    "hdf5": hdf5,
    "hdf5 twice": hdf5_twice,
    "netCDF": netcdf,
    "numpy": numpy_map,
    "rasterio": window,
    "xarray": lazily,
}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", place]:
            make(Path(place))
        case ["bands", stem, *names]:
            bands(Path(stem), names)
        case [reader, place]:
            sys.stdout.write(f"{READERS[reader](Path(place))}\n")
