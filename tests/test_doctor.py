"""`eofs doctor`: what it finds on this machine, and what it says of faults that are really there."""

from __future__ import annotations

import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Mount, environment, eofs

from eofs.commands.disks import disk_faults
from eofs.commands.doctor import pruned

mounts = pytest.mark.mount
as_root = pytest.mark.skipif(os.getuid() != 0, reason="not here: only root can mount a disk")


def lines(home: Path, *words: object, status: int = 0, **how: Any) -> list[str]:
    """Run it; return what it prints: a line for each finding, with its mend behind it."""
    done = eofs("doctor", *words, home=home, **how)
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout.replace("\n        ", " | ").splitlines()


def about(words: str, found: list[str]) -> str:
    """Return the one line that has these words."""
    [line] = [line for line in found if words in line]
    return line


def configure(home: Path, text: str, mode: int = 0o600) -> None:
    file = home / ".config/eofs/eofs.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)


@pytest.mark.says("checks the machine, the configuration and the cache: a line each")
@pytest.mark.says("only that makes its exit status 1; what they can do without is a hint.")
@mounts
def test_where_nothing_is_wrong_every_line_is_ok_or_a_hint_and_the_exit_status_is_0(tmp_path: Path) -> None:
    found = lines(tmp_path)
    assert {line[:6] for line in found} <= {"ok    ", "hint  "}
    for words in ("Linux", "/dev/fuse can be opened", "libfuse 2 can be loaded", "fusermount mounts", "EOFS__FALLBACK"):
        assert about(words, found).startswith("ok    ")
    assert about("the cache directory", found).startswith(f"ok    the cache directory {tmp_path}/.cache/eofs can be")
    assert list(tmp_path.iterdir()) == []  # it has left nothing behind


@pytest.mark.says("`eofs doctor` marks what mounts cannot do without (✗")
def test_on_a_terminal_it_makes_signs(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = {**environment(tmp_path), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "eofs", "doctor", "--cache-dir", "/dev/null"]
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=theirs) as process:
        os.close(theirs)
        said = b""
        while piece := _read(ours):
            said += piece
    os.close(ours)
    assert process.returncode == 1
    assert "✓ Linux" in said.decode()
    assert "✗ the cache directory /dev/null" in said.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody is at its other end any more
        return b""


# -- the machine -------------------------------------------------------------------------------------------------------


@pytest.mark.says("or `FAULT` where the output is no terminal)", "only that makes its exit status 1")
@pytest.mark.says("with a mend; 1 if mounts cannot be")
def test_a_missing_fusermount_is_a_fault(tmp_path: Path) -> None:
    found = lines(tmp_path, status=1, env={"PATH": str(tmp_path)})
    assert about("fusermount is", found) == "FAULT fusermount is missing | install it: apt install fuse3"
    assert found[-1] == "eofs cannot mount before that is mended"


def test_a_missing_notify_send_is_a_hint(tmp_path: Path) -> None:
    line = about("notify-send is", lines(tmp_path, status=1, env={"PATH": str(tmp_path)}))
    assert line.startswith("hint ")
    assert line.endswith("(option notify) | apt install libnotify-bin")


def test_fusermount3_alone_is_a_fault_for_libfuse_2_asks_for_the_other(tmp_path: Path) -> None:
    program = tmp_path / "bin/fusermount3"
    program.parent.mkdir()
    program.touch(mode=0o755)
    line = about("fusermount is", lines(tmp_path, status=1, env={"PATH": str(program.parent)}))
    assert line.startswith("FAULT ")
    assert line.endswith(f" | sudo ln -s {program} {tmp_path}/bin/fusermount")


def test_a_missing_libfuse_is_a_fault(tmp_path: Path) -> None:
    found = lines(tmp_path, status=1, env={"FUSE_LIBRARY_PATH": "/no/libfuse.so"})
    assert about("libfuse 2", found).startswith("FAULT libfuse 2 is missing | install it: apt install fuse3 libfuse2")


