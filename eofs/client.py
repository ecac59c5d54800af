"""The conversation with a provider over HTTP: one request at a time, judged, and tried again where that helps.

Redirects are followed by hand, so that credentials go to the provider's own hosts and nowhere else: requests itself
would drop ``Authorization`` where Copernicus needs it, and would carry a custom header to any host.

Threads: a `Client` may be used by many threads. Its session is only read after it has been made; its connections are
counted by `Slots`.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import random
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3

from eofs import __version__, auth, heads
from eofs.errors import AccessRefused, EofsError, Gone, NotReady, NotSupported, ProviderFailed, Stalled, Unreachable
from eofs.links import names_a_page, plain
from eofs.slots import Slots, always

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from eofs.config import Network
    from eofs.heads import Reply
    from eofs.model import Provider

CONNECT_TIMEOUT = 15.0  # seconds
MAX_REDIRECTS = 10
LONGEST_BACK_OFF = 120.0  # seconds between two tries, unless the provider asks for more
QUICKLOOKS = 4  # connections kept open beside those for data
CHUNK = 128 << 10  # bytes read from the network at a time
NO_HEAD = frozenset({400, 401, 403, 405, 406, 501})  # statuses of HEAD that say nothing of GET


class PassingFault(Exception):
    """A failure that another try may not meet: a broken connection, 429, 5xx.

    Attributes:
        error: what it is when the tries have run out.
        retry_after: seconds that the provider asks to wait, or None.
    """

    def __init__(self, error: EofsError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


class Staging(Exception):
    """The provider has the product on tape and is bringing it: ask again later."""


class Client:
    """Speaks HTTP with one provider, over at most `connections` connections at a time."""

    def __init__(self, provider: Provider, network: Network, *, connections: int, stall_timeout: float) -> None:
        self.provider = provider
        self._network = network
        self._stall_timeout = stall_timeout
        self.slots = Slots(max(1, min(provider.max_connections, connections)))
        self._session = requests.Session()
        # Without this, ~/.netrc would replace our credentials, also after a redirect to another host.
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=self.slots.number + QUICKLOOKS))
        self._session.verify = network.ca_bundle if provider.ssl_verify else False
        self._session.headers.update({"User-Agent": f"eofs/{__version__}", "Accept-Encoding": "identity"})

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._session.close()

    def connection(
        self, check: Callable[[], None], urgent: Callable[[], bool] = always
    ) -> AbstractContextManager[None]:
        """Take one of the provider's connections for a while, as `Slots.taken`."""
        return self.slots.taken(check, urgent)

    def must_have_credentials(self, url: str) -> None:
        """Refuse before asking what could only be refused.

        Raises:
            AccessRefused: the provider wants credentials and there are none.
        """
        if auth.may_receive(self.provider, url) and (missing := auth.missing(self.provider)):
            raise AccessRefused(
                f"no {' and no '.join(missing)} for {self.provider.name}; {auth.how_to_supply(self.provider)}"
            )

    def get(
        self, url: str, *, start: int = 0, stop: int | None = None, last: int = 0, validator: str | None = None
    ) -> requests.Response:
        """Ask for the bytes of `url`, as long as they are of the version `validator`.

        Args:
            url: the address.
            start: the first byte.
            stop: the byte after the last; None for all there are.
            last: where it is not 0, that many bytes of the end are asked for instead.
            validator: of an earlier reply.

        Returns:
            a reply of status 200, or of 206 with the bytes from `start` or the `last` ones; its body has not been
            read, and the caller closes it. Where a range is answered with another one, all is asked for.

        Raises:
            Staging: not yet; the provider is bringing it.
            PassingFault, EofsError: another try may help, or would not.
        """
        wanted = _range(start, stop, last, validator)
        asked, (response, url) = url, self._follow(url, wanted)
        if wanted and heads.is_another_range(response.status_code, response.headers, start, last):
            response.close()  # it is shorter now than what we have, or its ranges are wrong: from the beginning, then
            return self.get(url)
        return self._judged(response, url, page=names_a_page(asked))

    def message(self, url: str) -> requests.Response:
        """Ask for what the provider has to say, in JSON, and not for data; for the rest as `get`."""
        return self._judged(*self._follow(url, {"Accept": "application/json"}), page=True)

    def _judged(self, response: requests.Response, url: str, *, page: bool) -> requests.Response:
        try:
            judge(response, self.provider, url, page=page)
        except BaseException:
            response.close()
            raise
        return response

    def size(self, url: str) -> int | None:
        """Return how many bytes are at `url`, without asking for them; None where the provider does not say.

        Raises:
            Staging, PassingFault, EofsError: as `get`.
        """
        for method, wanted in (("HEAD", {}), ("GET", _range(0, 1, 0, None))):
            response, at = self._follow(url, wanted, method)
            with contextlib.closing(response):
                status, said = response.status_code, response.headers
                # Addresses that are signed for GET refuse HEAD, as some servers do; to others it is of no length.
                if method == "HEAD" and (status in NO_HEAD or (status == 200 and not heads.length(status, said))):
                    continue
                if (size := heads.length(status, said)) == 0:
                    return 0
                judge(response, self.provider, at, page=names_a_page(url))
                return size
        return None

    def _follow(self, url: str, wanted: Mapping[str, str], method: str = "GET") -> tuple[requests.Response, str]:
        """Ask, where redirects lead too; return the last reply and its address."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(url, wanted, method)
            if not response.next:
                return response, url
            response.close()
            url = response.next.url or ""
        raise ProviderFailed(f"{self.provider.name} redirects without end; try again later")

    def _send(self, url: str, wanted: Mapping[str, str], method: str) -> requests.Response:
        headers = {**wanted, **auth.headers(self.provider, url)}
        with self.faults(url):
            return self._session.request(
                method,
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                proxies=self._network.proxies_for(url),
                timeout=(CONNECT_TIMEOUT, self._stall_timeout),
            )

    def body(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the bytes of a reply as they come.

        Raises:
            PassingFault: the connection broke, or went silent, or ended before its time.
        """
        with self.faults(response.url):
            # Not `stream`, which gives nothing before it has a whole chunk.
            while piece := response.raw.read1(CHUNK, decode_content=True):
                yield piece

    @contextlib.contextmanager
    def faults(self, url: str) -> Iterator[None]:
        """Turn what requests and urllib3 raise into our own errors."""
        host, name = urlsplit(url).hostname or url, self.provider.name
        try:
            yield
        except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
            inner = _innermost(error)
            if isinstance(inner, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it went away, which is no matter of trust
                raise PassingFault(Unreachable(f"{host} ({name}) broke off the connection; try again")) from error
            what = "certificate" if isinstance(inner, ssl.SSLCertVerificationError) else "TLS"
            raise Unreachable(f"the {what} of {host} ({name}) cannot be trusted: {_cause(error)}") from error
        except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
            silent = Stalled(f"{host} ({name}) sent nothing for {self._stall_timeout:g} s; try again later")
            raise PassingFault(silent) from error
        except urllib3.exceptions.DecodeError as error:
            wrong = ProviderFailed(f"{name} sent bytes that cannot be unpacked as it says; try again later")
            raise PassingFault(wrong) from error
        except ValueError as error:  # also that of a redirect
            raise NotSupported(f"the link of the search result cannot be used: {plain(url)}") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            broken = Unreachable(f"{host} ({name}) cannot be reached: {_cause(error)}; check the network, try again")
            raise PassingFault(broken) from error


def _range(start: int, stop: int | None, last: int, validator: str | None) -> dict[str, str]:
    """Return the headers that ask for a part (RFC 9110, section 14); none for the whole."""
    if not (start or stop or last):
        return {}
    wanted = {"Range": f"bytes=-{last}" if last else f"bytes={start}-{stop - 1 if stop else ''}"}
    return wanted if validator is None or heads.is_weak(validator) else {**wanted, "If-Range": validator}


def judge(response: requests.Response, provider: Provider, url: str, *, page: bool = False) -> None:
    """Return if the reply carries bytes; raise what it means otherwise (the table of replies in docs/SEMANTICS.md).

    A `page` may be a web page or JSON; data are refused where they are.
    """
    status, name, host = response.status_code, provider.name, urlsplit(url).hostname
    said = f"{status} {http.client.responses.get(status, '')}".strip()
    empty = response.headers.get("Content-Length") == "0"
    if status == 202 or (status in {200, 204} and empty) or status == 204:
        raise Staging(said)
    if status in {200, 206}:
        if not page:
            _refuse_pages(response, provider)
        _refuse_unknown_codings(response, provider)
        return
    if status in provider.auth_error_codes | {401, 403, 407}:
        if not auth.may_receive(provider, url):
            raise AccessRefused(
                f"{host} refused ({said}); the credentials of {name} are not sent there, as it is not one of its "
                f"hosts: if it is, add it to {name}.auth.hosts"
            )
        raise AccessRefused(f"{name} refused the credentials ({said}); check them, and your rights to this product")
    if status in {404, 410}:
        raise Gone(f"{name} no longer has the product ({said}); search again, or take it from another provider")
    if status == 429:
        raise PassingFault(
            NotReady(f"{name} asks to slow down ({said}); try again later"), retry_after(response.headers)
        )
    if status in {408, 425} or status >= 500:
        raise PassingFault(ProviderFailed(f"{name} answers {said}; try again later"), retry_after(response.headers))
    raise ProviderFailed(f"{name} answers {said}; the link in the search result may be out of date")


def _refuse_pages(response: requests.Response, provider: Provider) -> None:
    """Refuse a web page or a message that comes in place of the data."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"}:
        raise AccessRefused(
            f"{provider.name} sent a web page instead of the data, as for a log-in; check the credentials, and whether "
            "its licence has been accepted on its web site"
        )
    if kind in {"application/json", "application/problem+json"} and "Content-Disposition" not in response.headers:
        raise ProviderFailed(f"{provider.name} sent a message instead of the data; try again later")


def _refuse_unknown_codings(response: requests.Response, provider: Provider) -> None:
    """Refuse bytes that were compressed for their way by what cannot be undone here."""
    unknown = heads.codings(response.headers).difference(urllib3.HTTPResponse.CONTENT_DECODERS)
    if unknown:
        raise NotSupported(
            f"{provider.name} compresses what it sends ({', '.join(sorted(unknown))}), though it was asked not to; "
            "tell the provider"
        )


def reply(response: requests.Response) -> Reply:
    """Return what the head of a 200 or 206 says of the body.

    Raises:
        PassingFault: a 206 that does not say which bytes it carries.
    """
    found = heads.read(response.status_code, response.headers)
    if found is None:
        said = response.headers.get("Content-Range", "nothing")
        raise PassingFault(ProviderFailed(f"the provider says {said!r} of the bytes it sends; try again later"))
    return found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, whether it names them or a date; None where it does not."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        seconds: float = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        return max(0.0, seconds)
    return None


def back_off(tries: int, delay: float, asked: float | None, *, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after the failure number `tries` (from 1): doubled each time, with jitter.

    What the provider asks for is the least; it is never waited for less.
    """
    own = min(delay * 2.0 ** min(tries - 1, 99), LONGEST_BACK_OFF) * (0.5 + chance() / 2)
    return max(own, asked or 0.0)


def _innermost(error: BaseException) -> BaseException:
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            return error
        error = inner


def _cause(error: BaseException) -> str:
    """Return the innermost reason of an error of requests in a few words, without the address, which may be secret."""
    error = _innermost(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name cannot be resolved"
    return type(error).__name__
