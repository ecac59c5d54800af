"""What a status says at the moment at which the bringing of a product fails."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engine_room import DEMO, Room, aside, member

from eofs.cache import Cache
from eofs.client import Client
from eofs.config import Network
from eofs.demo import DemoProvider, Reply, ten_products
from eofs.errors import EofsError
from eofs.fetch import standing
from eofs.fetch.clock import WallClock
from eofs.fetch.course import Surroundings
from eofs.fetch.stories import Stories
from eofs.nodes import NOBODY
from eofs.options import Options
from eofs.status import Activity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.status import Status

UID = next(f["properties"]["uid"] for f in ten_products() if f["properties"]["storageStatus"] == "OFFLINE")


@pytest.fixture
def room(store: Path, tmp_path: Path) -> Iterator[Room]:
    with DemoProvider(store, megabytes=1, staging_seconds=1e9) as provider:
        opened = Room(provider, tmp_path / "cache")
        yield opened
        opened.close()


class Held(threading.Semaphore):
    """Slots for orders; who gives one back has come to the end of its story, and is kept there."""

    def __init__(self) -> None:
        super().__init__(1)
        self.at_the_end = threading.Event()
        self.free = threading.Event()

    def release(self, n: int = 1) -> None:
        self.at_the_end.set()
        self.free.wait(60)
        super().release(n)


@pytest.mark.parametrize(
    ("reply", "activity", "words"),
    [
        pytest.param(Reply(404), Activity.FAILED, "no longer has the product", id="failed"),
        pytest.param(None, Activity.IDLE, "open it again later", id="not ready"),
    ],
)
def test_as_soon_as_a_product_has_failed_its_status_says_why(
    room: Room, tmp_path: Path, reply: Reply | None, activity: Activity, words: str
) -> None:
    if reply:
        room.provider.script[UID].append(reply)
    cache, slots, product = Cache(tmp_path / "cache", 1 << 30), Held(), room.products[UID]
    client = Client(DEMO, Network(), connections=4, stall_timeout=60)
    options = Options(cache_dir=tmp_path / "cache", timeout=0)
    around = Surroundings(cache, client, lambda _: client, options, slots, WallClock(), lambda *_: None)
    stories = Stories(cache, around.clock, lambda _: around, lambda _: None)
    asking = aside(stories.bring, product, NOBODY)
    try:
        assert slots.at_the_end.wait(60)
        found = standing.of_one(product, cache, stories)
        assert found.stage.activity is activity
        assert words in str(found.failure)
        slots.free.set()
        assert words in str(asking.exception(60))
        assert standing.of_one(product, cache, stories).stage.activity is activity
    finally:
        slots.free.set()
        stories.close()
        client.close()
        cache.close()


def test_when_a_failure_is_in_the_log_the_status_has_it_too(room: Room) -> None:
    engine, product = room.start(fetch="lazy", speaks=replace(DEMO, retries=0)), room.products[UID]
    room.provider.set_online(UID)
    band = member(engine, product, "_B04.jp2")
    seen: list[Status] = []

    class Watcher(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(room.status(engine, product))

    watcher, log = Watcher(logging.WARNING), logging.getLogger("eofs.fetch.story")
    log.addHandler(watcher)
    try:
        room.provider.script[UID].append(Reply(404))
        with pytest.raises(EofsError) as caught:
            engine.open(product, band, NOBODY)
    finally:
        log.removeHandler(watcher)
    assert [(status.activity, status.error) for status in seen] == [(Activity.FAILED, str(caught.value))]
    assert [request.status for request in room.provider.requests] == [206, 404]