@as_root
@mounts
@pytest.mark.parametrize(
    ("device", "said"),
    [("true", "No such file or directory | load it"), ("mknod -m 666 /dev/fuse c 10 254", "No such device | load it")],
    ids=["missing", "without its module"],
)
def test_a_dev_fuse_that_cannot_be_opened_is_a_fault(tmp_path: Path, device: str, said: str) -> None:
    script = f'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && {device} && exec "$0" -m eofs doctor'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, sys.executable],
        env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert f"FAULT /dev/fuse cannot be opened: {said.partition(' | ')[0]}\n" in done.stdout


# -- the configuration -------------------------------------------------------------------------------------------------


def test_it_says_what_is_configured_and_for_whom_credentials_are_there_but_never_which(tmp_path: Path) -> None:
    configure(tmp_path, "peps: {auth: {credentials: {username: alice, password: s3cr3t-1}}}\neofs: {wait: 3}\n")
    env = {"EODAG__GEODES__AUTH__CREDENTIALS__APIKEY": "s3cr3t-2"}
    found = lines(tmp_path, env=env)
    configured = about("configured by", found)
    assert "~/.config/eofs/eofs.yml" in configured
    assert "EODAG__GEODES__AUTH__CREDENTIALS__APIKEY" in configured
    there = about("credentials are there", found)
    assert there.startswith("ok    credentials are there for ")
    assert "geodes" in there.partition(": ")[2]
    assert "peps" in there.partition(": ")[2]
    assert "demo" not in there
    assert "s3cr3t" not in "".join(found)
    assert "alice" not in "".join(found)


def test_credentials_that_others_can_read_are_told_once_with_the_mend(tmp_path: Path) -> None:
    configure(tmp_path, "peps: {auth: {credentials: {username: a, password: b}}}\n", mode=0o644)
    line = about("read by others", lines(tmp_path))
    assert line.startswith("hint  ~/.config/eofs/eofs.yml holds credentials and can be read by others")
    assert line.endswith("chmod 600 ~/.config/eofs/eofs.yml")


@pytest.mark.says("with a mend; 1 if mounts cannot be")
def test_a_configuration_that_cannot_be_used_is_a_fault_and_the_rest_is_checked_all_the_same(tmp_path: Path) -> None:
    configure(tmp_path, "eofs: {wait: soon}\n")
    found = lines(tmp_path, status=1)
    assert about("configuration", found).startswith("FAULT the configuration cannot be used: ~/.config/eofs/eofs.yml: ")
    assert about("/dev/fuse", found)


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="not here: setpriv")
@mounts
@pytest.mark.parametrize("allows", [False, True])
def test_allow_other_wants_the_leave_of_fuse_conf_for_users(allows: bool) -> None:
    command = ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-m", "eofs", "doctor"]
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # where others can look into, unlike those of the tests
        home = Path(place)
        home.chmod(0o755)
        conf = home / "fuse.conf"
        conf.write_text("# user_allow_other\n" + "user_allow_other\n" * allows, encoding="utf-8")
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", f'mount --bind {conf} /etc/fuse.conf && exec "$@"', "sh", *command,
             "--allow-other"], env=environment(home), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    if "Permission denied" in done.stderr:
        pytest.skip("not here: a Python that other users can run")
    assert ("/etc/fuse.conf does not let users say that" in done.stdout) is not allows
    assert ("ok    users may let others into their mounts" in done.stdout) is allows


# -- the cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.says("with a mend; 1 if mounts cannot be")
def test_a_cache_directory_that_is_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        line = about("the cache directory", lines(tmp_path, "--cache-dir", tmp_path / place, status=1))
        assert line == (
            f"FAULT the cache directory {tmp_path}/{place}: it cannot be used: Not a directory"
            " | name another one with cache_dir"
        )


