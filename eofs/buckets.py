"""Where the objects of an S3 store are: ``s3://`` links, and the https addresses of buckets. Values only.

At Amazon's own store a bucket is a host, and each region has hosts of its own; a bucket whose name is no label of a
host name is the first part of the path, as it is at every other store
(docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html). The key in an ``s3://`` link is taken to the
letter, as Amazon's programs and eodag do: ``%20`` in it is no space, and ``?`` and ``#`` begin nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

_LINK = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/(?P<key>.*))?", re.IGNORECASE | re.DOTALL)
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_REGION = r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]+"
_AMAZON = re.compile(
    rf"(?:(?P<bucket>[a-z0-9][a-z0-9._-]+)\.)?s3(?:[.-](?:dualstack\.)?(?P<region>{_REGION}))?\.amazonaws\.com"
)
# What tells that an address is signed already: version 4 of Amazon's signatures, and version 2.
_SIGNED = re.compile(r"(?:^|&)(?:X-Amz-Signature|Signature)=")


@dataclass(frozen=True, slots=True)
class Place:
    """An object of a store; or, without a key, a bucket of which something is asked.

    Attributes:
        region: where the bucket is, at Amazon's own store; empty where nobody has said so.
        query: what is asked of it, quoted.
    """

    bucket: str
    key: str = ""
    region: str = ""
    query: str = ""

    def address(self, endpoint: str | None) -> str:
        """Return the https address; `endpoint` is that of the store, None for Amazon's own."""
        path = quote(self.key, safe="/-_.~")
        amazon = f"s3.{self.region}.amazonaws.com" if self.region else "s3.amazonaws.com"
        if endpoint is None and _LABEL.fullmatch(self.bucket):
            url = f"https://{self.bucket}.{amazon}/{path}"
        else:
            store = endpoint.rstrip("/") if endpoint else f"https://{amazon}"
            url = f"{store}/{self.bucket}/{path}" if path else f"{store}/{self.bucket}"
        return f"{url}?{self.query}" if self.query else url


def is_link(link: str) -> bool:
    """Tell whether a link is one of ``s3://``."""
    return link[:5].lower() == "s3://"


def of_link(link: str) -> Place | None:
    """Return what an ``s3://`` link means; None where it is none, or names no bucket."""
    found = _LINK.fullmatch(link)
    return Place(found["bucket"], found["key"] or "") if found else None


def find(url: str, endpoint: str | None) -> Place | None:
    """Return the object that an https address means, at the store of `endpoint` or at Amazon's own.

    None for any other address, and for one that is signed already.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if _SIGNED.search(parts.query):
        return None
    if endpoint is not None:
        store = endpoint.rstrip("/") + "/"
        return _of_path(url[len(store) :].partition("?")[0], query=parts.query) if url.startswith(store) else None
    amazon = _AMAZON.fullmatch(parts.netloc.lower()) if parts.scheme == "https" else None
    if amazon is None:
        return None
    region = amazon["region"] or ""
    if amazon["bucket"]:
        return Place(amazon["bucket"], unquote(parts.path[1:]), region, parts.query)
    return _of_path(parts.path[1:], region, parts.query)


def of_path(url: str) -> Place | None:
    """Return the object that an address means whose path begins with a bucket, whatever its host."""
    return _of_path(urlsplit(url).path.lstrip("/"))


def is_region(name: str) -> bool:
    """Tell whether Amazon could call a region so; a host is made of it."""
    return re.fullmatch(_REGION, name) is not None


def _of_path(path: str, region: str = "", query: str = "") -> Place | None:
    bucket, _, key = path.partition("/")
    return Place(bucket, unquote(key), region, query) if bucket else None
