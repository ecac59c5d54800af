"""The peers: what one would take instead of eofs, installed from Debian and PyPI where they are missing."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import NotMeasured

if TYPE_CHECKING:
    from collections.abc import Mapping

# Debian's package for each program.
PACKAGES = {
    "archivemount": "archivemount",
    "curl": "curl",
    "fuse-zip": "fuse-zip",
    "gdal_translate": "gdal-bin",
    "rclone": "rclone",
    "unzip": "unzip",
}
# What each program is installed from on PyPI, in an environment of its own.
FROM_PYPI = {"ratarmount": "ratarmount[full]", "eodag": "eodag"}
# Debian does not have it: built from its source, where that can be had.
MOUNT_ZIP = "https://github.com/google/mount-zip"
MOUNT_ZIP_NEEDS = ("g++", "git", "libboost-dev", "libfuse3-dev", "libicu-dev", "libzip-dev", "make", "pkg-config")
_VERSION = {
    "archivemount": "--version",
    "curl": "--version",
    "eodag": "version",
    "fuse-zip": "--version",
    "gdal_translate": "--version",
    "mount-zip": "--version",
    "ratarmount": "--version",
    "rclone": "version",
    "unzip": "-v",
}


@dataclass(frozen=True)
class Peers:
    """Where the peers are.

    Attributes:
        folder: for what is installed there rather than in the system.
    """

    folder: Path

    def install(self) -> None:
        """Install what is missing; what cannot be installed is missed when it is to be measured."""
        missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
        _apt_install(missing)
        for program, requirement in FROM_PYPI.items():
            if not self._find(program):
                self._pip_install(program, requirement)
        if not self._find("mount-zip"):
            self._build_mount_zip()

    def path(self, program: str) -> str:
        """Return where a program is.

        Raises:
            NotMeasured: it is not installed.
        """
        if found := self._find(program):
            return found
        raise NotMeasured(f"{program} could not be installed")

    def python_of(self, program: str) -> str:
        """Return the Python that has a program's packages."""
        return str(Path(self.path(program)).with_name("python"))

    @functools.cached_property
    def python_with_gdal(self) -> str:
        """Return the Python that has GDAL: the system's, whatever is first in the path."""
        for python in ("/usr/bin/python3", shutil.which("python3") or ""):
            if python and _said([python, "-c", "from osgeo import gdal; print('here')"]).strip() == "here":
                return python
        raise NotMeasured("GDAL for Python could not be installed")

    def versions(self) -> Mapping[str, str]:
        """Return the version of each program; nothing for what is not there."""
        found = {program: self._find(program) for program in _VERSION}
        return {program: _version(program, [path, _VERSION[program]]) for program, path in found.items() if path}

    def _find(self, program: str) -> str | None:
        own = self.folder / program / "bin" / program
        return str(own) if own.exists() else shutil.which(program)

    def _pip_install(self, program: str, requirement: str) -> None:
        place = self.folder / program
        _say(f"installing {requirement}")
        try:
            venv.create(place, clear=True, with_pip=True)
            command = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", requirement]
            subprocess.run(command, check=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            _say(f"{program} cannot be installed: {error}")
            shutil.rmtree(place, ignore_errors=True)

    def _build_mount_zip(self) -> None:
        source, binaries = self.folder / "mount-zip-source", self.folder / "mount-zip" / "bin"
        shutil.rmtree(source, ignore_errors=True)
        try:
            _run("git", "clone", "--quiet", "--depth", "1", MOUNT_ZIP, str(source), limit=60)
            _apt_install([*MOUNT_ZIP_NEEDS])
            _run("make", "-C", str(source), limit=600)
            binaries.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / "mount-zip", binaries)
        except (OSError, subprocess.SubprocessError) as error:
            _say(f"mount-zip cannot be built: {error}")


def _apt_install(packages: list[str]) -> None:
    if not packages:
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    _say(f"installing system packages: {' '.join(packages)}")
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        try:
            _run(*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", *words, limit=600)
        except (OSError, subprocess.SubprocessError) as error:
            _say(f"apt-get {words[0]} failed: {error}")


def _run(*command: str, limit: float) -> None:
    subprocess.run(command, check=True, timeout=limit, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _version(program: str, command: list[str]) -> str:
    """Return the first version in a line that names the program; some say those of their libraries before it."""
    own = program.partition("_")[0]
    lines = [line for line in _said(command).splitlines() if own in line.lower()]
    versions = [found[0] for line in lines if (found := re.search(r"\d+\.\d[\w.-]*", line))]
    return versions[0].rstrip(".") if versions else "unknown"


def _said(command: list[str]) -> str:
    """Return what a program prints, nothing if it fails to start."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr


def _say(sentence: str) -> None:
    print(f"benchmarks: {sentence}", file=sys.stderr, flush=True)
