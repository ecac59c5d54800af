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

from eofs import __version__, auth, faults, forms, signatures, tokens
from eofs.errors import AccessRefused, EofsError, NotReady, ProviderFailed
from eofs.faults import CONNECT_TIMEOUT, PassingFault

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
        self._description: Answer | None = None  # the provider's, of its log-in
        self._coded = -1  # the period whose one-time code was sent
        self._refusal: tuple[AccessRefused, float] | None = None
        self._lock = threading.Lock()
        self._session = self._new_session()
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        # Whose token is exchanged for one of the provider's: a log-in of its own, with the same credentials.
        self._subject: Login | None = None
        if subject := provider.login.get("subject"):
            former = replace(provider, auth="oidc_code", login=subject)
            self._subject = Login(former, network, stall_timeout=stall_timeout, now=now)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._session.close()
        if self._subject:
            self._subject.close()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = self._network.ca_bundle if self._provider.ssl_verify else False
        session.headers.update({"User-Agent": f"eofs/{__version__}"})
        return session

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
        token = self.token()
        return Pass(*tokens.carried(self._provider, token, url), used=token)

    def token(self) -> Token:
        """Return a token that is good by now; raises as `authorise`."""
        return self._good() or self._alone("", lambda: self._good() or self._renew())

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
            raise tokens.unsettled(self._provider, "auth_uri")
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
        uri = str(provider.login.get("refresh_uri") or self._endpoint("token"))
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
        provider, uri = self._provider, self._endpoint("token")
        if self._refusal and self._now() < self._refusal[1]:
            raise self._refusal[0].again()
        now = self._now()
        try:
            token = tokens.read(provider, self._show_credentials(uri, now), now)
        except AccessRefused as error:
            self._refusal = (error, self._now() + REFUSED)
            raise
        except PassingFault:
            if tokens.is_code(provider.credentials.get("totp", "")):
                self._coded = -1  # there is no other, and it was hardly taken
            raise
        log.info("logged in to %s", provider.name)
        return token

    def _show_credentials(self, uri: str, now: float) -> Answer:
        """Ask for a token in the way of the provider's kind of log-in."""
        provider = self._provider
        if provider.auth == "oidc_exchange":
            return self._exchange(uri)
        if provider.auth == "oidc_code":
            page = self._endpoint("authorization")
            with self._new_session() as session:  # its cookies are those of one log-in
                grant = forms.log_in(provider, lambda question: self._ask(question, session), page)
            return self._ask(tokens.redeeming(provider, uri, grant))
        question = tokens.question(provider, uri, now)
        self._spend_code(now)
        return self._ask(question)

    def _exchange(self, uri: str) -> Answer:
        """Give the subject's token for one of the provider's; once more, where its session may have ended early."""
        if not self._subject:
            raise tokens.unsettled(self._provider, "subject")
        answer = self._ask(tokens.exchanging(self._provider, uri, token := self._subject.token()))
        if answer.status in {400, 401} and self._subject.refused(Pass("", used=token), 401):
            answer = self._ask(tokens.exchanging(self._provider, uri, self._subject.token()))
        return answer

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

    def _endpoint(self, what: str) -> str:
        """Return where a ``token`` or an ``authorization`` is given: as set, or as the provider's description says."""
        provider, login = self._provider, self._provider.login
        if uri := login.get(f"{what}_uri") or (what == "token" and login.get("auth_uri")):
            return str(uri)
        if not (described := login.get("oidc_config_url")):
            raise tokens.unsettled(provider, f"oidc_config_url or {what}_uri")
        if self._description is None:
            answer = self._ask(tokens.Question(described, headers={"Accept": "application/json"}))
            tokens.refuse(provider, answer)
            self._description = answer
        try:
            return tokens.endpoint(provider, self._description, what)
        except ProviderFailed:
            self._description = None
            raise

    def _ask(self, question: Question, session: requests.Session | None = None) -> Answer:
        """Send a question to the host that it names and to no other: redirects are not followed."""
        name, url = self._provider.name, question.url
        asked = auth.authority(url)
        if asked is None or (asked.scheme != "https" and not asked.is_loopback):
            where = asked.host if asked else "an address that cannot be read"
            raise AccessRefused(f"{name} would be logged in to without encryption, at {where}; set an https address")
        with faults.ours(url, name, self._stall_timeout), contextlib.closing(self._send(question, session)) as response:
            body = b""
            for piece in response.iter_content(65536):
                body += piece
                if len(body) > LARGEST:
                    break
            return tokens.Answer(response.status_code, response.headers, body[:LARGEST])

    def _send(self, question: Question, session: requests.Session | None) -> requests.Response:
        return (session or self._session).request(
            question.method,
            question.url,
            headers=question.headers,
            data=question.body,
            stream=True,
            allow_redirects=False,
            proxies=self._network.proxies_for(question.url),
            timeout=(CONNECT_TIMEOUT, self._stall_timeout),
        )
