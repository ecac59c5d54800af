"""Which of an asset's links is asked first, and by whom: STAC's alternates, log-ins and object stores."""

from __future__ import annotations

import errno
import functools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asset_server import AssetServer, Served
from engine_room import Room, content
from hypothesis import given
from hypothesis import strategies as st

from eofs import auth, catalog, config
from eofs.catalog.terms import read_terms
from eofs.client import Client
from eofs.config import Network
from eofs.errors import AccessRefused, EofsError, NotAllowed
from eofs.fetch.addresses import Chance, addresses, chance_of, owner
from eofs.links import host_of
from eofs.model import LogIn, Provider, Terms
from eofs.nodes import NOBODY
from eofs.parts import parts_of
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eofs.model import Product

LINKS = Path(__file__).parent / "data" / "stac" / "links.geojson"
ITEMS = {product.id: product for product in catalog.load(LINKS).products}
BAND = b"II*\0" + bytes(range(256)) * 100


# -- what a result says


def said(link: str = "https://h/a.tif", properties: Mapping[str, Any] | None = None, **asset: Any) -> tuple[Terms, ...]:
    """What an item says of its only asset's link."""
    named = {name.replace("__", ":"): value for name, value in asset.items()}
    item = {"properties": properties or {}, "assets": {"a": {"href": link, **named}}}
    return read_terms(json.dumps(item).encode()).get(link, ())


def login(scheme: Mapping[str, Any]) -> LogIn | None:
    """What an item says of the log-in at its only asset."""
    (terms,) = said(properties={"auth:schemes": {"x": scheme}}, auth__refs=["x"])
    return terms.login


