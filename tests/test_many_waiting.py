"""Two hundred programs wait for ten products, and nobody else notices; told to end, all of them do."""

from __future__ import annotations

import copy
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import UIDS, Mount, begin, ls, until

from eofs.demo import DemoProvider, ten_products

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.mount
says = pytest.mark.says

NEVER = 1e9  # seconds
PROGRAMS = 200
HERE, OTHER = "here", "other"  # one that is in the cache, and one that comes while the others wait


def further(uid: str, day: str) -> dict[str, Any]:
    """Return a product beside the ten: one of them on another day."""
    feature = copy.deepcopy(ten_products()[2])
    title = feature["properties"]["title"].replace("20201229", day)
    feature["id"] = feature["properties"]["title"] = title
    feature["properties"]["uid"] = uid
    return feature


@pytest.fixture
def tape(store: Path) -> Iterator[DemoProvider]:
    """A provider with two products on disk, and ten on tape that stay there."""
    products = [*ten_products(), further(HERE, "20190101"), further(OTHER, "20190202")]
    with DemoProvider(store, products=products, megabytes=1, staging_seconds=NEVER) as provider:
        provider.put_on_tape(*UIDS)
        yield provider


def standing(process: subprocess.Popen[str]) -> tuple[str, str, str]:
    """Return the name of a process, its state, and how often it has waited for something."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    said = dict(line.split(":\t", 1) for line in lines)
    return said["Name"], said["State"][:1], said["voluntary_ctxt_switches"]


def all_wait(processes: list[subprocess.Popen[str]]) -> bool:
    """Tell whether all wait in the kernel: they do at two looks, and did nothing in between."""
    before, now = ([standing(process) for process in processes] for _ in range(2))
    return before == now and all(name in {"ls", "cat"} and state in {"S", "D"} for name, state, _ in now)


@says("Of several programs that wait for the same name to be looked up, the kernel lets one ask")
@says("A product that waits never slows another: its status, its neighbours' data and every listing answer")
def test_two_hundred_programs_wait_and_all_others_go_on_and_a_signal_ends_each(
    tmp_path: Path, tape: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    with Mount(tmp_path, tape.write_result(tmp_path / "r.geojson"), wait=0.1, timeout=9) as mount:
        manifest = mount.bring(HERE) / "manifest.safe"
        content = manifest.read_bytes()
        for number in range(PROGRAMS):  # half of them wait in opendir, half in a look-up
            root = mount.safe(UIDS[number % 10])
            readers.append(begin(*(("ls", root) if number % 20 < 10 else ("cat", root / "manifest.safe"))))
        until(lambda: all(tape.count(uid, status=202) for uid in UIDS))
        until(lambda: all_wait(readers))

        assert len(ls(mount.root)) == 12
        for uid in UIDS:
            assert mount.status(uid)["activity"] == "waiting"
            assert ls(mount.product(uid)) == ["data", "metadata.json", "quicklook.jpg", "status"]
            assert mount.safe(uid).is_dir()
        assert manifest.read_bytes() == content
        assert (mount.bring(OTHER) / "manifest.safe").read_bytes()
        told = mount.eofs("status", mount.root).stdout.splitlines()
        assert len(told) == 1 + 2 * len(UIDS)
        # Ten in opendir, and one of the ten that look up the same name.
        assert sum(" and 10 others have waited, " in line for line in told) == len(UIDS), told
        assert [reader.poll() for reader in readers] == [None] * PROGRAMS  # all that while they wait

        for reader in readers:
            reader.send_signal(signal.SIGINT)
        assert [reader.wait(60) for reader in readers] == [-signal.SIGINT] * PROGRAMS
        tape.set_online(UIDS[0])
        assert "manifest.safe" in ls(mount.safe(UIDS[0]))  # the order goes on without them
