"""A provider whose products are the files that a test puts there: odd archives, or what real programs wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eofs.demo import DemoProvider, Reply, Request
from eofs.demo.replies import file_reply

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(eq=False)
class Shelf(DemoProvider):
    """The demo provider, with files of the test's own for some of its products."""

    files: dict[str, Path] = field(default_factory=dict)

    def put(self, uid: str, file: Path) -> None:
        """Let a file be a product, and have it on disk."""
        self.files[uid] = file
        self.set_online(uid)

    def answer(self, request: Request) -> Reply | None:
        if request.kind != "download" or request.uid not in self.files or self.storage(request.uid) != "ONLINE":
            return None
        return file_reply(request, self.files[request.uid], {"ETag": f'"{request.uid}"'}, ranges=self.ranges)

    def write_result(self, path: Path) -> Path:
        """Write a result that knows neither sizes nor checksums."""
        found = self.result()
        for feature in found["features"]:
            for key in ("resourceChecksum", "resourceSize", "services"):
                del feature["properties"][key]
        path.write_text(json.dumps(found), encoding="utf-8")
        return path