@pytest.mark.says(
    "`eofs cache` and `eofs doctor` go by `cache_dir` as every layer of the configuration says, and "
    "make no cache where there is none."
)
@pytest.mark.parametrize("way", ["option", "variable", "file", "usual place"])
def test_the_cache_is_where_every_layer_of_the_configuration_says(tmp_path: Path, way: str) -> None:
    place = tmp_path / (".cache/eofs" if way == "usual place" else "mine")
    if way == "file":
        configure(tmp_path, f"eofs: {{cache_dir: {place}}}\n")
    words = ("--cache-dir", place) if way == "option" else ()
    found = lines(tmp_path, *words, env={"EOFS__CACHE_DIR": str(place)} if way == "variable" else {})
    assert f" {place} " in about("the cache directory", found)
    assert not place.exists()


def test_a_limit_beyond_the_disk_is_a_hint(tmp_path: Path) -> None:
    line = about("may grow", lines(tmp_path, "--cache-size", "9000T"))
    assert line.startswith("hint  the cache may grow to 9000.0 TiB, and its disk has ")


@as_root
def test_a_cache_of_another_user_is_a_hint(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", 65534, 65534)
    assert about("another user", lines(tmp_path, "--cache-dir", tmp_path / "cache")).startswith("hint  ")


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("fcntl.flock", "its disk knows no locks (flock)"),
        ("os.posix_fallocate", "its disk cannot take a file of 1 MB"),
        ("sqlite3.connect", "its disk can hold no data base (SQLite)"),
    ],
)
def test_what_a_disk_cannot_do_is_found_out_by_doing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, fault: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError if call.startswith("sqlite3") else OSError(95, "Operation not supported")

    assert disk_faults(tmp_path / "not/yet/there") == []
    monkeypatch.setattr(call, refuse)
    assert disk_faults(tmp_path) == [fault]
    assert list(tmp_path.iterdir()) == []


@as_root
@mounts
def test_a_disk_without_room_is_a_fault(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], check=True)
    try:
        line = about("the cache directory", lines(tmp_path, "--cache-dir", place / "cache", status=1))
    finally:
        subprocess.run(["umount", place], check=True)
    assert line.startswith(f"FAULT the cache directory {place}/cache: its disk cannot take a file of 1 MB | ")


# -- what is left over, and updatedb -----------------------------------------------------------------------------------


@mounts
def test_a_mount_that_answers_is_ok_and_one_whose_program_has_crashed_is_told_with_the_mend(mount: Mount) -> None:
    assert about(str(mount.root), lines(mount.home)) == f"ok    the mount at {mount.root} answers"
    mount.kill()
    assert about(str(mount.root), lines(mount.home)) == (
        f"hint  the program behind the mount at {mount.root} has crashed | eofs unmount {mount.root}"
    )


DEBIAN = """\
PRUNE_BIND_MOUNTS="yes"
# PRUNENAMES=".git .bzr .hg .svn"
PRUNEPATHS="/tmp /var/spool /media"
PRUNEFS="NFS afs fuse.sshfs fuse.rclone"
"""


@pytest.mark.parametrize(
    ("conf", "level", "mend"),
    [
        (DEBIAN, "hint", 'write into /etc/updatedb.conf: PRUNEFS = "NFS afs fuse.sshfs fuse.rclone fuse.eofs"'),
        (DEBIAN.replace("afs", "fuse.eofs"), "ok", ""),
        (DEBIAN.replace("afs", "FUSE.eofs"), "ok", ""),
        ('  PRUNEFS = ""\n', "hint", 'write into /etc/updatedb.conf: PRUNEFS = "fuse.eofs"'),
        ('# PRUNEFS="fuse.eofs"\n', "hint", 'write into /etc/updatedb.conf: PRUNEFS = "fuse.eofs"'),
        ("", "hint", 'write into /etc/updatedb.conf: PRUNEFS = "fuse.eofs"'),
    ],
    ids=["Debian's", "pruned", "in capitals", "empty", "a comment", "nothing"],
)
def test_updatedb_is_to_leave_mounts_alone(conf: str, level: str, mend: str) -> None:
    [finding] = pruned(conf)
    assert (finding.level, finding.mend) == (level, mend)
