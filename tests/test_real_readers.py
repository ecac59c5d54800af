"""Programs that read products all day, on a real mount: they read what they read on a disk, and cost what is said.

What they read is written by such programs as well (`science.py`), and is packed into an archive, some of it deflated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import LIST, OFFLINE, ONLINE, TITLES, UIDS, Mount, ranges_of, run, until
from shelf import Shelf

from eofs.demo.metadata import documents, manifest
from eofs.demo.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = "/usr/bin/python3"  # the system's, with the system's GDAL
SCIENCE = Path(__file__).parent / "science.py"
PROGRAMS = ("fio", "gdalinfo", "git", "rsync", "sqlite3", PYTHON)
MODULES = "h5py, netCDF4, numpy, osgeo.gdal, rasterio, xarray"


def missing() -> list[str]:
    """Return what is not installed; scripts/bootstrap installs it in CI."""
    programs = [program for program in PROGRAMS if not shutil.which(program)]
    if (
        not programs
        and subprocess.run([PYTHON, "-c", f"import {MODULES}"], capture_output=True, check=False).returncode
    ):
        return [f"one of {MODULES} for {PYTHON}"]
    return programs


MISSING = missing()
pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
says = pytest.mark.says

NC = UIDS[1]
BANDS = dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
# What GDAL's driver of Sentinel-2 asks for, and the demo provider's products do not say.
COMPACT = "<Query_Options><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>"
GEOMETRY = """<n1:Geometric_Info><Tile_Geocoding>
  <HORIZONTAL_CS_NAME>WGS84 / UTM zone 31N</HORIZONTAL_CS_NAME><HORIZONTAL_CS_CODE>EPSG:32631</HORIZONTAL_CS_CODE>
  <Size resolution="10"><NROWS>512</NROWS><NCOLS>512</NCOLS></Size>
  <Geoposition resolution="10"><ULX>300000</ULX><ULY>4900020</ULY><XDIM>10</XDIM><YDIM>-10</YDIM></Geoposition>
</Tile_Geocoding></n1:Geometric_Info>"""
FIO = ("fio", "--name=verified", "--bs=4k", "--size=8m", "--verify=crc32c")


def write_scene(top: Path, scene: Scene) -> None:
    """Write a product of Sentinel-2 that GDAL opens."""
    for name, text in documents(scene, BANDS).items():
        before, _, behind = text.partition("<Tile_Geocoding>")
        whole = before + GEOMETRY + behind.partition("</Tile_Geocoding>")[2] if behind else text
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(whole.replace("</Product_Info>", f"{COMPACT}</Product_Info>"), encoding="utf-8")
    (top / "manifest.safe").write_text(manifest(scene, {}), encoding="utf-8")
    (top / scene.images).parent.mkdir()
    run(PYTHON, SCIENCE, "bands", top / scene.images, *BANDS)


def pack(tree: Path, archive: Path) -> None:
    """Pack a tree, every other file deflated."""
    with zipfile.ZipFile(archive, "w") as packed:
        for number, file in enumerate(sorted(file for file in tree.rglob("*") if file.is_file())):
            method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            packed.write(file, f"{tree.name}/{file.relative_to(tree)}", method)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product on a disk."""
    scene = Scene.of(TITLES[ONLINE])
    tree = tmp_path_factory.mktemp("disk") / scene.root
    write_scene(tree, scene)
    run(PYTHON, SCIENCE, "make", tree)
    run(*FIO, f"--filename={tree}/verified", "--rw=write", "--do_verify=0", cwd=tree.parent)
    return tree


@pytest.fixture(scope="module")
def archive(disk: Path) -> Path:
    """The product in an archive."""
    packed = disk.parent / "product.zip"
    pack(disk, packed)
    return packed


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(scope="module")
def provider(shelf: Path, disk: Path, archive: Path) -> Iterator[Shelf]:
    with Shelf(shelf, megabytes=0.1) as running:
        running.put(ONLINE, archive)
        running.put(NC, disk / "data.nc")
        yield running


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory, provider: Shelf) -> Iterator[Mount]:
    """A mount with the product in its cache."""
    home = tmp_path_factory.mktemp("home")
    with Mount(home, provider.write_result(home / "result.geojson")) as mounted:
        mounted.bring(ONLINE)
        yield mounted


@pytest.fixture
def tree(mount: Mount, provider: Shelf) -> Iterator[Path]:
    """The product in the mount; nothing is asked of the provider by whoever reads it."""
    until(lambda: not provider.under_way)
    before = provider.count()
    yield mount.safe(ONLINE)
    assert provider.count() == before


# -- what is here ----------------------------------------------------------------------------------------------------

