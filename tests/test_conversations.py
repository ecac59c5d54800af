"""From the log-in to the product: what each provider is asked, by its own file with nothing but its hosts replaced.

Providers that have to be ordered from are in tests/test_orders.py, stores that speak S3 in tests/test_s3_providers.py.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
from archives import make_zip
from confidential import APIKEY, PASSWORD, secret
from conftest import eofs
from engine_room import md5sums, together
from order_server import SHOPS
from played import JSON, Asked, Played, engine, say, serve

from eofs import catalog, providers
from eofs.demo import Reply
from eofs.errors import AccessRefused, EofsError, Gone, ProviderFailed
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eofs.model import Product, Provider

SCENE = "S2A_MSIL1C_20210101T105441_N0209_R051_T31TCJ_20210101T121145"
FILES = {f"{SCENE}.SAFE/manifest.safe": b"<xfdu/>", f"{SCENE}.SAFE/GRANULE/B04.jp2": b"\0\0\0\x0cjP  " * 2000}
ZIP = make_zip(*FILES.items())
TIFF = b"II*\0" + bytes(range(256)) * 300
UUID = "8a84f4dc-86e6-47d6-ae92-e2040873405d"
PERSON = {"username": "alice", "password": PASSWORD}
KEY = {"apikey": APIKEY}
KEYS = {"access_key": secret("access-key"), "secret_key": secret("secret-key")}
CLIENT_SECRET = secret("secret-of-the-users")
ELSEWHERE = "store.example"


class Stage(Played):
    """A provider at work.

    Attributes:
        good: the tokens, signatures and cookies that it takes by now.
        faults: what comes in place of bytes; each is used once.
    """

    def __init__(self, talk: Talk) -> None:
        super().__init__(*talk.hosts, answer=self._answer, elsewhere=(ELSEWHERE,))
        self.talk = talk
        self.good: list[str] = []
        self.faults: list[Reply] = []

    def give(self, what: str) -> str:
        """Return a fresh token, signature or cookie."""
        self.good.append(f"{secret(what)}-{len(self.asked)}")
        return self.good[-1]

    def _answer(self, asked: Asked) -> Reply:
        if asked.host == ELSEWHERE:
            return serve(asked, self.talk.content, self.talk.kind)
        if reply := self.talk.logs_in(self, asked):
            return reply
        if not self.talk.lets_in(self, asked):
            return self.talk.refusal
        if self.faults and asked.host == self.talk.hosts[0]:
            return self.faults.pop(0)
        return self.talk.brings(self, asked)

    @property
    def secrets(self) -> dict[str, str]:
        """Return what nobody else may see, by a name for each kind of it."""
        return {
            **self.talk.credentials,
            **self.talk.login,
            "token": "tok3n-",
            "refresh": "refr3sh-",
            "sig": "signed-",
            "cookie": "cookie-",
        }

    def read(self, directory: Path, *products: Product) -> list[dict[str, str]]:
        """Read products to their ends; return the MD5 of each of their files."""
        with engine(self.speaks(), directory) as opened:
            return [md5sums(opened, product) for product in products or self.products()]

    def speaks(self, **credentials: str) -> Provider:
        found = self.provider(self.talk.name, **(credentials or self.talk.credentials))
        return replace(found, login={**found.login, **self.talk.login})

    def products(self) -> tuple[Product, ...]:
        return self.result(self.talk.feature)


def nobody_logs_in(_stage: Stage, _asked: Asked) -> Reply | None:
    return None


def bytes_only(stage: Stage, asked: Asked) -> Reply:
    return serve(asked, stage.talk.content, stage.talk.kind, ranges=stage.talk.ranges)


@dataclass(frozen=True)
class Talk:
    """How a provider is talked to.

    Attributes:
        link: of a product, as a search result has it.
        hosts: all that have a part in it; the first is the one of the link.
        lets_in: whether a request may have bytes.
        asked: what is asked for one product that is read to its end, and what each request shows.
        login: further settings of `auth` that a user has to give.
        eodag_2: the result was written by eodag 2, which called the provider so.
        lists: paths that are open to all, as eofs knows.
        loose: it is a single file, and the link that of an asset.
        logs_in: what a log-in answers; None where it is not asked.
        brings: what is answered to who may have it.
        refusal: what is answered to who may not.
    """

    name: str
    link: str
    hosts: tuple[str, ...]
    lets_in: Callable[[Stage, Asked], bool]
    asked: list[tuple[str, set[str]]]
    credentials: Mapping[str, str] = field(default_factory=dict)
    login: Mapping[str, str] = field(default_factory=dict)
    eodag_2: str = ""
    lists: tuple[str, ...] = ()
    loose: bool = False
    ranges: bool = True
    logs_in: Callable[[Stage, Asked], Reply | None] = nobody_logs_in
    brings: Callable[[Stage, Asked], Reply] = bytes_only
    refusal: Reply = field(default_factory=lambda: Reply(401))

    @property
    def content(self) -> bytes:
        return TIFF if self.loose else ZIP

    @property
    def kind(self) -> str:
        return "image/tiff" if self.loose else "application/zip"

    @property
    def feature(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "Feature", "id": UUID, "geometry": None}
        if self.loose:
            said = {"title": "scene", "eodag:provider": self.name}
            return {**found, "properties": said, "assets": {"data": {"href": self.link, "roles": ["data"]}}}
        said = {"title": SCENE, "eodag:provider": self.name, "eodag:download_link": self.link}
        if self.eodag_2:
            said = {"title": SCENE, "eodag_provider": self.eodag_2, "downloadLink": self.link}
        return {**found, "properties": said}


# -- how they log in ---------------------------------------------------------------------------------------------------


def anybody(_stage: Stage, _asked: Asked) -> bool:
    return True


def basic(_stage: Stage, asked: Asked) -> bool:
    return asked.authorization == f"Basic {PERSON['username']}:{PERSON['password']}"


def header(name: str, value: str) -> Callable[[Stage, Asked], bool]:
    return lambda _stage, asked: asked.request.headers.get(name) == value


def bearer(stage: Stage, asked: Asked) -> bool:
    return asked.authorization.removeprefix("Bearer ") in stage.good


def signed(stage: Stage, asked: Asked) -> bool:
    return asked.request.query.get("sig", asked.request.query.get("X-Amz-Signature")) in stage.good


def bearer_for_bytes(stage: Stage, asked: Asked) -> bool:
    return asked.path in stage.talk.lists or bearer(stage, asked)


def keycloak(realm: str, **client: str) -> Callable[[Stage, Asked], Reply | None]:
    """Give tokens for a password, as Keycloak does (RFC 6749, section 4.3), or for a refresh token."""
    at = f"/auth/realms/{realm}"

    def answer(stage: Stage, asked: Asked) -> Reply | None:
        if asked.path == f"{at}/.well-known/openid-configuration":
            return say(token_endpoint=stage.local(f"https://{asked.host}{at}/protocol/openid-connect/token"))
        if asked.path != f"{at}/protocol/openid-connect/token":
            return None
        form = asked.form
        knows = {"grant_type": "password", **PERSON, **client} == form
        renews = {"grant_type": "refresh_token", "refresh_token": form.get("refresh_token", ""), **client} == form
        if not knows and not (renews and form["refresh_token"] in stage.good):
            return Reply(401, JSON, b'{"error": "invalid_grant", "error_description": "Invalid user credentials"}')
        token, refresh = stage.give("tok3n"), stage.give("refr3sh")
        return say(access_token=token, refresh_token=refresh, expires_in=600, refresh_expires_in=3600)

    return answer


def consumer(stage: Stage, asked: Asked) -> Reply | None:
    """Give tokens for a consumer's key and secret (RFC 6749, section 4.4), as EUMETSAT does."""
    if asked.path != "/token":
        return None
    assert asked.form == {"grant_type": "client_credentials"}
    return say(access_token=stage.give("tok3n"), expires_in=3600) if basic(stage, asked) else Reply(401)


