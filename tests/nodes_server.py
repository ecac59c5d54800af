"""A provider that makes its zips on the fly and serves single files: OData Nodes, or the entries of EUMETSAT."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from engine_room import DEMO

from eofs.demo import DemoProvider, Reply
from eofs.demo.replies import Part, byte_range

if TYPE_CHECKING:
    from pathlib import Path

    from eofs.demo.replies import Kind, Request

JSON = {"Content-Type": "application/json"}
NODES = replace(DEMO, hosts=("127.0.0.1:*", "localhost:*"), dl_url_params={}, retry_delay=0.001, files="odata-nodes")
ENTRIES = replace(NODES, files="eumetsat-entries")
_ODATA = re.compile(r"/odata/v1/Products\((?P<uid>[^()]+)\)(?P<nodes>(?:/Nodes\([^()/]+\))*)/(?P<what>Nodes|\$value)")
_STORE = re.compile(
    r"/data/(?P<service>browse|download)/1\.0\.0/collections/EO%3ADEMO/products/(?P<uid>[^/]+)(?P<what>/entry)?"
)


@dataclass(eq=False)
class NodesServer(DemoProvider):
    """Serves the demo provider's products; `script` and `count` work as there, for the zips.

    The zip is made on the fly: it is sent without ranges. Its files are served with ranges, unless `ranges` is off.

    Attributes:
        entries: speak as EUMETSAT, not as OData.
        zips: what products hold in place of the demo provider's archives, by their uids.
        listed: whether lists are to be had; 404 where not.
        locked: whether the bytes want credentials. The lists never do.
        moved: requests to 127.0.0.1 are sent on to localhost.
        key: of the list of nodes in a reply, ``result`` or ``value``.
        answers: replies for the next requests of a path, written without percent signs; each is used once.
    """

    _: KW_ONLY
    entries: bool = False
    zips: dict[str, Path] = field(default_factory=dict)
    listed: bool = True
    locked: bool = True
    moved: bool = False
    key: str = "result"
    answers: dict[str, list[Reply]] = field(default_factory=dict, init=False)

    def link(self, uid: str) -> str:
        """Return a product's download link."""
        return self.url + (self._store(uid) if self.entries else f"/odata/v1/Products({uid})/$value")

    def result(self) -> dict[str, Any]:
        """Return the search result as the catalogue would give it now: without sizes and checksums of the zips."""
        found = super().result()
        for feature in found["features"]:
            said = feature["properties"]
            for name in ("services", "resourceSize", "resourceChecksum"):
                del said[name]
            said["downloadLink"] = self.link(said["uid"])
        return found

    def archive(self, uid: str) -> Path:
        """Return the path of a zip that holds what the product holds."""
        return self.zips.get(uid) or super().archive(uid)

    def sizes(self, uid: str) -> dict[str, int]:
        """Return the sizes of the files of a product, by their paths."""
        with zipfile.ZipFile(self.archive(uid)) as zipped:
            return {info.filename: info.file_size for info in zipped.infolist() if not info.is_dir()}

    def content(self, uid: str, path: str) -> bytes:
        """Return the bytes of a file."""
        with zipfile.ZipFile(self.archive(uid)) as zipped:
            return zipped.read(path)

    def asked(self, what: str) -> list[Request]:
        """Return the requests for a ``list``, a ``file`` or a ``zip`` that have ended, but for redirects."""
        return [request for request in list(self.requests) if _what(request.path) == what and request.status != 301]

    def route(self, path: str) -> tuple[Kind | None, str | None]:
        """Return what a path stands for, and the uid of the product in it."""
        if found := _ODATA.fullmatch(path) or _STORE.fullmatch(path):
            return "download" if _what(path) == "zip" else None, found["uid"]
        return super().route(path)

    def answer(self, request: Request) -> Reply | None:
        """Answer what the demo provider has no answer to."""
        what = _what(request.path)
        if self.moved and request.headers["host"].startswith("127.0.0.1"):
            query = f"?{urlencode(request.query)}" if request.query else ""
            return Reply(301, {"Location": f"http://localhost:{self.port}{request.path}{query}"})
        if answers := self.answers.get(unquote(request.path)):
            return answers.pop(0)
        if what == "zip":
            return None
        if what == "list":
            return self._list(request) if self.listed else Reply(404, JSON, b'{"detail": "Not Found"}')
        return self._file(request) if what == "file" else None

    def usual(self, request: Request) -> Reply:
        """Return the answer of a provider that has nothing special in mind."""
        if _what(request.path) != "zip":
            return super().usual(request)
        if self.locked and not request.authorised:
            return Reply(401)
        if self.storage(request.uid or "") != "ONLINE":
            self._order(request.uid or "")
            return Reply(202)
        path = self.archive(request.uid or "")
        return Reply(200, {"Content-Type": "application/zip"}, Part(path, 0, path.stat().st_size))

    @staticmethod
    def _store(uid: str, service: str = "download") -> str:
        return f"/data/{service}/1.0.0/collections/EO%3ADEMO/products/{uid}"

    @staticmethod
    def _path(request: Request) -> str:
        return "/".join(unquote(name) for name in re.findall(r"/Nodes\(([^()/]+)\)", request.path))

    def _list(self, request: Request) -> Reply:
        uid = request.uid or ""
        files = self.sizes(uid)
        said = self._entries(uid, files) if self.entries else {self.key: self._nodes(uid, self._path(request), files)}
        return Reply(200, JSON, json.dumps(said).encode())

    def _nodes(self, uid: str, directory: str, files: dict[str, int]) -> list[dict[str, Any]]:
        """Return the nodes of a directory, none for a file; children are counted as Copernicus does."""
        inside = [tuple(path.split("/")) for path in files]
        here = tuple(directory.split("/")) if directory else ()
        below = {path[: len(here) + 1] for path in inside if path[: len(here)] == here and len(path) > len(here)}
        return [
            {
                "Id": path[-1],
                "Name": path[-1],
                "ContentLength": files.get("/".join(path), 0),
                "ChildrenNumber": len({p[: len(path) + 1] for p in inside if p[: len(path)] == path and p != path}),
                "Nodes": {"uri": f"{self.url}/odata/v1/Products({uid}){''.join(f'/Nodes({p})' for p in path)}/Nodes"},
            }
            for path in sorted(below)
        ]

    def _entries(self, uid: str, files: dict[str, int]) -> dict[str, Any]:
        href = f"{self.url}{self._store(uid)}/entry?name="
        links = [{"type": "Link", "title": p, "href": href + quote(p, safe=""), "mediaType": "x/y"} for p in files]
        return {"type": "Feature", "id": uid, "properties": {"identifier": uid, "links": {"sip-entries": links}}}

    def _file(self, request: Request) -> Reply:
        if self.locked and not request.authorised:
            return Reply(401)
        path = request.query.get("name", "") if self.entries else self._path(request)
        if path not in self.sizes(request.uid or ""):
            return Reply(404)
        content = self.content(request.uid or "", path)
        said = {"Content-Type": "application/octet-stream", "ETag": f'"{hashlib.md5(content).hexdigest()}"'}
        wanted = byte_range(request.range, len(content)) if self.ranges else None
        if wanted is None or request.headers.get("if-range") not in {None, said["ETag"]}:
            return Reply(200, said, content)
        if not wanted:
            return Reply(416, {"Content-Range": f"bytes */{len(content)}"})
        said["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(content)}"
        return Reply(206, said, content[wanted.start : wanted.stop])


def _what(path: str) -> str:
    """Return what a path stands for: a ``list``, a ``file``, a ``zip``, or nothing that is known here."""
    if found := _ODATA.fullmatch(path):
        return "list" if found["what"] == "Nodes" else "file" if found["nodes"] else "zip"
    if found := _STORE.fullmatch(path):
        return "list" if found["service"] == "browse" else "file" if found["what"] else "zip"
    return ""
