"""A provider that wants a token for its downloads, and gives tokens and signatures, as several real ones do."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import b64encode
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from confidential import PASSWORD, secret
from engine_room import DEMO

from eofs.demo import DemoProvider, Reply

if TYPE_CHECKING:
    from eofs.demo.replies import Request
    from eofs.model import Provider

JSON = {"Content-Type": "application/json"}
NAME, CLIENT = "alice", "cdse-public"
BASIC = "Basic " + b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
# Whatever may stand in no log, error or status; tokens and signatures begin with these.
SECRETS = (PASSWORD, BASIC, urlencode({"": PASSWORD})[1:], "access-", "refresh-", "sig=")


@dataclass(eq=False)
class TokenServer(DemoProvider):
    """The demo provider, behind tokens.

    Attributes:
        expires_in: seconds, as it says with each token; None: it says nothing.
        refresh_expires_in: likewise, of the refresh token.
        punctual: a token is good for no longer than it says, by the real time.
        uses: requests for which a token is good; None: as many as you like.
        end_known: whether a range at the end of a product is known; if not, all of it comes, and can be taken up again.
        code: the one-time code that is wanted beside the password; None: none is.
        refusal: the status of the answer to who has none that is good.
        answers: replies for the next requests of a path; each is used once.
        asked: every request for a token or a signature: its path, and its form or JSON.
        shown: how each download was authorised: its ``Authorization`` or ``X-Auth-Token``, or its token in the query.
    """

    _: KW_ONLY
    expires_in: float | None = 600
    refresh_expires_in: float | None = 3600
    punctual: bool = False
    uses: int | None = None
    end_known: bool = True
    code: str | None = None
    refusal: int = 401
    answers: dict[str, list[Reply]] = field(default_factory=dict, init=False)
    asked: list[tuple[str, dict[str, str], Request]] = field(default_factory=list, init=False)
    shown: list[str] = field(default_factory=list, init=False)
    _good: dict[str, int] = field(default_factory=dict, init=False)
    _given: dict[str, float] = field(default_factory=dict, init=False)
    _guard: Any = field(default_factory=threading.Lock, init=False)

    def speaks(self, kind: str = "oidc_password", **login: Any) -> Provider:
        """Return the provider as it is configured: by default, as Copernicus Data Space is."""
        says = {"token_uri": f"{self.url}/token", "client_id": CLIENT} if kind == "oidc_password" else {}
        credentials = {"username": NAME, "password": PASSWORD}
        return replace(DEMO, name="cdse", auth=kind, credentials=credentials, login={**says, **login})

    def count_of(self, grant: str) -> int:
        """Return how often a grant was asked for: ``password``, ``refresh_token``, ``client_credentials``."""
        return sum(said.get("grant_type") == grant for _, said, _ in list(self.asked))

    def revoke(self) -> None:
        """Take back every access token that has been given."""
        with self._guard:
            self._good = {token: left for token, left in self._good.items() if token.startswith("refresh-")}

    def end_sessions(self) -> None:
        """Take back refresh tokens, too."""
        with self._guard:
            self._good = {}

    def answer(self, request: Request) -> Reply | None:
        """Answer at the log-in."""
        if not request.path.startswith(("/token", "/refresh", "/text", "/sign", "/about", "/urs", "/back")):
            return None
        text = request.body.decode()
        said = json.loads(text) if "json" in request.headers.get("content-type", "") else dict(parse_qsl(text))
        with self._guard:
            self.asked.append((request.path, said, request))
            if answers := self.answers.get(request.path):
                return answers.pop(0)
        if request.path == "/about":
            return _json(200, token_endpoint=f"{self.url}/token")
        if request.path == "/sign":
            return self._sign(request)
        return self._give(request, said)

    def usual(self, request: Request) -> Reply:
        """Serve downloads to those who have a token that is good."""
        if request.kind != "download":
            return super().usual(request)
        shown = request.headers.get("authorization") or request.headers.get("x-auth-token")
        shown = shown or request.query.get("token", request.query.get("sig", ""))
        token = shown.removeprefix("Bearer ")
        with self._guard:
            self.shown.append(shown)
            left = self._good.get(token, 0)
            late = self.punctual and time.monotonic() - self._given[token] > (self.expires_in or 0)
            if not left or late or token.startswith("refresh-"):
                return Reply(self.refusal)
            self._good[token] = left - 1
        if self.end_known or not (request.range or "").startswith("bytes=-"):
            return super().usual(replace(request, authorised=True))
        reply = super().usual(replace(request, authorised=True, headers={**request.headers, "range": ""}))
        return replace(reply, headers={**reply.headers, "Accept-Ranges": "none"})

    def _give(self, request: Request, said: dict[str, str]) -> Reply:
        if said.get("grant_type") == "refresh_token":
            if not self._good.get(said["refresh_token"]):
                return _json(400, error="invalid_grant", error_description="Token is not active")
        elif not self._knows(request, said):
            return _json(401, error="invalid_grant", error_description="Invalid user credentials")
        token, refresh = self._new("access"), self._new("refresh")
        if request.path == "/text":
            return Reply(200, {"Content-Type": "text/plain"}, f"{token}\n".encode())
        given = {"access_token": token, "refresh_token": refresh, "data": token, "expires_in": self.expires_in}
        return _json(200, **given, refresh_expires_in=self.refresh_expires_in)

    def _knows(self, request: Request, said: dict[str, str]) -> bool:
        known = request.headers.get("authorization") == BASIC or (
            said.get("username", said.get("ident")) == NAME
            and PASSWORD in {said.get("password"), said.get("pass"), said.get("token")}
        )
        return known and self.code in {None, said.get("totp")}

    def _new(self, what: str) -> str:
        with self._guard:
            token = f"{secret(what)}-{hashlib.md5(str(len(self._good)).encode()).hexdigest()}-{len(self.asked)}"
            self._given[token] = time.monotonic()
            self._good[token] = 1 << 30 if what == "refresh" or self.uses is None else self.uses
            return token

    def _sign(self, request: Request) -> Reply:
        """Sign for the whole container until 2027, as Azure does; for one file, as Amazon S3 does, where asked for."""
        url = request.query["href"]
        query = {"sig": self._new("access"), "sr": "c", "se": "2027-01-15T08:10:00Z"}
        if "one" in request.query:
            query = {"sig": query["sig"], "X-Amz-Date": "20270115T080000Z", "X-Amz-Expires": "600"}
        return _json(200, href=f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}")


def _json(status: int, **said: Any) -> Reply:
    return Reply(status, JSON, json.dumps({name: value for name, value in said.items() if value is not None}).encode())
