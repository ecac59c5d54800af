"""`make install`, as it is run to make a package: below a directory, and without packages of the system."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import environment, run

from eofs import __version__

HOUSE = Path(__file__).parent.parent


def make(goal: str, home: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run make with these variables, for 90 seconds at most."""
    words = ["timeout", "90", "make", "-C", str(HOUSE), goal, *(f"{name}={value}" for name, value in variables.items())]
    env = environment(home)
    return subprocess.run(words, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL)


@pytest.mark.says("where `make install` has put `/sbin/mount.eofs`")
def test_what_is_installed_works_where_it_is_moved_to_and_goes_again(tmp_path: Path) -> None:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    into, final = tmp_path / "into", tmp_path / "final"
    prefix = f"{final}/opt/e o"
    done = make("install", tmp_path, PREFIX=prefix, DESTDIR=into)
    if done.returncode == 124 or "No matching distribution" in done.stderr:
        pytest.skip("not here: an index of packages that pip gets them from in time")
    assert done.returncode == 0, done.stderr

    place = into / prefix.removeprefix("/")
    for name in ("share/systemd/user/eofs@.service", "lib/eofs/pyvenv.cfg", "lib/eofs/bin/eofs"):
        assert str(into) not in (place / name).read_text(encoding="utf-8")
    assert f'"{prefix}/bin/eofs"' in (into / "sbin/mount.eofs").read_text(encoding="utf-8")
    assert os.access(into / "sbin/mount.eofs", os.X_OK)
    (into / str(final).removeprefix("/")).rename(final)
    assert run(f"{prefix}/bin/eofs", "--version", env=environment(tmp_path)) == f"eofs {__version__}\n"

    assert make("uninstall", tmp_path, PREFIX=prefix).returncode == 0
    assert [path for path in final.rglob("*") if not path.is_dir()] == []
    assert make("uninstall", tmp_path, PREFIX=prefix, DESTDIR=into).returncode == 0
    assert [path for path in into.rglob("*") if not path.is_dir()] == []
