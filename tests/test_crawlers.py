"""Programs that walk through whole trees: what those get that nobody has asked to, and what those do that somebody has.

The programs are real: what makes plocate's data base, what makes Xfce's thumbnails, what fills GNOME's search.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from conftest import ONLINE, UIDS, Mount, run, until
from desktop import PROGRAMS, Desktop, needs

from eofs.demo import DemoProvider, ten_products

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.mount
says = pytest.mark.says

TRACKER = "/usr/libexec/tracker-miner-fs-3"
TUMBLER = "/usr/share/dbus-1/services/org.xfce.Tumbler.Thumbnailer1.service"  # which knows where tumblerd is
ON_TAPE = UIDS[5:8]
BALOO = """[Basic Settings]
Indexing-Enabled=true
[General]
folders={folder}
only basic indexing=false
"""
Walk = Callable[..., tuple[Mount, int, str]]


@pytest.fixture
def desktop(mount: Mount) -> Iterator[Desktop]:
    with Desktop(mount.home) as running:
        yield running


def refused(mount: Mount, program: str, path: Path) -> bool:
    """Tell whether a crawler has been refused something."""
    line = re.compile(rf" \w+ /{re.escape(str(path.relative_to(mount.root)))}: {program} is a crawler, ")
    return any(line.search(logged) for logged in mount.logged())


# -- nobody has asked them to ----------------------------------------------------------------------------------------


@needs("updatedb.plocate", "plocate")
@says("any of this by a crawler nothing: what is in the cache is served, the rest is EACCES")
def test_updatedb_finds_what_is_here_and_asks_for_nothing(mount: Mount, provider: DemoProvider) -> None:
    here, elsewhere = mount.bring(ONLINE), mount.safe(ON_TAPE[0])
    before = provider.count()
    base = mount.home / "plocate.db"
    everything = ("--prunepaths", "", "--prunefs", "", "--prune-bind-mounts", "no", "--require-visibility", "no")
    run("updatedb.plocate", "--database-root", mount.root, "--output", base, *everything)
    found = run("plocate", "--database", base, "manifest.safe").splitlines()
    assert found == [str(here / "manifest.safe")]
    assert run("plocate", "--database", base, "--basename", elsewhere.name).splitlines() == [str(elsewhere)]
    assert refused(mount, "updatedb.plocat", elsewhere)
    assert provider.count() == before


@needs(*PROGRAMS, TUMBLER, "gdk-pixbuf-thumbnailer")
@says("and what makes thumbnails")
def test_thumbnails_are_made_of_quicklooks_that_are_here_and_of_nothing_else(
    mount: Mount, provider: DemoProvider, desktop: Desktop
) -> None:
    seen, unseen = (mount.product(uid) / "quicklook.jpg" for uid in ON_TAPE[:2])
    assert seen.stat().st_size
    desktop.ask_for_thumbnail(unseen)
    until(lambda: refused(mount, "tumblerd", unseen))
    desktop.ask_for_thumbnail(seen)
    until(lambda: desktop.thumbnails(seen))
    until(lambda: refused(mount, "gdk-pixbuf-thum", unseen))  # what tumblerd starts where it cannot do it by itself
    assert not desktop.thumbnails(unseen)
    assert provider.count() == provider.count(ON_TAPE[0], "quicklook") == 1


@needs(*PROGRAMS, TRACKER, "tracker3")
def test_the_search_of_gnome_is_filled_with_what_is_here_and_asks_for_nothing(
    mount: Mount, provider: DemoProvider, desktop: Desktop
) -> None:
    here, elsewhere = mount.bring(ONLINE), mount.safe(ON_TAPE[0])
    before = provider.count()
    desktop.set("org/freedesktop/tracker/miner/files", "index-recursive-directories", [str(mount.root)])
    desktop.start(TRACKER, "--initial-sleep", "0")
    until(lambda: refused(mount, "tracker-miner-f", elsewhere))
    query = f"SELECT ?url {{ ?file nie:url ?url . FILTER(?url = '{(here / 'manifest.safe').as_uri()}') }}"
    service = ("--dbus-service", "org.freedesktop.Tracker3.Miner.Files")
    until(lambda: "manifest.safe" in run("tracker3", "sparql", *service, "--query", query, env=desktop.env))
    assert provider.count() == before


@needs(*PROGRAMS, "baloo_file", "baloosearch")
def test_the_search_of_kde_is_filled_with_what_is_here_and_asks_for_nothing(
    mount: Mount, provider: DemoProvider, desktop: Desktop
) -> None:
    here, elsewhere = mount.bring(ONLINE), mount.safe(ON_TAPE[0])
    before = provider.count()
    settings = mount.home / ".config/baloofilerc"
    settings.parent.mkdir()
    settings.write_text(BALOO.format(folder=mount.home), encoding="utf-8")
    desktop.start("baloo_file")
    until(lambda: refused(mount, "baloo_file", elsewhere))
    query = ("sh", "-c", "baloosearch manifest 2>&1")  # it complains of nothing, but says how long it took
    until(lambda: str(here / "manifest.safe") in run(*query, env=desktop.env))
    assert provider.count() == before


NAMES = [
    *("updatedb.plocate", "plocate", "updatedb.mlocate", "updatedb", "locate"),
    *("tracker-miner-fs-3", "tracker-extract-3"),  # of GNOME, to 46
    *("localsearch-3", "localsearch-extractor-3", "localsearch-control-3", "localsearch"),  # since 47
    *("baloo_file", "baloo_file_extractor"),  # of KDE
    *("gvfsd-trash", "gvfsd-recent", "gvfsd-metadata"),
    *("tumblerd", "gdk-pixbuf-thumbnailer", "totem-video-thumbnailer", "evince-thumbnailer", "ffmpegthumbnailer"),
]
LOOK = """
import ctypes, os, sys
for name in sys.argv[3:]:
    ctypes.CDLL(None).prctl(15, name.encode())  # PR_SET_NAME: from now on this program is called so
    for look, path in ((os.listdir, sys.argv[1]), (os.stat, sys.argv[2])):
        try:
            look(path)
        except PermissionError:
            print(name)
