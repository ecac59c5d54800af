"""A real file manager is shown real mounts: what looking around with it costs, and what it means to enter `data/`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import LIST, Mount, environment, ranges_of, runs, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.demo import DemoProvider

NEEDED = ("nautilus", "Xvfb", "dbus-run-session")
pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"not here: all of {', '.join(NEEDED)}"),
]

OFFLINE = "22d0e655-47c0-5fc4-9550-752d08473d00"

# A screen that nobody sees, a session bus, and Nautilus, which shows each place that is written to it. The loop goes
# on while a place is shown: the first Nautilus stays, each further one hands its place over to it and ends.
DESKTOP = """
Xvfb -displayfd 1 -screen 0 1280x900x24 -nolisten tcp >display &
until [ -s display ]; do sleep 0.02; done
export DISPLAY=":$(cat display)"
exec dbus-run-session -- sh -c 'while read -r place; do nautilus --new-window "$place" & done; wait'
"""
# Nothing of this machine's own desktop: its display server, its accessibility bus, its settings, its graphics card.
PLAIN = {
    "GDK_BACKEND": "x11",
    "GSETTINGS_BACKEND": "memory",
    "GSK_RENDERER": "cairo",
    "GTK_A11Y": "none",
    "NO_AT_BRIDGE": "1",
}


@pytest.fixture
def mount(tmp_path: Path, provider: DemoProvider) -> Iterator[Mount]:
    # What is ordered is there after half a second: the first check answers "ordered", the second one brings it.
    with Mount(tmp_path, provider.write_result(tmp_path / "search_result.geojson"), wait=0.02) as mounted:
        yield mounted


@pytest.fixture
def show(mount: Mount) -> Iterator[Callable[[Path], object]]:
    """Show a directory in Nautilus; returns at once."""
    runtime = mount.home / "run"
    runtime.mkdir(mode=0o700)
    with (
        (mount.home / "desktop.log").open("w") as log,
        subprocess.Popen(
            ["sh", "-c", DESKTOP],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            cwd=mount.home,
            env=environment(mount.home) | PLAIN | {"XDG_RUNTIME_DIR": str(runtime)},
            start_new_session=True,  # so that all of it can be ended by one number
        ) as desktop,
    ):
        assert desktop.stdin
        try:
            yield lambda place: print(place.as_uri(), file=desktop.stdin, flush=True)
        finally:
            end_group(desktop.pid)


def end_group(group: int) -> None:
    """End the processes of a group, those that they started included; by force what does not go by itself."""
    with contextlib.suppress(AssertionError):
        os.killpg(group, signal.SIGTERM)
        until(lambda: not members(group), 5)
    if members(group):
        os.killpg(group, signal.SIGKILL)
        until(lambda: not members(group))


def members(group: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if runs(pid) and group_of(pid) == group]


def group_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None


def has_looked_into(mount: Mount, *places: Path) -> bool:
    """Tell whether Nautilus has counted what is in these directories: before that it looks for `.hidden` in each."""
    logged = "\n".join(mount.logged())
    return all(f"/{place.relative_to(mount.root)}/.hidden" in logged for place in places)


def test_the_list_of_products_costs_at_most_their_quicklooks(
    mount: Mount, provider: DemoProvider, show: Callable[[Path], object]
) -> None:
    # To count what is in a product's directory, Nautilus asks for the size of all that is in it.
    show(mount.root)
    until(lambda: has_looked_into(mount, *mount.root.iterdir()))
    until(lambda: not provider.under_way)
    asked = [(request.kind, request.uid) for request in provider.requests]
    assert {kind for kind, _ in asked} <= {"quicklook"}
    assert len(asked) == len(set(asked))


def test_the_folder_of_a_product_costs_its_quicklook_and_nothing_else(
    mount: Mount, provider: DemoProvider, show: Callable[[Path], object]
) -> None:
    show(mount.product(OFFLINE))
    until(lambda: has_looked_into(mount, mount.product(OFFLINE) / "data"))
    until(lambda: provider.count(OFFLINE, "quicklook"))
    assert provider.count() == 1
    assert provider.under_way == 0
    assert mount.status(OFFLINE)["storageStatus"] == "OFFLINE"


def test_entering_data_orders_that_product_once_and_asks_for_its_list_of_files(
    mount: Mount, provider: DemoProvider, show: Callable[[Path], object]
) -> None:
    show(mount.product(OFFLINE))
    until(lambda: has_looked_into(mount, mount.product(OFFLINE) / "data"))
    show(mount.product(OFFLINE) / "data")
    until(lambda: mount.status(OFFLINE)["local"] == "partial" and not provider.under_way)
    assert provider.count(OFFLINE, "download", 202) == 1
    assert [sent for sent in ranges_of(provider, OFFLINE) if sent] == [LIST]
    assert provider.count(kind="download") == 2
    assert mount.status(OFFLINE)["storageStatus"] == "ONLINE"
