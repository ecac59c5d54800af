"""A product that is one bare file is known by its first bytes, and its name is one name."""

from __future__ import annotations

import pytest

from eofs import bare
from eofs.archive import Listing
from eofs.model import Member, Product
from eofs.status import StorageStatus

NETCDF = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
GZIP = b"\x1f\x8b\x08" + bytes(7)


def product(title: str, location: str | None = None) -> Product:
    return Product(
        id=title, uid=title, title=title, provider="peps", status=StorageStatus.ONLINE, location=location,
        quicklook=None, size=None, checksum=None, collection=None, start=None, cloud_cover=None, feature=b"{}",
    )  # fmt: skip


class Source:
    size = 42

    def read(self, offset: int, size: int, /) -> bytes:
        raise AssertionError("nobody has to read it")


@pytest.mark.parametrize(
    ("head", "suffix", "is_bare"),
    [
        (NETCDF, ".nc", True),
        (b"CDF\x01", ".nc", True),
        (b"CDF\x02", ".nc", True),
        (b"CDF\x05", ".nc", True),
        (b"GRIB\0\0\0\x02", ".grib", True),
        (b"II*\0", ".tif", True),
        (b"MM\0*", ".tif", True),
        (b"II+\0", ".tif", True),
        (b"MM\0+", ".tif", True),
        (b"\0\0\0\x0cjP  \r\n\x87\n", ".jp2", True),
        (b"\xff\xd8\xff\xe0", ".jpg", True),
        (b"\x89PNG\r\n\x1a\n", ".png", True),
        (ZIP, ".zip", False),
        (b"PK\x05\x06", ".zip", False),
        (GZIP, ".gz", False),
        (b"product.tif" + bytes(246) + b"ustar\x0000", ".tar", False),
        (b"<?xml", "", False),
        (b"CDF\x03", "", False),
        (b"", "", False),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, suffix: str, is_bare: bool) -> None:
    assert (bare.suffix(head + bytes(50)), bare.is_bare(head + bytes(50))) == (suffix, is_bare)


@pytest.mark.parametrize("length", range(len(NETCDF)))
def test_a_file_that_is_cut_short_is_nothing_for_certain(length: int) -> None:
    assert not bare.is_bare(NETCDF[:length])


@pytest.mark.parametrize(
    ("title", "location", "head", "name"),
    [
        ("S5P_OFFL_L2.nc", None, NETCDF, "S5P_OFFL_L2.nc"),
        ("S5P_OFFL_L2", "https://host/odata/S5P%20X.nc?token=a.b", NETCDF, "S5P X.nc"),
        ("S5P_OFFL_L2", "https://host/odata/42/download", NETCDF, "S5P_OFFL_L2.nc"),
        ("era5", None, b"GRIB", "era5.grib"),
        ("S2A_X.SAFE", None, ZIP, "S2A_X.SAFE.zip"),
        ("S3A_X.SEN3", "https://host/S3A_X.SEN3", ZIP, "S3A_X.SEN3.zip"),
        ("S2A_X", "https://host/S2A_X.zip", ZIP, "S2A_X.zip"),
        ("version 2.0", None, NETCDF, "version 2.0.nc"),
        ("what", None, b"??", "what"),
        ("what", "%(base_uri)s/what.tif", b"??", "what.tif"),
        ("what", "https://host/what.tar.gz", GZIP, "what.tar.gz"),
        ("what", "https://host/what.nc.gz", NETCDF, "what.nc"),
        ("what", "https://host/what.gz", NETCDF, "what.nc"),
    ],
)
def test_a_bare_file_is_called_by_its_title_its_link_or_its_kind_whichever_has_a_suffix(
    title: str, location: str | None, head: bytes, name: str
) -> None:
    assert bare.file_name(product(title, location), head) == name


@pytest.mark.parametrize(
    ("title", "location", "name"),
    [
        ("a/b.nc", None, "a_b.nc"),
        ("a\\b", None, "a_b.nc"),
        ("a\nb\0c\x85", None, "a_b_c_.nc"),
        ("../../etc/passwd", None, ".._.._etc_passwd.nc"),
        ("a", "https://host/x%2F..%2Fb.nc", "b.nc"),
        ("a", "https://host/b%00%0a.nc", "b__.nc"),
    ],
)
def test_the_name_of_a_bare_file_stays_one_name(title: str, location: str | None, name: str) -> None:
    assert bare.file_name(product(title, location), NETCDF) == name


def test_the_name_of_a_bare_file_is_cut_before_its_suffix() -> None:
    name = bare.file_name(product("é" * 200), NETCDF)
    assert len(name.encode()) <= 255
    assert name.endswith(".nc")


@pytest.mark.parametrize("title", ["", ".", "..", "/"])
def test_a_bare_file_always_has_a_name(title: str) -> None:
    assert bare.file_name(product(title), b"??") not in {"", ".", ".."}


def test_a_product_that_is_served_as_it_came_is_one_file() -> None:
    assert bare.as_it_is(Source(), "S2A_X.zip") == Listing(
        "file", (Member(path="S2A_X.zip", size=42, mtime=0, offset=0, packed=42),)
    )
