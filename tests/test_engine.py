"""The engine, without FUSE, against a real provider on the loopback address: order, wait, bring, serve, refuse."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import io
import json
import logging
import os
import threading
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from engine_room import (
    BARE,
    CRAWLER,
    DEMO,
    IMPATIENT,
    Canned,
    HandClock,
    LeapingClock,
    Room,
    aside,
    content,
    http,
    md5sums,
    member,
    pieces,
    stories,
    together,
    unsure,
    until,
)

from eofs.blocks import PartialFile
from eofs.cache import Cache
from eofs.demo import DemoProvider, Reply, Request, ten_products
from eofs.errors import (
    AccessRefused,
    CacheFull,
    Cancelled,
    Corrupt,
    EofsError,
    Gone,
    Interrupted,
    NotAllowed,
    NotReady,
    NotSupported,
    ProviderFailed,
    Stalled,
    Unreachable,
)
from eofs.fetch import failures, quicklooks
from eofs.fetch.members import Members
from eofs.model import Checksum, Member, Provider
from eofs.nodes import NOBODY, Caller
from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.fetch import Engine
    from eofs.model import Product

UIDS = [feature["properties"]["uid"] for feature in ten_products()]
ONLINE, OFFLINE = UIDS[:5], UIDS[5:]
SMALL = 0.3  # megabytes
MANIFEST = "manifest.safe"
END = "bytes=-131072"  # what is asked for first
ZIP = {"Content-Type": "application/zip"}


class Stubborn(DemoProvider):
    """A provider that can be told to give the same answer to every request for a product.

    It sends a product from its front on: it knows no range at the end, though it goes on where a download was cut.
    """

    always: dict[str, Callable[[Request], Reply | None]]

    def usual(self, request: Request) -> Reply:
        if request.range != END:
            return super().usual(request)
        reply = super().usual(replace(request, headers={**request.headers, "range": ""}))
        return replace(reply, headers={**reply.headers, "Accept-Ranges": "none"})

    def answer(self, request: Request) -> Reply | None:
        tell = getattr(self, "always", {}).get(request.uid or "")
        return tell(request) if tell and request.kind == "download" else None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def opened(store: Path, tmp_path: Path) -> Iterator[Callable[..., Room]]:
    """Start a provider, and return a room with it."""
    with contextlib.ExitStack() as at_the_end:

        def start(directory: str = "cache", **how: Any) -> Room:
            how = {"megabytes": SMALL, "staging_seconds": 0.3, **how}
            provider = at_the_end.enter_context(Stubborn(store, **how))
            provider.always = {}
            room = Room(provider, tmp_path / directory)
            at_the_end.callback(room.close)
            return room

        yield start


@pytest.fixture
def room(opened: Callable[..., Room]) -> Room:
    return opened()


@pytest.fixture
def leaping() -> LeapingClock:
    return LeapingClock()


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


def always(room: Room, uid: str, *replies: Reply | None) -> None:
    """Give these replies one after the other, the last for ever; None is the usual one."""
    left = list(replies)

    def answer(_: Request) -> Reply | None:
        return left.pop(0) if len(left) > 1 else left[0]

    assert isinstance(room.provider, Stubborn)
    room.provider.always[uid] = answer


def requests_of(room: Room, uid: str) -> list[Request]:
    """All requests for a product's data that have ended, as they began."""
    provider = room.provider
    provider.wait_until(lambda: not provider.under_way)  # a provider hears late of a connection that was given up
    found = [request for request in provider.requests if (request.uid, request.kind) == (uid, "download")]
    return sorted(found, key=lambda request: request.time)


def asked(room: Room, uid: str) -> list[int]:
    """The statuses of the replies to them."""
    return [request.status for request in requests_of(room, uid)]


def ranges(room: Room, uid: str) -> list[str | None]:
    return [request.range for request in requests_of(room, uid)]


def archive_of(room: Room, uid: str) -> bytes:
    return room.provider.archive(uid).read_bytes()


def right(room: Room, engine: Engine, uid: str, product: Product | None = None) -> bool:
    """Whether the product's files are those that the provider holds."""
    return md5sums(engine, product or room.products[uid]) == room.provider.md5sums(uid)


# -- a product that is there -----------------------------------------------------------------------------------------


def test_an_online_product_takes_one_request(room: Room) -> None:
    engine = room.start()
    assert right(room, engine, ONLINE[0])
    assert asked(room, ONLINE[0]) == [200]
    assert room.provider.bytes_sent(ONLINE[0]) == len(archive_of(room, ONLINE[0]))
    assert room.provider.count() == 1


def test_status_and_listings_of_others_take_no_request(room: Room) -> None:
    engine = room.start()
    for product in room.products.values():
        room.status(engine, product)
        engine.quicklook_name(product)
    assert room.provider.count() == 0


@pytest.mark.parametrize(
    ("uid", "storage", "message"),
    [
        (ONLINE[0], StorageStatus.ONLINE, "reading its files downloads it"),
        (OFFLINE[0], StorageStatus.OFFLINE, "on tape; opening its data/ orders it"),
    ],
)
def test_the_status_before_anything_is_done(room: Room, uid: str, storage: StorageStatus, message: str) -> None:
    status = room.status(room.start(), room.products[uid])
    assert (status.storageStatus, status.local, status.activity) == (storage, Local.ABSENT, Activity.IDLE)
    assert (status.message, status.downloaded, status.error, status.order) == (message, 0, None, None)
    assert status.size == len(archive_of(room, uid))
    assert status.location == status.remote_location == room.products[uid].location


def test_the_status_of_a_complete_product(room: Room) -> None:
    engine = room.start()
    content(engine, room.products[OFFLINE[0]], MANIFEST)
    status = room.status(engine, room.products[OFFLINE[0]])
    assert (status.storageStatus, status.local, status.activity) == (
        StorageStatus.ONLINE,
        Local.COMPLETE,
        Activity.IDLE,
    )
    assert (status.message, status.order, status.error) == ("complete", None, None)
    assert status.downloaded == status.size == len(archive_of(room, OFFLINE[0]))
    assert status.location == "file:///mnt/data/product"


def test_the_status_shows_no_secret_of_the_link(room: Room) -> None:
    product = replace(room.products[ONLINE[0]], location="https://alice:hidden@host.example/x?sig=hidden")
    status = room.status(room.start(), product)
    assert status.remote_location == status.location == "https://host.example/x"
    assert "hidden" not in status.text()


def test_neither_the_log_nor_an_error_shows_a_secret(
    room: Room, leaping: LeapingClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="eofs")
    uid, secret = ONLINE[0], "hidden-pässword"
    room.provider.password = secret
    speaks = replace(DEMO, credentials={"username": "demo", "password": secret})
    engine = room.start(speaks=speaks, clock=leaping, timeout=20)
    product = replace(room.products[uid], location=f"{room.products[uid].location}?token=hidden")
    texts = []
    for replies in (
        [Reply(500)],
        [Reply(cut_after=1000), Reply(401)],
        [Reply(302, {"Location": "/x?sig=hidden"})],
        [None],
    ):
        always(room, uid, *replies)
        with contextlib.suppress(EofsError):
            md5sums(engine, product)
        texts.append(room.status(engine, product).text())
        leaping.time += failures.FAILURE_MEMORY + 1
    assert "local: complete" in texts[-1]
    text = caplog.text + "".join(texts)
    basic = base64.b64encode(f"demo:{secret}".encode()).decode()
    assert "hidden" not in text
    assert basic not in text


def test_a_link_that_cannot_be_read_is_said_so_and_harms_no_status(room: Room) -> None:
    engine, product = room.start(), replace(room.products[ONLINE[0]], location="http://[bad/x")
    assert room.status(engine, product).remote_location is None
    with pytest.raises(NotSupported, match="its link cannot be read"):
        engine.listing(product, NOBODY)
    assert room.status(engine, product).activity is Activity.FAILED


def test_a_link_along_which_others_stand_gets_no_credentials(room: Room) -> None:
    with Canned(http(200, archive_of(room, ONLINE[0]))) as elsewhere:
        product = replace(room.products[ONLINE[0]], location=elsewhere.url)
        engine = room.start(speaks=replace(DEMO, hosts=(f"127.0.0.1:{room.provider.port}",)))
        assert right(room, engine, ONLINE[0], product)
        assert "Authorization" not in elsewhere.asked[0]


# -- a product on tape -----------------------------------------------------------------------------------------------


@pytest.mark.says("`wait`, `timeout` `2`, `20` minutes (section 3)")
@pytest.mark.says("`wait` is the minutes between two checks (2)")
def test_a_product_on_tape_is_asked_for_every_wait_until_it_comes(
    opened: Callable[..., Room], leaping: LeapingClock
) -> None:
    room = opened(clock=leaping.now, staging_seconds=300)
    engine = room.start(clock=leaping, wait=2, timeout=20)
    assert right(room, engine, OFFLINE[0])
    assert asked(room, OFFLINE[0]) == [202, 202, 202, 200]
    assert leaping.pauses == [120, 120, 120]


