"""The archives on the provider's disk: made once, found again by the next start with the same arguments."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs.demo.safe import write_safe
from eofs.demo.scene import file_stem

if TYPE_CHECKING:
    from pathlib import Path

# Raise it when `write_safe` makes other bytes for the same arguments.
EDITION = 1


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive of the store; `md5` is that of the zip file, in lower-case hex."""

    path: Path
    size: int
    md5: str

    def md5sums(self) -> dict[str, str]:
        """Return the MD5 of each member by its path in the archive."""
        lines = self.path.with_suffix(".md5").read_text(encoding="utf-8").splitlines()
        return {name: md5 for md5, name in (line.split("  ", 1) for line in lines)}


def stock(store: Path, title: str, *, megabytes: float, deflated: bool) -> Archive:
    """Return the archive of a product, made now if the store does not hold it yet.

    Beside ``TITLE.zip`` stand ``TITLE.md5``, for ``md5sum -c`` in the directory that holds ``TITLE.SAFE/``, and
    ``TITLE.json``, which says what the archive was made with. The last is written last: without it the others are
    made again.
    """
    path = store / f"{file_stem(title)}.zip"
    record = path.with_suffix(".json")
    wanted = {"edition": EDITION, "title": title, "megabytes": float(megabytes), "deflated": deflated}
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    complete = path.exists() and path.with_suffix(".md5").exists() and path.stat().st_size == known.get("size")
    if complete and wanted.items() <= known.items():
        return Archive(path, known["size"], known["md5"])
    record.unlink(missing_ok=True)
    md5s = write_safe(path, title, megabytes=megabytes, deflated=deflated)
    lines = "".join(f"{md5}  {name}\n" for name, md5 in md5s.items())
    path.with_suffix(".md5").write_text(lines, encoding="utf-8")
    archive = Archive(path, path.stat().st_size, _md5(path))
    record.write_text(json.dumps({**wanted, "size": archive.size, "md5": archive.md5}), encoding="utf-8")
    return archive


def _md5(path: Path) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            md5.update(chunk)
    return md5.hexdigest()
