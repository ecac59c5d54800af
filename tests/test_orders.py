"""Orders by requests of their own: what each provider is asked, by its own file, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import errno
import json
from typing import TYPE_CHECKING, Any

import pytest
from confidential import APIKEY
from conftest import Mount, begin_blocked
from engine_room import IMPATIENT, HandClock, LeapingClock, aside, content, md5sums, together, until
from order_server import BUNDLE, ENTITY, FILES, ITEM, KEY, SHOPS, SIGNED, UID, WHY, Shop, engine, m2m
from played import JSON, say

from eofs import complaints, config, orders, providers, templates
from eofs.demo import Reply
from eofs.errors import (
    AccessRefused,
    ConfigError,
    EofsError,
    NotAllowed,
    NotReady,
    NotSupported,
    ProviderFailed,
)
from eofs.nodes import NOBODY
from eofs.providers import protocols
from eofs.status import Activity, StorageStatus

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.fetch import Engine
    from eofs.model import Product

MANIFEST = "manifest.safe"
REQUEST_1 = "https://polytope.lumi.apps.dte.destination-earth.eu/api/v1/requests/req-1"
PLACED = [name for name in SHOPS if name != "geodes"]  # where an order is a request of its own
NAMED = [name for name in PLACED if name not in {"onda", "usgs"}]  # where it is asked after by its id


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with Shop(request.param) as opened:
        yield opened


def at(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shop", names, indirect=True, ids=names)


def brought(opened: Engine, product: Product) -> bool:
    """Read a product to its end; tell whether it is right."""
    return content(opened, product, MANIFEST) == FILES[next(iter(FILES))] and len(md5sums(opened, product)) == len(
        FILES
    )


def failure(opened: Engine, product: Product) -> EofsError:
    with pytest.raises(EofsError) as caught:
        opened.listing(product, NOBODY)
    return caught.value


def kept(directory: Path) -> bytes:
    """All that is on disk."""
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


@pytest.mark.says(
    "Elsewhere an order is a request of its own, to the link that the result names (`orderLink`, "
    "`eodag:order_link`; the part after `?` is the body of a POST, in JSON) or that the provider's file "
    "describes, and so is asking after it.",
    "When it is ready, the bytes are asked for where the provider says.",
)
@pytest.mark.says("on_success: {need_search, metadata_mapping}}`", "`order_link` (a template, where results name none)")
@at(*SHOPS)
def test_a_product_is_ordered_asked_after_and_brought(shop: Shop, tmp_path: Path) -> None:
    with engine(shop, tmp_path) as opened:
        product = shop.product()
        assert brought(opened, product)
        assert shop.shown(shop.secrets) == shop.ways.asked
        assert len(shop.orders) == 1
        if shop.ways.body is not None:
            assert json.loads(shop.real(shop.orders[0].request.body.decode())) == shop.ways.body
            assert shop.orders[0].request.headers["content-type"] == "application/json"
        until(lambda: opened.status(product, "/mnt").order is None)  # all has come, and nobody needs it any more
    with engine(shop, tmp_path) as opened:
        assert brought(opened, product)
    assert shop.shown(shop.secrets) == shop.ways.asked


@pytest.mark.says("Its id, when it was placed and where to ask are kept on disk, so that a restart goes on waiting.")
@at(*PLACED)
def test_an_order_that_is_not_ready_in_time_is_gone_on_with_after_a_restart(shop: Shop, tmp_path: Path) -> None:
    shop.looks = 3
    with engine(shop, tmp_path, timeout=0) as opened:
        assert isinstance(failure(opened, shop.product()), NotReady)
        status = opened.status(shop.product(), "/mnt")
        assert (status.storageStatus, status.activity) == (StorageStatus.STAGING, Activity.IDLE)
        assert status.order is not None
        assert "placed 2027-01-15T08:00:00Z" in status.order
        if "order_id" in {orders.meaning(name) for name in shop.speaks().protocol.on_response}:  # type: ignore[union-attr]
            assert not status.order.startswith("placed")
    with engine(shop, tmp_path, timeout=0) as opened:
        assert opened.status(shop.product(), "/mnt").order == status.order
        assert isinstance(failure(opened, shop.product()), NotReady)
    with engine(shop, tmp_path) as opened:
        assert brought(opened, shop.product())
    assert len(shop.orders) == 1
    assert shop.count("status") >= 3


@pytest.mark.says(
    "An order that has failed is EREMOTEIO, with the provider's words, and is forgotten: an open half a minute "
    "later orders again."
)
@at(*(name for name in PLACED if SHOPS[name].fails))
def test_an_order_that_fails_says_why_and_is_placed_anew_by_a_later_open(shop: Shop, tmp_path: Path) -> None:
    assert shop.ways.fails
    shop.instead["status"].append(shop.ways.fails)
    clock = LeapingClock()
    with engine(shop, tmp_path, clock=clock) as opened:
        error = failure(opened, shop.product())
        assert isinstance(error, ProviderFailed)
        assert error.errno == errno.EREMOTEIO
        assert (WHY in str(error), "\n" in str(error)) == (True, False)
        assert str(failure(opened, shop.product())) == str(error)  # answered again, and nobody is asked
        assert len(shop.orders) == 1
        status = opened.status(shop.product(), "/mnt")
        assert (status.order, status.activity) == (None, Activity.FAILED)
        clock.time += 31
        assert brought(opened, shop.product())
    assert len(shop.orders) == 2


@pytest.mark.says("or where the provider no longer knows the order, the product is ordered once more")
@at(*NAMED)
def test_an_order_that_the_provider_no_longer_knows_is_placed_again_once(shop: Shop, tmp_path: Path) -> None:
    shop.looks = 4
    with engine(shop, tmp_path, timeout=0) as opened:
        failure(opened, shop.product())
    shop.instead["status"].append(Reply(404))
    with engine(shop, tmp_path) as opened:
        assert brought(opened, shop.product())
    assert len(shop.orders) == 2


@pytest.mark.says("the product is ordered once more, and no more than that.")
@at(*NAMED)
def test_a_provider_that_forgets_every_order_gets_two_and_no_more(shop: Shop, tmp_path: Path) -> None:
    shop.instead["status"].extend([Reply(410)] * 9)
    with engine(shop, tmp_path) as opened:
        assert isinstance(failure(opened, shop.product()), EofsError)
        assert opened.status(shop.product(), "/mnt").order is None
    assert len(shop.orders) == 2


@pytest.mark.says("the pause that the provider asks for is kept.")
@at(*PLACED)
def test_throttling_at_the_order_is_a_pause(shop: Shop, tmp_path: Path) -> None:
    clock = LeapingClock()
    shop.instead["order"].append(Reply(429, {"Retry-After": "77"}))
    with engine(shop, tmp_path, clock=clock) as opened:
        assert brought(opened, shop.product())
    assert len(shop.orders) == 1
    assert 77.0 in clock.pauses


@pytest.mark.says("So is 429")
@at(*PLACED)
def test_throttling_beyond_the_deadline_is_not_ready(shop: Shop, tmp_path: Path) -> None:
    shop.instead["order"].append(Reply(429, {"Retry-After": "77"}))
    with engine(shop, tmp_path, timeout=1) as opened:
        assert isinstance(failure(opened, shop.product()), NotReady)
    assert shop.orders == []


def test_a_pause_that_is_said_in_json_in_milliseconds_of_the_epoch_is_kept(tmp_path: Path) -> None:
    clock = LeapingClock()
    with Shop("cop_ads") as shop, engine(shop, tmp_path, clock=clock) as opened:
        said = {"message": {"reason": "Maximum number of requests exceeded", "retryAfter": 4_000_000_000_000}}
        shop.instead["order"].append(Reply(429, JSON, json.dumps(said).encode()))
        error = failure(opened, shop.product())
        assert isinstance(error, NotReady)
        assert "429 Too Many Requests: Maximum number of requests exceeded" in str(error)
        assert shop.orders == []


@pytest.mark.says("403 at a provider whose data have licences says where to accept them.")
@pytest.mark.says("`terms` (what 403 says, at the top).")
@at("wekeo_main", "wekeo", "cop_cds", "cop_ewds")
def test_terms_that_are_not_accepted_say_where_to_accept_them(shop: Shop, tmp_path: Path) -> None:
    shop.instead["order"].append(Reply(403, JSON, b'{"detail": "terms"}'))
    with engine(shop, tmp_path) as opened:
        error = failure(opened, shop.product())
        assert isinstance(error, AccessRefused)
        assert shop.speaks().terms
        assert str(shop.speaks().terms) in str(error)
    assert shop.orders == []


@at(*PLACED)
def test_refused_credentials_are_refused(shop: Shop, tmp_path: Path) -> None:
    shop.instead["order"].extend([Reply(401)] * 3)
    with engine(shop, tmp_path) as opened:
        assert isinstance(failure(opened, shop.product()), AccessRefused)
    assert shop.orders == []


@at(*PLACED)
def test_an_order_that_is_refused_says_why(shop: Shop, tmp_path: Path) -> None:
    shop.instead["order"].append(Reply(400, JSON, json.dumps({"title": "no", "detail": WHY}).encode()))
    with engine(shop, tmp_path) as opened:
        error = failure(opened, shop.product())
        assert isinstance(error, ProviderFailed)
        assert f"refused the order (400 Bad Request): {WHY}" in str(error)
        assert opened.status(shop.product(), "/mnt").order is None


@at(*PLACED)
def test_with_order_never_nothing_is_asked(shop: Shop, tmp_path: Path) -> None:
    with engine(shop, tmp_path, order="never") as opened:
        assert isinstance(failure(opened, shop.product()), NotAllowed)
    assert shop.asked == []


@at("wekeo_main", "onda")
def test_with_order_never_what_is_ordered_is_waited_for(shop: Shop, tmp_path: Path) -> None:
    shop.looks = 3
    with engine(shop, tmp_path, timeout=0) as opened:
        failure(opened, shop.product())
    with engine(shop, tmp_path, order="never") as opened:
        assert brought(opened, shop.product())
    assert len(shop.orders) == 1


@at("wekeo_main", "usgs")
def test_who_does_not_wait_gets_the_product_later(shop: Shop, tmp_path: Path) -> None:
    clock = HandClock()
    with engine(shop, tmp_path, clock=clock, block=False) as opened:
        for caller in (NOBODY, IMPATIENT):
            with pytest.raises(NotReady):
                opened.listing(shop.product(), caller)
        clock.until_waiting()
        clock.move(121)

        def is_there() -> bool:
            with contextlib.suppress(NotReady):
                return bool(opened.listing(shop.product(), NOBODY))
            return False

        until(is_there)
    assert len(shop.orders) == 1


@at("wekeo_main", "onda", "dedt_lumi")
def test_many_readers_and_two_mounts_place_one_order(shop: Shop, tmp_path: Path) -> None:
    shop.looks = 4
    with engine(shop, tmp_path) as one, engine(shop, tmp_path) as other:
        readers = together(8, lambda: [brought(opened, shop.product()) for opened in (one, other)])
    assert readers == [[True, True]] * 8
    assert len(shop.orders) == 1


@pytest.mark.says("An order is placed once, however many programs, mounts and processes want the product.")
@pytest.mark.mount
@at("wekeo_main")
def test_many_programs_in_two_mounts_that_share_a_cache_place_one_order(
    shop: Shop, tmp_path: Path, readers: list[subprocess.Popen[str]]
) -> None:
    shop.looks = 1 << 30
    result = tmp_path / "r.geojson"
    result.write_text(shop.local(json.dumps({"type": "FeatureCollection", "features": [shop.feature()]})), "utf-8")
    homes = tmp_path / "a", tmp_path / "b"
    for home in homes:
        (home / ".config/eofs").mkdir(parents=True)
        (home / ".config/eofs/eofs.yml").write_text(json.dumps({shop.name: shop.written()}), "utf-8")  # JSON is YAML
        (home / ".config/eofs/eofs.yml").chmod(0o600)
    one, other = (Mount(home, result, cache_dir=tmp_path / "shared") for home in homes)
    with one, other:
        readers += [begin_blocked("ls", mount.safe(UID)) for mount in (one, other) for _ in range(3)]
        until(lambda: shop.count("status") >= 3)
        until(lambda: "another eofs" in f"{one.status(UID)['message']} {other.status(UID)['message']}")
        shop.looks = 0
        assert [reader.communicate(timeout=60) for reader in readers] == [(f"GRANULE\n{MANIFEST}\n", "")] * 6
    assert len(shop.orders) == 1


@pytest.mark.says("An order whose answer was lost on its way back is placed again, as other requests are.")
@at(*PLACED)
def test_an_answer_that_is_lost_costs_one_more_order(shop: Shop, tmp_path: Path) -> None:
    shop.instead["order"].append(Reply(cut_after=-1))
    with engine(shop, tmp_path) as opened:
        assert brought(opened, shop.product())
    assert len(shop.orders) == 2


@pytest.mark.says("Where it is over, the provider is asked for it again", "but for a signed address that an order gave")
@at("cop_ads", "usgs", "dedt_lumi")
def test_a_signed_link_that_is_over_is_asked_for_again(shop: Shop, tmp_path: Path) -> None:
    shop.good_from = 2
    with engine(shop, tmp_path) as opened:
        assert brought(opened, shop.product())
    assert (len(shop.orders), shop.links) == (1, 2)


@pytest.mark.says("where that is no help")
@at("cop_ads", "dedt_lumi")
def test_an_order_whose_links_are_all_over_is_placed_again_once(shop: Shop, tmp_path: Path) -> None:
    shop.good_from = 3
    with engine(shop, tmp_path) as opened:
        assert brought(opened, shop.product())
    assert len(shop.orders) == 2


@pytest.mark.says("the product is ordered once more, and no more than that.")
@at("cop_ads", "dedt_lumi")
def test_links_that_are_never_good_end_in_an_error(shop: Shop, tmp_path: Path) -> None:
    shop.good_from = 99
    with engine(shop, tmp_path) as opened:
        assert isinstance(failure(opened, shop.product()), AccessRefused)
    assert len(shop.orders) == 2


@pytest.mark.says("That address may be signed: it is kept in memory only.")
@at("cop_ads", "usgs", "dedt_lumi", "wekeo_main")
def test_nothing_signed_and_no_credential_is_kept_or_shown(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "eofs")
    with engine(shop, tmp_path, fetch="lazy") as opened:
        assert content(opened, shop.product(), MANIFEST)
        status = opened.status(shop.product(), "/mnt").text()
        on_disk = kept(tmp_path)
    seen = status + caplog.text
    assert b'"placed": 18000000' in on_disk
    for secret in (SIGNED, "signed-", "tok3n-", *shop.ways.wants.values()):
        assert secret not in seen
        assert secret.encode() not in on_disk


@at("cop_ads", "wekeo_main")
def test_what_was_begun_is_gone_on_with_after_a_restart_by_a_fresh_link(shop: Shop, tmp_path: Path) -> None:
    with engine(shop, tmp_path, fetch="lazy") as opened:
        assert content(opened, shop.product(), MANIFEST)
    links = shop.links
    with engine(shop, tmp_path) as opened:
        assert brought(opened, shop.product())
    assert (len(shop.orders), shop.links > links) == (1, True)


# -- what results say --------------------------------------------------------------------------------------------------


@pytest.mark.says(
    "An order that the result says to have been placed by another program (`orderId`, `eodag:order_id`, "
    "`orderStatusLink`, `eodag:status_link`) is gone on with."
)
@pytest.mark.parametrize(
    ("shop", "said", "value"),
    [
        ("wekeo_main", "orderId", "hda-1"),
        ("wekeo_main", "eodag:order_id", "hda-1"),
        ("dedt_lumi", "orderStatusLink", REQUEST_1),
        ("dedt_lumi", "eodag:status_link", REQUEST_1),
    ],
    indirect=["shop"],
)
def test_an_order_that_eodag_has_placed_is_gone_on_with(shop: Shop, tmp_path: Path, said: str, value: str) -> None:
    with engine(shop, tmp_path) as opened:
        shop.orders.append(None)  # type: ignore[arg-type]  # by another program
        product = shop.product(**{said: value, "order:status": "ordered"})
        shop.looks = 3
        listed = aside(opened.listing, product, NOBODY)
        assert listed.result(60)
        assert (shop.count("order"), shop.count("status")) == (0, 3)


@pytest.mark.parametrize(
    "reply", [Reply(404), say(features=[{"status": "Error", "message": WHY}])], ids=["lost", "failed"]
)
def test_an_order_of_eodags_that_is_over_is_placed_again(tmp_path: Path, reply: Reply) -> None:
    with Shop("wekeo_main") as shop, engine(shop, tmp_path) as opened:
        shop.instead["status"].append(reply)
        assert brought(
            opened, shop.product(**{"eodag:order_id": "hda-0", "eodag:status_link": "downloads?download_id=hda-0"})
        )
        assert len(shop.orders) == 1


def test_a_product_that_is_online_is_not_ordered(tmp_path: Path) -> None:
    with Shop("onda") as shop, engine(shop, tmp_path) as opened:
        assert brought(opened, shop.product(storageStatus="ONLINE", **{"order:status": None}))
        assert shop.count("order") == shop.count("status") == 0


def test_a_product_that_turns_out_to_be_offline_is_ordered(tmp_path: Path) -> None:
    with Shop("onda") as shop, engine(shop, tmp_path) as opened:
        shop.instead["bytes"].append(Reply(202))
        assert brought(opened, shop.product(storageStatus="ONLINE", **{"order:status": None}))
        assert len(shop.orders) == 1


@pytest.mark.says(
    "Where it can be asked beforehand whether the product is there, it is, and what has come to disk since the "
    "search is not ordered."
)
def test_a_product_that_has_come_to_disk_since_the_search_is_not_ordered(tmp_path: Path) -> None:
    with Shop("onda") as shop, engine(shop, tmp_path) as opened:
        shop.instead["status"].append(say(offline=False))
        assert brought(opened, shop.product())
        assert shop.count("status") == 1
        assert shop.orders == []


@pytest.mark.says("It goes to the provider's own hosts only.")
def test_an_order_link_of_another_host_is_asked_for_nothing(tmp_path: Path) -> None:
    with Shop("wekeo_main") as shop, engine(shop, tmp_path) as opened:
        link = f"https://store.example/order?{json.dumps(ITEM)}"
        error = failure(opened, shop.product(**{"eodag:order_link": link}))
        assert isinstance(error, AccessRefused)
        assert "an order of wekeo_main would go to localhost, which is not one of its hosts" in str(error)
        assert shop.asked == []


@pytest.mark.says("It goes to the provider's own hosts only.")
def test_a_status_link_of_another_host_is_asked_for_nothing(tmp_path: Path) -> None:
    with Shop("dedl") as shop, engine(shop, tmp_path) as opened:
        links = [{"rel": "self", "href": shop.local("https://store.example/items/1")}]
        shop.instead["order"].append(say(id="order-1", properties={}, links=links))
        assert isinstance(failure(opened, shop.product()), AccessRefused)
        assert {asked.host for asked in shop.asked} == {"hda.data.destination-earth.eu"}


@pytest.mark.says("the part after `?` is the body of a POST, in JSON")
@pytest.mark.parametrize("shape", ["{{{}}}", "%7B", "form"], ids=["braces twice", "quoted", "form"])
def test_the_body_of_an_order_is_what_follows_the_question_mark(tmp_path: Path, shape: str) -> None:
    text, said = json.dumps(ITEM), ITEM
    with Shop("wekeo_main") as shop, engine(shop, tmp_path) as opened:
        if shape == "form":
            text, said = "a=1&b=2", {"a": ["1"], "b": ["2"]}  # type: ignore[dict-item]
        elif shape == "%7B":
            text = text.replace("{", "%7B").replace('"', "%22").replace("}", "%7D")
        else:
            text = f"{{{text}}}"
        link = f"https://gateway.prod.wekeo2.eu/hda-broker/api/v1/dataaccess/download?{text}"
        assert brought(opened, shop.product(**{"eodag:order_link": link}))
        assert json.loads(shop.real(shop.orders[0].request.body.decode())) == said


def test_usgs_is_asked_for_the_file_that_is_all_of_a_scene_where_the_result_does_not_say_it(tmp_path: Path) -> None:
    with Shop("usgs") as shop, engine(shop, tmp_path) as opened:
        product = shop.product(**{"usgs:productId": "Not Available", "usgs:entityId": None})
        assert brought(opened, product)
        asked = next(asked for asked in shop.asked if asked.path.endswith("download-options"))
        assert json.loads(asked.request.body) == {"datasetName": "landsat_ot_c2_l1", "entityIds": [ENTITY]}
        assert json.loads(shop.orders[0].request.body)["downloads"] == [{"entityId": ENTITY, "productId": BUNDLE}]


def test_a_file_of_usgs_that_is_there_at_once_is_not_asked_after(tmp_path: Path) -> None:
    with Shop("usgs") as shop, engine(shop, tmp_path) as opened:
        shop.instead["order"].append(m2m({"availableDownloads": [{"downloadId": 7, "url": shop.sign()}]}))
        assert brought(opened, shop.product())
        assert shop.count("status") == 0


def test_a_product_of_geodes_whose_place_the_result_does_not_say_is_asked_for_until_it_is_there(tmp_path: Path) -> None:
    with Shop("geodes") as shop, engine(shop, tmp_path) as opened:
        shop.looks = 0
        shop.instead["bytes"].extend([Reply(202)] * 3)
        assert brought(opened, shop.product(**{"geodes:endpoint_url": None}))
        assert shop.count("status") == 0


def test_a_status_link_that_is_signed_is_of_use_and_is_not_kept(tmp_path: Path) -> None:
    with Shop("dedl") as shop, engine(shop, tmp_path, timeout=2) as opened:
        shop.looks = 4
        href = shop.local(f"https://hda.data.destination-earth.eu/items/order-1?{SIGNED}9")
        shop.instead["order"].append(say(id="order-1", properties={}, links=[{"rel": "self", "href": href}]))
        shop.orders.append(None)  # type: ignore[arg-type]  # so that it is ready in the end
        assert isinstance(failure(opened, shop.product()), NotReady)
        assert shop.count("status") == 2
        assert SIGNED.encode() not in kept(tmp_path)
        assert SIGNED not in opened.status(shop.product(), "/mnt").text()


# -- quotas ------------------------------------------------------------------------------------------------------------


@pytest.mark.says("(`order_quota`: ONDA 20, WEkEO 100 in one)")
@pytest.mark.parametrize(("shop", "orders"), [("onda", 20), ("wekeo_main", 100)], indirect=["shop"])
def test_so_many_orders_an_hour_a_provider_takes(shop: Shop, orders: int) -> None:
    assert shop.speaks().protocol.quota == (orders, 3600)  # type: ignore[union-attr]


@pytest.mark.says(
    "Where a provider takes so many orders in so many hours",
    "also after a restart; beyond the deadline that is EAGAIN.",
)
@pytest.mark.says("`order_quota: {orders: 20, hours: 1}`")
def test_a_quota_is_kept_by_waiting_over_restarts(tmp_path: Path) -> None:
    clock, quota = LeapingClock(), {"order_quota": {"orders": 2, "hours": 1}}
    begun = clock.now()
    with Shop("onda") as shop:
        for uid in ("a", "b"):
            with engine(shop, tmp_path, clock=clock, download=quota) as opened:
                shop.orders.clear()
                assert content(opened, shop.product(uid), MANIFEST)
        with engine(shop, tmp_path, clock=clock, download=quota) as opened:
            shop.orders.clear()
            error = failure(opened, shop.product("c"))
            assert isinstance(error, NotReady)
            assert "onda takes 2 orders in 1 h, and this one's turn comes at 2027-01-15T09:00:00Z" in str(error)
            assert shop.orders == []
        with engine(shop, tmp_path, clock=clock, download=quota, timeout=120) as opened:
            assert content(opened, shop.product("c"), MANIFEST)
            assert len(shop.orders) == 1
    assert clock.now() >= begun + 3600


@pytest.mark.says("a further one waits its turn, which `status` tells")
def test_who_waits_for_his_turn_says_until_when_and_keeps_nobody_from_ordering_elsewhere(tmp_path: Path) -> None:
    clock, quota = HandClock(), {"order_quota": {"orders": 1, "hours": 1}}
    with Shop("wekeo_main") as shop, engine(shop, tmp_path, clock=clock, download=quota, max_orders=1) as opened:
        shop.looks = 1
        assert content(opened, shop.product("a"), MANIFEST)
        waiting = aside(content, opened, shop.product("b"), MANIFEST)
        clock.until_waiting()
        says = "waits its turn until 2027-01-15T09:00:00Z: wekeo_main takes 1 orders in 1 h"
        until(lambda: says in opened.status(shop.product("b"), "/mnt").message)
        assert opened._order_slots.acquire(blocking=False)
        opened._order_slots.release()
        clock.move(1300)
        with pytest.raises(NotReady):
            waiting.result(60)


def test_an_order_that_is_refused_does_not_count(tmp_path: Path) -> None:
    quota = {"order_quota": {"orders": 1, "hours": 1}}
    with Shop("wekeo_main") as shop, engine(shop, tmp_path, download=quota) as opened:
        shop.looks = 1
        shop.instead["order"].append(Reply(429, {"Retry-After": "1"}))
        shop.instead["order"].append(Reply(503))
        assert brought(opened, shop.product())
        assert len(shop.orders) == 1


# -- what a user's own file may say ------------------------------------------------------------------------------------

ANSWER: dict[str, Any] = {
    "json": {
        "id": 7, "data": {"id": "x"}, "features": [{"status": "Done"}, {"status": "Error"}], "true": True, "empty": "",
        "links": [{"rel": "root", "href": "/"}, {"rel": "self", "href": "/me"}], "properties": {"order:status": "ok"},
        "eodag:order_id": "y",
    },
    "headers": {"Location": "/requests/9"},
}  # fmt: skip


@pytest.mark.says(
    "a mapping's values are paths (`$.json.data.id`, `$.headers.Location`) or templates (`https://…/{order_id}`)"
)
@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("$.json.id", 7),
        ("$.id", 7),
        ("{$.json.data.id}", "x"),
        ("$.json.data.nothing.there", None),
        ("$.json.features[0].status", "Done"),
        ("$.json.features[1].status", "Error"),
        ("$.json.features[2].status", None),
        ('$.json.links[?rel=="self"].href', "/me"),
        ("$.json.links[?(@.rel=='root')].href", "/"),
        ('$.json.links[?rel=="next"].href', None),
        ('$.json.links[?rel=="{rel}"].href', "/me"),
        ('$.json.links[?rel=="{unknown}"].href', None),
        ('$.json.properties."order:status"', "ok"),
        ("$.json['properties']['order:status']", "ok"),
        ("$.json.eodag:order_id", "y"),
        ("$.headers.Location", "/requests/9"),
        ("$.json.true", True),
        ("$.json.empty", None),
        ("$.null", None),
        ("GET", "GET"),
        ("https://h/{id}", "https://h/a%2Fb"),
        ("https://h/{id}?x={rel}", "https://h/a%2Fb?x=self"),
        ("{id}", "a/b"),
        ("https://h/{unknown}", None),
        ('https://h/o?{{"a": [{{"b": "{id}", "c": 1}}]}}', 'https://h/o?{"a": [{"b": "a/b", "c": 1}]}'),
        ("https://h/{eodag:order_id}", "https://h/7-"),
    ],
)
def test_a_mapping_finds(written: str, found: object) -> None:
    names = {"id": "a/b", "rel": "self", "order_id": "7-"}
    said = templates.evaluated({"it": written}, ANSWER, names, orders.meaning)
    assert said.get("it") == found


def test_what_is_put_into_json_stays_a_text() -> None:
    made = templates.filled('https://h/o?{{"a": "{id}"}}', {"id": 'x", "b": "y'})
    assert json.loads((made or "").partition("?")[2]) == {"a": 'x", "b": "y'}


@pytest.mark.parametrize("written", ['{$.headers.Location#replace_str("a","b")}', "$.json.a[", "$.json..a"])
def test_what_a_mapping_cannot_mean_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"write a path|is no path"):
        templates.evaluated({"it": written}, ANSWER, {}, str)


@pytest.mark.says("without eodag's conversions (`#…`).")
def test_a_conversion_of_eodags_is_refused_when_it_is_needed(tmp_path: Path) -> None:
    mapping = {"eodag:status_link": '{$.headers.Location#replace_str("a","b")}'}
    with (
        Shop("dedt_lumi") as shop,
        engine(shop, tmp_path, download={"order_on_response": {"metadata_mapping": mapping}}) as opened,
    ):
        error = failure(opened, shop.product())
        assert isinstance(error, NotSupported)
        assert "eofs knows no conversions; write a path such as $.json.id" in str(error)
        assert shop.orders == []


@pytest.mark.says(
    "A provider that takes orders by requests is described as in eodag: `order_enabled`, `order_method`,",
    "`order_on_response: {metadata_mapping}`",
    "metadata_mapping, ordered, success, error",
)
def test_a_provider_as_an_eodag_user_describes_it_takes_orders(tmp_path: Path) -> None:
    """With eodag's keys of version 3, all that it has in its own file for WEkEO."""
    described = {
        "type": "HTTPDownload",
        "base_uri": "https://gateway.prod.wekeo2.eu/hda-broker/api/v1/dataaccess",
        "flatten_top_dirs": "true",
        "order_enabled": "true",
        "order_method": "POST",
        "order_on_response": {
            "metadata_mapping": {
                "orderId": "$.json.download_id",
                "orderStatusLink": "https://gateway.prod.wekeo2.eu/hda-broker/api/v1/dataaccess/downloads?download_id={orderId}",
            }
        },
        "order_status": {
            "request": {"method": "GET"},
            "metadata_mapping": {"status": "$.json.features[0].status", "message": "$.json.features[0].message"},
            "error": {"status": "Error"},
            "success": {"status": "Done"},
            "ordered": {"http_code": "202"},
            "on_success": {
                "metadata_mapping": {
                    "download_id": "$.json.features[0]._id",
                    "downloadLink": "https://gateway.prod.wekeo2.eu/hda-broker/api/v1/dataaccess/download/{download_id}",
                }
            },
        },
    }
    with (
        Shop("wekeo_main") as shop,
        engine(shop, tmp_path, download=json.loads(shop.local(json.dumps(described)))) as opened,
    ):
        assert brought(opened, shop.product())
        assert shop.shown(shop.secrets) == shop.ways.asked