@pytest.mark.parametrize(
    ("scheme", "words", "settings"),
    [
        ({"type": "apiKey", "in": "header", "name": "X-Key"}, "an API key in the header X-Key", 'X-Key: "{apikey}"'),
        ({"type": "apiKey", "in": "query", "name": "key"}, "an API key as key in the query", "{key: …}"),
        ({"type": "apiKey", "in": "cookie", "name": "sid"}, "an API key in the cookie sid", 'Cookie: "sid={apikey}"'),
        ({"type": "apiKey", "in": "header", "name": 'X: "; rm -rf'}, "an API key", "headers: …"),
        ({"type": "apiKey"}, "an API key", "headers: …"),
        ({"type": "http", "scheme": "basic"}, "a user name and a password (HTTP Basic)", "type: basic"),
        (
            {"type": "http", "scheme": "Bearer"},
            "a token in the header Authorization",
            'Authorization: "Bearer {token}"',
        ),
        ({"type": "http", "scheme": "negotiate"}, "HTTP authentication", "type: basic"),
        ({"type": "oauth2", "flows": {}}, "a token of OAuth 2", "type: oidc_password"),
        (
            {"type": "openIdConnect", "openIdConnectUrl": "https://h"},
            "a log-in by OpenID Connect",
            "oidc_config_url: …",
        ),
        ({"type": "signedUrl", "flows": {}}, "signed addresses", "type: signed"),
        ({"type": "s3"}, "keys of an object store (S3)", "type: s3"),
        ({"type": "of their own"}, "a log-in", "…"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_each_kind_of_log_in_is_told_in_words_and_settings(scheme: dict[str, Any], words: str, settings: str) -> None:
    found = login(scheme)
    assert found is not None
    assert found.words == words
    assert settings in found.settings


@pytest.mark.says("Addresses of log-ins and of services that sign are never taken from a result")
def test_no_address_of_a_log_in_is_taken_from_a_result() -> None:
    evil = "https://evil.example/sign"
    for scheme in (
        {"type": "signedUrl", "flows": {"authorizationCode": {"authorizationApi": evil, "method": "GET"}}},
        {"type": "openIdConnect", "openIdConnectUrl": evil},
        {"type": "oauth2", "flows": {"password": {"tokenUrl": evil}}},
        {"type": "apiKey", "in": "header", "name": evil},
        {"type": "http", "scheme": evil},
    ):
        assert "evil" not in str(login(scheme))


@pytest.mark.says(
    "Addresses of log-ins and of services that sign are never taken from a result, nor do credentials go there."
)
def test_nobody_is_asked_at_an_address_of_a_log_in_that_a_result_names(
    shelf: Callable[[AssetServer], Room], server: AssetServer
) -> None:
    mine = Provider("mine", hosts=("127.0.0.1:*",), auth="basic", credentials=NAMED, retries=0)
    server.files["B04.tif"] = Served(BAND, 401)
    with AssetServer({}) as evil:
        at = {"authorizationApi": evil.url, "tokenUrl": evil.url, "authorizationUrl": evil.url, "method": "GET"}
        flows = {"authorizationCode": at, "password": at, "clientCredentials": at}
        schemes = {
            "signed": {"type": "signedUrl", "flows": flows},
            "openid": {"type": "openIdConnect", "openIdConnectUrl": evil.url},
            "oauth": {"type": "oauth2", "flows": flows},
        }
        server.changes = {
            "properties": {"auth:schemes": schemes},
            "assets": {"red": {"href": f"{server.url}/B04.tif", "auth:refs": [*schemes], "file:size": len(BAND)}},
        }
        assert isinstance(failure(shelf(server), **{"127.0.0.1": mine}), AccessRefused)
        assert {asked.authorization for asked in server.asked} == {auth.basic(*NAMED.values())}
        assert evil.asked == []


def test_a_link_without_a_log_in_is_open_where_the_result_says_how_to_log_in_elsewhere() -> None:
    schemes = {"auth:schemes": {"x": {"type": "http", "scheme": "basic"}}}
    assert said(properties=schemes) == (Terms(is_open=True),)
    assert said() == ()


STORES = {
    "own": {"type": "custom-s3", "platform": "https://s3.example/"},
    "own, the bucket in its host": {
        "type": "custom-s3",
        "platform": "https://{bucket}.s3.{region}.example",
        "region": "x",
    },
    "own, the bucket in its path": {"type": "custom-s3", "platform": "https://s3.example:8443/{bucket}"},
    "of Amazon": {"type": "aws-s3", "platform": "https://{bucket}.s3.{region}.amazonaws.com", "region": "eu-west-1"},
    "of no address": {"type": "custom-s3", "platform": "the one in the cellar"},
    "who asks pays": {"type": "custom-s3", "platform": "https://s3.example", "requester_pays": True},
}


@pytest.mark.parametrize(
    ("store", "terms"),
    [
        ("own", Terms(endpoint="https://s3.example")),
        ("own, the bucket in its host", Terms(endpoint="https://s3.x.example")),
        ("own, the bucket in its path", Terms(endpoint="https://s3.example:8443")),
        ("who asks pays", Terms(endpoint="https://s3.example", requester_pays=True)),
        ("of Amazon", None),
        ("of no address", None),
        ("one that is not described", None),
    ],
)
def test_stores_are_known_by_their_addresses(store: str, terms: Terms | None) -> None:
    found = said("s3://bucket/a.tif", {"storage:schemes": STORES}, storage__refs=[store])
    assert found == (() if terms is None else (terms,))


def test_a_link_may_be_at_several_stores() -> None:
    refs = ["own", "who asks pays"]
    found = said("s3://bucket/a.tif", {"storage:schemes": STORES}, storage__refs=refs)
    assert [terms.requester_pays for terms in found] == [False, True]


@pytest.mark.parametrize(
    ("properties", "asset", "pays"),
    [
        ({"storage:requester_pays": True}, {}, True),
        ({"storage:requester_pays": True}, {"storage__requester_pays": False}, False),
        ({}, {"storage__requester_pays": True}, True),
        ({"storage:requester_pays": "yes"}, {}, False),
    ],
)
def test_version_1_says_of_an_item_or_of_an_asset_who_pays(
    properties: dict[str, Any], asset: dict[str, Any], pays: bool
) -> None:
    assert said("s3://bucket/a.tif", properties, **asset) == ((Terms(requester_pays=True),) if pays else ())
    assert said("https://h/a.tif", properties, **asset) == ()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["x", "s3", "s3://b/k", "https://h/a", "apiKey", "http"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "href", "type", "in", "name", "alternate", "platform", "auth:refs"]), inner
        )
    ),
    max_leaves=8,
)
NAMES = ["href", "auth:refs", "storage:refs", "storage:requester_pays", "alternate"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON), JSON, JSON)
def test_whatever_is_said_nothing_is_raised(asset: Any, schemes: Any, stores: Any) -> None:
    item = {"properties": {"auth:schemes": schemes, "storage:schemes": stores}, "assets": {"a": asset, "b": schemes}}
    assert isinstance(read_terms(json.dumps(item).encode()), dict)


