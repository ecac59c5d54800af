"""A provider that finds its products by their names, as the Copernicus Data Space does."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nodes_server import JSON, NODES, NodesServer

from eofs.demo import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eofs.demo.replies import Request
    from eofs.model import Provider

PATH = "/odata/v1/Products"
_FILTER = re.compile(r"Name eq '((?:[^']|'')+)'")


@dataclass(eq=False)
class Catalogue(NodesServer):
    """Serves products as `NodesServer` does, and tells where they are to who asks for their names.

    Attributes:
        sought: the names that were asked for.
        says: what is told of every product besides, or in the place of what is true, by OData's names.
        picture: of products; where None, they have none.
        fails: the replies to the next look-ups.
    """

    _: KW_ONLY
    says: dict[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    fails: list[Reply] = field(default_factory=list)
    sought: list[str] = field(default_factory=list, init=False)

    @property
    def lookup(self) -> str:
        """Return what is `lookup.odata` in the provider's settings."""
        return self.url + PATH

    def speaks(self, **changes: Any) -> Provider:
        """Return the provider as it is configured."""
        usual = {"name": "cop_dataspace", "lookup": self.lookup, "order": "none", "hosts": (f"127.0.0.1:{self.port}",)}
        return replace(NODES, **{**usual, **changes})

    def answer(self, request: Request) -> Reply | None:
        """Answer a look-up or for a picture, or as `NodesServer`."""
        if request.path == "/odata/v1/Assets(ql)/$value" and self.picture:
            return Reply(200, {"Content-Type": "image/jpeg"}, self.picture)
        if request.path != PATH or self.moved:
            return super().answer(request)
        if self.fails:
            return self.fails.pop(0)
        found = _FILTER.fullmatch(request.query["$filter"])
        assert found, request.query
        assert request.query["$expand"] == "Assets"
        self.sought.append(found[1].replace("''", "'"))
        return Reply(200, JSON, json.dumps({"value": list(self._entries_of(self.sought[-1]))}).encode())

    def _entries_of(self, name: str) -> Sequence[dict[str, Any]]:
        asset = {"Type": "QUICKLOOK", "Id": "ql", "DownloadLink": f"{self.url}/odata/v1/Assets(ql)/$value"}
        return [
            {
                "Id": uid,
                "Name": name,
                "Online": self.storage(uid) == "ONLINE",
                "ContentLength": self.archive(uid).stat().st_size,
                "Checksum": [
                    {},
                    {"Algorithm": "MD5", "Value": hashlib.md5(self.archive(uid).read_bytes()).hexdigest()},
                ],
                "Assets": [asset] if self.picture else [],
                **self.says,
            }
            for uid, said in ((found["properties"]["uid"], found["properties"]) for found in self.products)
            if name in {f"{said['title']}{suffix}" for suffix in (".SAFE", ".SEN3", ".nc")}
        ]
