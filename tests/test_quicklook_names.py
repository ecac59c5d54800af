"""What a quicklook is called: by its link's suffix, by what it is where the result itself holds it."""

from __future__ import annotations

import base64

import pytest

from eofs.fetch.quicklooks import file_name, inline
from eofs.model import Product
from eofs.status import StorageStatus

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()


def product(quicklook: str | None) -> Product:
    return Product(
        id="a", uid="a", title="a", provider="peps", status=StorageStatus.ONLINE, location=None, quicklook=quicklook,
        size=None, checksum=None, collection=None, start=None, cloud_cover=None, feature=b"{}",
    )  # fmt: skip


@pytest.mark.says("`quicklook` has the suffix that its link says, `.jpg` where it says none.")
@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("https://peps.cnes.fr/quicklook/2020/S2A_X.jpg", "quicklook.jpg"),
        ("https://peps.cnes.fr/quicklook/S2A_X.png", "quicklook.png"),
        ("https://peps.cnes.fr/quicklook/S2A_X.JPEG", "quicklook.jpeg"),
        ("https://host/S2A_X.SAFE-ql.gif", "quicklook.gif"),
        ("https://host/a.png?size=300&file=b.jpg", "quicklook.png"),
        ("https://host/a.png?next=/b/c.jpg", "quicklook.png"),
        ("https://host/a.png#page", "quicklook.png"),
        ("https://host/S2A_X/preview", "quicklook.jpg"),
        ("https://host/odata/v1/Products('42')/Products('Quicklook')/$value", "quicklook.jpg"),
        ("https://host/show?file=a.png", "quicklook.jpg"),
        ("https://host/S2A_X.SAFE", "quicklook.jpg"),
        ("https://host/a.p/b", "quicklook.jpg"),
        ("https://host/a.exe", "quicklook.jpg"),
        ("s3://eodata/a/preview.tif", "quicklook.tif"),
        ("%(base_uri)s/a/preview.webp", "quicklook.webp"),
        ("", None),
        (None, None),
    ],
)
def test_a_quicklook_has_the_suffix_of_its_link_and_jpg_where_that_says_none(
    link: str | None, name: str | None
) -> None:
    assert file_name(product(link)) == name


@pytest.mark.parametrize("prefix", ["data:image/png;base64,", "data:image/jpeg;base64,", "data:image/*,", ""])
@pytest.mark.parametrize(("picture", "name"), [(PNG, "quicklook.png"), (JPEG, "quicklook.jpg")], ids=["PNG", "JPEG"])
def test_a_picture_in_the_result_itself_is_called_by_what_it_is(prefix: str, picture: str, name: str) -> None:
    assert file_name(product(prefix + picture)) == name
    assert inline(prefix + picture) == base64.b64decode(picture)


@pytest.mark.parametrize("link", ["https://host/a.jpg", "s3://eodata/a", "http://h/aaaa", "/a.jpg", "a.png", "data:,é"])
def test_a_link_is_not_taken_for_a_picture(link: str) -> None:
    assert inline(link) is None
