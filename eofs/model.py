"""The nouns of the field: products, their providers, orders and archive members. Values only; nothing acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from eofs.status import StorageStatus


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a provider says of the bytes: an algorithm of `hashlib`, or ``crc32``, and the digest in lower-case hex."""

    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a product that comes as loose files (STAC).

    Attributes:
        alternates: where else the same bytes are, best first.
        path: where it is to stand in the product, if the result says so.
    """

    key: str
    href: str
    size: int | None = None
    checksum: Checksum | None = None
    roles: tuple[str, ...] = ()
    media_type: str | None = None
    alternates: tuple[str, ...] = ()
    path: str | None = None


@dataclass(frozen=True, slots=True)
class LogIn:
    """What a search result says it takes to log in: in words, and as the ``auth`` of a user's own provider file."""

    words: str
    settings: str


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a search result says that a link can be asked.

    Attributes:
        login: what it takes to log in; None where the result says nothing of that.
        is_open: the result says how to log in elsewhere, and that here it takes none.
        endpoint: the address of the store that has the link's bucket; None for Amazon's, and where the link says it.
        requester_pays: who asks is billed.
    """

    login: LogIn | None = None
    is_open: bool = False
    endpoint: str | None = None
    requester_pays: bool = False


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where another provider has a product that its own does not serve.

    Attributes:
        provider: its name.
        id: what it calls the product.
        why: it is asked, as in "served by cop_dataspace, as peps has closed".

    The other fields are those of `Product`, as that provider has them.
    """

    provider: str
    id: str
    location: str
    quicklook: str | None
    size: int | None
    checksum: Checksum | None
    status: StorageStatus
    why: str = ""


class Feature(Protocol):
    """The JSON text of a feature, packed."""

    def __bytes__(self) -> bytes:
        """Return the text."""

    def __len__(self) -> int:
        """Return how many bytes it has."""