def muscate(stage: Stage, asked: Asked) -> Reply | None:
    """Give the token itself, as the old Theia did; and an empty text to who is not known."""
    if asked.path != "/atdistrib/services/authenticate/":
        return None
    known = asked.form == {"ident": PERSON["username"], "pass": PERSON["password"]}
    return Reply(200, {"Content-Type": "text/plain"}, stage.give("tok3n").encode() if known else b"")


def azure(stage: Stage, asked: Asked) -> Reply | None:
    """Sign for a whole container, as the Planetary Computer does; a key is no must."""
    if asked.path != "/api/sas/v1/sign":
        return None
    url = asked.request.query["href"]
    return say(
        **{"href": f"{url}?st=x&se=2099-01-01T00%3A00%3A00Z&sr=c&sig={stage.give('signed')}", "msft:expiry": "x"}
    )


def teledetection(stage: Stage, asked: Asked) -> Reply | None:
    """Sign one address for who has both keys."""
    if asked.path != "/sign":
        return None
    head = asked.request.headers
    if (head.get("access-key"), head.get("secret-key")) != (*KEYS.values(),):
        return Reply(403, JSON, b'{"detail": "Forbidden"}')
    url, signature = asked.request.query["url"], stage.give("signed")
    return say(href=f"{url}?X-Amz-Date=20990101T000000Z&X-Amz-Expires=600&X-Amz-Signature={signature}")


