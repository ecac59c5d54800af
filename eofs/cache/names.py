"""File names of the cache."""

from __future__ import annotations

import hashlib
import re


def place_name(name: str) -> str:
    """Return a file name that stands for `name` and no other: readable, and with a hash where it had to change."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:120].lstrip(".") or "_"
    mark = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return plain if plain == name else f"{plain}~{mark}"
