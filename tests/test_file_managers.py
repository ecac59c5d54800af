"""Real file managers are shown real mounts: what looking around with them costs, and what it means to enter `data/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from conftest import LIST, OFFLINE, ONLINE, Mount, ranges_of, run, until
from desktop import PROGRAMS, Desktop, needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.demo import DemoProvider

says = pytest.mark.says
pytestmark = [pytest.mark.mount, needs(*PROGRAMS)]

NEVER = 1e9  # seconds


@dataclass(frozen=True)
class Manager:
    """A file manager; the first one that is started stays, each further one hands its place over to it and ends.

    Attributes:
        command: what a place is added to.
        looks_for: a file that it looks for in each directory that it shows, or counts what is in it.
        counts: it opens each directory of the one that it shows, to count what is in there.
        keeps: it puts thumbnails where others find them.
    """

    command: tuple[str, ...]
    looks_for: str
    counts: bool = False
    keeps: bool = True


MANAGERS = [
    pytest.param(Manager(("thunar",), ".hidden"), id="Thunar", marks=needs("thunar")),
    pytest.param(Manager(("pcmanfm",), ".directory", keeps=False), id="PCManFM", marks=needs("pcmanfm")),
    pytest.param(Manager(("nautilus", "--new-window"), ".hidden", counts=True), id="Nautilus", marks=needs("nautilus")),
]


class Screen:
    """A file manager on a desktop, and the mount that it shows."""

    def __init__(self, manager: Manager, desktop: Desktop, mount: Mount) -> None:
        self.manager, self.desktop, self.mount = manager, desktop, mount

    def show(self, place: Path) -> None:
        """Show a directory; returns at once."""
        self.desktop.start(*self.manager.command, place.as_uri())

    def has_looked_into(self, *places: Path) -> bool:
        """Tell whether it has shown these directories, or counted what is in them."""
        logged = "\n".join(self.mount.logged())
        wanted = (place.relative_to(self.mount.root) / self.manager.looks_for for place in places)
        return all(f" getattr /{path}: " in logged for path in wanted)


@pytest.fixture
def mount(tmp_path: Path, provider: DemoProvider) -> Iterator[Mount]:
    # What is ordered is there after half a second: the first check answers "ordered", the second one brings it.
    with Mount(tmp_path, provider.write_result(tmp_path / "search_result.geojson"), wait=0.02) as mounted:
        yield mounted


@pytest.fixture(params=MANAGERS)
def screen(request: pytest.FixtureRequest, mount: Mount) -> Iterator[Screen]:
    with Desktop(mount.home) as desktop:
        yield Screen(request.param, desktop, mount)


@says("a file manager shows the list of products nothing; where it counts what is in each (Nautilus): their quicklooks")
def test_the_list_of_products_costs_at_most_their_quicklooks(
    screen: Screen, mount: Mount, provider: DemoProvider
) -> None:
    screen.show(mount.root)
    until(lambda: screen.has_looked_into(mount.root))
    if screen.manager.counts:  # for that, it asks for the size of all that is in there
        until(lambda: screen.has_looked_into(*mount.root.iterdir()))
    until(lambda: not provider.under_way)
    asked = [(request.kind, request.uid) for request in provider.requests]
    assert {kind for kind, _ in asked} <= ({"quicklook"} if screen.manager.counts else set())
    assert len(asked) == len(set(asked))


@needs("nautilus")
def test_nautilus_that_does_not_count_asks_for_nothing(mount: Mount, provider: DemoProvider) -> None:
    with Desktop(mount.home) as desktop:
        desktop.set("org/gnome/nautilus/preferences", "show-directory-item-counts", "'never'")
        screen = Screen(Manager(("nautilus", "--new-window"), ".hidden"), desktop, mount)
        screen.show(mount.root)
        until(lambda: screen.has_looked_into(mount.root))
        screen.show(mount.product(OFFLINE) / "data")
        until(lambda: screen.has_looked_into(mount.product(OFFLINE) / "data"))
    assert provider.requests == []


@says("it shows a product's directory the quicklook, which becomes its thumbnail")
def test_the_folder_of_a_product_shows_its_quicklook_and_costs_nothing_else(
    screen: Screen, mount: Mount, provider: DemoProvider
) -> None:
    screen.show(mount.product(OFFLINE))
    until(lambda: screen.has_looked_into(mount.product(OFFLINE)) and provider.count())
    if screen.manager.counts:
        until(lambda: screen.has_looked_into(mount.product(OFFLINE) / "data"))
    if screen.manager.keeps:
        until(lambda: screen.desktop.thumbnails(mount.product(OFFLINE) / "quicklook.jpg"))
    assert provider.count() == provider.count(OFFLINE, "quicklook") == 1
    assert provider.under_way == 0
    assert mount.status(OFFLINE)["storageStatus"] == "OFFLINE"


@says("it shows `data/` nothing; where it counts what is in there (Nautilus): as `opendir` of the product root")
def test_entering_data_orders_that_product_once_and_asks_for_its_list_of_files(
    screen: Screen, mount: Mount, provider: DemoProvider
) -> None:
    screen.show(mount.product(OFFLINE))
    until(lambda: screen.has_looked_into(mount.product(OFFLINE)))
    screen.show(mount.product(OFFLINE) / "data")
    until(lambda: screen.has_looked_into(mount.product(OFFLINE) / "data"))
    if not screen.manager.counts:
        assert provider.count(kind="download") == 0
        screen.show(mount.safe(OFFLINE))
    until(lambda: mount.status(OFFLINE)["local"] != "absent" and not provider.under_way)
    assert provider.count(OFFLINE, "download", 202) == 1
    first = next(sent for sent in ranges_of(provider, OFFLINE) if sent)
    assert first == LIST  # after that, what it wants to know the type of
    assert {request.uid for request in provider.requests} == {OFFLINE}
    assert mount.status(OFFLINE)["storageStatus"] == "ONLINE"


@says("While a product waits, a file manager that has entered it goes on answering")
def test_a_file_manager_that_waits_for_a_product_goes_on_answering(
    screen: Screen, mount: Mount, provider: DemoProvider
) -> None:
    provider.staging_seconds = NEVER
    screen.show(mount.safe(OFFLINE))
    until(lambda: mount.status(OFFLINE)["storageStatus"] == "STAGING")
    screen.show(mount.product(ONLINE))
    until(lambda: screen.has_looked_into(mount.product(ONLINE)))
    assert mount.status(OFFLINE)["storageStatus"] == "STAGING"


@needs("display", "xdotool")
def test_a_quicklook_opens_in_an_image_viewer(mount: Mount, provider: DemoProvider) -> None:
    with Desktop(mount.home) as desktop:
        desktop.start("display", "-immutable", mount.product(OFFLINE) / "quicklook.jpg")
        run("xdotool", "search", "--sync", "--onlyvisible", "--name", "quicklook.jpg", env=desktop.env)
    assert provider.count() == provider.count(OFFLINE, "quicklook") == 1