URS, LPDAAC = "urs.earthdata.nasa.gov", "data.lpdaac.earthdatacloud.nasa.gov"


def earthdata(stage: Stage, asked: Asked) -> Reply | None:
    """Send who has no cookie to where the password is asked for, and back, as the data centres of NASA do."""
    if asked.host == URS:
        if not basic(stage, asked):
            return Reply(401, {"WWW-Authenticate": 'Basic realm="Please enter your Earthdata Login credentials"'})
        return Reply(302, {"Location": f"https://{LPDAAC}/login?code=c0de&state={asked.request.query['state']}"})
    if asked.path == "/login":
        cookie = f"session={stage.give('cookie')}; Path=/; HttpOnly"
        return Reply(301, {"Location": f"https://{LPDAAC}{asked.request.query['state']}", "Set-Cookie": cookie})
    if asked.request.headers.get("cookie", "").removeprefix("session=") in stage.good:
        return None
    query = f"client_id=x&response_type=code&state={asked.path}"
    return Reply(302, {"Location": f"https://{URS}/oauth/authorize?{query}"})


# -- what they bring ---------------------------------------------------------------------------------------------------


def odata(stage: Stage, asked: Asked) -> Reply:
    """List nodes and serve files; the catalogue of Copernicus sends everybody on to its other host."""
    if asked.host == "catalogue.dataspace.copernicus.eu":
        return Reply(301, {"Location": f"https://download.dataspace.copernicus.eu{asked.path}"})
    inside = "/".join(re.findall(r"/Nodes\(([^)]+)\)", asked.path))
    if asked.path.endswith("/$value"):
        return serve(asked, FILES.get(inside, ZIP), "application/octet-stream")
    depth = len(inside.split("/")) if inside else 0
    here = sorted({tuple(path.split("/")[: depth + 1]) for path in FILES if path.startswith(inside)})
    sizes = {path: len(FILES.get("/".join(path), b"")) for path in here}
    return say(result=[{"Name": p[-1], "ContentLength": n, "ChildrenNumber": 0 if n else 1} for p, n in sizes.items()])


def entries(_stage: Stage, asked: Asked) -> Reply:
    """Describe a product with its files, and serve those."""
    if asked.path.endswith("/entry"):
        return serve(asked, FILES[asked.request.query["name"]], "application/octet-stream")
    return say(properties={"links": {"sip-entries": [{"title": path} for path in FILES]}})


def loose(address: str, *shown: str) -> list[tuple[str, set[str]]]:
    """Return what is asked for a file of its own: how long it is, and what it holds."""
    return [(f"{method} {address}", {*shown}) for method in ("HEAD", "GET")]


# -- the table ---------------------------------------------------------------------------------------------------------

OPENID = "/.well-known/openid-configuration"
TOKEN = "/protocol/openid-connect/token"
EUMETSAT = "collections/EO%3AEUM%3ADAT%3A0921/products/PREmm20201201000000120IMPGS01GL"
CDSE = f"/odata/v1/Products({UUID})"
LISTED = [f"{CDSE}/Nodes", f"{CDSE}/Nodes({SCENE}.SAFE)/Nodes", f"{CDSE}/Nodes({SCENE}.SAFE)/Nodes(GRANULE)/Nodes"]
READ = [
    f"{CDSE}/Nodes({SCENE}.SAFE)/Nodes(manifest.safe)/$value",
    f"{CDSE}/Nodes({SCENE}.SAFE)/Nodes(GRANULE)/Nodes(B04.jp2)/$value",
]
MESO = "s3-data.meso.umontpellier.fr"
PLANET = "planetarycomputer.microsoft.com"
BLOB = "sentinel2l2a01.blob.core.windows.net"
HLS = "/lp-prod-protected/HLSS30.020/HLS.S30.T31TCJ.2021001T105441.v2.0.B04.tif"

