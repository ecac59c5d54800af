"""Asking a store of the kind of Amazon S3 for an object, or for what a bucket holds.

A bucket is asked without a signature first, for many are open to everybody; then, where that is refused, with one
(docs.aws.amazon.com, "Authenticating Requests: Using the Authorization Header"). It is made by botocore, of which boto3
is made. Amazon has each bucket in one region, whose name is a part of the signature: that is learned from the bucket.
What was of use for a bucket is remembered as long as the process lives.

Credentials are those of the provider's configuration under eodag's names, else what botocore finds: variables, files of
``~/.aws``, single sign-on, the role of the machine. They are looked up when they are first needed, renewed by
botocore, and written nowhere.

Threads: a `Store` is used by all threads of its `Client`; the entries of its table are replaced as a whole.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eofs import auth, buckets
from eofs.credentials import Once
from eofs.errors import AccessRefused, EofsError, NotAllowed, NotSupported, ProviderFailed
from eofs.logins import Pass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

    from eofs.buckets import Place
    from eofs.model import Provider

TRIES = 5  # without a signature, with one, and in other regions
NONE_FOUND = 60.0  # seconds after which credentials are looked for again where there were none
_REFUSALS = frozenset({401, 403})
_ELSEWHERE = frozenset({301, 307, 400})  # what Amazon answers in the wrong region
_CODE = re.compile(rb"<Code>\s*(\w{1,64})\s*</Code>")
# Errors of S3, some of them with 400: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
_CODES: dict[str, tuple[type[EofsError], str]] = {
    **dict.fromkeys(
        ("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"),
        (AccessRefused, "refused the credentials ({said}); check them, or get new ones"),
    ),
    "InvalidObjectState": (ProviderFailed, "has archived it ({said}), and gives it back to its owner only"),
    "RequestTimeTooSkewed": (AccessRefused, "finds the clock of this machine wrong ({said}); set it"),
}


@dataclass(frozen=True, slots=True)
class _Way:
    """How a bucket is asked: in which region, if that is known, and whether with a signature."""

    region: str
    signed: bool = False


class Store:
    """The buckets that a provider's links name.

    Args:
        provider: its `s3_endpoint` is the store, None standing for Amazon's own. Its credentials sign if its log-in is
            of the kind ``s3``; and ``requester_pays`` says that the user pays for what he reads.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._pays = bool(provider.login.get("requester_pays"))
        self._keys = Once(self._look_up, pause=NONE_FOUND)
        self._ways: dict[str, _Way] = {}

    def find(self, url: str) -> Place | None:
        """Return the object that an address means, None where it is not one of the store."""
        return buckets.find(url, self._provider.s3_endpoint)

    def ask(
        self,
        place: Place,
        method: str,
        ask: Callable[[str, str], requests.Response],
        send: Callable[[Pass], requests.Response],
    ) -> requests.Response:
        """Ask for an object.

        Args:
            place: the object.
            method: GET or HEAD.
            ask: asks an address by a method in the way of the provider's own log-in; at most stores that is none.
            send: asks with just the headers that it is given.

        Raises:
            AccessRefused, NotAllowed, NotSupported, ProviderFailed: the store lets us not have it, and why.
        """
        way = self._ways.get(place.bucket) or _Way(place.region)
        for _ in range(TRIES):
            here = replace(place, region=way.region)
            address = here.address(self._provider.s3_endpoint)
            response = send(self._sign(address, method, way)) if way.signed else ask(address, method)
            try:
                other = self._other(here, way, response, ask)
            except BaseException:
                response.close()
                raise
            if other is None:
                break
            response.close()
            way = other
        if response.status_code < 400 or response.status_code in {404, 416}:
            self._ways[place.bucket] = way
        return response

    def _other(
        self, place: Place, way: _Way, response: requests.Response, ask: Callable[[str, str], requests.Response]
    ) -> _Way | None:
        """Return a way that may be of use where one was not; None where no other one is needed.

        Raises:
            EofsError: there is none.
        """
        told, status = self._region(response.headers), response.status_code
        if told and told != way.region and status in _ELSEWHERE:
            return replace(way, region=told)
        if status < 400 or self._provider.auth not in {"none", "s3"}:
            return None
        refused = status in _REFUSALS | self._provider.auth_error_codes
        if way.signed or not refused:
            self._refuse(place, response, refused=refused)
            return None
        self._must_have_keys(place, response)
        region = way.region or told
        if not region and self._provider.s3_endpoint is None:
            # A signature for another region is refused, not always with a word on where it is; this tells anybody.
            with contextlib.closing(ask(replace(place, key="", query="").address(None), "HEAD")) as answer:
                region = self._region(answer.headers)
        return _Way(region, signed=True)

    def _region(self, headers: Mapping[str, str]) -> str:
        region = headers.get("x-amz-bucket-region", "")
        amazon = self._provider.s3_endpoint is None
        return region if (buckets.is_region(region) if amazon else re.fullmatch(r"[\w-]{1,64}", region)) else ""

    def _sign(self, address: str, method: str, way: _Way) -> Pass:
        """Return how to ask with a signature; of the headers, it covers those that are given here, and the host."""
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - it takes half a second, and not everybody has it
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        if not auth.may_receive(self._provider, address):  # a region may have hosts that are not the provider's
            return Pass(address)
        request = AWSRequest(method, address, {"x-amz-request-payer": "requester"} if self._pays else {})
        with self._explaining():
            S3SigV4Auth(self._keys().get_frozen_credentials(), "s3", way.region or "us-east-1").add_auth(request)
        return Pass(address, auth.checked(self._provider, dict(request.headers.items())))

    # -- credentials -------------------------------------------------------------------------------------------------

    def _look_up(self) -> Any:
        """Return the credentials as botocore has them, which renews them."""
        from botocore.credentials import Credentials  # noqa: PLC0415 - as above
        from botocore.session import Session  # noqa: PLC0415

        name, said = self._provider.name, self._provider.credentials
        profile, key, secret = (said.get(f"aws_{what}") for what in ("profile", "access_key_id", "secret_access_key"))
        if key and secret and not profile:
            return Credentials(key, secret, said.get("aws_session_token"))
        with self._explaining():
            found = Session(profile=profile).get_credentials()
            # The role that a machine has at Amazon is nothing to another store, which might as well not see its token.
            foreign = found and self._provider.s3_endpoint and not profile and found.get_frozen_credentials().token
        if found is None or foreign:
            raise AccessRefused(
                f"there are no credentials for {name}; write aws_access_key_id and aws_secret_access_key, or "
                f"aws_profile, to ~/.config/eodag/eodag.yml (under {name}.auth.credentials)"
            )
        return found

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Raise errors of our own, without the text of botocore's, which may quote what a program printed."""
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

        try:
            yield
        except BotoCoreError as error:
            profile = self._provider.credentials.get("aws_profile")
            of, which = (f" of the profile {profile!r}", f" --profile {profile}") if profile else ("", "")
            raise AccessRefused(
                f"the credentials{of} for {self._provider.name} cannot be had ({type(error).__name__}); see what "
                f"`aws sts get-caller-identity{which}` says"
            ) from None

    # -- being refused -----------------------------------------------------------------------------------------------

    def _must_have_keys(self, place: Place, response: requests.Response) -> None:
        """Raise where a bucket is not open to everybody, and we have no credentials for it."""
        name, said = self._provider.name, f"{place.bucket} is not open to everybody ({_said(response)})"
        if self._provider.auth != "s3":
            raise AccessRefused(
                f"{said}, and no provider is known whose credentials are for it: describe one in "
                f"~/.config/eofs/eofs.yml, with known_by: [{place.bucket}] and auth: {{type: s3}}"
            )
        if not auth.may_receive(self._provider, place.address(self._provider.s3_endpoint)):
            raise AccessRefused(
                f"{said}, and credentials of {name} do not go where it is: if they should, add its host to "
                f"{name}.auth.hosts (as http://…, if it takes no https)"
            )
        try:
            self._keys()
        except ImportError:
            raise NotSupported(f"{said}, and a signature takes botocore: pip install 'eofs-fuse[s3]'") from None
        except AccessRefused as error:
            raise AccessRefused(f"{said}: {error}") from None

    def _refuse(self, place: Place, response: requests.Response, *, refused: bool) -> None:
        """Raise what an answer means; return where it is for others to say."""
        name, code = self._provider.name, _code(response)
        said = f"{response.status_code} {code}" if code else _said(response)
        if code in _CODES:
            kind, sentence = _CODES[code]
            raise kind(f"{name} {sentence.format(said=said)}")
        if not refused:
            return
        if not self._pays and self._provider.s3_endpoint is None:
            raise NotAllowed(
                f"{name} was refused {place.bucket} ({said}): if who reads it pays for that, Amazon may bill you; "
                f"set requester_pays: true to agree (in {name}.auth, or as an option), else check your rights to it"
            )
        raise AccessRefused(f"{name} was refused {place.bucket} ({said}); check the credentials, and your rights")


def _code(response: requests.Response) -> str:
    """Return S3's own name of an error."""
    found = None
    with contextlib.suppress(Exception):  # it only helps to explain what is known already
        found = _CODE.search(response.raw.read(16 << 10, decode_content=True))
    return found[1].decode() if found else ""


def _said(response: requests.Response) -> str:
    return f"{response.status_code} {response.reason or ''}".strip()