"""


@says("Crawlers are known by their process name")
def test_what_crawlers_and_their_helpers_are_called_is_known(mount: Mount, provider: DemoProvider) -> None:
    places = (mount.safe(ON_TAPE[0]), mount.product(ONLINE) / "quicklook.jpg")
    assert run(sys.executable, "-c", LOOK, *places, *NAMES).splitlines() == [name for name in NAMES for _ in places]
    assert provider.requests == []


# -- somebody has asked them to --------------------------------------------------------------------------------------

WALKS = {
    "find": ["find", "-type", "f", "-name", "manifest.safe"],
    "du": ["du", "-s"],
    "grep": ["grep", "-rl", "no such words"],
    "tar": ["tar", "cf", "../copy.tar", "."],
    "rsync": ["rsync", "-a", "--exclude", "status", ".", "../copy"],
    "cp": ["cp", "-r", ".", "../copy"],
}


@pytest.fixture
def tape(store: Path) -> Iterator[DemoProvider]:
    """What was asked for twice is on disk: of three products, all of them on tape."""
    with DemoProvider(store, megabytes=1, staging_seconds=0, products=ten_products()[5:8]) as running:
        yield running


@pytest.fixture
def walk(tmp_path: Path, tape: DemoProvider) -> Iterator[Walk]:
    """Mount them and let a program walk through all; returns the mount, the program's exit status, its complaints."""
    with contextlib.ExitStack() as mounted:

        def walk(program: str, **options: object) -> tuple[Mount, int, str]:
            mount = Mount(tmp_path, tape.write_result(tmp_path / "search_result.geojson"), **options)
            mounted.enter_context(mount)
            words = WALKS[program]
            done = subprocess.run(words, cwd=mount.root, capture_output=True, text=True, check=False, timeout=100)
            return mount, done.returncode, done.stderr

        yield walk


def named(mount: Mount) -> list[str]:
    return [line for line in mount.logged() if "crawlers=+" in line]


@says(
    "do what they say, one product after the other", "is an error to rsync (its status is 23): `rsync --exclude status`"
)
@pytest.mark.parametrize("program", WALKS)
def test_who_is_to_walk_through_all_orders_one_product_after_the_other(
    walk: Walk, tape: DemoProvider, program: str
) -> None:
    _, status, complaints = walk(program)
    assert (status, complaints) == (1 if program == "grep" else 0, "")
    orders = [(request.uid, request.status) for request in tape.requests if request.kind == "download"]
    first = [orders.index((uid, 202)) for uid in ON_TAPE]
    lists = [orders.index((uid, 206)) for uid in ON_TAPE]
    assert [status for _, status in orders].count(202) == len(ON_TAPE)
    assert all(order < listed for order, listed in zip(first, lists, strict=True))
    assert all(order > listed for order, listed in zip(sorted(first)[1:], sorted(lists), strict=False))


@says("`order=never` makes them safe")
@pytest.mark.parametrize("program", ["find", "grep", "cp"])
def test_order_never_makes_walks_safe(walk: Walk, tape: DemoProvider, program: str) -> None:
    _, status, complaints = walk(program, order="never")
    assert status
    assert complaints.count("Operation not permitted") >= len(ON_TAPE)
    assert tape.count(kind="download") == 0


@pytest.mark.says("`+name` adds")
@says("The option `crawlers` changes the list.")
def test_who_is_named_a_crawler_is_one(walk: Walk, tape: DemoProvider) -> None:
    _, status, complaints = walk("find", crawlers="+find")
    assert status
    assert complaints.count("Permission denied") == len(ON_TAPE)
    assert tape.requests == []


@says("is named in the log with its number")
def test_who_looks_into_more_products_than_may_be_ordered_at_a_time_and_reads_none_is_named_once(walk: Walk) -> None:
    mount, *_ = walk("find", max_orders=1)
    (line,) = named(mount)
    assert re.search(r" WARNING find \(process [1-9]\d*\) has looked into 2 products that were not here", line)


def test_who_reads_what_it_looks_into_is_not_named(walk: Walk) -> None:
    mount, *_ = walk("grep", max_orders=1)
    assert named(mount) == []