@dataclass(frozen=True, slots=True)
class Product:
    """One feature of a search result, whatever dialect it was written in.

    Attributes:
        id: the feature's own id.
        uid: the provider's id of the product; equals `id` where the result names no other.
        title: the product's name, never empty.
        provider: the provider's name in lower case; a host name where the result names no provider.
        status: the storage status when the search was made.
        location: the download link as the result holds it (``https://``, ``s3://``, ``%(base_uri)s/…``), or None.
        quicklook: a link, or the picture itself in base64 text, or None.
        size: bytes of the archive, where known.
        start: acquisition start, with time zone.
        cloud_cover: percent.
        feature: the feature's own JSON text in UTF-8, as the result holds it; `bytes` unpacks it.
        assets: the loose files that the product is made of; empty for an archive.
        alternates: where else the bytes are that are at `location`.
        part_of: the title of the product of which it is one of the loose files, served as it is whatever it holds;
            empty for a whole product.
        mirror: who is asked in the place of `provider`; None where that one is.
    """

    id: str
    uid: str
    title: str
    provider: str
    status: StorageStatus
    location: str | None
    quicklook: str | None
    size: int | None
    checksum: Checksum | None
    collection: str | None
    start: datetime | None
    cloud_cover: float | None
    feature: bytes | Feature
    assets: tuple[Asset, ...] = ()
    alternates: tuple[str, ...] = ()
    part_of: str = ""
    mirror: Mirror | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Return what the product is known by in the cache, whichever result it came from."""
        return self.provider, self.uid

    @property
    def served_by(self) -> str:
        """Return the name of the provider that is asked for it."""
        return self.mirror.provider if self.mirror else self.provider


@dataclass(frozen=True, slots=True)
class OrderProtocol:
    """How a provider takes orders by requests of their own, under eodag's names; `eofs.orders` says what they mean.

    A *mapping* names what an answer says (``order_id``), each with a path into it, a template or a text. *Conditions*
    give for such names the words of which one is to be found, ``*`` for any; ``http_code`` is the status of the answer.

    Attributes:
        method: of the request that orders.
        headers: likewise.
        link: a template of its address, where the result names none.
        first: a row of `eofs.orders.FIRST`: what has to be asked before that; or None.
        on_response: a mapping of the answer to it.
        status_method: of the request that asks after an order.
        status_headers: likewise.
        status: a mapping of the answer to that.
        ordered: conditions under which the order is on its way, whatever else the answer says.
        success: conditions under which it has been carried out.
        error: conditions under which it has failed.
        on_success: a mapping of the answer that says so; of the one at ``search_link`` with `need_search`.
        need_search: see there.
        most_orders: it takes in `quota_seconds`; None: as many as one likes.
        quota_seconds: an hour where nothing is said.
        always: what is ONLINE has to be ordered as well: its link is none that can be asked for.
    """

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    link: str | None = None
    first: str | None = None
    on_response: Mapping[str, str] = field(default_factory=dict)
    status_method: str = "GET"
    status_headers: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, str] = field(default_factory=dict)
    ordered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    success: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    on_success: Mapping[str, str] = field(default_factory=dict)
    need_search: bool = False
    most_orders: int | None = None
    quota_seconds: float = 3600.0
    always: bool = False

    @property
    def quota(self) -> tuple[int, float] | None:
        """Return how many orders are taken in how many seconds, None where nobody counts them."""
        return (self.most_orders, self.quota_seconds) if self.most_orders else None


@dataclass(frozen=True, slots=True)
class Provider:
    """How to talk to one provider: a built-in file of ``eofs/providers`` under the user's configuration.

    Attributes:
        hosts: hosts (with ``:port`` where it is not the scheme's own) that belong to the provider; a leading dot
            stands for every host below it. Credentials go to these and to nothing else.
        insecure_hosts: those of `hosts` that may be spoken to in plain http.
        known_by: hosts, written as in `hosts`: a product whose result names no provider but one of them is this one's.
        auth: a row of `eofs.auth.KINDS`.
        credentials: what that row wants, by name; never shown.
        login: what else that row has to know, by eodag's names (``oidc_config_url``, ``token_key``…); never shown.
        credentials_from: where the credentials were found, for the user to read (``~/.config/eodag/eodag.yml``).
        dl_url_params: added to the query of every download link.
        order: how a product is ordered; ``get`` means that asking for the download is the order, ``none`` that what is
            OFFLINE cannot be ordered.
        protocol: how it is ordered where that takes requests of their own; None where that is not known to be so.
        terms: what 403 means where it says that terms are not accepted: a clause on where to accept them; or None.
        max_connections: at a time, at most.
        auth_error_codes: HTTP statuses that mean "log in".
        retries: further tries after a failure that can pass.
        retry_delay: seconds before the first of them; doubled each time.
        closed: a sentence on what became of a service that has ended, or None.
        files: a row of `eofs.listings.LISTINGS`: how a product's files are listed and read without its archive. None
            where that cannot be done.
        s3_endpoint: the address of the store that has what is at ``s3://``; None for Amazon's own.
        lookup: the address of ``Products`` of an OData catalogue, where a product is found by its name. None where that
            cannot be done.
        download_link: where a product is that was found so; ``{id}`` stands for its id. None where that is below
            `lookup`.
    """

    name: str
    title: str = ""
    hosts: tuple[str, ...] = ()
    insecure_hosts: tuple[str, ...] = ()
    known_by: tuple[str, ...] = ()
    base_uri: str | None = None
    auth: str = "none"
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credentials_from: str | None = None
    dl_url_params: Mapping[str, str] = field(default_factory=dict)
    order: str = "get"
    protocol: OrderProtocol | None = None
    terms: str | None = None
    max_connections: int = 4
    auth_error_codes: frozenset[int] = frozenset({401, 403})
    ssl_verify: bool = True
    extract: bool = True
    retries: int = 4
    retry_delay: float = 1.0
    closed: str | None = None
    files: str | None = None
    s3_endpoint: str | None = None
    lookup: str | None = None
    download_link: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order that has been placed; kept on disk, so that a restart goes on waiting.

    Attributes:
        placed: in seconds since the epoch; None where another program placed it.
        id: the provider's name for it.
        answer: the provider's last word on it.
        said: what else it said of it, by name, such as ``status_link``: where to ask. Never a link that is signed.
    """

    placed: float | None
    id: str | None = None
    answer: str | None = None
    said: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside an archive.

    Attributes:
        path: the cleaned path, ``/`` between its parts; never absolute, never with ``..``.
        size: bytes when unpacked.
        mtime: nanoseconds since the epoch.
        offset: where the member's header (zip) or data (tar, bare file) begins in the archive.
        packed: bytes inside the archive.
        method: ``stored``, a row of `eofs.archive.DECODERS`, or the name of a compression that cannot be read.
        crc: CRC-32 of the unpacked bytes, or None where the format has none.
        encrypted: the member needs a password.
        link: where it leads if it is a symbolic link; relative to its own directory. None for a file.
        same_as: the path of the member that it is a hard link to, or None.
    """

    path: str
    size: int
    mtime: int
    offset: int
    packed: int
    method: str = "stored"
    crc: int | None = None
    encrypted: bool = False
    link: str | None = None
    same_as: str | None = None
