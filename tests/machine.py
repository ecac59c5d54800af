"""A machine of its own, as far as mounts go: for tests of what root installs, and of what users may do with it.

It is a mount namespace. In there eofs is installed, /etc/fstab and /etc/passwd are the test's, and the test's directory
is /srv; outside of it nothing is changed, and nothing stays when it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import environment, until

if TYPE_CHECKING:
    from typing_extensions import Self

HOUSE = Path(__file__).parent.parent
SRV = Path("/srv")
SBIN = Path("/sbin").resolve()
ALICE = 12345  # a user of the machine
NEEDS = ("mount", "umount", "findmnt", "unshare", "nsenter", "setpriv", "/sbin/mount.fuse3")
CHANGES = ("/srv", "/etc/fstab", "/etc/passwd", "/usr/local/bin")
UNMOUNT_ALL = ("umount", "--all", "--lazy", "--types", "fuse.eofs")


class Machine:
    """The machine, in ``with``; `tmp` is the test's directory, which is `SRV` there, and ``tmp/home`` is Alice's."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.home, self.mnt = tmp / "home", tmp / "mnt"

    def __enter__(self) -> Self:
        if os.geteuid() or not all(map(shutil.which, NEEDS)) or not all(map(os.path.exists, CHANGES)):
            pytest.skip("not here: mount(8) wants root, and mount.fuse3 of package fuse3")
        self._furnish()
        places = {
            self.tmp: SRV,
            sys.base_prefix: SRV / "python",
            sysconfig.get_path("purelib"): SRV / "packages",
            HOUSE: SRV / "house",
            SBIN: SRV / "sbin.real",
            self.tmp / "sbin": SBIN,
            self.tmp / "bin": "/usr/local/bin",
            self.tmp / "fstab": "/etc/fstab",
            self.tmp / "passwd": "/etc/passwd",
        }
        # First of all: what others have mounted is not to stay mounted for as long as this machine runs.
        bound = [f"mount --bind '{there}' '{here}'" for there, here in places.items()]
        script = "\n".join([" ".join(UNMOUNT_ALL), *bound, "exec sleep infinity"])
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
        self._keeper = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        comm = Path(f"/proc/{self._keeper.pid}/comm")
        until(lambda: self._keeper.poll() is not None or comm.read_text(encoding="utf-8") == "sleep\n")
        assert self._keeper.poll() is None, self._keeper.communicate()[1]
        return self

    def _furnish(self) -> None:
        for name in ("bin", "sbin", "sbin.real", "home", "mnt", "python", "packages", "house"):
            (self.tmp / name).mkdir()
        self.tmp.chmod(0o755)
        python = f"{SRV}/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        paths = f"LD_LIBRARY_PATH={SRV}/python/lib PYTHONPATH={SRV}/house:{SRV}/packages"
        self.write("bin/eofs", f'#!/bin/sh\n{paths} exec {python} -m eofs "$@"\n').chmod(0o755)
        for name in {program.name for program in SBIN.iterdir()} - {"mount.eofs"}:
            (self.tmp / "sbin" / name).symlink_to(SRV / "sbin.real" / name)
        of_ours = (HOUSE / "system/mount.eofs").read_text(encoding="utf-8").replace("@PREFIX@", "/usr/local")
        self.write("sbin/mount.eofs", of_ours).chmod(0o755)
        self.write("fstab", "")
        users = Path("/etc/passwd").read_text(encoding="utf-8")
        self.write("passwd", f"{users}alice:x:{ALICE}:{ALICE}::{SRV}/home:/bin/sh\n")
        for hers in (self.home, self.mnt):
            os.chown(hers, ALICE, ALICE)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the machine, in `tmp`; returns its path outside."""
        path = self.tmp / name
        path.write_text(text, encoding="utf-8")
        return path

    def allow_other(self) -> None:
        """Let users let others into their mounts, as fuse.conf(5) says."""
        conf = Path("/etc/fuse.conf")
        if not conf.exists():
            pytest.skip("not here: /etc/fuse.conf")
        self.write(conf.name, "user_allow_other\n").chmod(0o644)
        self.said("mount", "--bind", SRV / conf.name, conf)

    def run(self, *words: object, alice: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a program there, as root or as Alice."""
        enter = ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", "--wdns=/"]
        if alice:
            enter += ["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups"]
        env = {**environment(SRV / "home"), "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        given: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 60}
        return subprocess.run([*enter, *map(str, words)], env=env, check=False, **given)

    def said(self, *words: object, alice: bool = False) -> str:
        """Run a program that has nothing to complain of; return what it prints."""
        done = self.run(*words, alice=alice)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def mounts(self) -> list[list[str]]:
        """Return source, mount point and type of what eofs has mounted, blanks as in /proc/mounts."""
        table = Path(f"/proc/{self._keeper.pid}/mounts").read_text(encoding="utf-8")
        return [fields[:3] for fields in map(str.split, table.splitlines()) if fields[2] == "fuse.eofs"]

    def residents(self) -> list[int]:
        """Return the numbers of the programs that run there, but for the one that keeps it open."""
        namespace = Path(f"/proc/{self._keeper.pid}/ns/mnt").readlink()
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) != self._keeper.pid:
                try:
                    found += [int(process.name)] if (process / "ns/mnt").readlink() == namespace else []
                except OSError:  # it has ended, or is none that can be looked at
                    continue
        return found

    def __exit__(self, *_: object) -> None:
        try:
            self.run(*UNMOUNT_ALL)
            until(lambda: not self.residents())
        finally:
            for pid in self.residents():
                os.kill(pid, signal.SIGKILL)
            self._keeper.kill()
            self._keeper.communicate()
