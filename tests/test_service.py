"""eofs as a service: what it tells who has started it, and the unit of systemd for a user's mounts."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import TITLES, Mount, begin, environment, ls, run

from eofs import daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eofs.demo import DemoProvider

UNIT = Path(__file__).parent.parent / "system/eofs@.service"
READY = "READY=1\nSTATUS=mounted, with 10 products"
STOPPING = "STOPPING=1\nSTATUS=unmounting"


class Manager:
    """What systemd is to a service of type notify: a socket that is waited at."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.settimeout(60)

    def heard(self) -> str:
        """Wait for a word; returns it."""
        return self.socket.recv(4096).decode()

    def has_heard_nothing(self) -> bool:
        """Tell whether no word has come; one that was sent has."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def manager() -> Iterator[Manager]:
    running = Manager(f"@eofs-test-{os.getpid()}")
    yield running
    running.socket.close()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_service_manager_hears_a_datagram_with_a_line_for_each_word(kind: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path has 107 bytes at most
        manager = Manager({"path": f"{short}/notify", "abstract": f"@eofs{short}"}[kind])
        daemon.notify(manager.address, "READY=1", "STATUS=é")
        assert manager.heard() == "READY=1\nSTATUS=é"
        manager.socket.close()


@pytest.mark.parametrize("address", ["/nowhere/notify", "@nobody", "x" * 200], ids=["gone", "deaf", "long"])
def test_a_service_manager_that_cannot_be_told_is_no_failure(address: str, caplog: pytest.LogCaptureFixture) -> None:
    daemon.notify(address, "READY=1")
    assert f"the service manager at {address} cannot be told how we are: " in caplog.text


def test_where_there_is_no_service_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    daemon.notify("", "READY=1")
    assert caplog.text == ""


@pytest.mark.mount
def test_in_the_background_no_service_manager_is_told(tmp_path: Path, provider: DemoProvider, manager: Manager) -> None:
    """Whoever has started it has been told by its end; the word would be taken for one of a program around it."""
    mount = Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"))
    try:
        assert mount.eofs(*mount.command, env={"NOTIFY_SOCKET": manager.address}).returncode == 0
        mount.unmount()
        assert manager.has_heard_nothing()
    finally:
        mount.end()


# -- the unit --------------------------------------------------------------------------------------------------------


def installed(home: Path) -> Path:
    """Install the unit as `make install` does, below `home`; returns its path."""
    program = home / ".local/bin/eofs"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m eofs "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    unit = home / "eofs@.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("@PREFIX@", f"{home}/.local"), encoding="utf-8")
    return unit


@pytest.mark.says("`eofs@NAME.service`, a unit for `systemctl --user`")
def test_systemd_has_nothing_against_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    unit = installed(tmp_path)
    env = {**environment(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    words = ["systemd-analyze", "verify", "--user", "--man=no", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert [line for line in done.stderr.splitlines() if "eofs@" in line] == []  # of others it may say what it likes


def commands(unit: Path, instance: str, home: Path) -> tuple[list[str], list[str], dict[str, str]]:
    """Return what systemd would run for an instance of the unit, first and then, and with which variables."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign] # how it is meant to be used
    text = unit.read_text(encoding="utf-8")
    for specifier, value in {"%h": str(home), "%E": f"{home}/.config", "%i": instance}.items():
        text = text.replace(specifier, value)
    parser.read_string(text)
    said = parser["Service"]
    assert (said["Type"], said["Restart"], said["ExecReload"]) == ("notify", "on-abnormal", "/bin/kill -HUP $MAINPID")
    variables = dict(pair.split("=", 1) for pair in shlex.split(said["Environment"]))
    file = Path(said["EnvironmentFile"].removeprefix("-"))
    if file.exists():
        variables |= dict(line.split("=", 1) for line in file.read_text(encoding="utf-8").splitlines())
    before, start = shlex.split(said["ExecStartPre"].removeprefix("-")), shlex.split(said["ExecStart"])
    for name, value in variables.items():
        before, start = ([word.replace(f"${{{name}}}", value) for word in words] for words in (before, start))
    return before, start, variables


@pytest.mark.says(
    "In the foreground (`-f`) eofs tells the service manager at `$NOTIFY_SOCKET`, as sd_notify(3) has it, `READY=1` "
    "and the number of products when the mount is usable, that number again each time the result has been read, and "
    "`STOPPING=1` when it is being unmounted."
)
@pytest.mark.says("mounts `~/.config/eofs/NAME.geojson` on `~/eofs/NAME`, which it makes.")
@pytest.mark.says("may hold `RESULT=…`, `MOUNTPOINT=…` and the variables of section 6.")
@pytest.mark.says("`reload` reads the result again.")
@pytest.mark.mount
@pytest.mark.parametrize("overridden", [False, True], ids=["as it is", "with a file of variables"])
def test_the_unit_mounts_tells_when_it_is_ready_and_stops(
    tmp_path: Path, provider: DemoProvider, manager: Manager, readers: list[subprocess.Popen[str]], overridden: bool
) -> None:
    settings = tmp_path / ".config/eofs"
    settings.mkdir(parents=True)
    place = tmp_path / ("else where" if overridden else "eofs/s2")
    if overridden:
        provider.write_result(tmp_path / "found.geojson")
        lines = f"RESULT={tmp_path}/found.geojson\nMOUNTPOINT={place}\nEOFS__CACHE_DIR={tmp_path}/bytes\n"
        (settings / "s2.env").write_text(lines, encoding="utf-8")
    else:
        provider.write_result(settings / "s2.geojson")
    before, start, variables = commands(installed(tmp_path), "s2", tmp_path)
    run(*before)
    try:
        env = {**environment(tmp_path), **variables, "NOTIFY_SOCKET": manager.address}
        service = begin(*start, env=env)
        readers.append(service)
        assert manager.heard() == READY
        assert ls(place) == sorted(TITLES.values())
        assert (tmp_path / "bytes/records").exists() == overridden
        service.send_signal(signal.SIGHUP)  # as ExecReload does
        assert manager.heard() == READY.splitlines()[1]
        service.terminate()
        assert manager.heard() == STOPPING
        assert service.communicate(timeout=60) == ("", "")
        assert service.returncode == 0
        assert not os.path.ismount(place)
    finally:
        subprocess.run(["fusermount", "-uzq", place], check=False)


@pytest.mark.says("It is started again after a crash")
@pytest.mark.mount
def test_the_unit_can_begin_again_after_a_crash(
    tmp_path: Path, provider: DemoProvider, manager: Manager, readers: list[subprocess.Popen[str]]
) -> None:
    settings = tmp_path / ".config/eofs"
    settings.mkdir(parents=True)
    provider.write_result(settings / "s2.geojson")
    before, start, variables = commands(installed(tmp_path), "s2", tmp_path)
    place = tmp_path / "eofs/s2"
    try:
        for _ in range(2):
            subprocess.run(before, capture_output=True, check=False)  # it may fail, as the unit says
            service = begin(*start, env={**environment(tmp_path), **variables, "NOTIFY_SOCKET": manager.address})
            readers.append(service)
            assert manager.heard() == READY
            assert ls(place) == sorted(TITLES.values())
            service.kill()
            told = service.communicate(timeout=60)[1]
        assert told == f"eofs: {place} was left over from a mount that crashed; it has been freed\n"
    finally:
        subprocess.run(["fusermount", "-uzq", place], check=False)