TALKS = (
    Talk(
        "peps",
        f"https://peps.cnes.fr/resto/collections/S2ST/{UUID}/download",
        ("peps.cnes.fr",),
        basic,
        [(f"GET peps.cnes.fr/resto/collections/S2ST/{UUID}/download?issuerId=peps", {*PERSON})],
        PERSON,
        eodag_2="peps",
    ),
    Talk(
        "sara",
        f"https://copernicus.nci.org.au/sara.server/1.0/collections/S2/{UUID}/download",
        ("copernicus.nci.org.au",),
        basic,
        [(f"GET copernicus.nci.org.au/sara.server/1.0/collections/S2/{UUID}/download", {*PERSON})],
        PERSON,
        refusal=Reply(403),
    ),
    Talk(
        "dlr_eoc_geoservice",
        "https://download.geoservice.dlr.de/S2_L2A_MAJA/files/31/T/CJ/2021/scene.zip",
        ("download.geoservice.dlr.de",),
        basic,
        [("GET download.geoservice.dlr.de/S2_L2A_MAJA/files/31/T/CJ/2021/scene.zip", {*PERSON})],
        PERSON,
    ),
    Talk(
        "sobloo",
        f"https://sobloo.eu/api/v1/services/download/{UUID}",
        ("sobloo.eu",),
        header("authorization", f"Apikey {KEY['apikey']}"),
        [(f"GET sobloo.eu/api/v1/services/download/{UUID}", {"apikey"})],
        KEY,
        eodag_2="sobloo",
        refusal=Reply(500),
        ranges=False,
    ),
    Talk(
        "geodes",
        f"https://geodes-portal.cnes.fr/api/download/URN:FEATURE:DATA:gdh:{UUID}:V1/files/md5",
        ("geodes-portal.cnes.fr",),
        header("x-api-key", KEY["apikey"]),
        [(f"GET geodes-portal.cnes.fr/api/download/URN:FEATURE:DATA:gdh:{UUID}:V1/files/md5", {"apikey"})],
        KEY,
        ranges=False,
    ),
    Talk(
        "hydroweb_next",
        "https://hydroweb.next.theia-land.fr/api/v1/rs-catalog/storages/URN/files/scene.tif",
        ("hydroweb.next.theia-land.fr",),
        header("x-api-key", KEY["apikey"]),
        loose("hydroweb.next.theia-land.fr/api/v1/rs-catalog/storages/URN/files/scene.tif", "apikey"),
        KEY,
        loose=True,
    ),
    Talk(
        "cop_dataspace",
        f"https://catalogue.dataspace.copernicus.eu{CDSE}/$value",
        (
            "catalogue.dataspace.copernicus.eu",
            "download.dataspace.copernicus.eu",
            "identity.dataspace.copernicus.eu",
        ),
        bearer_for_bytes,
        [
            (f"GET identity.dataspace.copernicus.eu/auth/realms/CDSE{OPENID}", set()),
            (f"POST identity.dataspace.copernicus.eu/auth/realms/CDSE{TOKEN}", {*PERSON}),
            (f"GET catalogue.dataspace.copernicus.eu{CDSE}/Nodes", {"token"}),
            *((f"GET download.dataspace.copernicus.eu{path}", {"token"}) for path in [*LISTED, *READ]),
        ],
        PERSON,
        lists=(*LISTED,),
        logs_in=keycloak("CDSE", client_id="cdse-public"),
        brings=odata,
        refusal=Reply(401, JSON, b'{"detail": "Expired signature!", "code": "DAT-ZIP-109"}'),
    ),
    Talk(
        "creodias",
        f"https://zipper.creodias.eu{CDSE}/$value",
        ("zipper.creodias.eu", "identity.cloudferro.com"),
        bearer_for_bytes,
        [
            (f"GET identity.cloudferro.com/auth/realms/Creodias-new{OPENID}", set()),
            (f"POST identity.cloudferro.com/auth/realms/Creodias-new{TOKEN}", {*PERSON, "client_secret"}),
            *((f"GET zipper.creodias.eu{path}", {"token"}) for path in [*LISTED, *READ]),
        ],
        PERSON,
        login={"client_secret": CLIENT_SECRET},
        lists=(*LISTED,),
        logs_in=keycloak("Creodias-new", client_id="CLOUDFERRO_PUBLIC", client_secret=CLIENT_SECRET),
        brings=odata,
    ),
    Talk(
        "eumetsat_ds",
        f"https://api.eumetsat.int/data/download/1.0.0/{EUMETSAT}",
        ("api.eumetsat.int",),
        bearer_for_bytes,
        [
            ("POST api.eumetsat.int/token", {*PERSON}),
            (f"GET api.eumetsat.int/data/browse/1.0.0/{EUMETSAT}?format=json", {"token"}),
            *(
                line
                for path in FILES
                for line in loose(
                    f"api.eumetsat.int/data/download/1.0.0/{EUMETSAT}/entry?name={quote(path, '')}", "token"
                )
            ),
        ],
        PERSON,
        lists=(f"/data/browse/1.0.0/{EUMETSAT}",),
        logs_in=consumer,
        brings=entries,
    ),
    Talk(
        "theia_muscate",
        f"https://theia.cnes.fr/atdistrib/resto2/collections/SENTINEL2/{UUID}/download",
        ("theia.cnes.fr",),
        bearer,
        [
            ("POST theia.cnes.fr/atdistrib/services/authenticate/", {"ident", "pass"}),
            (f"GET theia.cnes.fr/atdistrib/resto2/collections/SENTINEL2/{UUID}/download?issuerId=theia", {"token"}),
        ],
        {"ident": PERSON["username"], "pass": PERSON["password"]},
        eodag_2="theia",
        logs_in=muscate,
        refusal=Reply(403),
    ),
    Talk(
        "theia",
        f"https://{MESO}/sm1-gdc/scene.tif",
        (MESO, "signing.stac.teledetection.fr"),
        signed,
        [
            (
                f"GET signing.stac.teledetection.fr/sign?url={quote(f'https://{MESO}/sm1-gdc/scene.tif', '')}",
                {"access_key", "secret_key"},
            ),
            *loose(
                "s3-data.meso.umontpellier.fr/sm1-gdc/scene.tif?X-Amz-Date=20990101T000000Z&X-Amz-Expires=600", "sig"
            ),
        ],
        KEYS,
        loose=True,
        logs_in=teledetection,
        refusal=Reply(403),
    ),
    Talk(
        "planetary_computer",
        f"https://{BLOB}/s2-l2/scene.tif",
        (BLOB, PLANET),
        signed,
        [
            (
                f"GET {PLANET}/api/sas/v1/sign?href={quote(f'https://{BLOB}/s2-l2/scene.tif', '')}",
                {"apikey"},
            ),
            *loose(f"{BLOB}/s2-l2/scene.tif?st=x&se=2099-01-01T00%3A00%3A00Z&sr=c", "sig"),
        ],
        KEY,
        loose=True,
        logs_in=azure,
        refusal=Reply(403),
    ),
    Talk(
        "earthdata",
        f"https://{LPDAAC}{HLS}",
        (LPDAAC, URS),
        anybody,
        [
            (f"HEAD {LPDAAC}{HLS}", set()),
            (
                f"HEAD {URS}/oauth/authorize?client_id=x&response_type=code&state={quote(HLS, '')}",
                {*PERSON},
            ),
            (f"HEAD {LPDAAC}/login?code=c0de&state={quote(HLS, '')}", set()),
            *loose(f"{LPDAAC}{HLS}", "cookie"),
        ],
        PERSON,
        loose=True,
        logs_in=earthdata,
    ),
    Talk(
        "cop_ghsl",
        "https://jeodpp.jrc.ec.europa.eu/ftp/jrc-opendata/GHSL/GHS_POP_GLOBE_R2023A/tiles/scene.zip",
        ("jeodpp.jrc.ec.europa.eu",),
        anybody,
        [("GET jeodpp.jrc.ec.europa.eu/ftp/jrc-opendata/GHSL/GHS_POP_GLOBE_R2023A/tiles/scene.zip", set())],
    ),
    Talk(
        "fedeo_ceda",
        "https://data.ceda.ac.uk/thredds/fileServer/esacci/scene.tif",
        ("data.ceda.ac.uk",),
        anybody,
        loose("data.ceda.ac.uk/thredds/fileServer/esacci/scene.tif"),
        loose=True,
    ),
)


