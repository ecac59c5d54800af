"""Providers that take orders, played on this machine as their documentation has them: a row of `SHOPS` each.

What is read with it is a provider's own file, with nothing but its hosts replaced. Where the log-in is DestinE's, which
tests/test_forms.py plays, a key in a header stands for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from archives import make_zip
from confidential import APIKEY, PASSWORD, secret
from engine_room import LeapingClock
from played import JSON, Played, say, serve

from eofs import providers
from eofs.cache import Cache
from eofs.client import Client
from eofs.config import Network
from eofs.demo import Reply
from eofs.fetch import Engine
from eofs.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from played import Asked

    from eofs.model import Product, Provider

TITLE = "S2A_MSIL1C_20210101T105441_N0209_R051_T31TCJ_20210101T121145"
FILES = {
    f"{TITLE}.SAFE/manifest.safe": b"<xfdu/>",
    f"{TITLE}.SAFE/GRANULE/B04.jp2": random.Random(1).randbytes(900_000),
}
ZIP = make_zip(*FILES.items())
UID = "85377955-c88a-40d1-806c-c7a2f2efd6a0"
PERSON = {"username": "alice", "password": PASSWORD}
KEY = {"apikey": APIKEY}
STORE = "store.example"  # of somebody else, where what is ready lies, at an address that is signed
SIGNED = f"X-Amz-Signature={secret('signed')}-"
WHY = "the tape is torn"


@dataclass(frozen=True)
class Ways:
    """How one provider takes orders.

    Attributes:
        result: the properties of a product in a search result; their addresses are the real ones.
        hosts: those of the provider that have a part in it.
        kind: returns what a request is: ``order``, ``status``, ``search``, ``bytes``, ``token``, or else ``other``.
        answers: what is answered to each kind; those that are not here, as all do.
        asked: what is asked for a product that is ready at the second look, with what each request shows.
        wants: the credentials.
        auth: in place of the log-in.
        body: what an order says, in JSON.
        fails: what is answered to the question after an order that has failed; None where nobody says so.
    """

    result: dict[str, Any]
    hosts: tuple[str, ...]
    kind: Callable[[Asked], str]
    answers: dict[str, Callable[[Shop, Asked], Reply]]
    asked: list[tuple[str, set[str]]]
    wants: dict[str, str]
    auth: dict[str, Any] | None = None
    body: Any = None
    fails: Reply | None = None


@dataclass(eq=False)
class Shop(Played):
    """One provider at work, inside of ``with``.

    Attributes:
        looks: after how many questions an order is ready.
        orders: those that it took, as they came.
        instead: what comes in place of the usual answer to a kind of request; each is used once.
        links: how many signed addresses it has given.
        good_from: the first of them that is taken.
    """

    name: str
    looks: int = 2
    orders: list[Asked] = field(default_factory=list, init=False)
    instead: defaultdict[str, deque[Reply]] = field(default_factory=lambda: defaultdict(deque), init=False)
    seen: int = field(default=0, init=False)
    links: int = field(default=0, init=False)
    good_from: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        self.ways = SHOPS[self.name]
        super().__init__(*self.ways.hosts, answer=self._answer, elsewhere=(STORE,))

    @property
    def is_ready(self) -> bool:
        """Look once more after the order, and tell whether it is ready."""
        self.seen += bool(self.orders)
        return bool(self.orders) and self.seen >= self.looks

    def sign(self) -> str:
        """Return a fresh signed address of the product."""
        self.links += 1
        return self.local(f"https://{STORE}/product.zip?{SIGNED}{self.links}")

    def count(self, kind: str) -> int:
        """Return how many requests of a kind there were."""
        return sum(self._kind(asked) == kind for asked in list(self.asked))

    @property
    def secrets(self) -> dict[str, str]:
        """Return what nobody else may see, by a name for it."""
        return {**self.ways.wants, "token": "tok3n-", "signed": "signed-"}

    def written(self, **download: Any) -> dict[str, Any]:
        """Return the settings of the provider's own file; `download` is laid over that part of them."""
        settings = self.settings(self.name, **self.ways.wants)
        text = json.dumps(settings).replace("http://queueresults", "https://queueresults")  # the one that is plain
        settings = json.loads(self.local(text))
        settings["auth"] |= self.ways.auth or {}
        settings["download"] |= download
        return dict(settings)

    def speaks(self, **download: Any) -> Provider:
        """Return the provider as `written`."""
        return providers.build(self.name, self.written(**download), source="eofs.yml")

    def feature(self, uid: str = UID, /, **changes: Any) -> dict[str, Any]:
        """Return the feature of the product in a search result; its addresses are the real ones."""
        said = {"title": TITLE, "uid": uid, "eodag:provider": self.name, "order:status": "orderable"}
        found = {**said, **self.ways.result, **changes}
        feature = {"type": "Feature", "id": uid, "geometry": None, "properties": found}
        return dict(json.loads(json.dumps(feature).replace(UID, uid)))

    def product(self, uid: str = UID, /, **changes: Any) -> Product:
        """Return the product as a search result has it."""
        return self.result(self.feature(uid, **changes))[0]

    def _kind(self, asked: Asked) -> str:
        return "bytes" if asked.host == STORE else self.ways.kind(asked)

    def _answer(self, asked: Asked) -> Reply:
        kind = self._kind(asked)
        if self.instead[kind]:
            reply = self.instead[kind].popleft()
            if kind == "order" and reply.status is None:
                self.orders.append(asked)  # it is taken, and the answer is lost
            return reply
        if kind == "order":
            self.orders.append(asked)
            self.seen = 0
        if asked.host == STORE and int(asked.request.query["X-Amz-Signature"].rpartition("-")[2]) < self.good_from:
            return Reply(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
        return {**_usual, **self.ways.answers}[kind](self, asked)


def _token(_shop: Shop, _asked: Asked) -> Reply:
    token, refresh = f"{secret('tok3n')}-1", f"{secret('tok3n')}-2"
    return say(access_token=token, data=token, refresh_token=refresh, expires_in=3600)


def _bytes(_shop: Shop, asked: Asked) -> Reply:
    return serve(asked, ZIP)


_usual: dict[str, Callable[[Shop, Asked], Reply]] = {
    "token": _token,
    "bytes": _bytes,
    "other": lambda _shop, _asked: Reply(404, JSON, b'{"detail": "Not Found"}'),
}


def kinds(**endings: str) -> Callable[[Asked], str]:
    """Tell the kind of a request by its method and a part of its path: ``order="POST /download"``."""

    def kind(asked: Asked) -> str:
        line = f"{asked.request.method} {asked.path}"
        method, _, path = line.partition(" ")
        for name, ending in endings.items():
            wanted, _, part = ending.partition(" ")
            if method == wanted and (part.removesuffix("*") in path if part.endswith("*") else path.endswith(part)):
                return name
        return "other"

    return kind


@contextlib.contextmanager
def engine(
    shop: Shop, directory: Path, *, clock: Any = None, download: dict[str, Any] | None = None, **options: Any
) -> Iterator[Engine]:
    """Open an engine on a cache that speaks with the shop; whoever waits by its clock has waited at once."""
    chosen = Options(cache_dir=directory, **{"wait": 2, "timeout": 20, "extract": True, "fallback": (), **options})
    cache = Cache(directory, 1 << 30)
    speaks = shop.speaks(**(download or {}))

    def client_for(_: str) -> Client:
        return Client(speaks, Network(), connections=4, stall_timeout=30.0)

    opened = Engine(cache, chosen, client_for, clock or LeapingClock())
    try:
        yield opened
    finally:
        opened.close()
        cache.close()


# -- ONDA, as eodag 2 describes it -------------------------------------------------------------------------------------

ONDA = f"https://catalogue.onda-dias.eu/dias-catalogue/Products({UID})"
_onda = Ways(
    result={"downloadLink": f"{ONDA}/$value", "orderLink": f"{ONDA}/Ens.Order", "storageStatus": "OFFLINE"},
    hosts=("catalogue.onda-dias.eu",),
    kind=kinds(order="POST /Ens.Order", bytes="GET /$value", status=f"GET Products({UID[:8]}*"),
    answers={
        "order": lambda shop, _: say(
            Id=f"onda-{len(shop.orders)}", Status="RUNNING", EstimatedTime="2027-01-15T08:10:00Z"
        ),
        "status": lambda shop, _: say(id=UID, offline=not shop.is_ready),
    },
    asked=[
        (f"GET catalogue.onda-dias.eu/dias-catalogue/Products({UID})?%24format=json", {"username", "password"}),
        (f"POST catalogue.onda-dias.eu/dias-catalogue/Products({UID})/Ens.Order", {"username", "password"}),
        (f"GET catalogue.onda-dias.eu/dias-catalogue/Products({UID})?%24format=json", {"username", "password"}),
        (f"GET catalogue.onda-dias.eu/dias-catalogue/Products({UID})?%24format=json", {"username", "password"}),
        (f"GET catalogue.onda-dias.eu/dias-catalogue/Products({UID})/$value", {"username", "password"}),
    ],
    wants=PERSON,
)

# -- WEkEO, the Harmonised Data Access API 2, and the first broker, as eodag describes them ----------------------------

GATEWAY = "gateway.prod.wekeo2.eu/hda-broker"
ITEM = {
    "location": f"https://catalogue.example/{TITLE}",
    "product_id": f"{TITLE}.SAFE",
    "dataset_id": "EO:ESA:DAT:SENTINEL-2",
}


def _hda(shop: Shop, _asked: Asked) -> Reply:
    done = shop.is_ready
    said = {"_id": f"hda-{len(shop.orders)}", "status": "Done" if done else "Running", "message": None}
    return say(type="FeatureCollection", features=[said])


_wekeo = Ways(
    result={
        "eodag:download_link": ITEM["location"],
        "eodag:order_link": f"https://{GATEWAY}/api/v1/dataaccess/download?{json.dumps(ITEM)}",
    },
    hosts=("gateway.prod.wekeo2.eu",),
    kind=kinds(
        token="POST /gettoken",
        order="POST /dataaccess/download",
        status="GET /dataaccess/downloads",
        bytes="GET /download/*",
    ),
    answers={
        "order": lambda shop, _: say(download_id=f"hda-{len(shop.orders)}"),
        "status": _hda,
        "bytes": lambda shop, asked: (
            _bytes(shop, asked) if asked.host == STORE else Reply(302, {"Location": shop.sign()})
        ),
    },
    asked=[
        (f"POST {GATEWAY}/gettoken", {"username", "password"}),
        (f"POST {GATEWAY}/api/v1/dataaccess/download", {"token"}),
        (f"GET {GATEWAY}/api/v1/dataaccess/downloads?download_id=hda-1", {"token"}),
        (f"GET {GATEWAY}/api/v1/dataaccess/downloads?download_id=hda-1", {"token"}),
        (f"GET {GATEWAY}/api/v1/dataaccess/download/hda-1", {"token"}),
        ("GET store.example/product.zip", {"signed"}),
    ],
    wants=PERSON,
    body=ITEM,
    fails=say(features=[{"_id": "hda-1", "status": "Error", "message": WHY}]),
)

BROKER = "wekeo-broker.prod.wekeo2.eu/databroker"
_wekeo_old = Ways(
    result={
        "downloadLink": f"{TITLE}/{TITLE}",
        "storageStatus": "OFFLINE",
        "orderLink": f'https://{BROKER}/dataorder?{{"uri": "{TITLE}","jobId":"job-1"}}',
    },
    hosts=("wekeo-broker.prod.wekeo2.eu",),
    kind=kinds(
        token="GET /gettoken",
        order="POST /dataorder",
        status="GET /dataorder/status/*",
        bytes="GET /dataorder/download/*",
    ),
    answers={
        "order": lambda shop, _: say(orderId=f"order-{len(shop.orders)}="),
        "status": lambda shop, _: say(status="completed" if shop.is_ready else "running", message=""),
    },
    asked=[
        (f"GET {BROKER}/gettoken", {"username", "password"}),
        (f"POST {BROKER}/dataorder", {"token"}),
        (f"GET {BROKER}/dataorder/status/order-1=", {"token"}),
        (f"GET {BROKER}/dataorder/status/order-1=", {"token"}),
        (f"GET {BROKER}/dataorder/download/order-1=", {"token"}),
    ],
    wants=PERSON,
    body={"uri": TITLE, "jobId": "job-1"},
    fails=say(status="failed", message=WHY),
)

# -- ECMWF's data stores, OGC API Processes: https://docs.ogc.org/is/18-062r2/18-062r2.html ----------------------------

INPUTS = {"inputs": {"date": "2021-01-01/2021-01-02", "variable": ["ozone"]}}


def data_store(host: str) -> Ways:
    jobs = f"{host}/api/retrieve/v1/jobs/job-1"
    return Ways(
        result={
            "eodag:order_link": f"https://{host}/api/retrieve/v1/processes/cams-eac4/execution?{json.dumps(INPUTS)}",
            "eodag:download_link": "Not Available",
        },
        hosts=(host,),
        kind=kinds(order="POST /execution", search="GET /results", status="GET /jobs/*"),
        answers={
            "order": lambda shop, _: Reply(
                201, JSON, json.dumps({"jobID": f"job-{len(shop.orders)}", "status": "accepted"}).encode()
            ),
            "status": lambda shop, _: say(jobID="job-1", status="successful" if shop.is_ready else "running"),
            "search": lambda shop, _: say(asset={"value": {"href": shop.sign(), "file:size": len(ZIP)}}),
        },
        asked=[
            (f"POST {host}/api/retrieve/v1/processes/cams-eac4/execution", {"apikey"}),
            (f"GET {jobs}?request=true", {"apikey"}),
            (f"GET {jobs}?request=true", {"apikey"}),
            (f"GET {jobs}/results", {"apikey"}),
            ("GET store.example/product.zip", {"signed"}),
        ],
        wants=KEY,
        body=INPUTS,
        fails=say(jobID="job-1", status="failed", message=WHY),
    )


# -- USGS, the machine-to-machine API: https://m2m.cr.usgs.gov/api/docs/json/ ------------------------------------------

M2M = "m2m.cr.usgs.gov/api/api/json/stable"
ENTITY, BUNDLE = "LC80140292022040LGN00", "5e81f14f59432a27"


def m2m(data: Any) -> Reply:
    """Answer as all of M2M's answers are."""
    return say(requestId=1, version="stable", data=data, errorCode=None, errorMessage=None)


def _retrieve(shop: Shop, _asked: Asked) -> Reply:
    available = [{"downloadId": 7, "entityId": ENTITY, "url": shop.sign()}] if shop.is_ready else []
    return m2m({"eulas": [], "available": available, "requested": [], "queueSize": 1 - len(available)})


_usgs = Ways(
    result={
        "eodag:download_link": f"https://earthexplorer.usgs.gov/download/external/options/landsat_ot_c2_l1/{ENTITY}/M2M/",
        "usgs:entityId": ENTITY,
        "usgs:productId": BUNDLE,
        "order:status": "succeeded",
    },
    hosts=("m2m.cr.usgs.gov",),
    kind=kinds(
        token="POST /login-token",
        order="POST /download-request",
        status="POST /download-retrieve",
        options="POST /download-options",
    ),
    answers={
        "order": lambda _shop, _asked: m2m(
            {"availableDownloads": [], "preparingDownloads": [{"downloadId": 7, "url": "https://x/"}]}
        ),
        "status": _retrieve,
        "options": lambda _shop, _asked: m2m(
            [
                {"id": "folder", "entityId": ENTITY, "available": True, "downloadSystem": "folder", "filesize": 10**9},
                {"id": "one-band", "entityId": ENTITY, "available": True, "downloadSystem": "dds", "filesize": 10**6},
                {"id": "gone", "entityId": ENTITY, "available": False, "downloadSystem": "dds", "filesize": 10**9},
                {"id": BUNDLE, "entityId": ENTITY, "available": True, "downloadSystem": "ls_zip", "filesize": 10**8},
            ]
        ),
    },
    asked=[
        (f"POST {M2M}/login-token", {"username", "password"}),
        (f"POST {M2M}/download-request", {"token"}),
        (f"POST {M2M}/download-retrieve", {"token"}),
        (f"POST {M2M}/download-retrieve", {"token"}),
        ("GET store.example/product.zip", {"signed"}),
    ],
    wants=PERSON,
    body={"downloads": [{"entityId": ENTITY, "productId": BUNDLE}], "label": f"{BUNDLE}-{ENTITY}"},
    fails=say(requestId=1, data=None, errorCode="DOWNLOAD_ERROR", errorMessage=WHY),
)

# -- Destination Earth: https://hda.data.destination-earth.eu/docs, https://polytope.readthedocs.io --------------------

_bearer = {"type": "header", "headers": {"Authorization": "Bearer {apikey}"}}
LAKE, ORDERED = "hda.data.destination-earth.eu/stac/v2", {"productType": "EO.ECMWF.DAT.ERA5", "day": ["01"]}


def _item(shop: Shop, asked: Asked) -> Reply:
    ready = asked.request.method == "GET" and shop.is_ready
    assets = (
        {"downloadLink": {"href": shop.local("https://download.data.destination-earth.eu/order-1")}} if ready else {}
    )
    links = [{"rel": "root", "href": "/"}, {"rel": "self", "href": shop.local(f"https://{LAKE}/items/order-1")}]
    status = {"order:status": "succeeded" if ready else "shipping"}
    reply = say(id=f"order-{len(shop.orders)}", properties=status, links=links, assets=assets)
    return replace(reply, status=200 if ready else 202)


_dedl = Ways(
    result={
        "eodag:order_link": f"https://{LAKE}/collections/ERA5/order?{json.dumps(ORDERED)}",
        "eodag:download_link": "Not Available",
    },
    hosts=("hda.data.destination-earth.eu", "download.data.destination-earth.eu"),
    kind=kinds(order="POST /order", status="GET /items/*", bytes="GET /order-1"),
    answers={"order": _item, "status": _item},
    asked=[
        (f"POST {LAKE}/collections/ERA5/order", {"apikey"}),
        (f"GET {LAKE}/items/order-1", {"apikey"}),
        (f"GET {LAKE}/items/order-1", {"apikey"}),
        ("GET download.data.destination-earth.eu/order-1", {"apikey"}),
    ],
    wants=KEY,
    auth=_bearer,
    body=ORDERED,
    fails=say(id="order-1", properties={"order:status": "failed"}, detail=WHY),
)

REQUEST = {"verb": "retrieve", "request": {"class": "d1", "dataset": "climate-dt", "levtype": "sfc"}}


def polytope(host: str) -> Ways:
    requests = f"{host}/api/v1/requests"

    def order(shop: Shop, _asked: Asked) -> Reply:
        head = {**JSON, "Location": f"https://{requests}/req-{len(shop.orders)}"}
        return Reply(202, head, b'{"message": "Request queued", "status": "queued"}')

    def status(shop: Shop, _asked: Asked) -> Reply:
        if shop.is_ready:
            link = shop.sign()
            return Reply(303, {**JSON, "Location": link}, json.dumps({"location": link}).encode())
        return Reply(202, JSON, b'{"status": "processing", "message": "Request is being processed"}')

    return Ways(
        result={
            "eodag:order_link": f"https://{requests}/destination-earth?{json.dumps(REQUEST)}",
            "eodag:download_link": "Not Available",
        },
        hosts=(host,),
        kind=kinds(order="POST /destination-earth", status="GET /requests/*"),
        answers={"order": order, "status": status},
        asked=[
            (f"POST {requests}/destination-earth", {"apikey"}),
            (f"GET {requests}/req-1", {"apikey"}),
            (f"GET {requests}/req-1", {"apikey"}),
            ("GET store.example/product.zip", {"signed"}),
        ],
        wants=KEY,
        auth=_bearer,
        body=REQUEST,
        fails=say(status="failed", message=WHY),
    )


# -- meteoblue: https://docs.meteoblue.com/en/weather-apis/dataset-api -------------------------------------------------

QUERY = {"runOnJobQueue": True, "queries": [{"domain": "NEMSGLOBAL"}], "format": "netCDF"}


def _queue(shop: Shop, _asked: Asked) -> Reply:
    ready = shop.is_ready
    return say(id="0A1B", status="finished" if ready else "running", percentCompleted=100 if ready else 40)


_meteoblue = Ways(
    result={
        "eodag:order_link": f"https://my.meteoblue.com/dataset/query?{json.dumps(QUERY)}",
        "eodag:download_link": f"https://my.meteoblue.com/dataset/query?{json.dumps(QUERY)}",
    },
    hosts=("my.meteoblue.com", "queueresults.meteoblue.com"),
    kind=kinds(order="POST /dataset/query", status="GET /queue/status/*", bytes="GET /0A1B"),
    answers={"order": lambda _shop, _asked: say(id="0A1B", status="waiting"), "status": _queue},
    asked=[
        ("POST my.meteoblue.com/dataset/query", {"apikey"}),
        ("GET my.meteoblue.com/queue/status/0A1B", {"apikey"}),
        ("GET my.meteoblue.com/queue/status/0A1B", {"apikey"}),
        ("GET queueresults.meteoblue.com/0A1B", {"apikey"}),
    ],
    wants=KEY,
    body=QUERY,
    fails=say(id="0A1B", status="error", error=WHY),
)

# -- GEODES: https://geodes.cnes.fr/support/api/, and how eodag and pygeodes ask whether a file is there --------------

MD5 = hashlib.md5(ZIP).hexdigest()
GEODES = f"https://geodes-portal.cnes.fr/api/download/URN:FEATURE:DATA:gdh:{UID}:V1/files/{MD5}"
PLACE = "https://geodes-portal.cnes.fr/rs-access"


def _available(shop: Shop, _asked: Asked) -> Reply:
    files = [{"checksum": "another", "available": True}, {"checksum": MD5, "available": shop.is_ready}]
    return say(products=[{"id": f"URN:FEATURE:DATA:gdh:{UID}:V1", "files": files}])


def _wake(shop: Shop, asked: Asked) -> Reply:
    """Bring a file to disk, as the request for what is on tape does; serve it from then on."""
    if not shop.orders:
        shop.orders.append(asked)
    return _bytes(shop, asked) if shop.seen >= shop.looks else Reply(202)


_geodes = Ways(
    result={"eodag:download_link": GEODES, "geodes:endpoint_url": PLACE},
    hosts=("geodes-portal.cnes.fr",),
    kind=kinds(status="POST /fastavailability", bytes=f"GET /files/{MD5}"),
    answers={"status": _available, "bytes": _wake},
    asked=[
        ("POST geodes-portal.cnes.fr/fastavailability", {"apikey"}),
        (f"GET {GEODES[8:]}", {"apikey"}),
        ("POST geodes-portal.cnes.fr/fastavailability", {"apikey"}),
        ("POST geodes-portal.cnes.fr/fastavailability", {"apikey"}),
    ],
    wants=KEY,
)

SHOPS: dict[str, Ways] = {
    "onda": _onda,
    "wekeo_main": _wekeo,
    "wekeo_cmems": _wekeo,
    "wekeo_ecmwf": _wekeo,
    "wekeo": _wekeo_old,
    "cop_ads": data_store("ads.atmosphere.copernicus.eu"),
    "cop_cds": data_store("cds.climate.copernicus.eu"),
    "cop_ewds": data_store("ewds.climate.copernicus.eu"),
    "usgs": _usgs,
    "dedl": _dedl,
    "dedt_lumi": polytope("polytope.lumi.apps.dte.destination-earth.eu"),
    "dedt_mn5": polytope("polytope.mn5.apps.dte.destination-earth.eu"),
    "dedt_leonardo": polytope("polytope.leonardo.apps.dte.destination-earth.eu"),
    "meteoblue": _meteoblue,
    "geodes": _geodes,
}
