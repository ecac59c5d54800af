"""Provider files say what, never if; what a user writes in their shape is read or refused with a sentence."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eofs import auth, catalog, config, providers
from eofs.errors import ConfigError
from eofs.links import address_of
from eofs.model import Provider
from eofs.providers import values

if TYPE_CHECKING:
    from eofs.config import Config

PERSON = ("username", "password")
says = pytest.mark.says


def build(settings: dict[str, Any], name: str = "peps") -> Provider:
    return providers.build(name, settings, source="eofs.yml")


@pytest.mark.parametrize("name", providers.builtin())
def test_every_built_in_provider_can_be_built(name: str) -> None:
    provider = build(providers.builtin()[name], name)
    assert provider.title
    assert provider.hosts
    assert provider.auth in auth.KINDS


def test_peps() -> None:
    peps = build(providers.builtin()["peps"])
    assert auth.may_receive(peps, "https://peps.cnes.fr/resto/collections/S2ST/1/download")
    assert auth.missing(peps) == ("username", "password")
    assert (peps.dl_url_params, peps.max_connections) == ({"issuerId": "peps"}, 4)
    assert peps.order == "get"


# -- who sees what -----------------------------------------------------------------------------------------------------

# A provider, an address, and the credentials that go there: by name, in a header or in the query.
UUID = "00000000-0000-4000-8000-000000000000"
SENT: list[tuple[str, str, set[str]]] = [
    ("peps", "https://peps.cnes.fr/resto/collections/S2ST/1/download", {"Authorization"}),
    ("peps", "http://peps.cnes.fr/resto/collections/S2ST/1/download", set()),
    ("onda", f"https://catalogue.onda-dias.eu/dias-catalogue/Products({UUID})/$value", {"Authorization"}),
    ("mundi", "https://mundiwebservices.com/dp/s2-l1c?prefix=x", {"Cookie"}),
    ("mundi", "https://obs.eu-de.otc.t-systems.com/s2-l1c-2020-q1/30/T/YP", set()),
    ("sobloo", "https://sobloo.eu/api/v1/services/download/1", {"Authorization"}),
    ("geodes", "https://geodes-portal.cnes.fr/api/download/URN:FEATURE:1/files/2", {"X-API-Key"}),
    ("geodes", "https://geodes.cnes.fr/", set()),
    ("hydroweb_next", "https://hydroweb.next.theia-land.fr/api/v1/x", {"X-API-Key"}),
    ("sara", "https://copernicus.nci.org.au/sara.server/1.0/x", {"Authorization"}),
    ("dlr_eoc_geoservice", "https://download.geoservice.dlr.de/x.zip", {"Authorization"}),
    ("meteoblue", "https://my.meteoblue.com/dataset/query", {"apikey"}),
    ("meteoblue", "http://queueresults.meteoblue.com/1", set()),
    ("earthdata", "https://urs.earthdata.nasa.gov/oauth/authorize?client_id=x", {"Authorization"}),
    ("earthdata", "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/x.tif", set()),
    ("earth_search", "https://sentinel-cogs.s3.us-west-2.amazonaws.com/x.tif", set()),
]


@pytest.mark.parametrize(("name", "url", "sent"), SENT)
def test_which_credentials_go_to_which_address(name: str, url: str, sent: set[str]) -> None:
    provider = known(**supplied(name)).provider(name)
    assert not auth.missing(provider)
    in_query = auth.address(provider, url).removeprefix(url)
    assert {*auth.headers(provider, url), *(["apikey"] if "apikey=" in in_query else [])} == sent


@pytest.mark.parametrize(
    ("name", "url", "seen"),
    [
        ("cop_dataspace", f"https://catalogue.dataspace.copernicus.eu/odata/v1/Products({UUID})/$value", True),
        ("cop_dataspace", f"https://download.dataspace.copernicus.eu/odata/v1/Products({UUID})/$value", True),
        ("cop_dataspace", f"https://zipper.dataspace.copernicus.eu/odata/v1/Products({UUID})/$value", True),
        ("cop_dataspace", "https://dataspace.copernicus.eu.example/", False),
        ("cop_dataspace", "https://cds.climate.copernicus.eu/", False),
        ("creodias", f"https://zipper.creodias.eu/odata/v1/Products({UUID})/$value", True),
        ("creodias", f"https://zipper.dataspace.copernicus.eu/odata/v1/Products({UUID})/$value", False),
        ("eumetsat_ds", "https://api.eumetsat.int/data/download/1.0.0/collections/x/products/y", True),
        ("theia_muscate", "https://theia.cnes.fr/atdistrib/resto2/collections/SENTINEL2/1/download", True),
        ("theia_muscate", "https://s3-data.meso.umontpellier.fr/x", False),
        ("theia", "https://s3-data.meso.umontpellier.fr/sm1-gdc/x.tif", True),
        ("theia", "https://signing.stac.teledetection.fr/sign", False),
        ("dedl", "https://hda.data.destination-earth.eu/stac/v2/x", True),
        ("dedl", "https://auth.destine.eu/realms/desp", False),
        ("wekeo", "https://wekeo-broker.prod.wekeo2.eu/databroker/dataorder/download/1", True),
        ("planetary_computer", "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif", True),
        ("planetary_computer", "https://planetarycomputer.microsoft.com/api/data/v1/item/preview.png", False),
    ],
)
def test_which_addresses_may_see_a_token_or_are_signed(name: str, url: str, *, seen: bool) -> None:
    provider = known().provider(name)
    assert auth.KINDS[provider.auth].asks
    assert auth.may_receive(provider, url) is seen


def known(**environ: str) -> Config:
    """Return the settings of somebody whose home holds none."""
    return config.load({}, environ={"HOME": "/nowhere", **environ})


def supplied(name: str) -> dict[str, str]:
    """Return the variables that `how_to_supply` says, each with a value."""
    said = auth.how_to_supply(known().provider(name))
    words = said.replace(",", " ").split()
    return {word: f"value of {word}" for word in words if word.startswith("EODAG__")}


@pytest.mark.parametrize("name", [name for name in providers.builtin() if name != "demo"])
def test_the_variables_that_a_provider_asks_for_are_all_that_it_wants(name: str) -> None:
    bare = known().provider(name)
    full = known(**supplied(name)).provider(name)
    assert auth.missing(bare) == auth.wanted(bare)
    assert auth.missing(full) == ()
    assert {f"EODAG__{name}__AUTH__CREDENTIALS__{wanted}".upper() for wanted in auth.wanted(bare)} == {*supplied(name)}


@pytest.mark.parametrize(
    ("name", "wanted", "optional"),
    [
        ("peps", ("username", "password"), ()),
        ("cop_dataspace", ("username", "password"), ("totp",)),
        ("eumetsat_ds", ("username", "password"), ()),
        ("theia_muscate", ("ident", "pass"), ()),
        ("theia", ("access_key", "secret_key"), ()),
        ("dedl", ("username", "password"), ()),
        ("wekeo", ("username", "password"), ()),
        ("geodes", ("apikey",), ()),
        ("mundi", ("apikey",), ()),
        ("meteoblue", ("apikey",), ()),
        ("planetary_computer", (), ("apikey",)),
        ("earthdata", ("username", "password"), ()),
        ("earth_search", (), ("aws_access_key_id", "aws_secret_access_key")),
    ],
)
def test_the_credentials_have_eodags_names(name: str, wanted: tuple[str, ...], optional: tuple[str, ...]) -> None:
    provider = known().provider(name)
    assert (auth.wanted(provider), auth.optional(provider)) == (wanted, optional)


@pytest.mark.parametrize("name", ["peps", "onda", "mundi", "sobloo", "theia_muscate", "wekeo"])
def test_a_service_that_has_closed_says_so(name: str) -> None:
    closed = providers.builtin()[name]["closed"]
    assert "has closed" in closed
    assert "search again" in closed


def test_limits_and_protocols_of_copernicus() -> None:
    for name in ("cop_dataspace", "creodias"):
        provider = build(providers.builtin()[name], name)
        assert (provider.max_connections, provider.order, provider.files) == (4, "none", "odata-nodes")


@pytest.mark.parametrize(
    ("kind", "plug_ins", "wants", "takes", "settings"),
    [
        pytest.param("none", [], (), (), {}, marks=says("`none` nobody is logged in")),
        pytest.param(
            "basic", ["GenericAuth", "HttpBasicAuth"], PERSON, (), {},
            marks=says("`basic` `GenericAuth`, `HttpBasicAuth` `username`, `password`"),
        ),
        pytest.param(
            "header", ["HTTPHeaderAuth"], ("a", "b"), (), {"headers": {"X-A": "{a}", "X-B": "{b}"}},
            marks=says("`header` `HTTPHeaderAuth` those in the braces of `headers`"),
        ),
        pytest.param(
            "query", ["HttpQueryStringAuth"], ("apikey",), (), {},
            marks=says("`query` `HttpQueryStringAuth` any, else `apikey`"),
        ),
        pytest.param(
            "query", ["HttpQueryStringAuth"], ("a", "b"), (), {"credentials": {"a": "1", "b": "2"}},
            marks=says("`query` `HttpQueryStringAuth` any"),
        ),
        pytest.param(
            "oidc_password", ["KeycloakOIDCPasswordAuth"], PERSON, ("totp",), {},
            marks=says("`oidc_password` `KeycloakOIDCPasswordAuth` `username`, `password`; `totp`"),
        ),
        pytest.param(
            "oidc_code", ["OIDCAuthorizationCodeFlowAuth"], PERSON, (), {},
            marks=says("`oidc_code` `OIDCAuthorizationCodeFlowAuth` `username`, `password`"),
        ),
        pytest.param(
            "oidc_exchange", ["OIDCTokenExchangeAuth"], PERSON, (), {},
            marks=says("`oidc_exchange` `OIDCTokenExchangeAuth` `username`, `password`"),
        ),
        pytest.param(
            "client_credentials", [], PERSON, (), {}, marks=says("`client_credentials` `username`, `password`")
        ),
        pytest.param(
            "token", ["TokenAuth"], ("ident", "pass"), (), {"credentials": {"ident": "a", "pass": "b"}},
            marks=says("`token` `TokenAuth` any"),
        ),
        pytest.param(
            "signed", ["SASAuth"], ("a",), ("b",), {"headers": {"X-A": "{a}", "X-B": "{b}"}, "optional": ["b"]},
            marks=says("`signed` `SASAuth` those in the braces of `headers`; of those that `optional` names"),
        ),
        pytest.param(
            "s3", ["AwsAuth"], (), ("aws_access_key_id", "aws_secret_access_key"), {}, marks=says("`s3` `AwsAuth`")
        ),
        pytest.param("earthdata", [], PERSON, (), {}, marks=says("`earthdata` `username`, `password`")),
    ],
)  # fmt: skip
@says("by a word of the table below or by the name of eodag's plug-in")
def test_a_log_in_is_named_by_its_word_or_eodags_plug_in_and_wants_these_credentials(
    kind: str, plug_ins: list[str], wants: tuple[str, ...], takes: tuple[str, ...], settings: dict[str, Any]
) -> None:
    for word in (kind, kind.upper(), *plug_ins):
        provider = build({"auth": {"type": word, **settings}})
        assert (provider.auth, auth.wanted(provider), auth.optional(provider)) == (kind, wants, takes)


def test_every_log_in_that_there_is_stands_in_the_table() -> None:
    table = (Path(__file__).parent.parent / "docs/SEMANTICS.md").read_text(encoding="utf-8")
    rows = [re.split(r"\s*\|\s*", line) for line in table.splitlines() if line.startswith("| `")]
    told = {cells[1].strip("`"): cells[2].strip("`").split("`, `") for cells in rows if len(cells) == 6}
    assert {name for name in told if name in auth.KINDS} == set(auth.KINDS)
    plug_ins = {name.lower(): kind for kind, names in told.items() if kind in auth.KINDS for name in names if name}
    assert plug_ins == auth.EODAG_KINDS


@pytest.mark.says(
    "`odata-nodes` (Copernicus Data Space, CREODIAS) or `eumetsat-entries` (EUMETSAT's Data Store); "
    "`none` takes back what a built-in file says."
)
def test_how_files_are_listed_is_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "eofs.yml"
    file.write_text("cop_dataspace: {download: {files: none}}", encoding="utf-8")
    found = known(EOFS__CONFIG=str(file))
    names = ("cop_dataspace", "creodias", "eumetsat_ds")
    assert [known().provider(name).files for name in names] == ["odata-nodes", "odata-nodes", "eumetsat-entries"]
    assert [found.provider(name).files for name in names] == [None, "odata-nodes", "eumetsat-entries"]


@pytest.mark.says(
    "`lookup: {odata: …, download_link: …}` says that a provider finds products by their names, so "
    "that it can stand in `fallback`"
)
def test_who_can_look_up_names_may_stand_in_fallback(tmp_path: Path) -> None:
    file = tmp_path / "eofs.yml"
    catalogue, link = "https://a.example/odata/v1/Products", "https://b.example/get/{id}"
    file.write_text(
        f"one: {{lookup: {{odata: '{catalogue}'}}}}\n"
        f"two: {{lookup: {{odata: '{catalogue}', download_link: '{link}'}}}}\neofs: {{fallback: [one, two]}}",
        encoding="utf-8",
    )
    found = known(EOFS__CONFIG=str(file))
    assert found.options.fallback == ("one", "two")
    assert [found.provider(name).lookup for name in ("one", "two")] == [catalogue, catalogue]
    assert [found.provider(name).download_link for name in ("one", "two")] == [None, link]


# -- one name, two providers -------------------------------------------------------------------------------------------


@pytest.mark.says(
    "`theia` is two providers.",
    "In results of eodag 2 and 3 it is the one that has closed, which is called `theia_muscate` here",
)
@pytest.mark.parametrize(
    ("written", "name"),
    [("eodag_provider", "theia_muscate"), ("eodag:provider", "theia")],
    ids=["eodag 3.6", "eodag 4.4"],
)
def test_theia_is_another_provider_in_results_of_another_eodag(written: str, name: str) -> None:
    feature = {"type": "Feature", "id": "x", "geometry": None, "properties": {written: "THEIA"}}
    found = catalog.read(json.dumps({"type": "FeatureCollection", "features": [feature]}).encode())
    assert [product.provider for product in found.products] == [name]


@pytest.mark.says("what is written of `theia` in variables", "each takes the credentials that are its own.")
@pytest.mark.parametrize(
    ("credentials", "name"),
    [({"IDENT": "a", "PASS": "b"}, "theia_muscate"), ({"ACCESS_KEY": "a", "SECRET_KEY": "b"}, "theia")],
    ids=["eodag 3.6", "eodag 4.4"],
)
def test_what_a_user_of_either_eodag_has_written_of_theia_is_found(credentials: dict[str, str], name: str) -> None:
    found = known(
        **{f"EODAG__THEIA__AUTH__CREDENTIALS__{key}": value for key, value in credentials.items()},
        EODAG__THEIA__DOWNLOAD__OUTPUTS_PREFIX="/data",
    )
    provider = found.provider(name)
    assert auth.missing(provider) == ()
    assert {key: provider.credentials[key.lower()] for key in credentials} == credentials
    assert found.output_dir(name) == Path("/data")
    other = ({"theia", "theia_muscate"} - {name}).pop()
    assert auth.missing(found.provider(other))


def test_what_is_said_of_the_old_theia_by_its_own_name_wins() -> None:
    both = {"EODAG__THEIA__AUTH__CREDENTIALS__IDENT": "a", "EODAG__THEIA_MUSCATE__AUTH__CREDENTIALS__IDENT": "b"}
    assert known(**both).provider("theia_muscate").credentials == {"ident": "b"}


# -- whose a result is that names no provider --------------------------------------------------------------------------


@pytest.mark.says("A result that names no provider, as STAC's, is the provider's whose host serves it")
@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("lpdaac.earthdata.nasa.gov", "earthdata"),
        ("data.lpdaac.earthdatacloud.nasa.gov", "earthdata"),
        ("e4ftl01.cr.usgs.gov", "earthdata"),
        ("Zipper.Dataspace.Copernicus.EU", "cop_dataspace"),
        ("sentinel-cogs.s3.us-west-2.amazonaws.com", "earth_search"),
        ("earth_search_cog", "earth_search"),
        ("sentinel2l2a01.blob.core.windows.net", "planetary_computer"),
        ("somebody.blob.core.windows.net", None),
        ("earthdata.nasa.gov.example", None),
        ("127.0.0.1", None),
        ("usgs", None),
    ],
)
def test_a_result_that_names_no_provider_is_known_by_its_host(host: str, name: str | None) -> None:
    assert known().provider(host).name == (name or host)


@pytest.mark.says(
    "The narrower entry counts (`a.example.org` before `.example.org`), then the user's own provider "
    "before a built-in one."
)
def test_a_host_that_two_name_is_the_narrower_ones_then_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "eofs.yml"
    file.write_text("mine: {hosts: [.dataspace.copernicus.eu]}\nyours: {hosts: [zipper.creodias.eu]}", encoding="utf-8")
    found = known(EOFS__CONFIG=str(file))
    hosts = ("zipper.dataspace.copernicus.eu", "zipper.creodias.eu", "datahub.creodias.eu")
    assert [found.provider(host).name for host in hosts] == ["mine", "yours", "creodias"]


@pytest.mark.says("one of `known_by`, else of its `hosts` and `auth: {hosts: …}` at their usual port.")
def test_a_result_is_known_by_hosts_at_their_usual_port_where_nothing_is_said_of_that(tmp_path: Path) -> None:
    file = tmp_path / "eofs.yml"
    file.write_text(
        "one: {hosts: [a.example, 'b.example:8443'], auth: {hosts: [c.example]}}\n"
        "two: {hosts: [d.example], known_by: [e.example]}",
        encoding="utf-8",
    )
    found = known(EOFS__CONFIG=str(file))
    hosts = {"a.example": "one", "c.example": "one", "e.example": "two"}
    assert {host: found.provider(host).name for host in hosts} == hosts
    assert [found.provider(host).name for host in ("b.example", "d.example")] == ["b.example", "d.example"]


def test_the_directory_for_products_holds_for_those_known_by_host() -> None:
    found = known(EODAG__EARTHDATA__DOWNLOAD__OUTPUT_DIR="/data")
    assert found.output_dir("lpdaac.earthdata.nasa.gov") == Path("/data")
    assert found.output_dir("nobody.example") is None


MAY_NOT_SEE = {"mundi"}  # its links lead to a store that is not its own


def test_every_real_product_is_of_a_known_provider_and_its_credentials_go_there() -> None:
    folder = os.environ.get("EOFS_SAMPLE_RESULTS")
    if not folder:
        pytest.skip("not here: EOFS_SAMPLE_RESULTS names no folder of real search results")
    settings = known()
    for path in sorted(Path(folder).glob("*/*json")):
        for product in catalog.load(path).products:
            provider = settings.provider(product.provider)
            assert provider.name in providers.builtin()
            links = [asset.href for asset in product.assets] or [product.location or ""]
            urls = {address_of(link, product, provider) for link in links}
            assert {auth.may_receive(provider, url) for url in urls} == {provider.name not in MAY_NOT_SEE}


def test_the_demo_provider_has_what_it_wants_on_any_port_of_this_machine() -> None:
    demo = build(providers.builtin()["demo"], "demo")
    assert auth.headers(demo, "http://127.0.0.1:40123/download")
    assert not auth.may_receive(demo, "https://demo.example/")


def test_the_built_in_files_are_read_once() -> None:
    assert providers.builtin() is providers.builtin()


@pytest.mark.says(
    "`auth: {type: …}` says how to log in, by a word of the table below or by the name of eodag's "
    "plug-in; the keys are eodag's:"
)
@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({}, "auth", "none"),
        ({"title": "Mine"}, "title", "Mine"),
        ({"closed": "closed in 2026"}, "closed", "closed in 2026"),
        ({"hosts": ["A.example", "b.example:1"]}, "hosts", ("a.example", "b.example:1")),
        ({"hosts": "a.example, b.example"}, "hosts", ("a.example", "b.example")),
        ({"hosts": ["a.example"], "auth": {"hosts": ["c.example", "a.example"]}}, "hosts", ("a.example", "c.example")),
        ({"hosts": ["a.example"], "auth": {"hosts": ["c.example"]}}, "known_by", ("a.example", "c.example")),
        ({"hosts": ["a.example"], "known_by": ["b.example"]}, "known_by", ("b.example",)),
        ({"auth": {"hosts": "http://c.lan:80"}}, "insecure_hosts", ("c.lan:80",)),
        ({"hosts": ["http://c.lan"], "auth": {"hosts": ["c.lan"]}}, "insecure_hosts", ("c.lan",)),
        ({"download": {"files": "odata-nodes"}}, "files", "odata-nodes"),
        ({"download": {"files": " EUMETSAT-Entries "}}, "files", "eumetsat-entries"),
        ({"download": {"files": "none"}}, "files", None),
        ({"download": {"files": ""}}, "files", None),
        ({"auth": {"type": "basic"}}, "auth", "basic"),
        ({"auth": {"type": "Basic"}}, "auth", "basic"),
        ({"auth": {"type": "GenericAuth"}}, "auth", "basic"),
        ({"auth": {"type": "GenericAuth", "method": "basic"}}, "auth", "basic"),
        ({"auth": {"type": "GenericAuth", "method": "digest"}}, "auth", "GenericAuth, method digest"),
        ({"auth": {"type": "HTTPHeaderAuth"}}, "auth", "header"),
        ({"auth": {"type": "KeycloakOIDCPasswordAuth"}}, "auth", "oidc_password"),
        ({"auth": {"type": "OIDCAuthorizationCodeFlowAuth"}}, "auth", "oidc_code"),
        ({"auth": {"type": "OIDCTokenExchangeAuth"}}, "auth", "oidc_exchange"),
        ({"auth": {"type": "EOIAMAuth"}}, "auth", "EOIAMAuth"),
        ({"auth": {"subject": {"client_id": "public", "login_form_xpath": "//form"}}}, "login",
         {"subject": {"client_id": "public", "login_form_xpath": "//form"}}),
        ({"auth": {"token_exchange_post_data_method": "data"}}, "login", {"req_format": "form"}),
        ({"auth": {"token_exchange_post_data_method": "json"}}, "login", {"req_format": "json"}),
        ({"auth": {"token_uri": " https://a.example/token "}}, "login", {"token_uri": "https://a.example/token"}),
        ({"auth": {"auth_uri": "https://a.example/?u={url}"}}, "login", {"auth_uri": "https://a.example/?u={url}"}),
        ({"auth": {"client_id": "public", "client_secret": None}}, "login", {"client_id": "public"}),
        ({"auth": {"headers": {"X-API-Key": "{apikey}"}}}, "login", {"headers": {"X-API-Key": "{apikey}"}}),
        ({"auth": {"token_provision": "QS", "token_qs_key": "t"}}, "login",
         {"token_provision": "qs", "token_qs_key": "t"}),
        ({"auth": {"auth_tuple": ["username", "password"], "post_credentials": "false"}}, "login",
         {"auth_tuple": ("username", "password"), "post_credentials": False}),
        ({"auth": {"credentials": {"USERNAME": "a", "pin": 7}}}, "credentials", {"username": "a", "pin": "7"}),
        ({"auth": {"credentials": {"username": None, "password": " "}}}, "credentials", {}),
        ({"auth": {"credentials": {"username": "a"}}}, "credentials_from", "eofs.yml"),
        ({"auth": {"credentials": {"username": ""}}}, "credentials_from", None),
        ({"auth": {"auth_error_code": 401}}, "auth_error_codes", {401}),
        ({"auth": {"auth_error_code": [401, 403]}}, "auth_error_codes", {401, 403}),
        ({"auth": {"auth_error_code": "401, 500"}}, "auth_error_codes", {401, 500}),
        ({"download": {"auth_error_code": 403}}, "auth_error_codes", {403}),
        ({"download": {"base_uri": "https://a.example/x"}}, "base_uri", "https://a.example/x"),
        ({"download": {"base_uri": "https://a.example/x"}}, "hosts", ("a.example:443",)),
        ({"download": {"base_uri": "http://a.example/x"}}, "insecure_hosts", ()),
        ({"download": {"base_uri": "https://{zone}.example/x"}}, "hosts", ()),
        ({"download": {"dl_url_params": {"issuerId": "x", "n": 3, "all": True, "not": None}}}, "dl_url_params",
         {"issuerId": "x", "n": "3", "all": "true"}),
        ({"download": {"ssl_verify": "False"}}, "ssl_verify", False),
        ({"download": {"extract": False}}, "extract", False),
        ({"download": {"extract": None}}, "extract", True),
        ({"download": {"order_enabled": False}}, "order", "none"),
        ({"download": {"order_enabled": "true"}}, "order", "get"),
        ({"download": {"max_workers": 2}}, "max_connections", 2),
        ({"download": {"max_connections": "3", "max_workers": 2}}, "max_connections", 3),
        ({"download": {"retries": 0}}, "retries", 0),
        ({"download": {"retry_delay": "0.5"}}, "retry_delay", 0.5),
        ({"priority": 1, "search": {"type": "QueryStringSearch"}, "download": {"archive_depth": "x"}}, "auth", "none"),
        ({"auth": None, "download": ""}, "auth", "none"),
    ],
)  # fmt: skip
def test_what_each_key_means(settings: dict[str, Any], field: str, value: object) -> None:
    assert getattr(build(settings), field) == value


def test_the_log_in_of_a_provider_as_eodag_describes_it() -> None:
    url = "https://identity.example/auth/realms/X/.well-known/openid-configuration"
    described = {
        "type": "KeycloakOIDCPasswordAuth",
        "matching_url": "https://catalogue.example",
        "oidc_config_url": url,
        "client_id": "public",
        "client_secret": None,
        "token_provision": "qs",
        "token_qs_key": "token",
        "allowed_audiences": ["PUBLIC"],
        "auth_error_code": 401,
        "credentials": {"username": "alice", "password": "hunter2", "totp": 123456},
    }
    provider = build({"auth": described}, "mine")
    assert (provider.auth, provider.auth_error_codes) == ("oidc_password", frozenset({401}))
    assert provider.credentials == {"username": "alice", "password": "hunter2", "totp": "123456"}
    login = {"oidc_config_url": url, "client_id": "public", "token_provision": "qs", "token_qs_key": "token"}
    assert provider.login == {**login, "matching_url": "https://catalogue.example"}
    assert "identity" not in repr(provider)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hosts": ["a/b"]}, "eofs.yml: peps.hosts: expected hosts such as"),
        ({"hosts": {"a": 1}}, "eofs.yml: peps.hosts: expected a single text"),
        ({"auth": {"type": "bsaic"}}, "peps.auth.type cannot be 'bsaic': expected one of none, basic, header,"),
        ({"auth": {"token_uri": "a.example"}}, "peps.auth.token_uri cannot be 'a.example': expected an address"),
        ({"auth": {"token_provision": "body"}}, "peps.auth.token_provision cannot be 'body': expected header or qs"),
        ({"auth": {"headers": "Bearer hunter2"}}, "peps.auth.headers: expected names with a text each"),
        ({"auth": {"subject": "x"}}, "peps.auth.subject.oidc_config_url: expected a mapping of settings above it"),
        (
            {"auth": {"token_exchange_post_data_method": "params"}},
            "peps.auth.token_exchange_post_data_method cannot be 'params': expected data or json",
        ),
        ({"auth": {"method": "ntlm"}}, "peps.auth.method cannot be 'ntlm': expected basic or digest"),
        (
            {"auth": {"auth_error_code": "login"}},
            "peps.auth.auth_error_code cannot be 'login': expected a whole",
        ),
        ({"auth": {"auth_error_code": 40}}, "expected a whole number from 100 to 599"),
        ({"download": {"max_connections": 0}}, "peps.download.max_connections cannot be '0': expected a whole number"),
        ({"download": {"max_connections": True}}, "expected a whole number"),
        ({"download": {"extract": "maybe"}}, "peps.download.extract cannot be 'maybe': expected true or false"),
        (
            {"download": {"files": "nodes"}},
            "peps.download.files cannot be 'nodes': expected one of odata-nodes, eumetsat",
        ),
        ({"download": {"files": ["odata-nodes"]}}, "peps.download.files: expected a single text"),
        ({"download": {"retries": "many"}}, "peps.download.retries cannot be 'many'"),
        ({"download": {"retries": -1}}, "peps.download.retries cannot be '-1'"),
        (
            {"download": {"retry_delay": "nan"}},
            "peps.download.retry_delay cannot be 'nan': expected seconds",
        ),
        ({"download": {"base_uri": ["x"]}}, "peps.download.base_uri: expected a single text"),
        ({"title": ["x"]}, "peps.title: expected a single text"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named_with_its_key_and_what_was_expected(
    settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as wrong:
        build(settings)
    assert sentence in str(wrong.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": "hunter2"},
        {"auth": ["hunter2"]},
        {"auth": {"credentials": "hunter2"}},
        {"auth": {"credentials": {"password": ["hunter2"]}}},
        {"auth": {"hosts": "http://alice:hunter2@a.example"}},
        {"download": {"dl_url_params": "apikey=hunter2"}},
    ],
)
def test_what_may_be_a_password_is_never_repeated(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as wrong:
        build(settings)
    assert "hunter2" not in str(wrong.value)
    assert wrong.value.__cause__ is None
    assert wrong.value.__suppress_context__


def test_a_provider_shows_no_credential() -> None:
    shown = repr(build({"auth": {"credentials": {"username": "alice", "password": "hunter2"}}}))
    assert "alice" not in shown
    assert "hunter2" not in shown


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["hosts", "type", "credentials", "auth_error_code", "base_uri", "dl_url_params", "retries", "extract"]
blocks = anything | st.dictionaries(st.sampled_from(KEYS), anything)


@given(st.dictionaries(st.sampled_from(["title", "hosts", "auth", "download"]), blocks))
def test_whatever_stands_in_a_file_it_is_read_or_refused(settings: dict[str, Any]) -> None:
    try:
        assert isinstance(build(settings), Provider)
    except ConfigError as error:
        assert str(error).startswith("eofs.yml: peps")  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0123", "0123"), ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2021-13-45", "2021-13-45"),
        ("1e3", "1e3"), ("yes", "yes"), ("007", "007"), ("0x1F", "0x1F"), ("'null'", "null"), ("a b c", "a b c"),
        ("null", None), ("~", None), ("", None), ('""', ""), ("!!int 3", 3),
    ],
)  # fmt: skip
def test_yaml_gives_back_what_stands_there(written: str, value: object) -> None:
    assert values.texts_of_yaml(f"password: {written}".encode()) == {"password": value}


@pytest.mark.parametrize(
    "content",
    [
        b"a: 1\npassword: !hunter2 x",
        b"a: 1\npassword: *hunter2",
        b"a: 1\npassword: @hunter2",
        b"a: 1\npassword: hunter2: x",
        b"a: 1\npassword: !!int hunter2",
        b"a: 1\npassword: !!timestamp 2021-13-45",
        b"password: [hunter2",
        b"a: 1\n--- \nb: hunter2",
        b"\xff\xfe\xff hunter2",
        b"hunter2: \x00",
        b"[" * 5000,
    ],
)
def test_what_is_not_yaml_is_refused_without_quoting_it(content: bytes) -> None:
    with pytest.raises(values.Unexpected) as wrong:
        values.texts_of_yaml(content)
    assert "hunter2" not in str(wrong.value)
    assert wrong.value.__context__ is None


def test_what_is_not_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(values.Unexpected, match="line 2"):
        values.texts_of_yaml(b"a: 1\npassword: @x")
