"""`eofs cache`: what it tells of a cache, finds damaged in it, and removes from it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from asset_server import AssetServer
from conftest import ONLINE, TITLES, UIDS, Mount, environment, eofs, until
from engine_room import Room, content, stories, unsure
from test_loose import BANDS, OPEN, assets

from eofs.cache import Cache
from eofs.demo import DemoProvider
from eofs.model import Order
from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = 1 << 40


def cache(home: Path, *words: object, status: int = 0, **how: Any) -> str:
    """Run `eofs cache` on the cache of this home; return what it prints on standard output."""
    done = eofs("cache", *words, "--cache-dir", home / "cache", home=home, **how)
    assert done.returncode == status, done.stderr
    return done.stdout


def rows(home: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(cache(home, "ls", "--json"))}


@pytest.fixture
def room(tmp_path: Path, provider: DemoProvider) -> Iterator[Room]:
    opened = Room(provider, tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def filled(room: Room) -> Room:
    """A cache with three products: one whole, one whole and pinned, one partly here."""
    engine = room.start(fetch="whole")
    for uid, pin in ((UIDS[0], False), (UIDS[1], True)):
        engine.bring(room.products[uid], NOBODY, contextlib.nullcontext(), pin=pin)
    engine.listing(room.products[UIDS[2]], NOBODY)
    room.close()
    return room


def archive(room: Room, uid: str) -> Path:
    with_cache = Cache(room.directory, LARGE)
    try:
        return with_cache.archive(room.products[uid])
    finally:
        with_cache.close()


def damage(path: Path, offset: int) -> None:
    """Change a byte, as a disk does that goes bad."""
    with path.open("r+b") as file:
        file.seek(offset)
        [byte] = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


# -- info and ls -------------------------------------------------------------------------------------------------------


@pytest.mark.says("what is in the cache, in all")
def test_info_tells_where_it_is_and_what_it_holds(tmp_path: Path, filled: Room) -> None:
    said = json.loads(cache(tmp_path, "info", "--json", "--cache-size", "5G"))
    assert said["directory"] == str(tmp_path / "cache")
    assert said["limit"] == 5 << 30
    assert (said["whole"], said["partial"], said["pinned"]) == (2, 1, 1)
    sizes = sum(filled.provider.archive(uid).stat().st_size for uid in UIDS[:2])
    assert said["used"] > sizes + said["records"] > said["records"] > 0
    lines = cache(tmp_path, "info", "--cache-size", "5G").splitlines()
    assert lines[0] == f"directory: {tmp_path / 'cache'}"
    assert " of 5.0 GiB, " in lines[1]
    assert lines[2] == "products: 2 whole, 1 partly here, 1 pinned"


@pytest.mark.says("its title, provider, bytes, how much of it is here, whether it is pinned, when it was used last.")
@pytest.mark.says("in all and by products (`--json`)")
@pytest.mark.says("`eofs cache ls` has a row for each product")
def test_ls_shows_a_row_for_each_product_by_its_title(tmp_path: Path, filled: Room) -> None:
    found = rows(tmp_path)
    assert set(found) == {TITLES[uid] for uid in UIDS[:3]}
    whole, pinned, partial = (found[TITLES[uid]] for uid in UIDS[:3])
    size = filled.provider.archive(UIDS[0]).stat().st_size
    assert whole == {
        "name": TITLES[UIDS[0]], "provider": "demo", "id": UIDS[0], "size": size, "local": "complete",
        "arrived": size, "whole": size, "files": 0, "pinned": False, "used": whole["used"],
    }  # fmt: skip
    assert time.strptime(whole["used"], "%Y-%m-%dT%H:%M:%SZ")
    assert pinned["pinned"]
    assert (partial["local"], partial["arrived"]) == ("partial", 131_072)
    lines = cache(tmp_path, "ls").splitlines()
    assert lines[0].split()[:5] == ["NAME", "PROVIDER", "SIZE", "HERE", "PINNED"]
    by_name = {line.split()[0]: line for line in lines[1:]}
    assert " whole " in by_name[TITLES[UIDS[0]]]
    assert " yes " in by_name[TITLES[UIDS[1]]]
    percent = 100 * 131_072 // filled.provider.archive(UIDS[2]).stat().st_size
    assert f" {percent} % " in by_name[TITLES[UIDS[2]]]


@pytest.mark.says("Of loose files those count that have been begun.")
def test_the_loose_files_of_a_product_are_one_row(tmp_path: Path) -> None:
    with AssetServer(BANDS) as server:
        room = Room(server, tmp_path / "cache")  # type: ignore[arg-type] # it has a result, as the demo provider
        try:
            engine, product = room.start(speaks=OPEN, fetch="lazy"), next(iter(room.products.values()))
            for name in list(BANDS)[:2]:
                assert content(engine, product, name) == BANDS[name]
            until(lambda: not stories())
        finally:
            room.close()
    [row] = rows(tmp_path).values()
    assert (row["name"], row["files"], row["local"]) == (product.title, 2, "complete")
    assert row["size"] == sum(len(BANDS[name]) for name in list(BANDS)[:2])
    assert "2 files, whole" in cache(tmp_path, "ls")
    assert cache(tmp_path, "verify") == "products verified: 1, damaged: 0\n"


def test_products_whose_records_are_lost_are_shown_by_their_ids(tmp_path: Path, filled: Room) -> None:
    for file in (tmp_path / "cache/records").iterdir():
        file.unlink()
    assert set(rows(tmp_path)) == set(UIDS[:3])
    assert cache(tmp_path, "verify") == "products verified: 2, damaged: 0\n"


@pytest.mark.says("`eofs cache` and `eofs doctor` go by `cache_dir` as every layer of the configuration says")
@pytest.mark.parametrize("way", ["option", "variable", "file", "usual place"])
def test_the_cache_is_found_by_every_layer_of_the_configuration(tmp_path: Path, filled: Room, way: str) -> None:
    words, env = [], {}
    if way == "option":
        words = ["--cache-dir", filled.directory]
    elif way == "variable":
        env["EOFS__CACHE_DIR"] = str(filled.directory)
    elif way == "file":
        (tmp_path / ".config/eofs").mkdir(parents=True)
        (tmp_path / ".config/eofs/eofs.yml").write_text(f"eofs: {{cache_dir: {filled.directory}}}", encoding="utf-8")
    else:
        (tmp_path / ".cache").mkdir()
        filled.directory.rename(tmp_path / ".cache/eofs")
    done = eofs("cache", "ls", *words, home=tmp_path, env=env)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 4)


@pytest.mark.says("make no cache where there is none.")
@pytest.mark.parametrize("what", ["info", "ls", "verify", "clear"])
def test_where_there_is_no_cache_none_is_made(tmp_path: Path, what: str) -> None:
    done = eofs("cache", what, home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    place = tmp_path / ".cache/eofs"
    assert done.stderr == f"eofs: there is no cache in {place}; eofs mount makes one, or name it with cache_dir\n"
    assert list(tmp_path.iterdir()) == []


def test_without_a_word_for_what_to_do_it_is_wrong_usage(tmp_path: Path) -> None:
    assert eofs("cache", home=tmp_path).returncode == 2
    assert eofs("cache", "frobnicate", home=tmp_path).returncode == 2


# -- verify ------------------------------------------------------------------------------------------------------------


@pytest.mark.says("read all that is whole again")
@pytest.mark.says("To list or to verify is no use.", "`eofs cache verify` compares each whole product")
def test_what_is_right_is_found_right_and_counts_as_no_use(tmp_path: Path, filled: Room) -> None:
    path = archive(filled, UIDS[0])
    os.utime(path, (1_000_000_000, 1_000_000_001))
    assert rows(tmp_path)[TITLES[UIDS[0]]]["used"] == "2001-09-09T01:46:40Z"
    done = eofs("cache", "verify", "--cache-dir", tmp_path / "cache", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "products verified: 2, damaged: 0\n")
    assert f"eofs: {TITLES[UIDS[0]]}: done" in done.stderr
    assert (path.stat().st_atime, path.stat().st_mtime) == (1_000_000_000, 1_000_000_001)


@pytest.mark.says("with the checksum that it was compared with when it came, else by its members' CRCs")
@pytest.mark.says("read all that is whole again")
@pytest.mark.says("What is damaged is removed, so that it comes afresh; the exit status is 1.")
@pytest.mark.parametrize(
    ("with_checksum", "place"),
    [(True, 0.01), (True, 0.5), (True, 0.999), (False, 0.01), (False, 0.5)],
    ids=lambda value: {True: "checksum of the result", False: "CRCs"}.get(value) if isinstance(value, bool) else None,
)
def test_a_damaged_byte_is_found_and_the_product_comes_afresh(
    tmp_path: Path, room: Room, with_checksum: bool, place: float
) -> None:
    product = room.products[ONLINE] if with_checksum else unsure(room.products[ONLINE])
    engine = room.start(fetch="whole")
    engine.bring(product, NOBODY, contextlib.nullcontext(), pin=False)
    path = archive(room, ONLINE)
    damage(path, int(path.stat().st_size * place))
    done = eofs("cache", "verify", "--cache-dir", tmp_path / "cache", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "products verified: 1, damaged: 1\n")
    *_, head, line = done.stderr.splitlines()
    assert head == "eofs: damaged, and removed; it comes afresh when it is asked for:"
    assert line == f"{TITLES[ONLINE]}: its archive is damaged on the disk (other bytes than when it came)"
    assert not path.exists()
    engine.bring(product, NOBODY, contextlib.nullcontext(), pin=False)
    assert path.read_bytes() == room.provider.archive(ONLINE).read_bytes()


@pytest.mark.says("by itself it is resumed, verified")
def test_a_damaged_loose_file_is_named_and_the_others_stay(tmp_path: Path) -> None:
    with AssetServer(BANDS) as server:
        sums = assets(server, file__checksum=lambda _, served: hashlib.md5(served.content).hexdigest())
        server.changes["assets"] = sums
        room = Room(server, tmp_path / "cache")  # type: ignore[arg-type] # it has a result, as the demo provider
        try:
            engine, product = room.start(speaks=OPEN, fetch="lazy"), next(iter(room.products.values()))
            for name in BANDS:
                assert content(engine, product, name) == BANDS[name]
            until(lambda: not stories())
        finally:
            room.close()
    files = (tmp_path / "cache/products").rglob("archive")
    path = next(file for file in files if file.read_bytes() == BANDS["B03.tif"])
    damage(path, 500_000)
    done = eofs("cache", "verify", "--cache-dir", tmp_path / "cache", home=tmp_path)
    assert done.returncode == 1
    assert f"\n{product.title}: {product.title}/B03.tif is damaged on the disk" in done.stderr
    assert (rows(tmp_path)[product.title]["files"], path.exists()) == (3, False)


@pytest.mark.says("what has been unpacked with what it was unpacked from.")
@pytest.mark.parametrize("what", ["the copy", "the archive"])
def test_a_damaged_file_that_was_unpacked_goes_and_the_archive_stays(tmp_path: Path, store: Path, what: str) -> None:
    with DemoProvider(store, megabytes=12, deflated=True) as provider:
        room = Room(provider, tmp_path / "cache")
        try:
            engine, product = room.start(fetch="whole"), room.products[ONLINE]
            engine.bring(product, NOBODY, contextlib.nullcontext(), pin=False)
            member = max(engine.listing(product, NOBODY).members, key=lambda member: member.size)
            right = content(engine, product, member.path)
            path = room.cache.member(product, member)
            until(path.exists)
            room.close()
            assert cache(tmp_path, "verify") == "products verified: 1, damaged: 0\n"
            damage(path if what == "the copy" else archive(room, ONLINE), 1_000_000)
            done = eofs("cache", "verify", "--cache-dir", tmp_path / "cache", home=tmp_path)
            assert done.returncode == 1
            assert ("what was unpacked of it is damaged" in done.stderr) is (what == "the copy")
            assert path.exists() is (what != "the copy")
            assert archive(room, ONLINE).exists() is (what == "the copy")
            engine = room.start(fetch="whole")
            assert content(engine, product, member.path) == right
        finally:
            room.close()


# -- clear -------------------------------------------------------------------------------------------------------------


def left(home: Path) -> set[str]:
    return set(rows(home))


@pytest.mark.says("make room")
@pytest.mark.says("what is pinned unless `--pinned` says otherwise")
def test_clear_keeps_what_is_pinned_unless_it_is_told_otherwise(tmp_path: Path, filled: Room) -> None:
    said = cache(tmp_path, "clear", "--yes")
    assert said.startswith("freed: ")
    assert said.endswith("; kept, as they are pinned (--pinned): 1\n")
    assert left(tmp_path) == {TITLES[UIDS[1]]}
    assert cache(tmp_path, "clear", "--yes") == "freed: 0 B; kept, as they are pinned (--pinned): 1\n"
    assert cache(tmp_path, "clear", "--yes", "--pinned").startswith("freed: ")
    assert left(tmp_path) == set()
    assert cache(tmp_path, "clear") == "freed: 0 B\n"


@pytest.mark.says("with `--partial` it removes only what is partly here.")
def test_clear_partial_removes_only_what_is_partly_here(tmp_path: Path, filled: Room) -> None:
    cache(tmp_path, "clear", "--yes", "--partial")
    assert left(tmp_path) == {TITLES[UIDS[0]], TITLES[UIDS[1]]}
    assert not [path for path in (tmp_path / "cache/products").rglob("*") if path.suffix in {".part", ".map"}]


@pytest.mark.says("Orders and quicklooks stay.")
def test_clear_keeps_orders_and_quicklooks(tmp_path: Path, filled: Room) -> None:
    ordered, seen = (filled.products[uid] for uid in (UIDS[5], UIDS[0]))
    with contextlib.closing(Cache(filled.directory, LARGE)) as opened:
        opened.records.note_order(ordered, Order(placed=1.0, id="42"))
        opened.records.note_quicklook(seen, b"picture")
    cache(tmp_path, "clear", "--yes", "--pinned")
    assert left(tmp_path) == set()
    with contextlib.closing(Cache(filled.directory, LARGE)) as opened:
        assert opened.records.order(ordered) == Order(placed=1.0, id="42")
        assert opened.records.quicklook(seen) == b"picture"


@pytest.mark.says("It keeps what any process has open")
@pytest.mark.mount
def test_clear_never_removes_what_a_mount_has_open(tmp_path: Path, mount: Mount) -> None:
    root = mount.bring(ONLINE)
    before = next(root.rglob("*_B04.jp2")).read_bytes()
    with next(root.rglob("*_B04.jp2")).open("rb") as opened:
        assert cache(tmp_path, "clear", "--yes") == "freed: 0 B; kept, as they are in use: 1\n"
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert opened.read() == before
    until(lambda: cache(tmp_path, "clear", "--yes").startswith("freed: ") and not left(tmp_path))
    assert mount.status(ONLINE)["local"] == "absent"


@pytest.mark.says("or wants `--yes`.")
def test_where_nobody_can_be_asked_clear_wants_to_be_told_that_it_is_meant(tmp_path: Path, filled: Room) -> None:
    done = eofs("cache", "clear", "--cache-dir", tmp_path / "cache", home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "eofs: eofs cache clear asks before it removes anything; where nobody can answer, say --yes\n"
    assert len(left(tmp_path)) == 3


@pytest.mark.says("`eofs cache clear` asks first, or wants `--yes`.")
@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("Yes", True), ("n", False), ("", False), ("what", False)])
def test_on_a_terminal_clear_asks_and_only_yes_means_it(tmp_path: Path, filled: Room, answer: str, goes: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        command = [sys.executable, "-m", "eofs", "cache", "clear", "--cache-dir", str(tmp_path / "cache")]
        done = subprocess.run(
            command, env=environment(tmp_path), stdin=theirs, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.startswith("Remove 2 products, ")
    assert f"from {tmp_path / 'cache'}? [y/N] " in done.stdout
    assert done.returncode == (0 if goes else 1)
    assert len(left(tmp_path)) == (1 if goes else 3)