@pytest.mark.says("Of STAC's `storage:tier`, `archive`, `glacier` and `deep_archive` are OFFLINE.")
@pytest.mark.parametrize(
    ("tier", "status"),
    [
        ("Glacier", StorageStatus.OFFLINE),
        ("DEEP_ARCHIVE", StorageStatus.OFFLINE),
        ("archive", StorageStatus.OFFLINE),
        ("cold", StorageStatus.ONLINE),
        ("cool", StorageStatus.ONLINE),
        ("STANDARD", StorageStatus.ONLINE),
    ],
)
def test_what_a_store_has_put_away_is_offline(tier: str, status: StorageStatus) -> None:
    item = {"type": "Feature", "id": "a", "properties": {"storage:tier": tier}}
    assert catalog.read(json.dumps(item).encode()).products[0].status is status


# -- which link is first

NAMED = {"username": "alice", "password": "secret"}
KEYS = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "secret"}
BASIC = Provider("p", hosts=("h.example",), auth="basic")
STORE = Provider("s", hosts=(".amazonaws.com",), auth="s3")
SAYS = Terms(login=LogIn("a log-in", "…"))


@pytest.mark.parametrize(
    ("link", "provider", "terms", "chance"),
    [
        ("https://h.example/a", Provider("p"), Terms(), Chance.OPEN),
        ("https://h.example/a", Provider("p"), SAYS, Chance.NO_LOG_IN),
        ("https://h.example/a", BASIC, Terms(), Chance.NO_LOG_IN),
        ("https://h.example/a", BASIC, Terms(is_open=True), Chance.OPEN),
        ("https://h.example/a", replace(BASIC, credentials=NAMED), Terms(), Chance.LOGGED_IN),
        ("https://h.example/a", replace(BASIC, credentials=NAMED), SAYS, Chance.LOGGED_IN),
        ("https://elsewhere.example/a", replace(BASIC, credentials=NAMED), Terms(), Chance.OPEN),
        ("https://elsewhere.example/a", replace(BASIC, credentials=NAMED), SAYS, Chance.NO_LOG_IN),
        ("http://h.example/a", replace(BASIC, credentials=NAMED), SAYS, Chance.NO_LOG_IN),
        ("https://h.example/a", replace(STORE, known_by=("h.example",)), Terms(), Chance.DOUBTFUL),
        ("https://h.example/a", replace(STORE, known_by=("h.example",)), Terms(is_open=True), Chance.OPEN),
        ("s3://bucket/a", replace(STORE, login={"requester_pays": True}), Terms(), Chance.KEYS),
        ("https://h.example/a", replace(BASIC, auth="SomePlugin"), Terms(), Chance.NO_LOG_IN),
        ("s3://bucket/a", STORE, Terms(), Chance.NO_KEYS),
        ("s3://bucket/a", replace(STORE, credentials=KEYS), Terms(), Chance.KEYS),
        ("s3://bucket/a", replace(BASIC, credentials=NAMED), Terms(), Chance.NO_KEYS),
        ("s3://bucket/a", replace(STORE, credentials=KEYS), Terms(requester_pays=True), Chance.BILLED),
        (
            "s3://bucket/a",
            replace(STORE, credentials=KEYS, login={"requester_pays": True}),
            Terms(requester_pays=True),
            Chance.KEYS,
        ),
    ],
)
def test_how_likely_a_link_is_to_give_the_bytes(link: str, provider: Provider, terms: Terms, chance: Chance) -> None:
    assert chance_of(link, provider, terms) is chance


