"""The provider that serves the products: PEPS' manners as in `eofs.demo`, and the same files in an open directory.

``python -m benchmarks.provider FOLDER`` prints its port and serves until its standard input ends. In the directory
``/files/``, whose page lists them, the peers find the archives without credentials: as simple as it can be for them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.products import Products, features, products
from eofs.demo.replies import Reply, file_reply
from eofs.demo.server import DemoProvider
from eofs.demo.store import Archive

if TYPE_CHECKING:
    from eofs.demo.replies import Request


@dataclass(eq=False)
class Provider(DemoProvider):
    """The demo's provider, with given archives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._made = products(self.store)
        self._files = {path.name: path for path in (*(p.path for p in self._made.packed), self._made.cog)}

    def _stock(self) -> None:
        self._archives = {p.uid: Archive(p.path, p.path.stat().st_size, p.md5) for p in self._made.packed}

    def answer(self, request: Request) -> Reply | None:
        """Answer for the open directory."""
        folder, _, name = request.path.removeprefix("/").partition("/")
        if folder != "files":
            return None
        if not name:
            links = "".join(f'<a href="{file}">{file}</a>\n' for file in self._files)
            return Reply(200, {"Content-Type": "text/html"}, f"<html><body>\n{links}</body></html>\n".encode())
        if name not in self._files:
            return Reply(404)
        headers = {"Content-Type": "application/octet-stream", "ETag": f'"{name}"'}
        return file_reply(request, self._files[name], headers, ranges=True)


def provider(made: Products) -> Provider:
    """Return a provider of these products, not started yet."""
    listed = features(made, "")["features"]
    return Provider(made.folder, products=[feature for feature in listed if "uid" in feature["properties"]])


def main() -> None:
    """Serve until our standard input ends."""
    with provider(products(Path(sys.argv[1]))) as serving:
        print(serving.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