STATUS = {"eodag:order_status": "$.json.features[0].status"}


@pytest.mark.says("A condition may give a list of words, and `*`.")
@pytest.mark.parametrize(("word", "fails"), [("Torn by hand", True), ("Lost", True), ("Losts", False), ("Do", False)])
def test_a_condition_may_be_several_words_and_have_stars(tmp_path: Path, word: str, fails: bool) -> None:
    conditions = {"success": {"eodag:order_status": "D*e"}, "error": {"eodag:order_status": ["Torn*", "Lost"]}}
    with (
        Shop("wekeo_main") as shop,
        engine(shop, tmp_path, download={"order_status": {"metadata_mapping": STATUS, **conditions}}) as opened,
    ):
        shop.instead["status"].append(say(features=[{"status": word}]))
        if fails:
            assert isinstance(failure(opened, shop.product()), ProviderFailed)
        else:  # it is asked after again, until it is Done
            assert brought(opened, shop.product())
        assert shop.count("status") == (1 if fails else 3)


@pytest.mark.says("`order_always` (also what is ONLINE)")
def test_what_is_online_is_ordered_where_everything_is(tmp_path: Path) -> None:
    with Shop("onda") as shop, engine(shop, tmp_path, download={"order_always": True}) as opened:
        assert brought(opened, shop.product(storageStatus="ONLINE", **{"order:status": None}))
        assert len(shop.orders) == 1