def credentials(provider: str, values: Mapping[str, str]) -> dict[str, str]:
    return {f"EODAG__{provider}__AUTH__CREDENTIALS__{name}".upper(): value for name, value in values.items()}


CDSE, CDSE_S3, CREODIAS_S3 = (
    credentials("cop_dataspace", NAMED),
    credentials("cop_dataspace_s3", KEYS),
    credentials("creodias_s3", KEYS),
)
CREODIAS_PAID = {**CREODIAS_S3, "EODAG__CREODIAS_S3__AUTH__REQUESTER_PAYS": "true"}
LANDSAT_PAID = {
    **credentials("usgs_satapi_aws", KEYS),
    "EODAG__USGS_SATAPI_AWS__AUTH__REQUESTER_PAYS": "true",
}
NODES, EODATA, CLOUDFERRO = (
    "download.dataspace.copernicus.eu",
    "eodata.dataspace.copernicus.eu",
    "eodata.cloudferro.com",
)
S2, LANDSAT = (
    "S2B_MSIL2A_20250601T101719_N0511_R065_T32UPU_20250601T120000",
    "LC08_L2SP_204031_20170106_20200905_02_T1_SR",
)


@pytest.mark.says(
    "A file of STAC may be had at several addresses: its link, those of `alternate`, and each store that has its "
    "bucket (`storage:refs`).",
    "Each is asked by the provider to whom its host, or its bucket, belongs",
)
@pytest.mark.parametrize(
    ("item", "file", "variables", "asked"),
    [
        pytest.param(S2, None, {}, [("cop_dataspace", NODES)], id="CDSE, the archive"),
        *(
            pytest.param(
                "mosaic", "T32UPU_B04_10m.jp2", variables, [(name, host) for name, host in asked], id=f"CDSE, {who}"
            )
            for who, variables, asked in (
                (
                    "by password",
                    CDSE,
                    [("cop_dataspace", NODES), ("cop_dataspace_s3", EODATA), ("creodias_s3", CLOUDFERRO)],
                ),
                (
                    "by keys",
                    CDSE_S3,
                    [("cop_dataspace_s3", EODATA), ("cop_dataspace", NODES), ("creodias_s3", CLOUDFERRO)],
                ),
                (
                    "by paid keys",
                    CREODIAS_PAID,
                    [("creodias_s3", CLOUDFERRO), ("cop_dataspace", NODES), ("cop_dataspace_s3", EODATA)],
                ),
                (
                    "by both",
                    {**CDSE, **CDSE_S3},
                    [("cop_dataspace", NODES), ("cop_dataspace_s3", EODATA), ("creodias_s3", CLOUDFERRO)],
                ),
            )
        ),
        pytest.param(
            LANDSAT,
            "SR_B4.TIF",
            LANDSAT_PAID,
            [("usgs_satapi_aws", "usgs-landsat.s3.amazonaws.com"), ("usgs_satapi_aws", "landsatlook.usgs.gov")],
            id="Landsat, paid",
        ),
        pytest.param(
            LANDSAT,
            "SR_B4.TIF",
            {},
            [("usgs_satapi_aws", "landsatlook.usgs.gov"), ("usgs_satapi_aws", "usgs-landsat.s3.amazonaws.com")],
            id="Landsat",
        ),
        pytest.param(
            "G1994512890-LPCLOUD",
            "B04.tif",
            credentials("earthdata", NAMED),
            [
                ("earthdata", "data.lpdaac.earthdatacloud.nasa.gov"),
                ("earthdata", "lp-prod-protected.s3.amazonaws.com"),
            ],
            id="NASA",
        ),
        pytest.param(
            "Copernicus_DSM_COG_10_N43_00_E001_00_DEM",
            "_DEM.tif",
            {},
            [("earth_search", "copernicus-dem-30m.s3.amazonaws.com")],
            id="Copernicus DEM",
        ),
        pytest.param(
            "S2B_27VWK_20240206_0_L1C",
            "B04.jp2",
            {},
            [("earth_search", "sentinel-s2-l1c.s3.amazonaws.com")],
            id="Earth Search, L1C",
        ),
        pytest.param(
            "S2B_T31TCJ_20240206T105109_L2A",
            "B04.tif",
            {},
            [
                ("earth_search", "e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com"),
                ("earth_search", "e84-earth-search-sentinel-data.s3.amazonaws.com"),
            ],
            id="Earth Search, L2A",
        ),
        pytest.param(
            "S2A_MSIL2A_20240206T105211_R051_T31TCJ",
            "B04_10m.tif",
            {},
            [("planetary_computer", "sentinel2l2a01.blob.core.windows.net")],
            id="Planetary Computer",
        ),
    ],
)
def test_the_links_of_real_items_are_asked_in_the_order_that_serves_their_user(
    tmp_path: Path, item: str, file: str | None, variables: dict[str, str], asked: list[tuple[str, str]]
) -> None:
    product = ITEMS[item] if file is None else part(ITEMS[item], file)
    found = [
        (address.client.provider.name, address.url.split("/")[2]) for address in places(product, tmp_path, variables)
    ]
    assert found == asked


