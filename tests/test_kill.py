"""A download that is killed again and again: each mount goes on where the one before was, and little comes twice."""

from __future__ import annotations

import filecmp
import random
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from conftest import ONLINE, Mount, begin, run, until

from eofs.demo import DemoProvider, Reply, Request, ten_products
from eofs.demo.replies import byte_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.mount

MEGABYTES = 120


KILLS = 20


class Halting(DemoProvider):
    """A provider that falls silent in the midst of each reply, after fewer bytes than `patience` says; 0 is for ever.

    So all that it has sent can be waited for. What is on its way when somebody is killed is lost in the sockets, and
    how much that is depends on the machine.
    """

    patience = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._chance = random.Random(20)
        self._counting = threading.Lock()
        self._promised = 0
        self._gives = True

    def begin_again(self) -> None:
        """Speak to somebody else."""
        with self._counting:
            self._promised, self._gives = 0, True

    def has_given(self, arrived: int) -> bool:
        """Tell whether so many bytes are all that has been sent; if so, nobody is sent any more."""
        with self._counting:
            self._gives = self._gives and not 0 < arrived == self._promised
            return not self._gives

    def answer(self, request: Request) -> Reply | None:
        if not self.patience or not request.uid:
            return None
        wanted = byte_range(request.range, self.archive(request.uid).stat().st_size) or range(0)
        with self._counting:
            given = self._chance.randrange(self.patience) if self._gives else 0
            self._promised += min(given, len(wanted))
        return Reply(stall_after=given)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Halting]:
    with Halting(tmp_path / "store", products=ten_products()[2:3], megabytes=MEGABYTES) as running:
        yield running


def downloaded(mount: Mount) -> int:
    return int(mount.status(ONLINE)["downloaded"])


def kill(mount: Mount, archive: Path) -> None:
    """Kill what is behind the mount, and mount again."""
    mount.kill()
    # What bears the name of a whole file is one.
    assert all(filecmp.cmp(found, archive, shallow=False) for found in mount.cache.rglob("archive"))
    subprocess.run(["fusermount", "-uz", mount.root], check=True)
    mount.start()


def assert_whole(mount: Mount, archive: Path) -> None:
    mount.bring(ONLINE)
    run("md5sum", "--check", "--quiet", archive.with_suffix(".md5"), cwd=mount.product(ONLINE) / "data")


@pytest.mark.says("A crash, a `kill -9`", "at any moment leaves a cache that the next mount goes on from.")
def test_a_download_that_is_killed_twenty_times_ends_whole_and_less_than_a_twentieth_comes_twice(
    tmp_path: Path, provider: Halting, readers: list[subprocess.Popen[str]]
) -> None:
    archive = provider.archive(ONLINE)
    size = archive.stat().st_size
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount:
        provider.patience = size // 40  # three requests at a time, of half that much each
        for _ in range(KILLS):
            provider.begin_again()
            before = downloaded(mount)
            readers.append(begin("cat", mount.safe(ONLINE) / "manifest.safe"))  # behind which all the rest comes
            until(lambda before=before: provider.has_given(downloaded(mount) - before) or downloaded(mount) == size)  # type: ignore[misc]
            kill(mount, archive)
        provider.patience = 0
        assert_whole(mount, archive)
        until(lambda: not provider.under_way)
        assert provider.bytes_sent(ONLINE) < 1.05 * size


def test_a_copy_that_is_killed_in_full_flow_goes_on_each_time_and_ends_whole(
    tmp_path: Path, provider: Halting, readers: list[subprocess.Popen[str]]
) -> None:
    archive, chance = provider.archive(ONLINE), random.Random(21)
    size, twice = archive.stat().st_size, 0
    provider.rate = 20e6
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount:
        for moment in sorted(chance.uniform(0, 0.95 * size) for _ in range(5)):
            readers.append(begin("cp", "-r", mount.safe(ONLINE), tmp_path / "copy"))
            until(lambda moment=moment: downloaded(mount) >= moment)  # type: ignore[misc]
            before = downloaded(mount)
            kill(mount, archive)
            twice += max(0, before - downloaded(mount))
        provider.rate = None
        assert_whole(mount, archive)
    assert twice < 5 << 20