@pytest.mark.says("`order_headers`", "`order_status: {request: {method, headers},")
def test_an_order_and_the_questions_after_it_have_headers_of_their_own(tmp_path: Path) -> None:
    status = {"request": {"method": "GET", "headers": {"X-Asks": "yes"}}, "metadata_mapping": STATUS}
    said = {"order_headers": {"X-Orders": "yes"}, "order_status": {**status, "success": {"eodag:order_status": "Done"}}}
    with Shop("wekeo_main") as shop, engine(shop, tmp_path, download=said) as opened:
        assert brought(opened, shop.product())
        named = {
            kind: {name for asked in shop.asked if shop._kind(asked) == kind for name in asked.request.headers}
            for kind in ("order", "status", "bytes")
        }
    assert [{"x-orders", "x-asks"} & names for names in named.values()] == [{"x-orders"}, {"x-asks"}, set()]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("order_method", "PUT", "order_method cannot be 'PUT': expected get or post"),
        ("order_quota", 20, "order_quota.orders: expected a mapping of settings above it"),
        ("order_quota", {"orders": 0, "hours": 1}, "order_quota.orders cannot be '0': expected a whole number"),
        ("order_quota", {"orders": 20, "hours": 0}, "order_quota.hours cannot be '0': expected hours, more than 0"),
        ("order_first", "fetch", "order_first cannot be 'fetch': expected one of usgs"),
        ("order_always", "maybe", "order_always cannot be 'maybe': expected true or false"),
        ("order_on_response", {"metadata_mapping": "$.id"}, "metadata_mapping cannot be '$.id': expected names"),
        ("order_status", {"success": "Done"}, "success cannot be 'Done': expected names with a word, or several, each"),
        ("order_status", {"request": "GET"}, "order_status.request.method: expected a mapping of settings above it"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_meant_is_named(key: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        providers.build("mine", {"download": {key: value}}, source="eofs.yml")
    assert str(caught.value).startswith("eofs.yml: mine.download.")
    assert says in str(caught.value)


def test_a_quota_may_be_said_in_a_file_and_changed_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / ".config/eofs").mkdir(parents=True)
    file = tmp_path / ".config/eofs/eofs.yml"
    file.write_text("onda: {download: {order_quota: {orders: 7, hours: 0.5}}}", encoding="utf-8")
    of_file = {"HOME": str(tmp_path)}
    for environ, quota in (
        (of_file, (7, 1800)),
        ({**of_file, "EOFS__ONDA__DOWNLOAD__ORDER_QUOTA__ORDERS": "3"}, (3, 1800)),
    ):
        protocol = config.load({}, environ=environ).provider("onda").protocol
        assert protocol
        assert protocol.quota == quota


def test_every_function_that_is_asked_first_is_known_to_the_settings() -> None:
    assert set(orders.FIRST) == set(protocols.FIRST)


@pytest.mark.parametrize("name", [name for name in SHOPS if providers.builtin()[name].get("download") is not None])
def test_nothing_that_a_built_in_file_says_of_orders_is_unknown(name: str) -> None:
    told = providers.builtin()[name]["download"]
    known = {
        "order_enabled",
        "order_method",
        "order_headers",
        "order_link",
        "order_first",
        "order_always",
        "order_quota",
    }
    assert {key for key in told if key.startswith("order")} <= known | {"order_on_response", "order_status"}
    said = told.get("order_status", {})
    assert set(said) <= {"request", "metadata_mapping", "ordered", "success", "error", "on_success"}
    assert set(said.get("request", {})) <= {"method", "headers"}
    assert set(said.get("on_success", {})) <= {"need_search", "metadata_mapping"}


# -- a provider's words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": {"reason": "too\\n many"}}', "too many"),
        (b'{"error": {"code": 7, "detail": [{"msg": "x"}, "no"]}}', "no"),
        (b'{"detail": "see https://h.example/a?token=abc&b=1 there"}', "see https://h.example/a there"),
        (b'{"detail": "alice may not: %s"}' % APIKEY.encode(), "alice may not: \u2026"),
        (b"plain words\r\nof two lines", "plain words of two lines"),
        (b"<html><body>Not found</body></html>", ""),
        (b'{"code": 7}', ""),
        (b"", ""),
        (b"[" * 100_000, "[" * 199 + "\u2026"),
        (b'{"detail": "' + b"a" * 500 + b'"}', "a" * 199 + "\u2026"),
    ],
)  # fmt: skip
def test_a_providers_words_fit_into_a_message(body: bytes, words: str) -> None:
    speaks = providers.build("cop_ads", {"auth": {"type": "header", "credentials": KEY}}, source="eofs.yml")
    assert complaints.in_words(speaks, body) == words