@pytest.mark.says(
    "What is open comes first; then what takes a log-in whose credentials are there, then an object store (S3) "
    "whose keys are there, then a host that is known from results only (`known_by`), then a log-in without "
    "credentials, then a store without keys; of two that are alike, the one that the result has first.",
    "What the result says to bill who asks (`requester_pays`) comes last",
)
def test_what_is_likely_to_give_the_bytes_is_asked_first_and_of_two_alike_the_first_in_the_result() -> None:
    known = {
        "two.example": Provider("no log-in", hosts=("two.example",), auth="basic"),
        "one.example": Provider("no log-in either", hosts=("one.example",), auth="basic"),
        "shown.example": replace(STORE, name="a store elsewhere", known_by=("shown.example",)),
        "in.example": Provider("log-in", hosts=("in.example",), auth="basic", credentials=NAMED),
        "mine": replace(STORE, name="store", credentials=KEYS),
        "bucket": replace(STORE, name="store without keys"),
        "pays": replace(STORE, name="billed", credentials=KEYS),
    }
    hosts = ["s3://pays", "s3://bucket", "https://two.example", "https://one.example"]
    hosts += ["https://shown.example", "s3://mine", "https://in.example", "https://open.example"]
    links = [f"{host}/a.tif" for host in hosts]
    others = {link: {"href": link} for link in links[1:]}
    asset = {"href": links[0], "storage:requester_pays": True, "alternate": others}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "properties": {}, "assets": {"a": asset}}

    def speaks(link: str) -> Client:
        return Client(known.get(host_of(link), Provider("open")), Network(), connections=1, stall_timeout=1)

    file = part(catalog.read(json.dumps(item).encode()).products[0], "a.tif")
    assert [address.client.provider.name for address in addresses(file, speaks)] == [
        *("open", "log-in", "store", "a store elsewhere"),
        *("no log-in", "no log-in either", "store without keys", "billed"),
    ]


def part(product: Product, name: str) -> Product:
    """The file of a product whose path ends so."""
    files = parts_of(product, product.assets, {}).files
    (path,) = (path for path in files if path.endswith(name))
    return files[path]