ITEMS = "select count(*), sum(number), max(text) from items; pragma integrity_check"
COMMANDS: dict[str, tuple[str | Path, ...]] = {
    "GDAL, JPEG 2000": ("gdalinfo", "-checksum", "band.jp2"),
    "GDAL, GeoTIFF": ("gdalinfo", "-checksum", "image.tif"),
    "GDAL, cloud-optimised GeoTIFF": ("gdalinfo", "-checksum", "cog.tif"),
    "GDAL, Sentinel-2": ("gdalinfo", "MTD_MSIL1C.xml"),
    "GDAL, bands of Sentinel-2": ("gdalinfo", "-checksum", "SENTINEL2_L1C:MTD_MSIL1C.xml:10m:EPSG_32631"),
    "GDAL, netCDF": ("gdalinfo", "-checksum", "data.nc"),
    "GDAL, HDF5": ("gdalinfo", "-checksum", "data.h5"),
    "rasterio, JPEG 2000": (PYTHON, SCIENCE, "rasterio", "band.jp2"),
    "rasterio, GeoTIFF": (PYTHON, SCIENCE, "rasterio", "image.tif"),
    "rasterio, cloud-optimised GeoTIFF": (PYTHON, SCIENCE, "rasterio", "cog.tif"),
    "h5py": (PYTHON, SCIENCE, "hdf5", "data.h5"),
    "h5py, twice": (PYTHON, SCIENCE, "hdf5 twice", "data.h5"),
    "netCDF4": (PYTHON, SCIENCE, "netCDF", "data.nc"),
    "xarray": (PYTHON, SCIENCE, "xarray", "data.nc"),
    "numpy.memmap": (PYTHON, SCIENCE, "numpy", "array.npy"),
    "SQLite": ("sqlite3", "-readonly", "delete.sqlite", ITEMS),
    "SQLite, immutable": ("sqlite3", "file:delete.sqlite?immutable=1", ITEMS),
    "SQLite with a log, immutable": ("sqlite3", "file:wal.sqlite?immutable=1", ITEMS),
    "git hash-object": ("git", "hash-object", "--no-filters", "band.jp2", "data.nc", "verified", "MTD_MSIL1C.xml"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_program_reads_what_it_reads_on_a_disk(tree: Path, disk: Path, command: tuple[str | Path, ...]) -> None:
    expected = run(*command, cwd=disk)
    assert expected
    assert run(*command, cwd=tree) == expected


COPIES = {
    "cp -a": 'cp -a "$1" "$2"',
    "rsync -a": 'rsync -a "$1/" "$2"',
    "tar": 'mkdir "$2" && tar -C "$1" -cf - . | tar -C "$2" -xf -',
    "cat": 'cd "$1" && find . -type f -exec sh -c \'mkdir -p "$(dirname "$0/$1")" && cat "$1" >"$0/$1"\' "$2" {} \\;',
}


@pytest.mark.parametrize("script", COPIES.values(), ids=COPIES)
def test_a_copy_is_the_product(tree: Path, disk: Path, tmp_path: Path, script: str) -> None:
    run("sh", "-c", script, "sh", tree, tmp_path / "copy")
    run("diff", "-r", disk, tmp_path / "copy")


def test_the_mount_does_not_differ_from_the_product_for_diff_and_rsync(tree: Path, disk: Path, tmp_path: Path) -> None:
    run("diff", "-r", disk, tree)
    run("rsync", "-a", f"{tree}/", tmp_path / "copy")
    assert run("rsync", "-a", "--itemize-changes", "--checksum", f"{tree}/", tmp_path / "copy") == ""


def test_zipfile_reads_the_archive_of_a_mount_that_does_not_extract(
    tmp_path: Path, mount: Mount, tree: Path, archive: Path, disk: Path
) -> None:
    with Mount(tmp_path, mount.result, cache_dir=mount.cache, extract="false") as whole:
        [path] = whole.safe(ONLINE).iterdir()
        with zipfile.ZipFile(path) as served, zipfile.ZipFile(archive) as expected:
            assert served.testzip() is None
            assert served.namelist() == expected.namelist()
            assert served.read(f"{disk.name}/data.nc") == (disk / "data.nc").read_bytes()


WRITERS = {
    "numpy, to change": "import numpy; numpy.memmap('array.npy', mode='r+')",
    "numpy, to write": "import numpy; numpy.memmap('array.npy', mode='w+', shape=9)",
    "h5py, to change": "import h5py; h5py.File('data.h5', 'r+')",
    "rasterio, to change": "import rasterio; rasterio.open('image.tif', 'r+')",
}


@pytest.mark.parametrize("program", WRITERS.values(), ids=WRITERS)
def test_a_program_that_wants_to_write_is_told_that_it_cannot(tree: Path, program: str) -> None:
    command = [PYTHON, "-c", program]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def verified(directory: Path, scratch: Path, *options: str) -> int:
    """Let four programs read pieces of a file at random; each bears its own checksum. Returns how many were read."""
    job = ("--readonly", "--rw=randread", "--numjobs=4", "--thread", "--group_reporting", "--output-format=json")
    words = [*FIO, f"--filename={directory}/verified", *job, *options]
    [group] = json.loads(run(*words, cwd=scratch, timeout=240))["jobs"]  # `make endurance` has it read for a minute
    assert group["error"] == 0
    return int(group["read"]["total_ios"])


def test_four_programs_that_read_at_random_read_no_wrong_byte(tree: Path, tmp_path: Path) -> None:
    seconds = os.environ.get("EOFS_FIO_SECONDS", "2")
    assert verified(tree, tmp_path, "--time_based", f"--runtime={seconds}") > 0


# -- what is not here yet --------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path, shelf: Path, archive: Path, disk: Path) -> Iterator[tuple[Mount, Shelf]]:
    """A mount and a provider that nobody has looked at; what is ordered is there before it is looked for again."""
    with Shelf(shelf, megabytes=0.1, staging_seconds=0.3) as running:
        running.files = {ONLINE: archive, OFFLINE: archive, NC: disk / "data.nc"}
        with Mount(tmp_path, running.write_result(tmp_path / "result.geojson"), wait=0.02, fetch="lazy") as mounted:
            yield mounted, running


def test_to_ask_for_what_a_raster_is_costs_the_list_of_files_and_the_beginning_of_one(
    fresh: tuple[Mount, Shelf], disk: Path
) -> None:
    mount, provider = fresh
    expected = run("gdalinfo", "cog.tif", cwd=disk)
    assert run("gdalinfo", "cog.tif", cwd=mount.safe(ONLINE)) == expected
    until(lambda: not provider.under_way)
    assert ranges_of(provider, ONLINE)[0] == LIST
    assert provider.count() == provider.count(ONLINE, status=206) == 2


def test_programs_that_open_what_is_on_tape_cause_one_order_and_wait(
    fresh: tuple[Mount, Shelf], disk: Path, readers: list[subprocess.Popen[str]]
) -> None:
    mount, provider = fresh
    root = mount.safe(OFFLINE) / disk.name  # the archive's own directory has another product's name
    commands = [COMMANDS[name] for name in ("GDAL, Sentinel-2", "h5py", "SQLite", "git hash-object")]
    for number, command in enumerate(commands):
        script = f'cd "$1" && shift && exec "$@" >"$OUT/{number}"'
        env = {**os.environ, "OUT": str(mount.home)}
        readers.append(subprocess.Popen(["sh", "-c", script, "sh", root, *command], env=env, text=True))
    assert [reader.wait(60) for reader in readers] == [0] * len(commands)
    for number, command in enumerate(commands):
        assert (mount.home / str(number)).read_text(encoding="utf-8") == run(*command, cwd=disk)
    until(lambda: not provider.under_way)
    assert provider.count(OFFLINE, status=202) == 1
    assert ranges_of(provider, OFFLINE).count(LIST) == 1
    assert provider.count() == provider.count(OFFLINE)


@pytest.mark.parametrize("reader", ["netCDF", "xarray"])
def test_a_product_that_is_one_bare_file_is_read_as_that_file(
    fresh: tuple[Mount, Shelf], disk: Path, reader: str
) -> None:
    mount, provider = fresh
    root = mount.product(NC) / "data" / f"{mount.product(NC).name}.SAFE"
    [file] = root.iterdir()
    assert file.suffix == ".nc"
    assert run(PYTHON, SCIENCE, reader, file) == run(PYTHON, SCIENCE, reader, disk / "data.nc")
    assert provider.bytes_sent(NC) <= (disk / "data.nc").stat().st_size


def test_what_is_read_at_random_while_it_comes_is_right_and_comes_once(
    fresh: tuple[Mount, Shelf], archive: Path, disk: Path, tmp_path: Path
) -> None:
    mount, provider = fresh
    mount.unmount()
    mount.start(fetch="whole")
    assert verified(mount.safe(ONLINE), tmp_path) == 4 * 2048
    until(lambda: mount.status(ONLINE)["local"] == "complete")
    until(lambda: not provider.under_way)
    assert provider.bytes_sent(ONLINE) == archive.stat().st_size
    run("diff", "-r", disk, mount.safe(ONLINE))