@pytest.fixture(params=TALKS, ids=lambda talk: talk.name)
def stage(request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    """Play a provider; in the end nothing that is secret stands in the log or in the cache."""
    caplog.set_level(logging.DEBUG, "eofs")
    with Stage(request.param) as played:
        yield played
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    secrets = set(played.secrets.values()) - {PERSON["username"]}
    assert not [secret for secret in secrets if secret in caplog.text or secret.encode() in left]


ABOUT = {talk.name: talk for talk in TALKS}
TELLS = [talk for talk in TALKS if talk.credentials and talk.name != "planetary_computer"]  # its key is no must
RENEWS = [talk.name for talk in TALKS if talk.logs_in is not nobody_logs_in]


def by_line(asked: list[tuple[str, set[str]]]) -> list[tuple[str, set[str]]]:
    """Sort what was asked: files are read at once."""
    return sorted(asked, key=lambda each: each[0])


def only(*talks: Talk) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stage", talks, ids=lambda talk: talk.name, indirect=True)


def test_a_product_comes_by_exactly_these_requests_and_what_they_show(stage: Stage, tmp_path: Path) -> None:
    found = stage.read(tmp_path)
    assert by_line(stage.shown(stage.secrets)) == by_line(stage.talk.asked)
    assert [product.provider for product in stage.products()] == [stage.talk.name]
    wanted = [TIFF] if stage.talk.loose else FILES.values()
    assert sorted(found[0].values()) == sorted(hashlib.md5(content).hexdigest() for content in wanted)


@only(*(ABOUT[name] for name in RENEWS if name != "earthdata"))  # that gives each reader a cookie of his own
def test_many_readers_log_in_once(stage: Stage, tmp_path: Path) -> None:
    with engine(stage.speaks(), tmp_path) as opened:
        found = together(4, lambda: md5sums(opened, stage.products()[0]))
    assert found[1:] == found[:1] * 3
    logged_in = [line for line, shown in stage.shown(stage.secrets) if shown & {*stage.talk.credentials}]
    assert logged_in == [line for line, shown in stage.talk.asked if shown & {*stage.talk.credentials}]
    assert len(logged_in) == 1


@only(*TELLS)
def test_without_credentials_it_is_said_what_to_set_and_nobody_is_asked_for_bytes(stage: Stage, tmp_path: Path) -> None:
    speaks = replace(stage.speaks(), credentials={})
    with engine(speaks, tmp_path) as opened, pytest.raises(AccessRefused) as wrong:
        md5sums(opened, stage.products()[0])
    variables = [f"EODAG__{stage.talk.name}__AUTH__CREDENTIALS__{key}".upper() for key in stage.talk.credentials]
    assert f"for {stage.talk.name}; set {' and '.join(variables)}, or write" in str(wrong.value)
    assert {asked.path for asked in stage.asked} <= {*stage.talk.lists}


@only(*TELLS)
def test_wrong_credentials_are_refused_in_one_sentence_and_not_sent_again_and_again(
    stage: Stage, tmp_path: Path
) -> None:
    with engine(stage.speaks(**dict.fromkeys(stage.talk.credentials, "wrong")), tmp_path) as opened:
        for _ in range(3):
            with pytest.raises((AccessRefused, ProviderFailed)) as wrong:  # the old Theia gives an empty token
                md5sums(opened, stage.products()[0])
    assert stage.talk.name in str(wrong.value)
    assert "wrong" not in str(wrong.value)
    assert len([asked for asked in stage.asked if asked.shows({"wrong": "wrong"})]) in {1, 2}  # HEAD and GET
    assert stage.good == []


@pytest.mark.says("credentials go to the provider's own hosts only")
def test_a_redirect_to_another_host_takes_nothing_along(stage: Stage, tmp_path: Path) -> None:
    stage.faults = [Reply(302, {"Location": f"https://{ELSEWHERE}/scene"})] * 99
    with engine(stage.speaks(), tmp_path) as opened, contextlib.suppress(ProviderFailed):  # a list is not there
        md5sums(opened, stage.products()[0])
    seen = [shown for line, shown in stage.shown(stage.secrets) if ELSEWHERE in line]
    assert seen
    assert not any(seen)


def test_what_is_no_longer_there_is_said(stage: Stage, tmp_path: Path) -> None:
    stage.faults = [Reply(404)] * 99
    speaks = stage.speaks()
    with engine(speaks, tmp_path) as opened, pytest.raises(Gone) as wrong:
        md5sums(opened, stage.products()[0])
    assert f"{stage.talk.name} no longer has the product" in str(wrong.value)
    assert (speaks.closed or "has closed") in str(wrong.value) or not speaks.closed


def test_a_provider_that_is_busy_for_a_while_is_asked_again(stage: Stage, tmp_path: Path) -> None:
    stage.faults = [Reply(503, {"Retry-After": "0"}), Reply(429, {"Retry-After": "0"})]
    assert len(stage.read(tmp_path)[0]) == (1 if stage.talk.loose else 2)


@only(*(ABOUT[name] for name in RENEWS))
def test_what_ends_before_its_time_is_renewed(stage: Stage, tmp_path: Path) -> None:
    first, second = (*stage.products(), replace(stage.products()[0], id="2", uid="2"))
    with engine(stage.speaks(), tmp_path) as opened:
        before = md5sums(opened, first)
        given = [*stage.good]
        stage.good = [kept for kept in given if kept.startswith("refr3sh")]
        assert md5sums(opened, second) == before
    assert not {*given} & {*stage.good} or stage.talk.name in {"cop_dataspace", "creodias"}
    forms = [asked.form for asked in stage.asked if asked.path.endswith(TOKEN)]
    assert [form["grant_type"] for form in forms] == (["password", "refresh_token"] if forms else [])


@pytest.mark.says(
    "A product that is OFFLINE at a provider that takes no orders (`order_enabled: false`, as at Copernicus Data "
    "Space and CREODIAS) is asked for once",
    "if it has not, the error says that it cannot be ordered.",
)
@pytest.mark.says("or takes no orders for what is OFFLINE EREMOTEIO")
@only(ABOUT["cop_dataspace"], ABOUT["creodias"])
@pytest.mark.parametrize("reply", [Reply(202), Reply(404), Reply(400)], ids=["202", "404", "400"])
def test_what_is_offline_where_nothing_can_be_ordered_says_so(stage: Stage, reply: Reply, tmp_path: Path) -> None:
    stage.faults = [reply] * 99
    offline = replace(stage.products()[0], status=StorageStatus.OFFLINE)
    with engine(stage.speaks(), tmp_path) as opened, pytest.raises(EofsError) as wrong:
        md5sums(opened, offline)
    name = stage.talk.name
    assert wrong.value.errno == errno.EREMOTEIO
    assert len([asked for asked in stage.asked if asked.path.endswith("/$value")]) == 1
    assert f"is OFFLINE, and {name} takes no orders from eofs; restore it on the web site of" in str(wrong.value)


@pytest.mark.says("as it may have come to disk since the search")
@only(ABOUT["cop_dataspace"], ABOUT["creodias"])
def test_what_has_come_to_disk_since_the_search_is_served(stage: Stage, tmp_path: Path) -> None:
    offline = replace(stage.products()[0], status=StorageStatus.OFFLINE)
    assert len(stage.read(tmp_path, offline)[0]) == 2


# -- by the program ----------------------------------------------------------------------------------------------------


def fetch(home: Path, settings: dict[str, Any], *products: dict[str, Any], **variables: str) -> list[Path]:
    """Bring products as a user does who has written these settings; return the files."""
    (home / ".config/eofs").mkdir(parents=True)
    written = {**settings, "eofs": {"fallback": "none"}}
    (home / ".config/eofs/eofs.yml").write_text(json.dumps(written), encoding="utf-8")  # JSON is YAML
    result = home / "result.json"
    result.write_text(json.dumps({"type": "FeatureCollection", "features": products}), encoding="utf-8")
    options = ("--log-file", home / "eofs.log")
    done = eofs("fetch", result, "--output", home / "out", *options, home=home, env=variables)
    assert done.returncode == 0, done.stderr
    seen = done.stdout + done.stderr + (home / "eofs.log").read_text(encoding="utf-8")
    assert not [secret for secret in variables.values() if secret in seen]
    return sorted(path for path in (home / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("stage", "of_eodag"),
    [(ABOUT["cop_dataspace"], "cop_dataspace"), (ABOUT["theia_muscate"], "theia"), (ABOUT["theia"], "theia")],
    ids=["cop_dataspace", "theia of eodag 2", "theia of eodag 4"],
    indirect=["stage"],
)
def test_the_program_needs_the_variables_of_eodag_only(stage: Stage, of_eodag: str, tmp_path: Path) -> None:
    variables = {f"EODAG__{of_eodag}__AUTH__CREDENTIALS__{key}".upper(): v for key, v in stage.talk.credentials.items()}
    feature = json.loads(stage.local(json.dumps(stage.talk.feature)))
    brought = fetch(tmp_path / "home", {stage.talk.name: stage.settings(stage.talk.name)}, feature, **variables)
    wanted = [TIFF] if stage.talk.loose else [FILES[path] for path in sorted(FILES)]
    assert [path.read_bytes() for path in brought] == wanted


@only(ABOUT["planetary_computer"])
def test_items_that_name_no_provider_are_known_by_their_host_and_signed_anew(stage: Stage, tmp_path: Path) -> None:
    url = stage.local(stage.talk.link)
    assets = {name: {"href": f"{url}?{name}&se=2021-01-01&sig=old"} for name in ("B02", "B03")}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "x", "geometry": None, "properties": {}, "assets": assets}
    settings = {**stage.settings("planetary_computer"), "known_by": ["127.0.0.1"]}
    brought = fetch(tmp_path / "home", {"planetary_computer": settings}, item)
    assert [path.read_bytes() for path in brought] == [TIFF, TIFF]
    assert "old" not in {asked.request.query.get("sig") for asked in stage.asked}


@only(ABOUT["theia_muscate"])
def test_a_provider_that_results_know_by_several_hosts_has_one_token(stage: Stage, tmp_path: Path) -> None:
    place, login = stage.place("theia.cnes.fr"), {**stage.settings("theia_muscate")}
    other = place.replace("127.0.0.1", "localhost")
    settings = {**login, "hosts": [place, other], "known_by": ["127.0.0.1", "localhost"]}
    link = stage.local(stage.talk.link)
    features = [
        {"type": "Feature", "id": host, "geometry": None, "properties": {"title": host, "downloadLink": url}}
        for host, url in (("one", link), ("two", link.replace(place, other)))
    ]
    credentials = {f"EODAG__THEIA__AUTH__CREDENTIALS__{key}".upper(): v for key, v in stage.talk.credentials.items()}
    assert len(fetch(tmp_path / "home", {"theia_muscate": settings}, *features, **credentials)) == 2 * len(FILES)
    assert [asked.request.method for asked in stage.asked].count("POST") == 1


# -- nobody is left out ------------------------------------------------------------------------------------------------

# Who speaks as another one does.
LIKE = {"astraea_eod": "earth_search"}


def test_every_provider_has_a_conversation() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_s3*.py"))
    stores = {name for name in providers.builtin() if f'"{name}"' in text}
    assert {*providers.builtin()} - {*ABOUT, *SHOPS, *stores, *LIKE} == {"demo"}


@pytest.mark.parametrize("name", LIKE)
def test_who_speaks_as_another_does_so(name: str) -> None:
    built = {each: providers.build(each, providers.builtin()[each], source=None) for each in (name, LIKE[name])}
    one, other = (replace(each, name="", title="", hosts=(), known_by=()) for each in built.values())
    assert one == other


def test_links_are_those_of_real_results() -> None:
    folder = os.environ.get("EOFS_SAMPLE_RESULTS")
    if not folder:
        pytest.skip("not here: EOFS_SAMPLE_RESULTS names no folder of real search results")
    seen = set()
    for path in sorted(Path(folder).glob("*/*json")):
        for product in catalog.load(path).products:
            if talk := ABOUT.get(product.provider):
                seen.add(talk.name)
                assert {shape(url) for url in [product.location or ""]} & {shape(talk.link), *OLDER}, product.location
    assert seen >= {"peps", "sobloo", "theia_muscate", "creodias", "cop_dataspace"}


OLDER = {"zipper.creodias.eu/download/ID"}  # eodag 2


def shape(url: str) -> str:
    """Return a link without what is one product's own."""
    parts = urlsplit(url)
    return parts.netloc + re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=collections/)\w+", "ID", parts.path)