def places(product: Product, home: Path, variables: Mapping[str, str]) -> list[Any]:
    """Where a product is asked for, by a user of these variables."""
    settings = config.load({}, environ={"HOME": str(home), **variables})

    @functools.cache
    def speaks(provider: str) -> Client:
        return Client(settings.provider(provider), settings.network, connections=1, stall_timeout=1)

    return addresses(product, functools.partial(owner, own=speaks(product.provider), by_host=speaks))


def test_each_asset_of_the_real_results_has_the_right_first_link(tmp_path: Path) -> None:
    folder = os.environ.get("EOFS_SAMPLE_RESULTS")
    if not folder:
        pytest.skip("not here: EOFS_SAMPLE_RESULTS names no folder of real search results")
    expected = {
        "earth_search.json": ("earth_search", "sentinel-s2-l1c.s3.amazonaws.com", Chance.NO_KEYS),
        "lpcloud_hls.json": ("earthdata", "lpdaac.earthdata.nasa.gov", Chance.LOGGED_IN),
    }
    for path in sorted(Path(folder).glob("stac/*.json")):
        for product in catalog.load(path).products:
            for file in parts_of(product, product.assets, {}).files.values():
                first = places(file, tmp_path, credentials("earthdata", NAMED))[0]
                provider, host, chance = expected[path.name]
                host = "cmr.earthdata.nasa.gov" if file.title.endswith(".xml") and "lpcloud" in path.name else host
                assert (first.client.provider.name, first.url.split("/")[2], first.chance) == (provider, host, chance)


# -- asking


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Callable[[AssetServer], Room]]:
    """Returns rooms for asset servers, all on one cache."""
    rooms: list[Room] = []

    def opened(server: Any) -> Room:
        rooms.append(Room(server, tmp_path / "cache"))
        return rooms[-1]

    yield opened
    for room in rooms:
        room.close()


@pytest.fixture
def server() -> Iterator[AssetServer]:
    with AssetServer({"B04.tif": BAND}) as running:
        yield running


def nobody_knows(name: str) -> Provider:
    return Provider(name, retries=0)


def only(room: Room, speaks: Callable[[str], Provider] = nobody_knows) -> tuple[Any, Product]:
    return room.start(speaks=speaks, fetch="lazy"), next(iter(room.products.values()))


def failure(room: Room, **known: Provider) -> EofsError:
    """What is said when the only file of an item is read."""
    engine, product = only(room, lambda name: known.get(name) or nobody_knows(name))
    with pytest.raises(EofsError) as caught:
        content(engine, product, "B04.tif")
    return caught.value


