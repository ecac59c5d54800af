"""mount(8), /etc/fstab and umount(8), for root and for users."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ONLINE, TITLES, until
from machine import ALICE, SRV, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eofs.demo import DemoProvider

pytestmark = pytest.mark.mount

MNT, CACHE = SRV / "mnt", SRV / "cache"
# What fstab lines have, and a program has no use for.
OF_MOUNT = "_netdev,nofail,noauto,user,x-systemd.automount,x-gvfs-hide,comment=eo,defaults"
TYPES = ["fuse.eofs", "eofs"]


@pytest.fixture
def machine(tmp_path: Path, provider: DemoProvider) -> Iterator[Machine]:
    """A machine with a search result in /srv."""
    with Machine(tmp_path) as running:
        provider.write_result(tmp_path / "r.geojson").chmod(0o644)
        yield running


@pytest.mark.says(
    "`mount -t fuse.eofs RESULT DIR -o …` works where `eofs` is in `/usr/bin` or `/usr/local/bin`; `mount -t "
    "eofs` where `make install` has put `/sbin/mount.eofs`"
)
@pytest.mark.says(
    "Either is known as `fuse.eofs` to `findmnt`, with RESULT as its source",
    "What mount(8) leaves in for itself (`_netdev`, `nofail`, `user`, `noauto`, `x-…`, `comment=…`) is no option",
)
@pytest.mark.says("the same, as mount(8) calls it")
@pytest.mark.parametrize(
    ("kind", "source"),
    [("fuse.eofs", "/srv/r.geojson"), ("eofs", "/srv/r.geojson"), ("fuse", "eofs#/srv/r.geojson")],
    ids=["fuse.eofs", "eofs", "fuse"],
)
def test_mount_and_umount_know_it(machine: Machine, kind: str, source: str) -> None:
    options = f"{OF_MOUNT},cache_dir={CACHE},intersects=0\\,40\\,5\\,50,wait=0.1"
    assert machine.said("mount", "-v", "-n", "-s", "-t", kind, source, MNT, "-o", options) == ""
    assert machine.said("ls", MNT).split() == sorted(TITLES.values())
    shown = machine.said("findmnt", "-n", "-t", "fuse.eofs", "-o", "SOURCE,TARGET,OPTIONS").split()
    assert shown[:2] == [str(SRV / "r.geojson"), str(MNT)]
    assert {"ro", "nosuid", "nodev"} <= set(shown[2].split(","))
    assert machine.said("umount", MNT) == ""
    until(lambda: not machine.residents())
    assert machine.mounts() == []


@pytest.mark.says("works where `eofs` is in `/usr/bin` or `/usr/local/bin`")
def test_mount_8_finds_it_in_usr_bin_too(machine: Machine) -> None:
    (machine.tmp / "usr-bin").mkdir()
    (machine.tmp / "bin/eofs").rename(machine.tmp / "usr-bin/eofs")
    if machine.run("mount", "-t", "overlay", "none", "-o", f"lowerdir={SRV}/usr-bin:/usr/bin", "/usr/bin").returncode:
        pytest.skip("not here: the file system overlay, to lay something over /usr/bin")
    assert machine.said("mount", "-t", "fuse.eofs", SRV / "r.geojson", MNT, "-o", f"cache_dir={CACHE}") == ""
    assert machine.said("ls", MNT).split() == sorted(TITLES.values())
    assert machine.said("umount", MNT) == ""


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_wrong_is_told_through_mount_8(machine: Machine, kind: str) -> None:
    done = machine.run("mount", "-t", kind, SRV / "r.geojson", MNT, "-o", f"_netdev,wiat=0.1,cache_dir={CACHE}")
    assert done.returncode != 0
    assert "unknown option 'wiat'; did you mean 'wait'?" in done.stderr
    assert machine.mounts() == []


@pytest.mark.says("which also heeds `mount --fake`.")
def test_mount_fake_mounts_nothing(machine: Machine) -> None:
    assert machine.said("mount", "--fake", "-t", "eofs", SRV / "r.geojson", MNT, "-o", f"cache_dir={CACHE}") == ""
    assert machine.mounts() == []


@pytest.mark.says("so that `mount -a` mounts a line of fstab once.")
@pytest.mark.parametrize("kind", TYPES)
def test_a_line_of_fstab_is_mounted_once(machine: Machine, kind: str) -> None:
    """Blanks are written as \\040 there, and mount(8) has to know the source again that it had mounted."""
    (machine.tmp / "r.geojson").rename(machine.tmp / "a, b.geojson")
    (machine.tmp / "e o").mkdir()
    options = f"_netdev,nofail,cache_dir={CACHE},filter=title=S2A*,intersects=0\\,40\\,5\\,50"
    machine.write("fstab", f"{SRV}/a,\\040b.geojson {SRV}/e\\040o {kind} {options} 0 0\n")
    for _ in range(2):
        assert machine.said("mount", "-a") == ""
        assert machine.mounts() == [[f"{SRV}/a,\\040b.geojson", f"{SRV}/e\\040o", "fuse.eofs"]]
    assert machine.said("ls", SRV / "e o").split() == sorted(name for name in TITLES.values() if name.startswith("S2A"))
    assert machine.said("umount", SRV / "e o") == ""


@pytest.mark.says("a process list")
@pytest.mark.says(
    "`umount`, `fusermount -u` and `eofs unmount` end it.",
    "Who mounts by fstab's `user` does so with her own home: her configuration, her credentials, her cache.",
    "No option holds a credential, so none is in the list of processes or in the table of mounts.",
)
@pytest.mark.parametrize("way", ["umount", "fusermount -u", "eofs unmount"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_user_mounts_a_line_of_fstab_with_an_account_of_her_own(
    machine: Machine, provider: DemoProvider, kind: str, way: str
) -> None:
    provider.username, provider.password = "alice", "open-sesame"
    settings = machine.home / ".config/eofs/eofs.yml"
    settings.parent.mkdir(parents=True)
    login = f"type: basic, hosts: ['{provider.url}'], credentials: {{username: alice, password: open-sesame}}"
    settings.write_text(f"demo: {{auth: {{{login}}}}}\neofs: {{wait: 0.001}}\n", encoding="utf-8")
    settings.chmod(0o600)
    for mine in (settings, *settings.parents[:3]):
        os.chown(mine, ALICE, ALICE)
    machine.write("fstab", f"{SRV}/r.geojson {MNT} {kind} user,noauto,_netdev 0 0\n")

    assert machine.said("mount", MNT, alice=True) == ""
    title = TITLES[ONLINE]
    assert "manifest.safe" in machine.said("ls", MNT / title / "data" / f"{title}.SAFE", alice=True)
    assert (machine.home / ".cache/eofs/records").is_dir()
    [pid] = machine.residents()
    assert Path(f"/proc/{pid}").stat().st_uid == ALICE
    for place in ("cmdline", "mountinfo", "environ"):
        assert b"sesame" not in Path(f"/proc/{pid}/{place}").read_bytes()
    assert machine.said(*way.split(), MNT, alice=True) == ""
    until(lambda: not machine.residents())
    assert machine.mounts() == []


@pytest.mark.says("`setuid=USER`, for root, mounts as that user.")
@pytest.mark.parametrize("kind", TYPES)
def test_root_mounts_for_a_user(machine: Machine, kind: str) -> None:
    machine.write("fstab", f"{SRV}/r.geojson {MNT} {kind} setuid=alice,noauto,_netdev 0 0\n")
    assert machine.said("mount", MNT) == ""
    assert machine.said("ls", MNT, alice=True).split() == sorted(TITLES.values())
    assert (machine.home / ".cache/eofs/records").is_dir()
    [pid] = machine.residents()
    assert Path(f"/proc/{pid}").stat().st_uid == ALICE
    assert machine.said("umount", MNT) == ""


@pytest.mark.parametrize("kind", TYPES)
def test_systemd_mounts_a_line_of_fstab_when_it_is_looked_at(machine: Machine, kind: str) -> None:
    """Not systemd itself, which would have to be the machine's first process: what it makes of the line, and does."""
    generator = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")
    if not generator.exists():
        pytest.skip("systemd is not installed")
    options = f"user,noauto,_netdev,x-systemd.automount,cache_dir={CACHE},intersects=0\\,40\\,5\\,50"
    machine.write("fstab", f"{SRV}/r.geojson {MNT} {kind} {options} 0 0\n")
    made = machine.tmp / "units"
    made.mkdir()
    env = {**os.environ, "SYSTEMD_FSTAB": str(machine.tmp / "fstab")}
    subprocess.run([generator, made, made, made], check=True, env=env)
    assert f"Where={MNT}" in (made / "srv-mnt.automount").read_text(encoding="utf-8").splitlines()
    lines = (made / "srv-mnt.mount").read_text(encoding="utf-8").splitlines()
    unit = dict(line.split("=", 1) for line in lines if "=" in line)
    assert machine.said("mount", unit["What"], unit["Where"], "-t", unit["Type"], "-o", unit["Options"]) == ""
    assert machine.said("ls", MNT).split() == sorted(TITLES.values())
    assert machine.said("umount", unit["Where"]) == ""


@pytest.mark.parametrize("alice", [False, True], ids=["root", "user"])
def test_a_mount_that_a_crash_has_left_is_mended_by_mount_8_too(machine: Machine, alice: bool) -> None:
    machine.write("fstab", f"{SRV}/r.geojson {MNT} eofs user,noauto 0 0\n")
    assert machine.said("mount", MNT, alice=alice) == ""
    [pid] = machine.residents()
    os.kill(pid, 9)
    until(lambda: not machine.residents())
    # What is asked at the very moment when the kernel takes note of the crash is told of an abort.
    assert re.search("not connected|connection abort", machine.run("ls", MNT, alice=alice).stderr)
    done = machine.run("mount", MNT, alice=alice)
    assert done.stderr == f"eofs: {MNT} was left over from a mount that crashed; it has been freed\n"
    assert done.returncode == 0
    assert machine.said("ls", MNT, alice=alice).split() == sorted(TITLES.values())
    assert len(machine.mounts()) == 1
    assert machine.said("umount", MNT, alice=alice) == ""
