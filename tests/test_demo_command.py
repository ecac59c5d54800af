"""`eofs demo` from its first word to its last: what it says, what it leaves, and how it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import begin, environment, eofs, ls, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[str]]

pytestmark = pytest.mark.mount


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the demo; its temporary files go to `tmp`, where nothing is left when it has ended."""
    begun: list[subprocess.Popen[str]] = []
    temporary = tmp_path / "tmp"
    temporary.mkdir()

    def start(*words: object) -> subprocess.Popen[str]:
        env = environment(tmp_path) | {"TMPDIR": str(temporary)}
        begun.append(begin(sys.executable, "-m", "eofs", "demo", *words, env=env))
        return begun[-1]

    try:
        yield start
    finally:
        for demo in begun:
            demo.kill()
            demo.communicate()
        for place in [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]:
            if place.startswith(f"{tmp_path}/"):
                subprocess.run(["fusermount", "-uz", place], check=False)
    assert ls(temporary) == []


def mounted_on(demo: subprocess.Popen[str]) -> Path:
    """Return the mount point that the demo names when it is mounted."""
    assert demo.stdout
    return Path(next(line.split()[1] for line in demo.stdout if line.startswith("  cd ")))


@pytest.mark.says("a built-in local provider with ten products (five OFFLINE), mounted until Ctrl-C")
def test_the_demo_needs_no_directory_and_names_the_one_that_it_makes(start: Start, tmp_path: Path) -> None:
    demo = start()
    place = mounted_on(demo)
    assert place.is_relative_to(tmp_path / "tmp")
    assert os.path.ismount(place)
    assert len(ls(place)) == 10
    said = [os.getxattr(product, "user.eofs.storageStatus") for product in place.iterdir()]
    assert said.count(b"OFFLINE") == said.count(b"ONLINE") == 5
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_what_it_made_goes_with_it(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    demo = start(tmp_path / "new" / "mnt")
    assert len(ls(mounted_on(demo))) == 10
    demo.send_signal(number)
    assert demo.wait(60) == 0
    assert ls(tmp_path) == ["tmp"]


def test_unmounting_ends_the_demo_and_a_directory_that_was_there_stays(start: Start, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    demo = start(place)
    assert mounted_on(demo) == place
    assert eofs("unmount", place, home=tmp_path).returncode == 0
    assert demo.wait(60) == 0
    assert ls(place) == []


def test_while_somebody_is_in_the_mount_a_second_signal_ends_the_demo(start: Start, tmp_path: Path) -> None:
    demo = start(tmp_path / "mnt")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=mounted_on(demo)) as user:
        demo.send_signal(signal.SIGINT)
        assert demo.stderr
        assert (
            f"mnt is in use by cat ({user.pid}); eofs ends when it is free, or when told again"
            in demo.stderr.readline()
        )
        assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 128 + signal.SIGINT
        assert user.stdin
        user.stdin.close()
    assert ls(tmp_path) == ["tmp"]


def test_a_signal_that_comes_before_the_mount_is_there_is_not_lost(start: Start, tmp_path: Path) -> None:
    demo = start(tmp_path / "mnt")
    until(lambda: list((tmp_path / "tmp").glob("eofs-demo-*/provider/*.part")))  # it makes the first archive
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(60) == 0
    assert ls(tmp_path) == ["tmp"]


def test_the_demo_is_not_mounted_over_files(start: Start, tmp_path: Path) -> None:
    demo = start(tmp_path)
    assert demo.wait(60) == 1
    assert demo.stderr
    assert demo.stderr.read() == f"eofs: {tmp_path} is not empty; take an empty directory\n"
