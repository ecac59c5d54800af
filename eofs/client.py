"""The conversation with a provider over HTTP: one request at a time, judged, and tried again where that helps.

Redirects are followed by hand, so that credentials go to the provider's own hosts and nowhere else: requests itself
would drop ``Authorization`` where Copernicus needs it, and would carry a custom header to any host.

Threads: a `Client` may be used by many threads. Its session is only read after it has been made; its connections are
counted by `Slots`, its tokens kept by `Login`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import requests

from eofs import __version__, auth, complaints, faults, heads
from eofs.errors import AccessRefused, ProviderFailed
from eofs.faults import CONNECT_TIMEOUT, MAX_REDIRECTS
from eofs.links import host_of, names_a_page
from eofs.logins import Login
from eofs.replies import judge, refuse_web_page, words_of
from eofs.s3 import Store
from eofs.slots import Slots, always
from eofs.tokens import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from eofs.config import Network
    from eofs.logins import Pass
    from eofs.model import Provider
    from eofs.tokens import Question

QUICKLOOKS = 4  # connections kept open beside those for data
CHUNK = 128 << 10  # bytes read from the network at a time
NO_HEAD = frozenset({400, 401, 403, 405, 406, 501})  # statuses of HEAD that say nothing of GET


class Client:
    """Speaks HTTP with one provider, over at most `connections` connections at a time."""

    def __init__(self, provider: Provider, network: Network, *, connections: int, stall_timeout: float) -> None:
        self.provider = provider
        self._network = network
        self._stall_timeout = stall_timeout
        self._login = Login(provider, network, stall_timeout=stall_timeout)
        self._store = Store(provider)
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
        self._login.close()

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

    def ask(self, question: Question, *, final: frozenset[int] = frozenset()) -> Answer:
        """Send an order, or a question about one; return the answer, also a redirect whose status is in `final`.

        Raises:
            AccessRefused: the address is not the provider's, or it refuses the credentials, or there are none.
            PassingFault, EofsError: another try may help, or would not.
        """
        provider, host = self.provider, host_of(question.url)
        if not auth.may_receive(provider, question.url):
            raise AccessRefused(
                f"an order of {provider.name} would go to {host or 'no host'}, which is not one of its hosts: if it "
                f"is, add it to {provider.name}.auth.hosts"
            )
        self.must_have_credentials(question.url)
        headers = {"Accept": "application/json", **question.headers}
        response, url = self._follow(question.url, headers, question.method, question.body, final)
        with contextlib.closing(response):
            with self._faults(url):
                answer = Answer(response.status_code, response.headers, words_of(response))
            if answer.status in {400, 405, 406, 409, 415, 422}:
                words = complaints.in_words(provider, answer.body)
                raise ProviderFailed(f"{provider.name} refused the order ({answer.said}){words and ': '}{words}")
            if answer.status >= 400:
                judge(response, provider, url, body=answer.body)
            refuse_web_page(response, provider)
        return answer

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

    def _follow(
        self,
        url: str,
        wanted: Mapping[str, str],
        method: str = "GET",
        body: bytes | None = None,
        final: frozenset[int] = frozenset(),
    ) -> tuple[requests.Response, str]:
        """Ask, where redirects lead too unless their status is in `final`; return the last reply and its address."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(url, wanted, method, body)
            if not response.next or response.status_code in final:
                return response, url
            response.close()
            following = response.next
            url, method = following.url or "", following.method or method
            body = body if following.body else None  # 303 asks for what the answer to a POST is
        raise ProviderFailed(f"{self.provider.name} redirects without end; try again later")

    def _send(self, url: str, wanted: Mapping[str, str], method: str, body: bytes | None = None) -> requests.Response:
        """Ask for what is at `url`; where that is an object of a store, in the way that its bucket takes."""
        if body is None and (place := self._store.find(url)):
            return self._store.ask(
                place,
                method,
                ask=lambda url, method: self._log_in_and_ask(url, wanted, method),
                send=lambda signed: self._ask(signed, wanted, method),
            )
        return self._log_in_and_ask(url, wanted, method, body)

    def _log_in_and_ask(
        self, url: str, wanted: Mapping[str, str], method: str, body: bytes | None = None
    ) -> requests.Response:
        """Ask, logged in where that host may see it; once more where a token turns out to be over."""
        used = self._login.authorise(url)
        response = self._ask(used, wanted, method, body)
        if not self._login.refused(used, response.status_code):
            return response
        response.close()
        return self._ask(self._login.authorise(url), wanted, method, body)

    def _ask(self, way: Pass, wanted: Mapping[str, str], method: str, body: bytes | None = None) -> requests.Response:
        with self._faults(way.url):
            return self._session.request(
                method,
                way.url,
                headers={**wanted, **way.headers},
                data=body,
                stream=True,
                allow_redirects=False,
                proxies=self._network.proxies_for(way.url),
                timeout=(CONNECT_TIMEOUT, self._stall_timeout),
            )

    def body(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the bytes of a reply as they come.

        Raises:
            PassingFault: the connection broke, or went silent, or ended before its time.
        """
        with self._faults(response.url):
            # Not `stream`, which gives nothing before it has a whole chunk.
            while piece := response.raw.read1(CHUNK, decode_content=True):
                yield piece

    def _faults(self, url: str) -> AbstractContextManager[None]:
        return faults.ours(url, self.provider.name, self._stall_timeout)


def _range(start: int, stop: int | None, last: int, validator: str | None) -> dict[str, str]:
    """Return the headers that ask for a part (RFC 9110, section 14); none for the whole."""
    if not (start or stop or last):
        return {}
    wanted = {"Range": f"bytes=-{last}" if last else f"bytes={start}-{stop - 1 if stop else ''}"}
    return wanted if validator is None or heads.is_weak(validator) else {**wanted, "If-Range": validator}
