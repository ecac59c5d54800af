"""What the title of a Sentinel-2 product says: the names inside of its archive follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

# The orbit number that a granule's name gets at one time, by satellite; the rest follows: 143 orbits in ten days.
_ORBITS = {"S2A": (28852, datetime(2020, 12, 29, 11, 4, 51)), "S2B": (19954, datetime(2020, 12, 31, 10, 53, 49))}  # noqa: DTZ001 - all times of a title are UTC
_TITLE = re.compile(r"(S2[A-C])_MSIL1C_(\d{8}T\d{6})_N(\d{4})_R(\d{3})_(T\w{5})_(\d{8}T\d{6})")
_STAMP = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class Scene:
    """What the title of a Sentinel-2 product says; times are UTC, in the title's own compact form."""

    title: str
    mission: str
    sensed: str
    baseline: str
    relative_orbit: str
    tile: str
    produced: str

    @classmethod
    def of(cls, title: str) -> Scene:
        """Read a title; one that is not Sentinel-2's gets the scene of the user guide."""
        match = _TITLE.match(title)
        if not match:
            return cls(title, "S2A", "20201229T110451", "0209", "094", "T31TCL", "20201229T131620")
        return cls(title, *match.groups())

    @property
    def root(self) -> str:
        """Return the name of the archive's only top-level directory."""
        name = file_stem(self.title)
        return name if name.endswith(".SAFE") else f"{name}.SAFE"

    @property
    def made(self) -> datetime:
        """Return when the product was made."""
        return _time(self.produced)

    @property
    def begun(self) -> str:
        """Return when the tile begins: a second after the data take."""
        return (_time(self.sensed) + timedelta(seconds=1)).strftime(_STAMP)

    @property
    def granule(self) -> str:
        """Return the name of the directory of the tile."""
        orbit, when = _ORBITS.get(self.mission, _ORBITS["S2A"])
        orbit += round((_time(self.sensed) - when) / timedelta(days=10) * 143)
        return f"L1C_{self.tile}_A{orbit:06d}_{self.begun}"

    @property
    def datastrip(self) -> str:
        """Return the name of the directory of the data strip."""
        return f"DS_MTI__{self.produced}_S{self.begun}"

    @property
    def images(self) -> str:
        """Return what the names of all bands begin with, directory included."""
        return f"GRANULE/{self.granule}/IMG_DATA/{self.tile}_{self.sensed}_"


def file_stem(title: str) -> str:
    """Return `title` as a file name, without suffix: no ``/``, no control characters, at most 200 bytes."""
    return re.sub(r"[/\x00-\x1f]", "_", title).encode()[:200].decode(errors="ignore")


def _time(stamp: str) -> datetime:
    return datetime.strptime(stamp, _STAMP)  # noqa: DTZ007 - all times of a title are UTC
