"""Products that their own provider does not serve any more, found at another one by their names."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from catalogue_server import Catalogue
from confidential import PASSWORD, secret
from conftest import TITLES, UIDS, Mount, eofs, until
from engine_room import (
    BARE,
    CRAWLER,
    DEMO,
    IMPATIENT,
    Canned,
    LeapingClock,
    Room,
    content,
    http,
    md5sums,
    member,
    pieces,
    together,
)
from nodes_server import JSON
from token_server import NAME

from eofs import auth, catalog, config, options, providers
from eofs.demo import DemoProvider, Reply, ten_products
from eofs.errors import (
    AccessRefused,
    Changed,
    ConfigError,
    Corrupt,
    EofsError,
    Gone,
    NotReady,
    ProviderFailed,
    Unreachable,
)
from eofs.listings.lookup import catalogue_name
from eofs.model import Provider
from eofs.nodes import NOBODY
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.demo.replies import Request
    from eofs.fetch import Engine
    from eofs.model import Product

CLOSED = "the hub has closed, so search again elsewhere"
NEW = {uid: f"00000000-0000-4000-8000-{place:012}" for place, uid in enumerate(UIDS)}  # by the uids at PEPS
UID, OFFLINE = UIDS[2], UIDS[5]


def renamed(feature: dict[str, Any], **said: Any) -> dict[str, Any]:
    """Return a product of the demo as the Data Space has it: on disk, under another id."""
    known = feature["properties"]
    return {**feature, "properties": {**known, "uid": NEW[known["uid"]], "storageStatus": "ONLINE", **said}}


@dataclass
class House:
    """PEPS, the Data Space, and an engine between them; `providers` are those besides."""

    peps: DemoProvider
    copernicus: Catalogue
    room: Room
    providers: dict[str, Provider] = field(default_factory=dict)

    def start(self, *, closed: bool = True, **options: Any) -> Engine:
        """Open an engine that knows PEPS as a hub that has closed, or else as a provider that is there."""
        hub = replace(DEMO, name="hub", closed=CLOSED if closed else None, retries=1, retry_delay=0.001)
        known = {"hub": hub, "cop_dataspace": self.copernicus.speaks(), **self.providers}
        return self.room.start(speaks=lambda name: known.get(name) or Provider(name=name, retries=0), **options)

    def product(self, uid: str = UID, **changes: Any) -> Product:
        """Return a product as the result of PEPS has it."""
        return replace(self.room.products[uid], **{"provider": "hub", **changes})

    def again(self) -> None:
        """End as a program does."""
        self.room.close()


@pytest.fixture
def house(store: Path, tmp_path: Path) -> Iterator[House]:
    new = [renamed(feature) for feature in ten_products()]
    with (
        DemoProvider(store, megabytes=1, staging_seconds=0.1) as peps,
        Catalogue(store, products=new, megabytes=1) as copernicus,
        contextlib.closing(Room(peps, tmp_path / "cache")) as room,
    ):
        yield House(peps, copernicus, room)


def name_of(product: Product) -> str:
    return f"{product.title}.SAFE"


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.says("is looked up by its name (`TITLE.SAFE`, `TITLE.SEN3`, `TITLE.nc`)")
@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("S1A_IW_GRDH_1SDV_20200101T055000_1", "S1A_IW_GRDH_1SDV_20200101T055000_1.SAFE"),
        ("S1B_IW_SLC__1SDV_20200101T055000_1.SAFE", "S1B_IW_SLC__1SDV_20200101T055000_1.SAFE"),
        ("S2A_MSIL1C_20201229T110451_N0209", "S2A_MSIL1C_20201229T110451_N0209.SAFE"),
        ("S2B_MSIL2A_20201229T110451_N0209.safe", "S2B_MSIL2A_20201229T110451_N0209.SAFE"),
        ("S2A_OPER_PRD_MSIL1C_PDMC_2016", "S2A_OPER_PRD_MSIL1C_PDMC_2016.SAFE"),
        ("S3A_OL_1_EFR____20200101T1", "S3A_OL_1_EFR____20200101T1.SEN3"),
        ("S3B_SR_2_LAN____20200101T1.SEN3", "S3B_SR_2_LAN____20200101T1.SEN3"),
        ("S5P_OFFL_L2__NO2____20200101T1", "S5P_OFFL_L2__NO2____20200101T1.nc"),
        ("S5P_RPRO_L2__CH4____20200101T1.nc", "S5P_RPRO_L2__CH4____20200101T1.nc"),
        ("S2A_31TCJ_20200101_0_L2A", None),
        ("SENTINEL2A_20200101-105855_L2A_T31TCJ_C_V2-2", None),
        ("LC08_L1TP_196030_20200101", None),
        ("my S2A_MSIL1C_20201229", None),
    ],
)
def test_products_of_sentinel_are_known_by_their_names(title: str, name: str | None) -> None:
    assert catalogue_name(title) == name


# -- a service that has closed -----------------------------------------------------------------------------------------


@pytest.mark.says(
    "It is so where its service has closed, or the result names no address for it: then before its own provider "
    "is asked",
    "and not at all where the product is found",
)
@pytest.mark.parametrize("files", ["odata-nodes", None])
@pytest.mark.parametrize("uid", [UID, OFFLINE], ids=["ONLINE", "OFFLINE"])
def test_a_product_of_a_service_that_has_closed_is_found_by_its_name_and_served(
    house: House, files: str | None, uid: str
) -> None:
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=files)
    engine, product = house.start(), house.product(uid)
    assert md5sums(engine, product) == house.peps.md5sums(uid)
    assert house.copernicus.sought == [name_of(product)]
    assert house.peps.requests == []


@pytest.mark.says(
    "and `remote_location` is the address in use.", "`provider`, `id` and `metadata.json` stay as the result has them"
)
@pytest.mark.says("without the second, below the first (`…/Products({id})/$value`).")
def test_its_status_says_who_serves_it_and_why(house: House) -> None:
    engine, product = house.start(fetch="lazy"), house.product(OFFLINE)
    before = house.room.status(engine, product)
    assert before.message == "opening its data/ looks it up by its name at cop_dataspace, as hub has closed"
    assert (before.storageStatus, before.remote_location) == (StorageStatus.OFFLINE, product.location)
    assert house.copernicus.requests == []
    content(engine, product, "manifest.safe")
    until(lambda: house.room.status(engine, product).activity.value == "idle")
    after = house.room.status(engine, product)
    assert after.message == "served by cop_dataspace, as hub has closed"
    assert (after.provider, after.id, after.title) == ("hub", product.id, product.title)
    assert after.storageStatus is StorageStatus.ONLINE
    assert after.remote_location == house.copernicus.link(NEW[OFFLINE])
    assert after.error is None


@pytest.mark.says("and so does the place in the cache.")
def test_all_of_it_can_be_fetched(house: House) -> None:
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=None)
    engine, product = house.start(), house.product()
    [path] = engine.bring(product, NOBODY, contextlib.nullcontext(), pin=False)
    assert path == house.room.cache.archive(product)
    extracted = {found.path: hashlib.md5(b"".join(read)).hexdigest() for found, read in engine.extract(product, NOBODY)}
    assert extracted == house.peps.md5sums(UID)
    assert house.room.status(engine, product).message == "complete, served by cop_dataspace, as hub has closed"


@pytest.mark.says("Where it was found is kept, also across restarts")
def test_a_restart_does_not_look_again(house: House) -> None:
    product = house.product()
    content(house.start(fetch="lazy"), product, "manifest.safe")
    house.again()
    engine = house.start()
    assert house.room.status(engine, product).message.startswith("served by cop_dataspace, as hub has closed")
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.copernicus.sought == [name_of(product)]


def test_what_is_in_the_cache_needs_nobody(house: House) -> None:
    product = house.product()
    house.start(closed=False).bring(product, NOBODY, contextlib.nullcontext(), pin=False)
    house.again()
    asked = len(house.peps.requests)
    engine = house.start()
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.room.status(engine, product).message == "complete"
    assert (house.copernicus.requests, len(house.peps.requests)) == ([], asked)


def test_two_products_of_one_title_are_both_served(house: House) -> None:
    engine = house.start()
    for product in (house.product(), replace(house.product(), uid="another", id="another")):
        assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.copernicus.sought == [name_of(house.product())] * 2


@pytest.mark.says("One look-up a product")
def test_many_who_ask_at_once_make_one_look_up(house: House) -> None:
    engine, product = house.start(), house.product()
    found = together(8, lambda: len(engine.listing(product, NOBODY).members))
    assert len(set(found)) == 1
    assert house.copernicus.sought == [name_of(product)]


def test_a_quote_in_a_name_is_doubled(house: House, store: Path, tmp_path: Path) -> None:
    title = "S2A_MSIL1C_it's"
    feature = renamed(ten_products()[2], title=title)
    with Catalogue(store, products=[feature], megabytes=1) as copernicus:
        house.providers["cop_dataspace"] = copernicus.speaks()
        assert house.start().listing(house.product(title=title), NOBODY).members
        assert copernicus.sought == [f"{title}.SAFE"]


@pytest.mark.says(
    "but first where the product's address is on a host that the user has added to the provider (`hosts`, `auth: "
    "{hosts: …}`, `base_uri`): that is a mirror of his own."
)
@pytest.mark.parametrize(
    "where",
    ["hosts: ['{place}'], auth: {{", "auth: {{hosts: ['{place}'], ", "download: {{base_uri: '{url}'}}, auth: {{"],
    ids=["hosts", "auth.hosts", "base_uri"],
)
def test_a_mirror_of_the_users_own_is_asked_first(house: House, tmp_path: Path, where: str) -> None:
    says = where.format(url=house.peps.url, place=f"127.0.0.1:{house.peps.port}")
    (tmp_path / ".config/eofs").mkdir(parents=True)
    file = tmp_path / ".config/eofs/eofs.yml"
    file.write_text(f"peps: {{{says}credentials: {{username: demo, password: demo}}}}}}\n", encoding="utf-8")
    house.providers["peps"] = config.load({}, environ={"HOME": str(tmp_path)}).provider("peps")
    assert house.providers["peps"].closed
    engine, product = house.start(), house.product(provider="peps")
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.copernicus.requests == []
    assert "closed" not in house.room.status(engine, product).message


def test_one_that_was_ordered_before_the_service_closed_is_not_waited_for(house: House) -> None:
    product = house.product(OFFLINE)
    house.peps.staging_seconds = 1e9
    with pytest.raises(NotReady):
        house.start(closed=False, timeout=0).listing(product, NOBODY)
    house.again()
    engine = house.start()
    assert house.room.status(engine, product).order
    assert md5sums(engine, product) == house.peps.md5sums(OFFLINE)
    assert house.room.status(engine, product).order is None


# -- a product that its provider has no more ---------------------------------------------------------------------------


@pytest.mark.says("providers where a product is looked up that its own no longer has (section 4)")
@pytest.mark.says("where that answers 404 or 410")
@pytest.mark.parametrize("status", [404, 410])
def test_a_product_that_its_provider_no_longer_has_is_found_elsewhere(house: House, status: int) -> None:
    engine, product = house.start(closed=False), house.product()
    house.peps.script[UID].append(Reply(status))
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.room.status(engine, product).message.endswith("served by cop_dataspace, as hub no longer has it")
    assert house.peps.count(UID, "download") == 1
    assert house.copernicus.sought == [name_of(product)]


@pytest.mark.says("Never because credentials were refused, or for what may pass.")
@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AccessRefused), (403, AccessRefused), (400, ProviderFailed), (503, ProviderFailed), (429, NotReady)],
)
def test_what_was_refused_or_may_pass_is_not_looked_up(house: House, status: int, error: type[EofsError]) -> None:
    engine = house.start(closed=False, timeout=0)
    house.peps.script[UID].extend([Reply(status)] * 9)
    with pytest.raises(error):
        engine.listing(house.product(), NOBODY)
    assert house.copernicus.requests == []


@pytest.mark.says("or the result names no address for it")
@pytest.mark.parametrize("location", [None, "ftp://peps.example/x", "%(base_uri)s/x"])
def test_a_product_without_a_link_is_found_elsewhere(house: House, location: str | None) -> None:
    engine, product = house.start(closed=False), house.product(location=location)
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    said = house.room.status(engine, product).message
    assert said.endswith("served by cop_dataspace, as the search result names no address for it")


@pytest.mark.says("and where nobody known serves it and it cannot be reached.")
def test_a_product_of_nobody_known_who_cannot_be_reached_is_found_elsewhere(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        link = f"http://127.0.0.1:{gone.getsockname()[1]}/x"
    engine, product = house.start(), house.product(provider="gone.example", location=link)
    assert md5sums(engine, product) == house.peps.md5sums(UID)


@pytest.mark.says("or for what may pass.")
def test_a_provider_that_is_known_and_cannot_be_reached_is_not_replaced(house: House) -> None:
    engine, product = house.start(closed=False), house.product()
    house.peps.stop()
    with pytest.raises(Unreachable):
        engine.listing(product, NOBODY)
    assert house.copernicus.requests == []


def packed_anew(house: House, directory: Path) -> Path:
    """Let the other provider have the product in an archive of its own: the same files, in another order."""
    anew = directory / "anew.zip"
    with zipfile.ZipFile(house.peps.archive(UID)) as old, zipfile.ZipFile(anew, "w") as packed:
        for info in reversed(old.infolist()):
            packed.writestr(info, old.read(info))
    house.copernicus.zips[NEW[UID]] = anew
    return anew


@pytest.mark.says("Its archive may have been packed anew", "What had come from the first is dropped.")
def test_bytes_of_two_providers_are_not_mixed(house: House, tmp_path: Path) -> None:
    product, anew = house.product(), packed_anew(house, tmp_path)
    engine = house.start(closed=False, fetch="lazy")
    assert content(engine, product, "manifest.safe")
    assert house.room.status(engine, product).downloaded
    house.again()
    house.peps.script[UID].append(Reply(404))
    house.copernicus.says = {"ContentLength": 0, "Checksum": None}
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=None)
    engine = house.start(closed=False)
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.room.cache.archive(product).read_bytes() == anew.read_bytes()


@pytest.mark.parametrize("files", ["odata-nodes", None])
def test_a_file_that_was_listed_from_the_old_archive_is_found_in_the_new_one(
    house: House, tmp_path: Path, files: str | None
) -> None:
    packed_anew(house, tmp_path)
    house.copernicus.says = {"ContentLength": 0, "Checksum": None}
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=files)
    engine, product = house.start(closed=False, fetch="lazy"), house.product()
    listed = engine.listing(product, NOBODY).members
    until(lambda: house.room.status(engine, product).activity.value == "idle")
    house.peps.script[UID].extend([Reply(404)] * 9)
    read = {m.path: hashlib.md5(b"".join(pieces(engine.open(product, m, NOBODY)))).hexdigest() for m in listed}
    assert read == house.peps.md5sums(UID)
    assert house.copernicus.sought == [name_of(product)]


def test_one_that_is_another_there_has_changed(house: House) -> None:
    engine, product = house.start(closed=False, fetch="lazy"), house.product()
    listed = replace(member(engine, product, "manifest.safe"), size=7)
    until(lambda: house.room.status(engine, product).activity.value == "idle")
    house.peps.script[UID].extend([Reply(404)] * 9)
    with pytest.raises(Changed, match="another provider's archive has another"):
        engine.open(product, listed, NOBODY)


@pytest.mark.says("A product of Sentinel-1, -2, -3 or -5P that is an archive or one bare file")
def test_a_product_of_loose_files_is_not_looked_up(house: House) -> None:
    said = {"title": TITLES[UID]}
    assets = {"B01": {"href": f"{house.peps.url}/nothing.tif", "roles": ["data"]}}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": UID, "properties": said, "assets": assets}
    [product] = catalog.read(json.dumps(item).encode()).products
    with pytest.raises(Gone):
        house.start().listing(replace(product, provider="hub"), NOBODY)
    assert house.copernicus.requests == []


def test_a_product_that_has_got_another_id_at_its_own_provider_is_found_again(house: House) -> None:
    place = house.copernicus.link(UID)
    house.copernicus.answers[place.removeprefix(house.copernicus.url)] = [Reply(404)]
    product = house.product(provider="cop_dataspace", location=place)
    engine = house.start()
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.room.status(engine, product).remote_location == house.copernicus.link(NEW[UID])


@pytest.mark.says("until it is gone there, too.")
def test_a_mirror_that_has_it_no_more_is_asked_for_another_one(house: House) -> None:
    product = house.product()
    house.copernicus.says = {"Id": "old-id"}
    for what in ("Nodes", "$value"):
        house.copernicus.answers[f"/odata/v1/Products(old-id)/{what}"] = [Reply(404)] * 2
    with pytest.raises(Gone, match="it is asked as hub has closed"):
        house.start().listing(product, NOBODY)
    house.again()
    house.copernicus.says = {}
    engine = house.start()
    assert md5sums(engine, product) == house.peps.md5sums(UID)


# -- where it is not found ---------------------------------------------------------------------------------------------


@pytest.mark.says("Where nobody has it, the error is that of its own provider, and says where it was looked for")
@pytest.mark.says("nor has any in `fallback` ENODATA")
def test_where_nobody_has_it_both_are_named(house: House) -> None:
    engine, product = house.start(closed=False), house.product(title="S2A_MSIL1C_unheard_of")
    house.peps.script[UID].append(Reply(404))
    with pytest.raises(Gone) as told:
        engine.listing(product, NOBODY)
    sentence = "hub no longer has the product (404 Not Found); search again, or take it from another provider; "
    sentence += "nobody has S2A_MSIL1C_unheard_of.SAFE at cop_dataspace"
    assert str(told.value) == house.room.status(engine, product).error == sentence


@pytest.mark.says("A closed service is asked last")
def test_a_service_that_has_closed_is_asked_where_nobody_else_has_it(house: House) -> None:
    engine, product = house.start(), house.product(title="S2A_MSIL1C_unheard_of")
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    house.again()
    assert house.copernicus.sought == [name_of(product)]
    assert max(asked.time for asked in house.copernicus.requests) <= min(asked.time for asked in house.peps.requests)


@pytest.mark.says("its failure is answered again for 30 seconds.")
def test_that_it_was_not_found_is_answered_again_for_half_a_minute(house: House) -> None:
    clock = LeapingClock()
    engine, product = house.start(clock=clock, fetch="lazy"), house.product(title="S2A_MSIL1C_unheard_of")
    for seconds, asked in ((0, 1), (29, 1), (2, 2)):
        clock.time += seconds
        assert content(engine, product, "manifest.safe")
        assert house.copernicus.sought == [name_of(product)] * asked


@pytest.mark.says("Where a service has closed, the error of its products begins with that.")
def test_where_it_does_not_answer_either_the_error_says_so_of_both(house: House) -> None:
    engine, product = house.start(), house.product(title="S2A_MSIL1C_unheard_of")
    house.peps.stop()
    with pytest.raises(Unreachable) as told:
        engine.listing(product, NOBODY)
    assert str(told.value).startswith(f"{CLOSED} (127.0.0.1 (hub) cannot be reached")
    assert str(told.value).endswith("; nobody has S2A_MSIL1C_unheard_of.SAFE at cop_dataspace")
    assert house.room.status(engine, product).error == str(told.value)


@pytest.mark.says("or why that failed.")
@pytest.mark.parametrize(
    ("fails", "says"),
    [
        (Reply(500), "cop_dataspace answers 500 Internal Server Error"),
        (
            Reply(200, {"Content-Type": "application/json"}, b'{"value": 1}'),
            "lists products in a form that is not known",
        ),
        (Reply(202), "cop_dataspace does not say whether it has"),
        (Reply(404), "cop_dataspace no longer has the product"),
    ],
    ids=["500", "another form", "202", "404"],
)
def test_a_catalogue_that_is_of_no_use_leaves_the_error_what_it_was(house: House, fails: Reply, says: str) -> None:
    house.copernicus.fails.extend([fails] * 9)
    house.peps.script[UID].append(Reply(410))
    with pytest.raises(Gone, match="hub no longer has the product") as told:
        house.start(closed=False).listing(house.product(), NOBODY)
    assert says in str(told.value)


def test_a_catalogue_that_is_down_leaves_the_error_what_it_was(house: House) -> None:
    engine, product = house.start(), house.product()
    house.peps.stop()
    house.copernicus.stop()
    with pytest.raises(Unreachable) as told:
        engine.listing(product, NOBODY)
    assert str(told.value).startswith(f"{CLOSED} (127.0.0.1 (hub) cannot be reached")
    assert "; 127.0.0.1 (cop_dataspace) cannot be reached" in str(told.value)


def test_a_catalogue_that_fails_for_a_moment_is_asked_again(house: House) -> None:
    house.copernicus.fails.append(Reply(503))
    assert house.start().listing(house.product(), NOBODY).members


def test_without_credentials_for_it_the_error_says_which_to_set(house: House) -> None:
    house.providers["cop_dataspace"] = house.copernicus.speaks(credentials={}, files=None)
    engine, product = house.start(), house.product()
    with pytest.raises(AccessRefused, match="EODAG__COP_DATASPACE__AUTH__CREDENTIALS__USERNAME") as told:
        engine.listing(product, NOBODY)
    assert str(told.value).endswith("; it is asked as hub has closed")
    assert house.copernicus.sought == [name_of(product)]


def test_what_is_offline_there_cannot_be_ordered_and_says_so(house: House) -> None:
    house.copernicus.put_on_tape(NEW[UID])
    engine, product = house.start(), house.product()
    with pytest.raises(ProviderFailed, match="is OFFLINE, and cop_dataspace takes no orders"):
        engine.listing(product, NOBODY)
    assert house.room.status(engine, product).storageStatus is StorageStatus.OFFLINE


@pytest.mark.says("that its own no longer has (section 4); `none`.")
@pytest.mark.says("in the catalogues of the providers in `fallback`", "A product of Sentinel-1, -2, -3 or -5P")
@pytest.mark.parametrize(
    ("title", "options"),
    [("SENTINEL2A_2020_MUSCATE", {}), (None, {"fallback": ()})],
    ids=["not of Sentinel", "fallback=none"],
)
def test_without_a_name_or_a_fallback_nobody_else_is_asked(
    house: House, title: str | None, options: dict[str, Any]
) -> None:
    product = house.product() if title is None else house.product(title=title)
    engine = house.start(**options)
    assert house.room.status(engine, product).message == "reading its files downloads it"
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.copernicus.requests == []


# -- whom it may keep waiting ------------------------------------------------------------------------------------------


def test_who_does_not_wait_gets_it_later(house: House) -> None:
    engine, product, free = house.start(), house.product(), threading.Event()
    house.copernicus.fails.append(Reply(503, stall_after=-1, release=free))
    with pytest.raises(NotReady, match=r"the place of .* is being asked for; open it again"):
        engine.listing(product, IMPATIENT)
    free.set()

    def comes() -> bool:
        with contextlib.suppress(NotReady):
            return bool(engine.listing(product, IMPATIENT).members)
        return False

    until(comes)
    assert house.copernicus.sought == [name_of(product)]


def test_a_crawler_makes_nobody_look(house: House) -> None:
    engine, product = house.start(), house.product()
    with pytest.raises(AccessRefused, match="crawler"):
        engine.listing(product, CRAWLER)
    with pytest.raises(AccessRefused, match="crawler"):
        engine.quicklook(product, CRAWLER)
    assert house.copernicus.requests == house.peps.requests == []


# -- what comes --------------------------------------------------------------------------------------------------------


@pytest.mark.says("size and checksum are those that its catalogue says")
def test_the_checksum_is_that_of_who_serves_it(house: House) -> None:
    house.copernicus.says = {"Checksum": [{"Algorithm": "MD5", "Value": "00" * 16}]}
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=None)
    with pytest.raises(Corrupt, match="from cop_dataspace with another MD5"):
        house.start().listing(house.product(), NOBODY)


@pytest.mark.says("else every member's CRC decides.")
def test_without_a_checksum_every_members_crc_decides(house: House) -> None:
    data = bytearray(house.copernicus.archive(NEW[UID]).read_bytes())
    data[len(data) // 2] ^= 1  # in a band, which is stored
    path = f"/odata/v1/Products({NEW[UID]})/$value"
    house.copernicus.answers[path] = [Reply(200, {"Content-Type": "application/zip"}, bytes(data))] * 2
    house.copernicus.says = {"Checksum": None, "ContentLength": 0}
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=None)
    engine, product = house.start(), house.product()
    with pytest.raises(Corrupt, match="CRC"):
        engine.bring(product, NOBODY, contextlib.nullcontext(), pin=False)
    assert house.copernicus.answers[path] == []


@pytest.mark.says("Its archive may have been packed anew: size and checksum are those that its catalogue says")
@pytest.mark.parametrize(
    "says",
    [
        {"ContentLength": 0, "Checksum": []},
        {"ContentLength": None, "Checksum": None, "Online": None, "Assets": None},
        {"Checksum": [{"Algorithm": "BLAKE3", "Value": "00" * 32}, {"Algorithm": "MD5", "Value": "0"}]},
    ],
    ids=["nothing", "null", "unknown"],
)
def test_what_it_does_not_say_is_not_compared(house: House, says: dict[str, Any]) -> None:
    house.copernicus.says = says
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=None)
    engine, product = house.start(), house.product(size=1, checksum=None)
    assert md5sums(engine, product) == house.peps.md5sums(UID)


@pytest.mark.says("that is an archive or one bare file")
def test_one_file_is_served_as_it_is(house: House, store: Path) -> None:
    feature = renamed(ten_products()[2], title="S5P_OFFL_L2__NO2____2020")
    with Catalogue(store, products=[feature], megabytes=1) as copernicus:
        path = f"/odata/v1/Products({NEW[UID]})/$value"
        copernicus.answers[path] = [Reply(200, {"Content-Type": "application/x-netcdf"}, BARE)] * 9
        copernicus.says = {"Checksum": None, "ContentLength": len(BARE)}
        house.providers["cop_dataspace"] = copernicus.speaks(files=None)
        product = house.product(title="S5P_OFFL_L2__NO2____2020")
        assert content(house.start(), product, "") == BARE


@pytest.mark.says("The quicklook is the other provider's as well.")
def test_its_quicklook_is_that_of_who_serves_it_and_asked_for_once(house: House) -> None:
    house.copernicus.picture = b"\xff\xd8 a picture"
    engine, product = house.start(), house.product()
    assert engine.quicklook_name(product) == "quicklook.jpg"
    assert engine.quicklook(product, NOBODY) == house.copernicus.picture
    assert engine.quicklook(product, NOBODY) == house.copernicus.picture
    assert len(house.copernicus.requests) == 2
    assert house.peps.requests == []


def test_where_that_has_none_the_old_one_is_not_asked_for_it(house: House) -> None:
    engine, product = house.start(), house.product()
    with pytest.raises(Gone, match=r"cop_dataspace, which serves .* now, has no quicklook of it"):
        engine.quicklook(product, NOBODY)
    assert house.peps.requests == []


def test_a_missing_quicklook_is_no_missing_product(house: House) -> None:
    engine, product = house.start(closed=False), house.product()
    with pytest.raises(Gone):
        engine.quicklook(replace(product, quicklook=f"{house.peps.url}/quicklook/none"), NOBODY)
    assert house.copernicus.requests == []


# -- how it is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.says("The other provider is asked with its own credentials, connections, orders and list of files.")
def test_who_serves_it_is_asked_with_its_own_credentials_connections_and_list_of_files(house: House) -> None:
    own = {"username": "carol", "password": secret("carols")}
    house.copernicus.username, house.copernicus.password = own.values()
    house.providers["cop_dataspace"] = house.copernicus.speaks(credentials=own, max_connections=1)
    engine, products = house.start(connections=8), [house.product(uid) for uid in UIDS[:4]]
    waiting = iter(products)
    found = together(4, lambda: md5sums(engine, next(waiting)))
    assert sorted(map(sorted, found)) == sorted(sorted(house.peps.md5sums(uid)) for uid in UIDS[:4])
    assert house.copernicus.peak == 1
    assert house.copernicus.asked("list")
    shown = {asked.headers.get("authorization") for asked in house.copernicus.requests}
    assert shown == {auth.basic(*own.values())}


@pytest.mark.says("orders and list of files.")
def test_what_is_on_tape_there_is_ordered_there(house: House) -> None:
    house.copernicus.put_on_tape()
    house.copernicus.staging_seconds = 0.1
    house.providers["cop_dataspace"] = house.copernicus.speaks(files=None, order="get")
    engine, product = house.start(), house.product()
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.copernicus.count(NEW[UID], "download", 202)
    assert house.peps.requests == []


# -- several who may have it -------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(store: Path) -> Iterator[Catalogue]:
    products = [renamed(feature) for feature in ten_products()]
    with Catalogue(store, products=products, megabytes=1) as running:
        yield running


@pytest.mark.says("in the catalogues of the providers in `fallback`, and served from the first that has it on disk.")
@pytest.mark.parametrize(
    ("unfit", "server"),
    [
        (lambda mirror: None, "my_mirror"),
        (lambda mirror: mirror.put_on_tape(), "cop_dataspace"),
        (lambda mirror: mirror.fails.extend([Reply(500)] * 9), "cop_dataspace"),
        (lambda mirror: mirror.says.update(Name="S2A_MSIL1C_another.SAFE"), "cop_dataspace"),
    ],
    ids=["the first", "offline", "broken", "another name"],
)
def test_the_first_that_has_it_on_disk_serves_it(
    house: House, mirror: Catalogue, unfit: Callable[[Catalogue], None], server: str
) -> None:
    unfit(mirror)
    house.providers["my_mirror"] = mirror.speaks(name="my_mirror")
    engine, product = house.start(fallback=("my_mirror", "cop_dataspace")), house.product()
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert f"served by {server}, as hub has closed" in house.room.status(engine, product).message


def test_what_is_offline_everywhere_is_that_of_the_first(house: House, mirror: Catalogue) -> None:
    mirror.put_on_tape()
    house.copernicus.put_on_tape()
    house.providers["my_mirror"] = mirror.speaks(name="my_mirror")
    engine, product = house.start(fallback=("my_mirror", "cop_dataspace")), house.product()
    with pytest.raises(ProviderFailed, match="is OFFLINE, and my_mirror takes no orders"):
        engine.listing(product, NOBODY)


def test_what_another_process_has_found_is_not_looked_up_again(house: House) -> None:
    product = house.product()
    one, other = house.start(fetch="lazy"), house.start(fetch="lazy")
    before = house.room.status(other, product).message
    content(one, product, "manifest.safe")
    content(other, product, "manifest.safe")
    assert before != house.room.status(other, product).message
    assert house.copernicus.sought == [name_of(product)]


def test_what_was_found_there_counts_no_more_where_it_is_not_listed_any_more(house: House, mirror: Catalogue) -> None:
    house.providers["my_mirror"] = mirror.speaks(name="my_mirror")
    product = house.product()
    content(house.start(fallback=("my_mirror",), fetch="lazy"), product, "manifest.safe")
    house.again()
    engine = house.start()
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.copernicus.sought == [name_of(product)]


@pytest.mark.says(
    "the address of the `Products` of an OData catalogue such as Copernicus' "
    "(`…/odata/v1/Products`), and where a product is downloaded, with `{id}` for its id there"
)
def test_where_it_is_downloaded_may_be_elsewhere_than_where_it_is_looked_up(house: House) -> None:
    link = f"http://localhost:{house.copernicus.port}/odata/v1/Products({{id}})/$value"
    hosts = ("127.0.0.1:*", "localhost:*")
    house.providers["cop_dataspace"] = house.copernicus.speaks(download_link=link, hosts=hosts)
    engine, product = house.start(), house.product()
    assert md5sums(engine, product) == house.peps.md5sums(UID)
    assert house.room.status(engine, product).remote_location == link.replace("{id}", NEW[UID])


# -- as a user meets it: the built-in providers, with only hosts replaced ----------------------------------------------


@dataclass(eq=False)
class DataSpace(Catalogue):
    """The Data Space: its catalogue is open, its products want a token."""

    tokens: list[str] = field(default_factory=list, init=False)

    def answer(self, request: Request) -> Reply | None:
        """Describe the log-in, log in, or answer as a catalogue."""
        if request.path == "/about":
            return Reply(200, JSON, json.dumps({"token_endpoint": f"{self.url}/token"}).encode())
        if request.path == "/token":
            said = dict(parse_qsl(request.body.decode()))
            assert (said["client_id"], said["username"], said["password"]) == ("cdse-public", NAME, PASSWORD)
            self.tokens.append(f"{secret('access')}-{len(self.tokens)}")
            return Reply(200, JSON, json.dumps({"access_token": self.tokens[-1], "expires_in": 600}).encode())
        return super().answer(request)

    def reply_to(self, request: Request) -> Reply:
        """Let in who shows a token."""
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        return super().reply_to(replace(request, authorised=shown in self.tokens))

    def configure(self, home: Path, credentials: str = f"{{username: {NAME}, password: '{PASSWORD}'}}") -> None:
        """Write what a user has to write for the built-in provider to be this one."""
        (home / ".config/eofs").mkdir(parents=True)
        (home / ".config/eofs/eofs.yml").write_text(
            f"cop_dataspace: {{lookup: {{odata: '{self.lookup}'}}, auth: {{oidc_config_url: '{self.url}/about',"
            f" hosts: ['127.0.0.1:{self.port}'], credentials: {credentials}}}}}",
            encoding="utf-8",
        )
        (home / ".config/eofs/eofs.yml").chmod(0o600)


@pytest.fixture
def data_space(store: Path) -> Iterator[DataSpace]:
    products = [renamed(feature) for feature in ten_products()]
    with DataSpace(store, products=products, megabytes=1, picture=b"\xff\xd8 a picture") as running:
        yield running


def saved(directory: Path, peps: DemoProvider, *uids: str) -> Path:
    """Write a result as eodag 2 wrote it when PEPS was there."""
    result = peps.result()
    result["features"] = [feature for feature in result["features"] if feature["properties"]["uid"] in uids]
    for feature in result["features"]:
        feature["properties"]["eodag_provider"] = "peps"
    path = directory / "search_result.geojson"
    path.write_text(json.dumps(result).replace(peps.url, "https://peps.cnes.fr"), encoding="utf-8")
    return path


@pytest.mark.says(
    "`status` says so: `message: served by cop_dataspace, as peps has closed`, and `remote_location` is the "
    "address in use.",
    "`provider`, `id` and `metadata.json` stay as the result has them, and so does the place in the cache.",
)
@pytest.mark.mount
def test_a_result_that_was_saved_when_peps_was_there_mounts_and_works(
    tmp_path: Path, provider: DemoProvider, data_space: DataSpace
) -> None:
    data_space.configure(tmp_path)
    result = saved(tmp_path, provider, UID, OFFLINE)
    features = json.loads(result.read_bytes())["features"]
    with Mount(tmp_path, result, fallback="cop_dataspace") as mount:
        assert sorted(path.name for path in mount.safe(OFFLINE).parent.iterdir()) == [mount.safe(OFFLINE).name]
        assert (mount.product(UID) / "quicklook.jpg").read_bytes() == data_space.picture
        assert len(data_space.sought) == 1
        for uid in (UID, OFFLINE):
            told = {f"{mount.product(uid).name}.SAFE/{path.relative_to(mount.safe(uid))}": path.read_bytes()
                    for path in mount.safe(uid).rglob("*") if path.is_file()}  # fmt: skip
            assert {path: hashlib.md5(read).hexdigest() for path, read in told.items()} == provider.md5sums(uid)
            said = mount.status(uid)
            assert said["provider"] == "peps"
            assert "served by cop_dataspace, as peps has closed" in said["message"]
            assert said["remote_location"] == data_space.link(NEW[uid])
            feature = next(each for each in features if each["properties"]["uid"] == uid)
            assert said["id"] == feature["id"]
            assert json.loads((mount.product(uid) / "metadata.json").read_bytes()) == feature
            assert [path.name for path in (mount.cache / "products").iterdir()] == ["peps"]
        assert len(data_space.sought) == 2
        mount.unmount()
        mount.start(fallback="cop_dataspace")
        assert mount.bring(UID)
        assert len(data_space.sought) == 2
    assert len(data_space.tokens) == 1  # the second mount had all that it needed
    log = mount.log.read_text(encoding="utf-8")
    assert not [secret for secret in (PASSWORD, *data_space.tokens) if secret in log]


def test_it_is_fetched_without_a_word_to_the_service_that_has_closed(
    tmp_path: Path, provider: DemoProvider, data_space: DataSpace
) -> None:
    data_space.configure(tmp_path)
    with Canned(http(502)) as proxy:  # whatever is not on this machine would be asked for here
        done = eofs(
            "fetch", saved(tmp_path, provider, OFFLINE), "--output", tmp_path / "out", "--extract", "false",
            "--fallback", "cop_dataspace", home=tmp_path, env={"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url},
        )  # fmt: skip
        assert (done.returncode, proxy.asked) == (0, []), done.stderr
    assert (tmp_path / "out" / f"{TITLES[OFFLINE]}.zip").read_bytes() == provider.archive(OFFLINE).read_bytes()


def test_without_an_account_the_user_is_told_what_to_set(
    tmp_path: Path, provider: DemoProvider, data_space: DataSpace
) -> None:
    data_space.configure(tmp_path, credentials="{}")
    done = eofs("fetch", saved(tmp_path, provider, UID), "--fallback", "cop_dataspace", home=tmp_path)
    assert done.returncode == 1
    assert "set EODAG__COP_DATASPACE__AUTH__CREDENTIALS__USERNAME and" in done.stderr
    assert "it is asked as peps has closed" in done.stderr


def test_a_fallback_that_cannot_look_up_names_is_refused(tmp_path: Path) -> None:
    done = eofs("fetch", tmp_path / "none.geojson", "--fallback", "peps:creodias", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eofs: the command line: fallback cannot be 'peps': it is not known how to look")


def test_every_real_product_of_sentinel_whose_service_has_closed_has_a_name() -> None:
    folder = os.environ.get("EOFS_SAMPLE_RESULTS")
    if not folder:
        pytest.skip("not here: EOFS_SAMPLE_RESULTS names no folder of real search results")
    settings = config.load({}, environ={})
    products = [product for path in sorted(Path(folder).glob("*/*json")) for product in catalog.load(path).products]
    closed = [product for product in products if settings.provider(product.provider).closed]
    assert {product.provider for product in closed if catalogue_name(product.title)} >= {"peps", "onda", "mundi"}
    assert all(product.title.startswith("SENTINEL2") for product in closed if not catalogue_name(product.title))


@pytest.mark.says("In `-o` with `:` between them")
@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("none", ()),
        ("None", ()),
        ("cop_dataspace", ("cop_dataspace",)),
        ("Creodias:cop_dataspace:creodias", ("creodias", "cop_dataspace")),
        (["creodias", "my_mirror"], ("creodias", "my_mirror")),
        ("creodias, my_mirror", ("creodias", "my_mirror")),
    ],
    ids=str,
)
def test_how_fallbacks_are_written(written: object, names: tuple[str, ...]) -> None:
    assert options.read("fallback", written, "eofs.yml") == names


def test_where_the_built_in_providers_are_asked_for_names() -> None:
    settings = config.load({}, environ={})
    assert settings.options.fallback == ("cop_dataspace",)
    found = {name: provider for name, provider in settings.providers.items() if provider.lookup}
    assert set(found) == {"cop_dataspace", "creodias"}
    for provider in found.values():
        link = (provider.download_link or f"{provider.lookup}({{id}})/$value").replace("{id}", "1")
        assert auth.may_receive(provider, link)


def test_a_download_link_without_an_id_is_refused() -> None:
    settings = {"lookup": {"odata": "https://a.example/Products", "download_link": "https://a.example/x"}}
    with pytest.raises(ConfigError, match=r"mine.lookup.download_link cannot be .* an address with \{id\} in it"):
        providers.build("mine", settings, source="eofs.yml")
