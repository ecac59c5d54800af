"""Logging in where that takes a conversation: a token for each provider and process, or signed addresses.

A token is renewed a minute before it ends, and once where it is refused all the same; by its refresh token, where there
is one: at Copernicus each log-in opens a session, of which an account has a hundred. Tokens and signatures are kept in
memory, and nowhere else.

Threads: a `Login` is used by all threads of its `Client`. Of many that want the same token, one asks and the others
wait for its answer. The lock guards what is kept, and is not held while anybody is asked.
"""

from __future__ import annotations

import contextlib
import http.cookiejar
import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cachetools
import requests

from eofs import __version__, auth, faults, signatures, tokens
from eofs.errors import AccessRefused, EofsError, NotReady, ProviderFailed
from eofs.faults import CONNECT_TIMEOUT, PassingFault
from eofs.links import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from eofs.config import Network
    from eofs.model import Provider
    from eofs.signatures import Signature
    from eofs.tokens import Answer, Question, Token

    T = TypeVar("T", Signature, Token)

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes of an answer
SIGNATURES = 10_000  # kept at a time
REFUSED = 60.0  # seconds for which a refused log-in is not tried again: wrong passwords lock an account


@dataclass(frozen=True, slots=True)
class Pass:
    """How one request is sent: the address and the headers that log in, and what was used of what is kept."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    used: Token | Signature | None = None


class Login:
    """Logs in to one provider."""

    def __init__(
        self, provider: Provider, network: Network, *, stall_timeout: float, now: Callable[[], float] = time.time
    ) -> None:
        self._provider = provider
        self._network = network
        self._stall_timeout = stall_timeout
        self._now = now
        self._token: Token | None = None
        self._signatures: cachetools.LRUCache[str, Signature] = cachetools.LRUCache(SIGNATURES)
        self._flights: dict[str, Future[Token | Signature]] = {}
        self._endpoint = ""  # as the provider's own description says
        self._coded = -1  # the period whose one-time code was sent
        self._refusal: tuple[AccessRefused, float] | None = None
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = network.ca_bundle if provider.ssl_verify else False
        self._session.headers.update({"User-Agent": f"eofs/{__version__}"})
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._session.close()

    def authorise(self, url: str) -> Pass:
        """Return how to ask for `url`; as it is, where it may not see the credentials or where there are none.

        Raises:
            AccessRefused: the credentials are refused, or something is missing in the settings.
            PassingFault, EofsError: the log-in failed; another try may help, or would not.
        """
        kind = auth.KINDS.get(self._provider.auth)
        if kind is None or not kind.asks:
            return Pass(auth.address(self._provider, url), auth.headers(self._provider, url))
        if not auth.may_receive(self._provider, url) or auth.missing(self._provider):
            return Pass(url)
        if kind.name == "signed":
            url = signatures.unsigned(url)
            signature = self._signature(url) or self._alone(url, lambda: self._signature(url) or self._sign(url))
            return Pass(signature.sign(url), used=signature)
        token = self._good() or self._alone("", lambda: self._good() or self._renew())
        return Pass(*tokens.carried(self._provider, token, url), used=token)

    def refused(self, used: Pass, status: int) -> bool:
        """Say whether a status means that a token or a signature is over, and drop it; a fresh one may then do.

        Where the provider has said how long a token is good, only 401 means that: 403 is about rights.
        """
        over = used.used
        if over is None or status not in {401, *self._provider.auth_error_codes}:
            return False
        with self._lock:
            if isinstance(over, signatures.Signature):
                if self._signatures.get(over.place) is over:
                    del self._signatures[over.place]
                return True
            if status != 401 and over.stale is not None:
                return False
            if self._token is over:
                self._token = replace(over, stale=0.0)
        return True

    # -- what is kept ------------------------------------------------------------------------------------------------

    def _good(self) -> Token | None:
        with self._lock:
            token = self._token
        return token if token and (token.stale is None or self._now() < token.stale) else None

    def _signature(self, url: str) -> Signature | None:
        with self._lock:
            found = self._signatures.get(url) or self._signatures.get(signatures.container(url))
        return found if found and (found.stale is None or self._now() < found.stale) else None

    def _alone(self, what: str, fetch: Callable[[], T]) -> T:
        """Fetch, or wait for who is fetching the same."""
        with self._lock:
            flight = self._flights.get(what)
            mine = flight is None
            if flight is None:
                flight = self._flights[what] = Future()
        if not mine:
            try:
                return flight.result()  # type: ignore[return-value]  # of one `what` all fetch the same type
            except PassingFault as fault:
                raise PassingFault(fault.error.again(), fault.retry_after) from None
            except EofsError as error:
                raise error.again() from None
        try:
            found = fetch()
        except BaseException as error:
            self._land(what).set_exception(error)
            raise
        self._land(what).set_result(found)
        return found

    def _land(self, what: str) -> Future[Token | Signature]:
        with self._lock:
            return self._flights.pop(what)

    # -- asking ------------------------------------------------------------------------------------------------------

    def _sign(self, url: str) -> Signature:
        if not self._provider.login.get("auth_uri"):
            raise self._unsettled("auth_uri")
        now = self._now()
        found = signatures.read(self._provider, self._ask(signatures.question(self._provider, url)), url, now)
        with self._lock:
            self._signatures[found.place] = found
        return found

    def _renew(self) -> Token:
        """Get a new token: for the refresh token, and where there is none or it is refused, for the credentials."""
        token = self._refresh() or self._log_in()
        with self._lock:
            self._token = token
        return token

    def _refresh(self) -> Token | None:
        provider, now = self._provider, self._now()
        with self._lock:
            old = self._token
        if old is None or not old.refresh or (old.refresh_ends is not None and now >= old.refresh_ends):
            return None
        if provider.auth == "token" and "refresh_uri" not in provider.login:
            return None
        uri = str(provider.login.get("refresh_uri") or self._token_uri())
        answer = self._ask(tokens.refreshing(provider, uri, old.refresh))
        try:
            token = tokens.read(provider, answer, now, old)
        except (AccessRefused, ProviderFailed):
            log.info("%s does not renew the token (%s); logging in again", provider.name, answer.said)
            with self._lock:
                self._token = None
            return None
        log.debug("the token of %s is renewed", provider.name)
        return token

    def _log_in(self) -> Token:
        provider, uri = self._provider, self._token_uri()
        if self._refusal and self._now() < self._refusal[1]:
            raise self._refusal[0].again()
        now = self._now()
        question = tokens.question(provider, uri, now)
        self._spend_code(now)
        try:
            token = tokens.read(provider, self._ask(question), now)
        except AccessRefused as error:
            self._refusal = (error, self._now() + REFUSED)
            raise
        except PassingFault:
            if tokens.is_code(provider.credentials.get("totp", "")):
                self._coded = -1  # there is no other, and it was hardly taken
            raise
        log.info("logged in to %s", provider.name)
        return token

    def _spend_code(self, now: float) -> None:
        """Take note of the one-time code that is about to be sent: none is taken twice (RFC 6238, section 5.2)."""
        totp, period = self._provider.credentials.get("totp"), int(now) // tokens.CODE_PERIOD
        if not totp:
            return
        name = self._provider.name
        if tokens.is_code(totp) and self._coded >= 0:
            raise AccessRefused(
                f"the one-time code of {name} has been used; mount again with a new one, or write as totp the secret "
                "that makes the codes"
            )
        if period == self._coded:
            pause = (period + 1) * tokens.CODE_PERIOD - now
            raise PassingFault(NotReady(f"{name} takes each one-time code once; open it again for the next"), pause)
        self._coded = period

    def _token_uri(self) -> str:
        """Return where tokens are given: as set, or as the provider's description of itself says (OpenID Discovery)."""
        login, name = self._provider.login, self._provider.name
        if uri := login.get("token_uri") or login.get("auth_uri") or self._endpoint:
            return str(uri)
        if not (described := login.get("oidc_config_url")):
            raise self._unsettled("oidc_config_url or token_uri")
        answer = self._ask(tokens.Question(described, headers={"Accept": "application/json"}))
        tokens.refuse(self._provider, answer)
        found = str(tokens.message(answer).get("token_endpoint", ""))
        asked, told = auth.authority(described), auth.authority(found)
        if told is None or (told != asked and not auth.may_receive(self._provider, found)):
            raise ProviderFailed(
                f"{name} does not say at {plain(described)} where to log in, or on a host that is not its own; set "
                f"{name}.auth.token_uri"
            )
        self._endpoint = found
        return found

    def _unsettled(self, what: str) -> AccessRefused:
        name = self._provider.name
        return AccessRefused(f"it is not known where to log in to {name}; set {name}.auth.{what}")

    def _ask(self, question: Question) -> Answer:
        """Send a question to the host that it names and to no other: redirects are not followed."""
        name, url = self._provider.name, question.url
        asked = auth.authority(url)
        if asked is None or (asked.scheme != "https" and not asked.is_loopback):
            where = asked.host if asked else "an address that cannot be read"
            raise AccessRefused(f"{name} would be logged in to without encryption, at {where}; set an https address")
        with faults.ours(url, name, self._stall_timeout), contextlib.closing(self._send(question)) as response:
            body = b""
            for piece in response.iter_content(65536):
                body += piece
                if len(body) > LARGEST:
                    break
            return tokens.Answer(response.status_code, response.headers, body[:LARGEST])

    def _send(self, question: Question) -> requests.Response:
        return self._session.request(
            question.method,
            question.url,
            headers=question.headers,
            data=question.body,
            stream=True,
            allow_redirects=False,
            proxies=self._network.proxies_for(question.url),
            timeout=(CONNECT_TIMEOUT, self._stall_timeout),
        )