@pytest.mark.says(
    "Where a host that nobody has described refuses, the error says which log-in the result asks for "
    "(`auth:schemes`), and the settings that would describe it."
)
@pytest.mark.parametrize("knows", [True, False], ids=["size in the result", "size asked for"])
def test_who_is_refused_by_a_host_that_nobody_knows_hears_what_the_result_says_of_it(
    shelf: Callable[[AssetServer], Room], server: AssetServer, knows: bool
) -> None:
    server.files["B04.tif"] = Served(BAND, 401)
    server.changes = {
        "properties": {"auth:schemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}},
        "assets": {
            "red": {
                "href": f"{server.url}/B04.tif",
                "auth:refs": ["key"],
                **({"file:size": len(BAND)} if knows else {}),
            }
        },
    }
    told, host = failure(shelf(server)), server.url.partition("://")[2]
    assert isinstance(told, AccessRefused)
    assert str(told) == (
        f"{host} wants an API key in the header X-Api-Key, the search result says; describe the provider in "
        f"~/.config/eofs/eofs.yml: mine: {{hosts: [{host}], auth: "
        '{type: header, headers: {X-Api-Key: "{apikey}"}, credentials: {apikey: …}}}'
    )


@pytest.mark.says("and the settings that would describe it.")
def test_the_settings_that_are_proposed_are_settings(tmp_path: Path) -> None:
    proposed = login({"type": "apiKey", "in": "header", "name": "X-Api-Key"})
    assert proposed is not None
    file = tmp_path / ".config/eofs/eofs.yml"
    file.parent.mkdir(parents=True)
    file.write_text(f"mine: {{hosts: [h.example], auth: {proposed.settings}}}".replace("…", "k"), encoding="utf-8")
    file.chmod(0o600)
    mine = config.load({}, environ={"HOME": str(tmp_path)}).provider("h.example")
    assert auth.headers(mine, "https://h.example/B04.tif") == {"X-Api-Key": "k"}


def billed(server: AssetServer, **asset: Any) -> dict[str, Any]:
    """Changes of an item: its only file is at a store that bills who reads."""
    store = {"type": "custom-s3", "platform": server.url, "requester_pays": True}
    return {
        "properties": {"storage:schemes": {"store": store}},
        "assets": {"red": {"href": "s3://bucket/B04.tif", "storage:refs": ["store"], "file:size": len(BAND), **asset}},
    }


@pytest.mark.says("and is EPERM before `requester_pays: true` says that you pay.")
@pytest.mark.says("who asks pays, without `requester_pays: true`) EPERM")
def test_who_has_not_agreed_to_pay_asks_for_nothing_that_is_billed(shelf: Callable[[AssetServer], Room]) -> None:
    with AssetServer({"bucket/B04.tif": BAND}) as store:
        store.changes = billed(store)
        told = failure(shelf(store))
        assert isinstance(told, NotAllowed)
        assert told.errno == errno.EPERM
        assert "requester_pays: true" in str(told)
        assert store.asked == []


@pytest.mark.says("`requester_pays: true` says that you pay.")
def test_who_has_agreed_to_pay_gets_it(shelf: Callable[[AssetServer], Room]) -> None:
    with AssetServer({"bucket/B04.tif": BAND}) as store:
        store.changes = billed(store)
        agrees = Provider("pays", login={"requester_pays": True})
        engine, product = only(shelf(store), lambda _: agrees)
        assert content(engine, product, "B04.tif") == BAND


@pytest.mark.says("What the result says to bill who asks (`requester_pays`) comes last")
def test_what_is_billed_is_not_asked_for_where_it_can_be_had_for_nothing(
    shelf: Callable[[AssetServer], Room], server: AssetServer
) -> None:
    with AssetServer({"bucket/B04.tif": BAND}) as store:
        server.changes = billed(store, alternate={"https": {"href": f"{server.url}/B04.tif", "storage:refs": []}})
        engine, product = only(shelf(server))
        assert content(engine, product, "B04.tif") == BAND
        assert store.asked == []


@pytest.mark.says("with the credentials of that provider and no other's.")
def test_each_link_is_asked_with_the_credentials_of_its_own_provider_alone(
    shelf: Callable[[AssetServer], Room], server: AssetServer
) -> None:
    mine, other = (
        Provider(
            name,
            hosts=(f"{host}:*",),
            insecure_hosts=(f"{host}:*",),
            auth="basic",
            credentials={"username": name, "password": "secret"},
            retries=0,
        )
        for name, host in (("mine", "127.0.0.1"), ("other", "localhost"))
    )
    with AssetServer({"B04.tif": BAND}) as elsewhere:
        port = elsewhere.url.rpartition(":")[2]
        server.files["B04.tif"] = Served(BAND, 404)
        server.changes = {
            "assets": {
                "red": {
                    "href": f"{server.url}/B04.tif",
                    "alternate": {"mirror": {"href": f"http://localhost:{port}/B04.tif"}},
                }
            }
        }
        known = {"127.0.0.1": mine, "localhost": other}
        engine, product = only(shelf(server), known.__getitem__)
        assert content(engine, product, "B04.tif") == BAND
        assert {asked.authorization for asked in server.asked} == {auth.basic("mine", "secret")}
        assert {asked.authorization for asked in elsewhere.asked} == {auth.basic("other", "secret")}


def test_the_error_says_who_bills_where_nothing_else_is_to_be_had(
    shelf: Callable[[AssetServer], Room], server: AssetServer
) -> None:
    """As for Landsat: a web page in place of the data, and a store that bills who asks."""
    server.files["B04.tif"] = Served(b"<html>", kind="text/html")
    away = {"s3": {"href": "s3://usgs-landsat/B04.tif", "storage:requester_pays": True}}
    server.changes = {"assets": {"red": {"href": f"{server.url}/B04.tif", "alternate": away}}}
    told = failure(shelf(server))
    assert isinstance(told, NotAllowed)
    assert "usgs-landsat.s3.amazonaws.com bills who asks" in str(told)


@pytest.mark.says("Where none is of use, the error is that of the likeliest which takes a log-in.")
def test_the_error_is_that_of_the_link_that_a_log_in_would_open(
    shelf: Callable[[AssetServer], Room], server: AssetServer
) -> None:
    """The first link gives a web page, as landsatlook.usgs.gov does; the second one wants credentials."""
    server.files["B04.tif"] = Served(b"<html>", kind="text/html")
    store = {"type": "custom-s3", "platform": server.url}  # less likely, and asked last
    away = {
        "s3": {"href": "s3://bucket/nothing.tif", "storage:refs": ["store"]},
        "mirror": {"href": "https://other.example/B04.tif"},
    }
    server.changes = {
        "properties": {"storage:schemes": {"store": store}},
        "assets": {"red": {"href": f"{server.url}/B04.tif", "alternate": away, "file:size": len(BAND)}},
    }
    other = Provider("other", hosts=("other.example",), auth="basic")
    told = failure(shelf(server), **{"other.example": other})
    assert "no username and no password for other" in str(told)
    assert [asked.path for asked in server.asked][-1] == "bucket/nothing.tif"


@pytest.mark.says("Who has keys for an archive's files (S3) and no password for the archive reads the files.")
def test_the_files_of_an_archive_are_read_by_the_log_in_that_is_there(
    shelf: Callable[[AssetServer], Room], server: AssetServer
) -> None:
    """As at Copernicus Data Space, for who has keys of its store and no password."""
    with AssetServer({"bucket/X.SAFE/B04.jp2": BAND, "bucket/X.SAFE/MTD.xml": b"<a/>"}) as eodata:
        port = eodata.url.rpartition(":")[2]
        endpoint = f"http://localhost:{port}"
        paths = ("X.SAFE/B04.jp2", "X.SAFE/MTD.xml")
        server.changes = {
            "id": "X",
            "properties": {"storage:schemes": {"store": {"type": "custom-s3", "platform": endpoint}}},
            "assets": {
                "Product": {"href": f"{server.url}/X.zip", "type": "application/zip"},
                **{
                    path: {
                        "href": f"s3://bucket/{path}",
                        "storage:refs": ["store"],
                        "file:local_path": path,
                        "alternate": {"https": {"href": f"{server.url}/{path}", "storage:refs": []}},
                    }
                    for path in paths
                },
            },
        }
        zipper = Provider("zipper", hosts=("127.0.0.1:*",), auth="basic", files="odata-nodes", retries=0)
        store = Provider("store", auth="s3", credentials=KEYS, s3_endpoint=endpoint, hosts=(f"localhost:{port}",))
        room = shelf(server)
        for _ in range(2):  # the second one begins where the first has ended
            engine, product = only(room, {"127.0.0.1": zipper, "localhost": store}.__getitem__)
            assert [found.path for found in engine.listing(product, NOBODY).members] == [*paths]
            assert content(engine, product, "X.SAFE/B04.jp2") == BAND
            room.close()
        assert server.asked == []