@pytest.mark.says("202 says that they are on their way.")
def test_the_status_goes_from_tape_to_disk(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened(clock=hand.now, staging_seconds=100)
    engine, product, uid = room.start(clock=hand, wait=1, timeout=20), room.products[OFFLINE[0]], OFFLINE[0]
    hold, rest = threading.Event(), threading.Event()
    room.provider.script[uid].append(Reply(202, stall_after=-1, release=hold))
    reading = aside(content, engine, product, MANIFEST)

    until(lambda: room.status(engine, product).activity is Activity.ORDERING)
    status = room.status(engine, product)
    assert (status.storageStatus, status.local) == (StorageStatus.OFFLINE, Local.ABSENT)
    assert status.message == "giving up at 08:20:00Z"
    hold.set()

    hand.until_waiting()
    hand.move(9)
    status = room.status(engine, product)
    assert (status.storageStatus, status.activity) == (StorageStatus.STAGING, Activity.WAITING)
    assert status.message == "ordered 2027-01-15T08:00:00Z, next check in 51 s, giving up at 08:20:00Z"
    assert status.order == "placed 2027-01-15T08:00:00Z, last answer 202 Accepted"
    assert not reading.done()

    hand.move(51)  # the second question, which is an order to the provider, since it knows nothing of the first
    hand.until_waiting()
    room.provider.script[uid].append(Reply(stall_after=150_000, release=rest))
    room.provider.set_online(uid)
    hand.move(60)
    until(lambda: room.status(engine, product).downloaded == 150_000)
    status = room.status(engine, product)
    assert (status.storageStatus, status.local) == (StorageStatus.ONLINE, Local.PARTIAL)
    assert status.activity is Activity.DOWNLOADING
    assert status.size == len(archive_of(room, uid))
    rest.set()
    assert hashlib.md5(reading.result(10)).hexdigest() in room.provider.md5sums(uid).values()
    assert room.status(engine, product).activity is Activity.IDLE


def test_a_product_that_is_said_to_be_there_and_is_not_is_waited_for(
    opened: Callable[..., Room], leaping: LeapingClock
) -> None:
    room = opened(clock=leaping.now, staging_seconds=100)
    engine = room.start(clock=leaping, wait=1, timeout=20)
    room.provider.set_offline(ONLINE[0])
    assert right(room, engine, ONLINE[0])
    assert asked(room, ONLINE[0]) == [202, 202, 200]


def test_a_product_that_is_said_to_be_on_tape_and_is_not_comes_at_once(room: Room) -> None:
    room.provider.set_online(OFFLINE[0])
    assert right(room, room.start(), OFFLINE[0])
    assert asked(room, OFFLINE[0]) == [200]


@pytest.mark.says("202; 200 with an empty body; 204 on its way from tape: asked again every `wait`")
def test_an_empty_reply_is_a_wait_and_no_product(opened: Callable[..., Room], leaping: LeapingClock) -> None:
    room = opened()
    room.provider.script[ONLINE[0]].extend([Reply(202), Reply(200), Reply(204)])
    assert right(room, room.start(clock=leaping, wait=1, timeout=20), ONLINE[0])
    assert asked(room, ONLINE[0]) == [202, 200, 204, 200]
    assert leaping.pauses == [60, 60, 60]


@pytest.mark.says("200, 206 with bytes the product")
def test_a_download_that_breaks_may_find_the_product_back_on_tape(
    opened: Callable[..., Room], leaping: LeapingClock
) -> None:
    room = opened(clock=leaping.now, staging_seconds=100)
    room.provider.script[ONLINE[0]].extend([Reply(cut_after=100_000), Reply(202)])
    assert right(room, room.start(clock=leaping, wait=1, timeout=20), ONLINE[0])
    assert asked(room, ONLINE[0]) == [200, 202, 206]


# -- many who ask ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [ONLINE[0], OFFLINE[0]])
def test_twenty_readers_make_one_order_and_one_download(room: Room, uid: str) -> None:
    engine, product = room.start(), room.products[uid]
    found = together(20, lambda: content(engine, product, MANIFEST))
    assert {hashlib.md5(each).hexdigest() for each in found} <= set(room.provider.md5sums(uid).values())
    assert asked(room, uid).count(200) == 1
    assert asked(room, uid).count(202) <= 5
    assert room.provider.peak == 1


@pytest.mark.says("A waiting order holds none of the provider's connections.")
def test_a_product_that_waits_holds_up_no_other_one(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened(clock=hand.now, staging_seconds=100)
    engine = room.start(clock=hand, wait=1, timeout=20, connections=1)
    waiting = [aside(content, engine, room.products[uid], MANIFEST) for uid in OFFLINE]
    hand.until_waiting(len(OFFLINE))
    for uid in ONLINE:
        assert right(room, engine, uid)
    assert not any(reading.done() for reading in waiting)
    hand.move(120)
    assert [bool(reading.result(20)) for reading in waiting] == [True] * len(OFFLINE)
    assert room.provider.peak == 1


def test_connections_limit_the_downloads_at_a_time(room: Room) -> None:
    engine, hold = room.start(connections=2), threading.Event()
    for uid in ONLINE:
        room.provider.script[uid].append(Reply(stall_after=1000, release=hold))
    readings = [aside(content, engine, room.products[uid], MANIFEST) for uid in ONLINE]
    until(lambda: room.provider.under_way == 2)
    hold.set()
    assert all(reading.result(20) for reading in readings)
    assert room.provider.peak == 2


def test_a_reader_that_gives_up_leaves_the_others_and_the_download_alone(room: Room) -> None:
    engine, product, hold, enough = room.start(), room.products[ONLINE[0]], threading.Event(), threading.Event()

    def check() -> None:
        if enough.is_set():
            raise Interrupted("interrupted")

    room.provider.script[ONLINE[0]].append(Reply(stall_after=1000, release=hold))
    one = aside(content, engine, product, MANIFEST, Caller(check=check))
    other = aside(content, engine, product, MANIFEST)
    until(lambda: room.status(engine, product).activity is Activity.DOWNLOADING)
    enough.set()
    with pytest.raises(Interrupted):
        one.result(20)  # while the provider is silent
    hold.set()
    assert other.result(10)
    assert asked(room, ONLINE[0]) == [200]


# -- the deadline ----------------------------------------------------------------------------------------------------


@pytest.mark.says("`timeout` `2`, `20` minutes (section 3)")
def test_at_the_deadline_the_order_stays_placed_and_the_next_open_goes_on_waiting(
    opened: Callable[..., Room], leaping: LeapingClock
) -> None:
    room = opened(clock=leaping.now, staging_seconds=2000)
    product, uid, begun = room.products[OFFLINE[0]], OFFLINE[0], leaping.time
    engine = room.start(clock=leaping, wait=2, timeout=20)
    with pytest.raises(NotReady) as caught:
        engine.listing(product, NOBODY)
    assert leaping.time == begun + 1200
    status = room.status(engine, product)
    assert (status.storageStatus, status.activity) == (StorageStatus.STAGING, Activity.IDLE)
    assert status.error == str(caught.value)
    assert "stays" in str(caught.value)
    placed = room.cache.records.order(product)
    assert placed
    assert placed.placed == begun

    room.close()
    engine = room.start(clock=leaping, wait=2, timeout=20)
    assert room.status(engine, product).storageStatus is StorageStatus.STAGING
    before = len(asked(room, uid))
    reading = aside(content, engine, product, MANIFEST)
    assert reading.result(10)
    assert leaping.time < begun + 2200
    assert asked(room, uid)[before:][-1] == 200
    assert room.cache.records.order(product) is None


@pytest.mark.says("The deadline is for the wait: a download that is under way is waited for as long as bytes come.")
def test_a_download_that_is_under_way_at_the_deadline_is_waited_for(
    opened: Callable[..., Room], hand: HandClock
) -> None:
    room = opened(clock=hand.now)
    product, release = room.products[ONLINE[0]], threading.Event()
    room.provider.ranges = False
    room.provider.script[ONLINE[0]].append(Reply(stall_after=1000, release=release))
    engine = room.start(clock=hand, wait=1, timeout=20)
    reading = aside(content, engine, product, MANIFEST)
    until(lambda: room.status(engine, product).downloaded == 1000)
    hand.move(2000)
    release.set()
    assert reading.result(60)


def test_the_time_of_an_order_survives_a_restart(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened(clock=hand.now, staging_seconds=100)
    product, begun = room.products[OFFLINE[0]], hand.time
    aside(content, room.start(clock=hand, wait=1, timeout=20), product, MANIFEST)
    hand.until_waiting()
    room.close()
    hand.move(30)
    engine = room.start(clock=hand, wait=1, timeout=20)
    reading = aside(content, engine, product, MANIFEST)
    hand.until_waiting()
    order = room.cache.records.order(product)
    assert order
    assert order.placed == begun
    assert room.status(engine, product).message.startswith("ordered 2027-01-15T08:00:00Z, next check in 60 s")
    hand.move(90)
    assert reading.result(10)


def test_who_joins_later_prolongs_the_wait_for_itself_only(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened(clock=hand.now, staging_seconds=1500)
    engine, product = room.start(clock=hand, wait=5, timeout=20), room.products[OFFLINE[0]]
    first = aside(content, engine, product, MANIFEST)
    for _ in range(2):
        hand.until_waiting()
        hand.move(300)
    hand.until_waiting()
    second = aside(content, engine, product, MANIFEST)
    until(lambda: room.status(engine, product).message.endswith("giving up at 08:30:00Z"))
    for _ in range(2):
        hand.until_waiting()
        hand.move(300)
    hand.until_waiting()
    hand.move(1)
    with pytest.raises(NotReady):
        first.result(20)
    assert not second.done()
    hand.move(300)
    assert second.result(10)
    assert asked(room, OFFLINE[0]) == [202] * 5 + [200]


@pytest.mark.says("With `timeout` 0 the provider is asked once.")
def test_with_no_time_the_provider_is_asked_once(room: Room) -> None:
    engine = room.start(timeout=0)
    with pytest.raises(NotReady, match="stays placed"):
        engine.listing(room.products[OFFLINE[0]], NOBODY)
    assert asked(room, OFFLINE[0]) == [202]
    assert right(room, engine, ONLINE[0])


def test_with_no_time_a_slow_answer_is_still_an_answer(room: Room) -> None:
    engine, hold = room.start(timeout=0), threading.Event()
    room.provider.script[ONLINE[0]].append(Reply(stall_after=-1, release=hold))
    reading = aside(content, engine, room.products[ONLINE[0]], MANIFEST)
    until(lambda: room.provider.under_way == 1)
    timer = threading.Timer(0.4, hold.set)
    timer.start()
    assert reading.result(10)
    timer.join()


def test_with_no_time_a_failure_is_not_tried_again(room: Room, leaping: LeapingClock) -> None:
    always(room, ONLINE[0], Reply(500))
    with pytest.raises(ProviderFailed):
        room.start(timeout=0, clock=leaping).listing(room.products[ONLINE[0]], NOBODY)
    assert asked(room, ONLINE[0]) == [500]


@pytest.mark.parametrize(
    ("options", "caller"), [({"block": False}, NOBODY), ({}, IMPATIENT)], ids=["block", "nonblock"]
)
def test_who_does_not_wait_is_told_at_once_while_it_goes_on_behind(
    room: Room, options: dict[str, Any], caller: Caller
) -> None:
    engine, product, uid = room.start(**options), room.products[OFFLINE[0]], OFFLINE[0]
    with pytest.raises(NotReady):  # nobody who waits hears that: it is staged long before the deadline
        engine.listing(product, caller)
    until(lambda: room.status(engine, product).local is Local.COMPLETE)
    assert content(engine, product, MANIFEST, caller)
    assert asked(room, uid).count(200) == 1


def test_who_does_not_wait_is_served_what_is_there(room: Room) -> None:
    content(room.start(), room.products[ONLINE[0]], MANIFEST)
    room.close()
    assert content(room.start(block=False), room.products[ONLINE[0]], MANIFEST, IMPATIENT)


# -- orders ----------------------------------------------------------------------------------------------------------


def test_a_further_order_waits_its_turn_and_gets_it(room: Room) -> None:
    engine, (one, other) = room.start(max_orders=1), OFFLINE[:2]
    first = aside(content, engine, room.products[one], MANIFEST)
    assert room.provider.wait_until(lambda: room.provider.count(one, status=202) > 0)
    second = aside(content, engine, room.products[other], MANIFEST)
    until(lambda: "waits its turn" in room.status(engine, room.products[other]).message)
    status = room.status(engine, room.products[other])
    assert (status.storageStatus, status.activity) == (StorageStatus.OFFLINE, Activity.WAITING)
    assert first.result(10)
    assert second.result(10)
    order = [request.uid for request in room.provider.requests]
    assert order == sorted(order, key=[one, other].index)


def test_as_many_orders_as_allowed_are_under_way_at_a_time(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened(clock=hand.now, staging_seconds=100)
    engine = room.start(clock=hand, wait=2, timeout=2000, max_orders=3)
    readings = [aside(content, engine, room.products[uid], MANIFEST) for uid in OFFLINE]
    hand.until_waiting(len(OFFLINE))
    assert sum(bool(asked(room, uid)) for uid in OFFLINE) == 3

    def all_are_done() -> bool:
        hand.move(10)
        return all(reading.done() for reading in readings)

    until(all_are_done)
    assert all(reading.result(0) for reading in readings)


def test_a_turn_that_does_not_come_by_the_deadline_is_not_ready(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened(clock=hand.now, staging_seconds=10_000)
    engine, (one, other) = room.start(clock=hand, wait=2, timeout=20, max_orders=1), OFFLINE[:2]
    aside(content, engine, room.products[one], MANIFEST)
    assert room.provider.wait_until(lambda: room.provider.count(one, status=202) > 0)
    second = aside(content, engine, room.products[other], MANIFEST)
    hand.until_waiting(2)
    hand.move(1201)
    with pytest.raises(NotReady):
        second.result(20)
    assert asked(room, other) == []


def test_a_failed_order_gives_its_turn_to_the_next(room: Room) -> None:
    engine, (one, other) = room.start(max_orders=1), OFFLINE[:2]
    always(room, one, Reply(403))
    with pytest.raises(AccessRefused):
        engine.listing(room.products[one], NOBODY)
    assert content(engine, room.products[other], MANIFEST)


def test_without_ordering_a_product_on_tape_is_refused_without_a_request(room: Room) -> None:
    engine = room.start(order="never")
    with pytest.raises(NotAllowed, match="OFFLINE, and order=never"):
        engine.listing(room.products[OFFLINE[0]], NOBODY)
    assert room.provider.count() == 0
    assert room.status(engine, room.products[OFFLINE[0]]).activity is Activity.FAILED
    assert right(room, engine, ONLINE[0])


def test_without_ordering_a_product_that_turns_out_to_be_on_tape_is_not_waited_for(room: Room) -> None:
    engine = room.start(order="never")
    room.provider.set_offline(ONLINE[0])
    with pytest.raises(NotAllowed, match="not ONLINE"):
        engine.listing(room.products[ONLINE[0]], NOBODY)
    assert asked(room, ONLINE[0]) == [202]


# -- failures --------------------------------------------------------------------------------------------------------

FINAL = [
    (Reply(400), ProviderFailed),
    (Reply(401), AccessRefused),
    (Reply(403), AccessRefused),
    (Reply(407), AccessRefused),
    (Reply(404), Gone),
    (Reply(410), Gone),
    (Reply(299), ProviderFailed),
    (Reply(451), ProviderFailed),
    (Reply(200, {"Content-Type": "text/html"}, b"<html>"), AccessRefused),
    (Reply(200, {"Content-Type": "application/json"}, b"{}"), ProviderFailed),
    (Reply(302, {"Location": "ftp://host/x"}), NotSupported),
]
PASSING = [
    (Reply(408), ProviderFailed),
    (Reply(425), ProviderFailed),
    (Reply(500), ProviderFailed),
    (Reply(502), ProviderFailed),
    (Reply(503), ProviderFailed),
    (Reply(504), ProviderFailed),
    (Reply(599), ProviderFailed),
    (Reply(206, {"Content-Range": "nonsense"}, b"data"), ProviderFailed),
    (Reply(cut_after=-1), Unreachable),
    (Reply(stall_after=-1), Stalled),
]
ERRNO = {
    AccessRefused: "EACCES",
    NotSupported: "EOPNOTSUPP",
    Gone: "ENODATA",
    ProviderFailed: "EREMOTEIO",
    Unreachable: "EHOSTUNREACH",
    Stalled: "ETIMEDOUT",
}


def named(value: object) -> str | None:
    if isinstance(value, Reply):
        return f"{value.status} {' '.join(value.headers.values())}".strip() if value.status else "broken"
    return getattr(value, "__name__", None)


@pytest.mark.says("then the next open asks again.")
@pytest.mark.says(
    "401, 403, 407; an HTML page refused, not tried again",
    "404, 410 gone, not tried again",
    "any other failed, not tried again",
    "408, 425, 5xx; a broken, refused or silent connection",
    "A failure is answered to all who ask in the next 30 seconds",
)
@pytest.mark.says("other 4xx, a message instead of data)")
@pytest.mark.parametrize("uid", [ONLINE[0], OFFLINE[0]], ids=["online", "offline"])
@pytest.mark.parametrize(("reply", "error"), FINAL + PASSING, ids=named)
def test_a_failure_has_its_error_and_its_sentence_and_is_remembered_for_a_while(
    room: Room, leaping: LeapingClock, reply: Reply, error: type[EofsError], uid: str
) -> None:
    import errno  # noqa: PLC0415 - as a table of names

    tries = 1 if (reply, error) in FINAL else 1 + DEMO.retries
    patience = 0.1 if error is Stalled else 30  # with less, a busy machine is taken for a silent provider
    engine, product = room.start(clock=leaping, timeout=20, stall_timeout=patience), room.products[uid]
    always(room, uid, reply)
    with pytest.raises(error) as caught:
        engine.listing(product, NOBODY)
    assert caught.value.errno == getattr(errno, ERRNO[error])
    each = 2 if reply.status == 206 else 1  # a part that is not the one asked for: then all is asked for
    until(lambda: len(asked(room, uid)) == each * tries)
    assert len(leaping.pauses) == tries - 1
    assert leaping.pauses == sorted(leaping.pauses)
    status = room.status(engine, product)
    assert (status.activity, status.local) == (Activity.FAILED, Local.ABSENT)
    assert status.error == str(caught.value)

    assert failures.FAILURE_MEMORY == 30
    leaping.time += failures.FAILURE_MEMORY - 1
    with pytest.raises(error):
        engine.listing(product, NOBODY)
    assert len(asked(room, uid)) == each * tries
    leaping.time += 2
    with pytest.raises(error):
        engine.listing(product, NOBODY)
    until(lambda: len(asked(room, uid)) == each * 2 * tries)

    leaping.time += failures.FAILURE_MEMORY + 1
    always(room, uid, None)
    room.provider.set_online(uid)
    assert right(room, engine, uid)
    assert room.status(engine, product).error is None


@pytest.mark.says("A failure is answered to all who ask in the next 30 seconds")
def test_all_who_wait_get_the_failure_and_nobody_asks_again(room: Room) -> None:
    always(room, ONLINE[0], Reply(404))
    engine = room.start()
    found = together(20, lambda: engine.listing(room.products[ONLINE[0]], NOBODY))
    assert {type(each) for each in found} == {Gone}
    assert asked(room, ONLINE[0]) == [404]


@pytest.mark.says("a broken, refused or silent connection")
def test_a_host_that_is_not_there_cannot_be_reached(room: Room, leaping: LeapingClock) -> None:
    engine = room.start(clock=leaping, timeout=20)
    room.provider.stop()
    with pytest.raises(Unreachable, match="Connection refused"):
        engine.listing(room.products[ONLINE[0]], NOBODY)
    assert len(leaping.pauses) == DEMO.retries


def test_a_provider_that_comes_back_is_tried_again(room: Room, leaping: LeapingClock) -> None:
    always(room, ONLINE[0], Reply(503), Reply(cut_after=-1), None)
    assert right(room, room.start(clock=leaping, timeout=20), ONLINE[0])
    assert asked(room, ONLINE[0]) == [503, 0, 200]


@pytest.mark.says("`Retry-After` is kept")
def test_a_pause_that_the_provider_asks_for_is_kept(room: Room, leaping: LeapingClock) -> None:
    always(room, ONLINE[0], Reply(503, {"Retry-After": "7"}), Reply(429, {"Retry-After": "77"}), None)
    assert right(room, room.start(clock=leaping, timeout=20), ONLINE[0])
    assert leaping.pauses == [7, 77]


@pytest.mark.says("and so is EUMETSAT's `retryAfter` in JSON")
@pytest.mark.parametrize("wrapped", [True, False], ids=["in a message", "by itself"])
def test_a_pause_that_is_said_in_json_is_kept(room: Room, leaping: LeapingClock, wrapped: bool) -> None:
    said: dict[str, Any] = {"retryAfter": round((time.time() + 900) * 1000)}
    body = json.dumps({"message": said} if wrapped else said).encode()
    always(room, ONLINE[0], Reply(429, {"Content-Type": "application/json"}, body), None)
    assert right(room, room.start(clock=leaping, timeout=20), ONLINE[0])
    [pause] = leaping.pauses
    assert 600 < pause <= 900  # the test may be slow


@pytest.mark.says("After EAGAIN and ECANCELED it does so at once.")
@pytest.mark.says("429 tried again until the deadline")
def test_a_provider_that_throttles_is_asked_again_until_the_deadline(room: Room, leaping: LeapingClock) -> None:
    always(room, ONLINE[0], Reply(429))
    engine, begun = room.start(clock=leaping, timeout=20), leaping.time
    with pytest.raises(NotReady, match="slow down"):
        engine.listing(room.products[ONLINE[0]], NOBODY)
    assert begun + 1080 <= leaping.time <= begun + 1200
    assert len(asked(room, ONLINE[0])) > DEMO.retries + 1
    assert room.status(engine, room.products[ONLINE[0]]).activity is Activity.IDLE
    always(room, ONLINE[0], None)
    assert right(room, engine, ONLINE[0])


@pytest.mark.parametrize(("status", "error"), [(429, NotReady), (503, ProviderFailed)])
def test_a_pause_beyond_the_deadline_is_not_waited_for(
    room: Room, leaping: LeapingClock, status: int, error: type[EofsError]
) -> None:
    always(room, ONLINE[0], Reply(status, {"Retry-After": "99999999999999"}))
    with pytest.raises(error):
        room.start(clock=leaping, timeout=20).listing(room.products[ONLINE[0]], NOBODY)
    assert (asked(room, ONLINE[0]), leaping.pauses) == ([status], [])


@pytest.mark.says("a link that cannot be followed")
@pytest.mark.parametrize("location", [None, "ftp://host/key", "Not Available"])
def test_a_product_without_a_usable_link_is_not_supported(room: Room, location: str | None) -> None:
    engine = room.start()
    with pytest.raises(NotSupported):
        engine.listing(replace(room.products[ONLINE[0]], location=location), NOBODY)
    assert room.provider.count() == 0


def test_missing_credentials_are_refused_without_a_request(room: Room) -> None:
    engine = room.start(speaks=replace(DEMO, credentials={}))
    with pytest.raises(AccessRefused, match="EODAG__DEMO__AUTH__CREDENTIALS__USERNAME and EODAG__DEMO__AUTH") as caught:
        engine.listing(room.products[ONLINE[0]], NOBODY)
    assert room.status(engine, room.products[ONLINE[0]]).error == str(caught.value)
    assert room.provider.count() == 0


# -- downloads that break --------------------------------------------------------------------------------------------


@pytest.mark.says("a body that ends early tried again", "after pauses that double; what has arrived is kept")
def test_a_cut_download_goes_on_where_it_stopped(room: Room, leaping: LeapingClock) -> None:
    uid, size = ONLINE[0], len(archive_of(room, ONLINE[0]))
    room.provider.script[uid].append(Reply(cut_after=100_000))
    assert right(room, room.start(clock=leaping), uid)
    assert ranges(room, uid) == [END, "bytes=100000-"]
    etag = f'"{hashlib.md5(archive_of(room, uid)).hexdigest()}"'
    assert room.provider.requests[-1].headers["if-range"] == etag
    assert room.provider.bytes_sent(uid) == size


@pytest.mark.says("4 times in a row without progress")
def test_a_download_that_gets_on_is_not_given_up_however_often_it_is_cut(room: Room, leaping: LeapingClock) -> None:
    uid = ONLINE[0]
    room.provider.script[uid].extend(Reply(cut_after=20_000) for _ in range(3 * DEMO.retries))
    assert right(room, room.start(clock=leaping), uid)
    assert room.provider.bytes_sent(uid) == len(archive_of(room, uid))


@pytest.mark.says("a body that ends early tried again, 4 times in a row without progress")
def test_a_download_that_does_not_get_on_is_given_up(room: Room, leaping: LeapingClock) -> None:
    uid = ONLINE[0]
    always(room, uid, Reply(cut_after=100_000), Reply(cut_after=0))
    engine = room.start(clock=leaping, timeout=20)
    with pytest.raises(Unreachable):
        engine.listing(room.products[uid], NOBODY)
    assert len(asked(room, uid)) == 1 + DEMO.retries
    assert room.status(engine, room.products[uid]).local is Local.PARTIAL


@pytest.mark.says("tried again, 4 times in a row without progress, after pauses that double")
def test_what_fails_is_tried_again_four_times_after_pauses_that_double(room: Room, leaping: LeapingClock) -> None:
    usual = Provider("usual")
    speaks = replace(DEMO, retries=usual.retries, retry_delay=usual.retry_delay)
    always(room, ONLINE[0], Reply(503))
    with pytest.raises(ProviderFailed):
        room.start(speaks=speaks, clock=leaping, timeout=20).listing(room.products[ONLINE[0]], NOBODY)
    assert asked(room, ONLINE[0]) == [503] * 5
    assert len(leaping.pauses) == 4
    for pause, most in zip(leaping.pauses, (1, 2, 4, 8), strict=True):  # up to half of it is left to chance
        assert most / 2 <= pause <= most


def test_a_stalled_download_goes_on_where_it_stopped(room: Room, leaping: LeapingClock) -> None:
    uid = ONLINE[0]
    room.provider.script[uid].append(Reply(stall_after=123_456))
    assert right(room, room.start(clock=leaping, stall_timeout=1), uid)
    assert ranges(room, uid) == [END, "bytes=123456-"]


def test_a_cut_download_goes_on_after_a_restart(room: Room, leaping: LeapingClock) -> None:
    uid, size = ONLINE[0], len(archive_of(room, ONLINE[0]))
    room.provider.script[uid].extend([Reply(cut_after=100_000), Reply(403)])
    with pytest.raises(AccessRefused):
        room.start(clock=leaping).listing(room.products[uid], NOBODY)
    room.close()
    engine = room.start(clock=leaping)
    status = room.status(engine, room.products[uid])
    assert (status.local, status.downloaded, status.size) == (Local.PARTIAL, 100_000, size)
    assert right(room, engine, uid)
    assert ranges(room, uid)[-1] == "bytes=100000-"
    assert room.provider.bytes_sent(uid) == size


def test_a_download_is_kept_when_the_engine_is_closed(room: Room) -> None:
    uid = ONLINE[0]
    room.provider.script[uid].append(Reply(stall_after=200_000))
    engine = room.start()
    aside(content, engine, room.products[uid], MANIFEST)
    until(lambda: room.status(engine, room.products[uid]).downloaded == 200_000)
    room.close()
    assert right(room, room.start(), uid)
    assert ranges(room, uid) == [END, "bytes=200000-"]


def test_without_byte_ranges_a_cut_download_starts_afresh(opened: Callable[..., Room], leaping: LeapingClock) -> None:
    room = opened(ranges=False)
    uid = ONLINE[0]
    room.provider.script[uid].append(Reply(cut_after=100_000))
    assert right(room, room.start(clock=leaping), uid)
    assert room.provider.bytes_sent(uid) == 100_000 + len(archive_of(room, uid))


@pytest.mark.says("Bytes of two versions are never mixed")
def test_another_version_is_never_put_beside_the_first(room: Room, leaping: LeapingClock) -> None:
    uid, data = ONLINE[0], archive_of(room, ONLINE[0])
    room.provider.script[uid].append(Reply(200, {**ZIP, "ETag": '"old"'}, b"\0" * len(data), cut_after=100_000))
    assert right(room, room.start(clock=leaping), uid, unsure(room.products[uid]))
    assert asked(room, uid) == [200, 200]


@pytest.mark.says("206 for another range than was asked for; 416 all of it is asked for")
@pytest.mark.says("the whole is asked for instead.")
@pytest.mark.parametrize(
    ("headers", "then"),
    [
        ({"Content-Range": "bytes 90000-{last}/{size}"}, None),
        ({"Content-Range": "bytes 100000-{last}/{size}", "ETag": '"other"'}, END),  # it is begun anew
        ({"Content-Range": "bytes 100000-{last}/999999"}, END),
        ({"Content-Range": "chapters 1-2/3"}, None),
        ({}, None),
    ],
    ids=["other start", "other version", "other size", "other unit", "none"],
)
def test_a_wrong_range_is_never_put_beside_the_first(
    room: Room, leaping: LeapingClock, headers: dict[str, str], then: str | None
) -> None:
    uid, data = ONLINE[0], archive_of(room, ONLINE[0])
    said = {name: value.format(last=len(data) - 1, size=len(data)) for name, value in headers.items()}
    always(room, uid, Reply(cut_after=100_000), Reply(206, {**ZIP, **said}, b"\0" * (len(data) - 100_000)), None)
    assert right(room, room.start(clock=leaping), uid, unsure(room.products[uid]))
    assert asked(room, uid)[:2] == [200, 206]
    assert ranges(room, uid)[2:] == [then]
    assert asked(room, uid) == [200, 206, 200]


@pytest.mark.parametrize("kind", ["chunked", "until the end"])
def test_a_download_of_unknown_size_is_brought_whole(room: Room, leaping: LeapingClock, kind: str) -> None:
    uid, data = ONLINE[0], archive_of(room, ONLINE[0])
    if kind == "chunked":
        body = b"%x\r\n" % len(data) + data + b"\r\n0\r\n\r\n"
        whole = http(200, body, length=-1, Transfer_Encoding="chunked", **ZIP_KINDS)
        cut = http(200, body[:100_000], length=-1, Transfer_Encoding="chunked", **ZIP_KINDS)
    else:
        whole, cut = http(200, data, length=-1, **ZIP_KINDS), None
    with Canned(cut, whole) as server:
        product = unsure(room.products[uid], location=server.url)
        engine = room.start(clock=leaping)
        assert right(room, engine, uid, product)
        assert room.status(engine, product).size == len(data)


ZIP_KINDS: dict[str, Any] = {"Content_Type": "application/zip", "ETag": '"1"'}


# -- wrong bytes -----------------------------------------------------------------------------------------------------


def kept(room: Room) -> list[str]:
    """The files that the cache holds of its products."""
    return [path.name for path in (room.directory / "products").rglob("*") if path.is_file()]


@pytest.mark.says("Wrong bytes are fetched afresh once; then it is EIO.")
def test_wrong_bytes_are_fetched_afresh_once(room: Room) -> None:
    uid, data = ONLINE[0], archive_of(room, ONLINE[0])
    room.provider.script[uid].append(Reply(200, ZIP, data[:-1] + b"x"))
    assert right(room, room.start(), uid)
    assert asked(room, uid) == [200, 200]


@pytest.mark.says("then it is EIO.", "nothing has its final name before it is whole and verified.")
def test_bytes_that_stay_wrong_are_corrupt_and_not_kept(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    uid, named, finish = ONLINE[0], [], PartialFile.finish

    def noted(file: PartialFile, share: Callable[[int], None]) -> None:
        named.append(file.path)
        finish(file, share)

    monkeypatch.setattr(PartialFile, "finish", noted)
    product = replace(room.products[uid], checksum=Checksum("md5", "0" * 32))
    engine = room.start()
    with pytest.raises(Corrupt, match="MD5"):
        engine.listing(product, NOBODY)
    until(lambda: not stories())
    assert asked(room, uid) == [200, 200]
    assert kept(room) == []
    status = room.status(engine, product)
    assert (status.local, status.activity, status.downloaded) == (Local.ABSENT, Activity.FAILED, 0)
    assert named == []
    assert right(room, room.start(), uid)
    assert named == [room.cache.archive(product)]


@pytest.mark.says("broken archive) after one fresh try EIO")
def test_a_truncated_archive_without_a_checksum_is_corrupt(room: Room) -> None:
    uid = ONLINE[0]
    always(room, uid, Reply(200, ZIP, archive_of(room, uid)[:-100_000]))
    with pytest.raises(Corrupt):
        room.start().listing(unsure(room.products[uid]), NOBODY)
    until(lambda: not stories())
    assert asked(room, uid) == [200, 200]
    assert kept(room) == []


@pytest.mark.parametrize("known", [False, True], ids=["without a checksum", "with a checksum"])
def test_an_archive_whose_index_is_broken_at_the_provider_is_served_as_far_as_that_is_safe(
    room: Room, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    uid, broken = ONLINE[0], archive_of(room, ONLINE[0])[:-1]
    always(room, uid, Reply(200, ZIP, broken))
    checksum = Checksum("md5", hashlib.md5(broken).hexdigest()) if known else None
    engine, product = room.start(), unsure(room.products[uid], checksum=checksum)
    assert right(room, engine, uid, product)
    assert asked(room, uid) == ([200] if known else [200, 200])
    assert "is damaged at demo; what is whole is shown" in caplog.text
    room.close()
    assert right(room, room.start(), uid, product)
    assert len(asked(room, uid)) == (1 if known else 2)


def test_a_size_that_is_not_that_of_the_result_is_no_harm_where_the_archive_is_right(room: Room) -> None:
    assert right(room, room.start(), ONLINE[0], unsure(room.products[ONLINE[0]], size=12))


def test_a_reply_without_a_byte_is_no_product(room: Room) -> None:
    with Canned(http(200, b"", length=-1)) as server, pytest.raises(Corrupt, match="without a single byte"):
        room.start().listing(unsure(room.products[ONLINE[0]], location=server.url), NOBODY)


# -- bare files ------------------------------------------------------------------------------------------------------


def test_a_product_that_is_one_bare_file_is_served_as_that_file(room: Room) -> None:
    uid = ONLINE[0]
    always(room, uid, Reply(200, {"Content-Type": "application/octet-stream"}, BARE))
    engine, product = room.start(), unsure(room.products[uid])
    (found,) = engine.listing(product, NOBODY).members
    assert (found.path, found.size) == (f"{product.title}.nc", len(BARE))
    assert content(engine, product, ".nc") == BARE


def test_a_bare_file_can_be_read_while_it_comes(room: Room) -> None:
    uid, hold = ONLINE[0], threading.Event()
    always(room, uid, Reply(200, {"Content-Type": "application/x-netcdf"}, BARE, stall_after=2000, release=hold))
    engine, product = room.start(), unsure(room.products[uid])
    reader = aside(lambda: engine.open(product, member(engine, product, ".nc"), NOBODY)).result(20)
    assert reader.read(0, 2000, NOBODY) == BARE[:2000]
    assert room.status(engine, product).activity is Activity.DOWNLOADING
    rest = aside(reader.read, 2000, len(BARE), NOBODY)
    assert not rest.done()
    hold.set()
    assert rest.result(10) == BARE[2000:]
    reader.close()
    assert asked(room, uid) == [200]


def test_a_bare_file_of_unknown_size_is_served_when_it_is_whole(room: Room) -> None:
    with Canned(http(200, BARE, length=-1)) as server:
        product = unsure(room.products[ONLINE[0]], location=server.url)
        assert content(room.start(), product, ".nc") == BARE


def test_who_reads_a_bare_file_is_told_why_it_does_not_come(room: Room) -> None:
    uid, hold = ONLINE[0], threading.Event()
    always(room, uid, Reply(200, {"ETag": '"1"'}, BARE, stall_after=2000, release=hold), Reply(404))
    engine, product = room.start(), unsure(room.products[uid])
    reader = aside(lambda: engine.open(product, member(engine, product, ".nc"), NOBODY)).result(20)
    room.provider.stop()
    room.provider.start()
    hold.set()
    with pytest.raises(Gone):
        reader.read(2000, len(BARE), NOBODY)
    reader.close()


def test_unextracted_an_archive_is_one_file(room: Room) -> None:
    uid = ONLINE[0]
    engine, product = room.start(extract=False), room.products[uid]
    assert [found.path for found in engine.listing(product, NOBODY).members] == [f"{product.title}.zip"]
    assert content(engine, product, ".zip") == archive_of(room, uid)


# -- the cache -------------------------------------------------------------------------------------------------------


@pytest.mark.says("A product that cannot fit is refused before it is ordered.")
@pytest.mark.parametrize("uid", [ONLINE[0], OFFLINE[0]], ids=["online", "offline"])
def test_a_product_larger_than_the_cache_is_refused_without_a_request(room: Room, uid: str) -> None:
    engine = room.start(limit=100_000)
    with pytest.raises(CacheFull, match="raise cache_size"):
        engine.listing(room.products[uid], NOBODY)
    assert room.provider.count() == 0


def test_a_product_of_unknown_size_larger_than_the_cache_is_refused(room: Room) -> None:
    engine = room.start(limit=100_000)
    with pytest.raises(CacheFull, match="raise cache_size"):
        engine.listing(unsure(room.products[ONLINE[0]]), NOBODY)
    until(lambda: not stories())
    assert kept(room) == []


def test_a_complete_product_needs_neither_network_nor_credentials(room: Room) -> None:
    uid = ONLINE[0]
    content(room.start(), room.products[uid], MANIFEST)
    room.close()
    room.provider.stop()
    engine = room.start(speaks=replace(DEMO, credentials={}), order="never")
    assert right(room, engine, uid)


def test_what_was_used_longest_ago_makes_room_and_is_fetched_again(room: Room) -> None:
    size = len(archive_of(room, ONLINE[0]))
    engine = room.start(limit=size * 2 + 200_000)
    for uid in [*ONLINE[:3], ONLINE[0]]:
        assert right(room, engine, uid)
    assert [len(asked(room, uid)) for uid in ONLINE[:3]] == [2, 1, 1]


@pytest.mark.says("all else in it is in use")
def test_what_is_open_makes_no_room(room: Room) -> None:
    engine = room.start(limit=len(archive_of(room, ONLINE[0])) + 200_000)
    product = room.products[ONLINE[0]]
    reader = engine.open(product, member(engine, product, "_B02.jp2"), NOBODY)
    with pytest.raises(CacheFull, match="in use"):
        engine.listing(room.products[ONLINE[1]], NOBODY)
    assert b"".join(pieces(reader))
    until(lambda: not stories())
    assert right(room, engine, ONLINE[0])
    assert asked(room, ONLINE[0]) == [200]


def test_who_has_a_file_open_reads_on_when_it_is_removed(room: Room) -> None:
    engine, product = room.start(), room.products[ONLINE[0]]
    found = member(engine, product, "_B02.jp2")
    reader = engine.open(product, found, NOBODY)
    reader.read(0, 10, NOBODY)
    room.cache.archive(product).unlink()
    assert hashlib.md5(b"".join(pieces(reader))).hexdigest() == room.provider.md5sums(ONLINE[0])[found.path]
    assert right(room, engine, ONLINE[0])
    assert asked(room, ONLINE[0]) == [200, 200]


# -- members ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deflated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deflated")


@pytest.fixture
def deflated(deflated_store: Path, tmp_path: Path) -> Iterator[Room]:
    """A provider of one product whose bands are deflated and larger than what is unpacked in memory."""
    products = [feature for feature in ten_products() if feature["properties"]["uid"] == ONLINE[0]]
    with Stubborn(deflated_store, products=products, megabytes=10, deflated=True) as provider:
        provider.always = {}
        room = Room(provider, tmp_path / "cache")
        try:
            yield room
        finally:
            room.close()


BAND = "_B02.jp2"


def inflated(room: Room) -> list[Path]:
    return [path for path in (room.directory / "products").rglob("members/*") if path.is_file()]


def test_deflated_members_come_out_right(deflated: Room) -> None:
    engine = deflated.start()
    assert right(deflated, engine, ONLINE[0])
    until(lambda: not stories())
    large = [found for found in engine.listing(deflated.products[ONLINE[0]], NOBODY).members if found.size > 1 << 20]
    assert len(inflated(deflated)) == len(large) == 5


def test_a_small_member_is_unpacked_in_memory(deflated: Room) -> None:
    assert content(deflated.start(), deflated.products[ONLINE[0]], MANIFEST)
    assert inflated(deflated) == []


def test_a_large_member_is_inflated_once_however_many_read_it(deflated: Room) -> None:
    engine, product = deflated.start(), deflated.products[ONLINE[0]]
    found = together(8, lambda: content(engine, product, BAND))
    assert len({hashlib.md5(each).hexdigest() for each in found}) == 1
    (path,) = inflated(deflated)
    before = path.stat().st_ino
    assert content(engine, product, BAND) == found[0]
    assert inflated(deflated) == [path]
    assert path.stat().st_ino == before


def test_a_large_member_can_be_read_while_it_is_inflated(room: Room) -> None:
    room.start()
    cache, product, whole = room.cache, room.products[ONLINE[0]], os.urandom(6 << 20)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("large", whole)
    data = made.getvalue()
    found = Member("large", len(whole), 0, 0, len(data) - 200, "deflated", zlib.crc32(whole))
    with zipfile.ZipFile(made) as packed:
        found = replace(found, packed=packed.infolist()[0].compress_size)
    members, archive = Members(cache), cache.open(cache.archive(product))
    assert archive
    archive.begin(len(data), None)
    archive.write(0, data[: 5 << 20])  # the rest has not come, so the inflater stops there
    readers = [members.open(product, cache.hold(archive), "zip", found, NOBODY) for _ in range(2)]
    for reader in readers:
        assert aside(reader.read, 1000, 100_000, NOBODY).result(20) == whole[1000:101_000]
    assert stories().count("inflate") == 1
    rest = aside(readers[0].read, 0, len(whole), NOBODY)
    assert not rest.done()
    archive.write(5 << 20, data[5 << 20 :])
    assert rest.result(20) == whole
    for reader in readers:
        reader.close()
    until(lambda: not stories())
    cache.release(archive)


def test_an_inflation_that_has_no_room_tells_all_who_wait(deflated: Room) -> None:
    product, size = deflated.products[ONLINE[0]], len(archive_of(deflated, ONLINE[0]))
    engine = deflated.start(limit=size + 500_000)
    engine.listing(product, NOBODY)
    found = together(6, lambda: content(engine, product, BAND))
    assert {type(each) for each in found} == {CacheFull}
    assert content(engine, product, MANIFEST)


def damage(room: Room, product: Product, at: int) -> None:
    """Change one byte of the archive in the cache."""
    with room.cache.archive(product).open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0xFF]))


@pytest.mark.parametrize(("ending", "at"), [(BAND, 0.5), (BAND, 0.99), (MANIFEST, 0.5), (BAND, -1), (MANIFEST, -1)])
def test_a_member_that_went_bad_on_disk_is_corrupt_and_fetched_afresh(deflated: Room, ending: str, at: float) -> None:
    engine, product = deflated.start(), deflated.products[ONLINE[0]]
    found = member(engine, product, ending)
    start = found.offset if at < 0 else found.offset + 200 + int((found.packed - 300) * at)
    deflated.close()
    damage(deflated, product, start)
    engine = deflated.start()
    with pytest.raises(Corrupt):
        content(engine, product, ending)
    until(lambda: not stories())
    assert right(deflated, engine, ONLINE[0])
    assert asked(deflated, ONLINE[0]) == [200, 200]


def test_an_index_that_went_bad_on_disk_is_corrupt_and_fetched_afresh(room: Room) -> None:
    engine, product = room.start(), room.products[ONLINE[0]]
    engine.listing(product, NOBODY)
    room.close()
    damage(room, product, len(archive_of(room, ONLINE[0])) - 10)
    engine = room.start()
    with pytest.raises(Corrupt):
        engine.listing(product, NOBODY)
    assert right(room, engine, ONLINE[0])
    assert asked(room, ONLINE[0]) == [200, 200]


def odd_zip() -> bytes:
    """An archive with an encrypted member, one of an unknown compression, and a plain one."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in ("secret.txt", "packed.txt", "plain.txt"):
            file.writestr(name, name.encode())
    data = bytearray(made.getvalue())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        first = data.index(signature)
        data[first + flags] |= 1
        data[data.index(signature, first + 1) + flags + 2] = 97
    return bytes(data)


@pytest.mark.says("an encrypted member, an unknown compression")
def test_what_cannot_be_unpacked_is_listed_and_refused_when_it_is_opened(room: Room) -> None:
    always(room, ONLINE[0], Reply(200, ZIP, odd_zip()))
    engine, product = room.start(), unsure(room.products[ONLINE[0]])
    assert len(engine.listing(product, NOBODY).members) == 3
    assert content(engine, product, "plain.txt") == b"plain.txt"
    for name, says in (("secret.txt", "encrypted"), ("packed.txt", "97")):
        with pytest.raises(NotSupported, match=says):
            content(engine, product, name)
    assert asked(room, ONLINE[0]) == [200]


def test_a_member_that_is_not_there_is_corrupt_and_not_a_crash(room: Room) -> None:
    engine, product = room.start(), room.products[ONLINE[0]]
    engine.listing(product, NOBODY)
    with pytest.raises(Corrupt):
        engine.open(product, Member("nowhere", 10, 0, 1 << 40, 10), NOBODY)


# -- quicklooks ------------------------------------------------------------------------------------------------------


def looks(room: Room) -> int:
    return room.provider.count(kind="quicklook")


def test_a_quicklook_takes_one_request_however_many_ask(room: Room) -> None:
    engine, product = room.start(), room.products[OFFLINE[0]]
    found = together(20, lambda: engine.quicklook(product, NOBODY))
    assert {each[:3] for each in found} == {b"\xff\xd8\xff"}
    assert engine.quicklook(product, NOBODY) == found[0]
    assert room.provider.count() == looks(room) == 1


def test_a_quicklook_is_kept_over_a_restart(room: Room) -> None:
    product = room.products[ONLINE[0]]
    picture = room.start().quicklook(product, NOBODY)
    room.close()
    room.provider.stop()
    assert room.start().quicklook(product, CRAWLER) == picture


def test_a_quicklook_in_the_result_takes_no_request(room: Room) -> None:
    text = base64.b64encode(b"picture").decode()
    engine = room.start()
    for quicklook in (text, f"data:image/png;base64,{text}"):
        assert engine.quicklook(replace(room.products[ONLINE[0]], quicklook=quicklook), CRAWLER) == b"picture"
    assert room.provider.count() == 0


def test_a_crawler_gets_the_quicklook_that_is_there_and_no_other(room: Room) -> None:
    engine = room.start()
    with pytest.raises(AccessRefused, match="updatedb is a crawler"):
        engine.quicklook(room.products[ONLINE[0]], CRAWLER)
    assert room.provider.count() == 0
    picture = engine.quicklook(room.products[ONLINE[0]], NOBODY)
    assert engine.quicklook(room.products[ONLINE[0]], CRAWLER) == picture


QUICKLOOK_FAULTS = [
    (http(404), Gone),
    (http(401), AccessRefused),
    (http(500), ProviderFailed),
    (http(202), NotReady),
    (http(200), NotReady),
    (http(200, b"<html>", Content_Type="text/html"), AccessRefused),
    (http(200, b"{}", Content_Type="application/json"), ProviderFailed),
    (http(200, b"half", length=8), Unreachable),
    (None, Unreachable),
]


@pytest.mark.parametrize(("answer", "error"), QUICKLOOK_FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_quicklook_that_fails_is_not_asked_for_again_at_once(
    room: Room, leaping: LeapingClock, answer: bytes | None, error: type[EofsError]
) -> None:
    engine = room.start(clock=leaping)
    with Canned(answer) as server:
        product = replace(room.products[ONLINE[0]], quicklook=f"{server.url}/picture.png")
        with pytest.raises(error):
            engine.quicklook(product, NOBODY)
        tries = len(server.asked)
        assert tries <= 2
        if error is not NotReady:
            with pytest.raises(error):
                engine.quicklook(product, NOBODY)
            assert len(server.asked) == tries
        leaping.time += failures.FAILURE_MEMORY + 1
        server.answers = [http(200, b"picture", Content_Type="image/png")]
        assert engine.quicklook(product, NOBODY) == b"picture"
    assert room.status(engine, product).error is None  # what fails there says nothing of the product's data


def test_a_quicklook_too_large_to_be_one_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eofs.fetch.quicklooks.LARGEST", 1000)
    with pytest.raises(ProviderFailed, match="quicklook of more than"):
        room.start().quicklook(room.products[ONLINE[0]], NOBODY)


@pytest.mark.parametrize("link", ["ftp://host/x.jpg", "{quicklook}", "not base64!"])
def test_a_quicklook_link_that_is_none_is_not_supported(room: Room, link: str) -> None:
    with pytest.raises(NotSupported):
        room.start().quicklook(replace(room.products[ONLINE[0]], quicklook=link), NOBODY)


@pytest.mark.says("A quicklook that is slow to come answers EAGAIN after 10 seconds, and still comes")
def test_a_quicklook_that_is_slow_to_come_is_said_to_be_so_and_still_comes(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quicklooks.PATIENCE == 10
    monkeypatch.setattr(quicklooks, "PATIENCE", 0.2)
    with Canned(http(200, b"picture")) as server:
        server.free.clear()
        engine, product = room.start(), replace(room.products[ONLINE[0]], quicklook=f"{server.url}/x.png")
        with pytest.raises(NotReady, match="is slow to come"):
            engine.quicklook(product, NOBODY)
        server.free.set()
        until(lambda: room.cache.records.quicklook(product) == b"picture")
        assert engine.quicklook(product, CRAWLER) == b"picture"
        assert len(server.asked) == 1


def test_who_waits_for_a_quicklook_can_give_up_and_ask_again(room: Room) -> None:
    def check() -> None:
        raise Interrupted("interrupted")

    with Canned(http(200, b"picture")) as server:
        server.free.clear()
        engine, product = room.start(), replace(room.products[ONLINE[0]], quicklook=f"{server.url}/x.png")
        with pytest.raises(Interrupted):
            engine.quicklook(product, Caller(check=check))
        server.free.set()
        assert engine.quicklook(product, NOBODY) == b"picture"
        assert len(server.asked) == 1


# -- crawlers --------------------------------------------------------------------------------------------------------


def test_a_crawler_causes_no_request(room: Room) -> None:
    engine = room.start()
    for uid in (ONLINE[0], OFFLINE[0]):
        with pytest.raises(AccessRefused, match="updatedb is a crawler, and gets only what is in the cache"):
            engine.listing(room.products[uid], CRAWLER)
        assert room.status(engine, room.products[uid]).error is None
    assert room.provider.count() == 0


def test_a_crawler_gets_what_is_in_the_cache(room: Room) -> None:
    engine, product = room.start(), room.products[ONLINE[0]]
    assert right(room, engine, ONLINE[0])
    room.close()
    assert content(room.start(), product, MANIFEST, CRAWLER)
    assert asked(room, ONLINE[0]) == [200]


@pytest.mark.says("Crawlers are known by their process name")
@pytest.mark.parametrize(
    ("program", "refused"),
    [
        ("updatedb", True),
        ("gvfsd-trash", True),
        ("localsearch-3", True),
        ("bash", False),
        ("", False),
        ("updatedb2", False),
    ],
)
def test_crawlers_are_known_by_their_names(room: Room, program: str, refused: bool) -> None:
    room.provider.script[ONLINE[0]].append(Reply(404))
    with pytest.raises(AccessRefused if refused else Gone):
        room.start().listing(room.products[ONLINE[0]], Caller(program=lambda: program))


def test_without_crawlers_nobody_is_asked_for_a_name(room: Room) -> None:
    def fail() -> str:
        raise AssertionError("asked for the name of the program")

    assert content(room.start(crawlers=()), room.products[ONLINE[0]], MANIFEST, Caller(program=fail))


# -- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.says("eofs is being unmounted ECANCELED")
def test_closing_releases_who_waits(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened(clock=hand.now, staging_seconds=100)
    engine = room.start(clock=hand, wait=2, timeout=20)
    waiting = [aside(content, engine, room.products[uid], MANIFEST) for uid in OFFLINE for _ in range(3)]
    hand.until_waiting(len(OFFLINE))
    engine.close()
    for reading in waiting:
        with pytest.raises(Cancelled):
            reading.result(20)
    until(lambda: not stories())
    order = room.cache.records.order(room.products[OFFLINE[0]])
    assert order  # and stays placed
    with pytest.raises(Cancelled):
        engine.listing(room.products[ONLINE[0]], NOBODY)
    assert room.provider.count(ONLINE[0]) == 0


@pytest.mark.parametrize("after", [100_000, -1], ids=["in the middle", "before the reply"])
def test_closing_does_not_wait_for_a_provider_that_is_silent(room: Room, after: int) -> None:
    engine = room.start(stall_timeout=10)
    always(room, ONLINE[0], Reply(stall_after=after))
    readings = []
    for uid in ONLINE[:3]:
        always(room, uid, Reply(stall_after=after))
        readings.append(aside(content, engine, room.products[uid], MANIFEST))
    until(lambda: room.provider.under_way == 3)
    begun = time.monotonic()
    engine.close()
    for reading in readings:
        with pytest.raises(Cancelled):
            reading.result(9)
    assert time.monotonic() - begun < 9.9
    until(lambda: not stories(), 9 if after > 0 else 60)


def test_closing_gives_up_quicklooks(room: Room) -> None:
    with Canned(http(200, b"picture")) as server:
        server.free.clear()
        engine = room.start()
        product = replace(room.products[ONLINE[0]], quicklook=f"{server.url}/x.png")
        asking = [aside(engine.quicklook, replace(product, uid=f"{number}"), NOBODY) for number in range(8)]
        until(lambda: server.asked)
        engine.close()
        server.free.set()
        assert {type(each.exception(10)) for each in asking} <= {Cancelled, type(None)}
        assert Cancelled in {type(each.exception(0)) for each in asking}
        assert len(server.asked) <= 4


def descriptors() -> set[str]:
    gc.collect()
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names of descriptors, and no files
        with contextlib.suppress(OSError):
            found.add(f"{name} {Path('/proc/self/fd', name).readlink()}")
    return found


def test_no_descriptor_and_no_thread_is_left(room: Room, leaping: LeapingClock) -> None:
    before = descriptors()
    threads = set(threading.enumerate())
    for round_ in range(2):
        engine = room.start(clock=leaping, timeout=20)
        always(room, ONLINE[1], Reply(404))
        always(room, ONLINE[2], Reply(cut_after=1000))
        always(room, ONLINE[3], Reply(200, ZIP, b"no archive at all PK\3\4"))
        for uid in UIDS[:6]:
            with contextlib.suppress(EofsError):
                md5sums(engine, unsure(room.products[uid]))
            engine.quicklook(room.products[uid], NOBODY)
        until(lambda: not stories())
        assert not [name for name in descriptors() - before if "/products/" in name], f"round {round_}"
        room.close()
    assert room.provider.wait_until(lambda: room.provider.under_way == 0)
    mine = {name for name in descriptors() - before if "socket" not in name}
    assert mine == set()
    until(lambda: not [thread for thread in set(threading.enumerate()) - threads if "eofs-demo" not in thread.name])


# -- two processes ---------------------------------------------------------------------------------------------------


@pytest.mark.says("Many readers, one order, one download; also across processes and mounts that share a cache.")
@pytest.mark.parametrize("uid", [ONLINE[0], OFFLINE[0]])
def test_two_engines_on_one_cache_make_one_order_and_one_download(room: Room, uid: str) -> None:
    one, other = room.start(), room.start()
    product = room.products[uid]
    readings = [aside(content, engine, product, MANIFEST) for engine in (one, other, one, other)]
    assert len({reading.result(20) for reading in readings}) == 1
    assert asked(room, uid).count(200) == 1
    assert asked(room, uid).count(202) <= 5
    assert room.provider.peak == 1


def test_who_waits_for_another_process_says_so(room: Room) -> None:
    one, other, hold = room.start(), room.start(), threading.Event()
    product = room.products[ONLINE[0]]
    room.provider.script[ONLINE[0]].append(Reply(stall_after=1000, release=hold))
    first = aside(content, one, product, MANIFEST)
    until(lambda: room.status(one, product).activity is Activity.DOWNLOADING)
    second = aside(content, other, product, MANIFEST)
    until(lambda: "another eofs process is bringing it" in room.status(other, product).message)
    hold.set()
    assert first.result(10) == second.result(10)
    assert asked(room, ONLINE[0]) == [200]


def test_who_waits_for_another_process_goes_on_when_that_one_ends(room: Room) -> None:
    other, one = room.start(), room.start()
    product = room.products[ONLINE[0]]
    room.provider.script[ONLINE[0]].append(Reply(stall_after=200_000))
    aside(content, one, product, MANIFEST)
    until(lambda: room.status(one, product).downloaded == 200_000)
    second = aside(content, other, product, MANIFEST)
    until(lambda: "another eofs process" in room.status(other, product).message)
    engine, cache = room._open.pop()
    engine.close()
    cache.close()
    assert second.result(10)
    assert ranges(room, ONLINE[0]) == [END, "bytes=200000-"]


def test_an_order_that_another_process_has_placed_keeps_its_time(opened: Callable[..., Room], hand: HandClock) -> None:
    room, hold = opened(clock=hand.now, staging_seconds=1500), threading.Event()
    product, uid, begun = room.products[OFFLINE[0]], OFFLINE[0], hand.time
    one, other = room.start(clock=hand, wait=5, timeout=10), room.start(clock=hand, wait=5, timeout=60)
    room.provider.script[uid].append(Reply(202, stall_after=-1, release=hold))
    first = aside(content, one, product, MANIFEST)
    until(lambda: room.provider.under_way == 1)
    second = aside(content, other, product, MANIFEST)
    until(lambda: "another eofs process" in room.status(other, product).message)
    hold.set()
    for _ in range(2):
        until(lambda: room.status(one, product).message.startswith("ordered"))
        hand.until_waiting(2)
        hand.move(300)
    with pytest.raises(NotReady):
        first.result(20)
    hand.move(1)
    until(lambda: room.status(other, product).order)
    order = room.cache.records.order(product)
    assert order
    assert order.placed == begun
    for _ in range(4):
        hand.until_waiting()
        hand.move(300)
    assert second.result(10)


def test_a_waiting_process_gives_up_at_its_own_deadline(opened: Callable[..., Room], hand: HandClock) -> None:
    room = opened()
    one, other, hold = room.start(), room.start(clock=hand, timeout=1), threading.Event()
    product = room.products[ONLINE[0]]
    room.provider.script[ONLINE[0]].append(Reply(stall_after=1000, release=hold))
    first = aside(content, one, product, MANIFEST)
    until(lambda: room.status(one, product).activity is Activity.DOWNLOADING)
    second = aside(content, other, product, MANIFEST)
    hand.until_waiting()
    hand.move(61)
    with pytest.raises(NotReady):
        second.result(20)
    hold.set()
    assert first.result(10)


# -- races -----------------------------------------------------------------------------------------------------------


def test_opening_and_closing_at_random_is_never_wrong(opened: Callable[..., Room]) -> None:
    """Many threads, a cache for three products, connections that break: what is read is right or refused."""
    room = opened()
    size = len(archive_of(room, ONLINE[0]))
    engine = room.start(limit=3 * size + 300_000, speaks=replace(DEMO, retry_delay=0.01))
    for uid in ONLINE:
        room.provider.script[uid].extend([Reply(cut_after=50_000), Reply(500), None, Reply(cut_after=9)])  # type: ignore[list-item]
    right_sums = {uid: room.provider.md5sums(uid) for uid in ONLINE}

    def work(seed: int) -> list[str]:
        wrong = []
        for step in range(6):
            uid = ONLINE[(seed * 7 + step * 3) % len(ONLINE)]
            try:
                if md5sums(engine, room.products[uid]) != right_sums[uid]:
                    wrong.append(uid)
            except CacheFull:
                continue
        return wrong

    futures = [aside(work, seed) for seed in range(8)]
    assert [future.result(60) for future in futures] == [[]] * 8
    until(lambda: not stories())
    assert not [name for name in descriptors() if str(room.directory / "products") in name]


def test_a_partial_file_belongs_to_one_engine_at_a_time(room: Room) -> None:
    first, second = Cache(room.directory, 1 << 30), Cache(room.directory, 1 << 30)
    path = first.archive(room.products[ONLINE[0]])
    held = first.open(path)
    assert isinstance(held, PartialFile)
    assert second.open(path) is None
    first.release(held)
    again = second.open(path)
    assert again
    second.release(again)
    first.close()
    second.close()
