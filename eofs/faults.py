"""What goes wrong on the way to a provider and back, what of it may pass, and how long to wait before another try."""

from __future__ import annotations

import contextlib
import email.utils
import logging
import random
import ssl
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3

from eofs.errors import EofsError, NotSupported, ProviderFailed, Stalled, Unreachable
from eofs.links import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eofs.model import Provider

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CONNECT_TIMEOUT = 15.0  # seconds after which a host that does not answer is given up
MAX_REDIRECTS = 10
LONGEST_BACK_OFF = 120.0  # seconds between two tries, unless the provider asks for more


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


@contextlib.contextmanager
def ours(url: str, name: str, silence: float) -> Iterator[None]:
    """Turn what requests and urllib3 raise into our own errors.

    Args:
        url: what is asked; of it, only the host is shown.
        name: of the provider.
        silence: seconds after which a host that sends nothing is given up.

    Raises:
        PassingFault, EofsError: another try may help, or would not.
    """
    host = urlsplit(url).hostname or "the host"
    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
        inner = _innermost(error)
        if isinstance(inner, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it went away, which is no matter of trust
            raise PassingFault(Unreachable(f"{host} ({name}) broke off the connection; try again")) from error
        what = "certificate" if isinstance(inner, ssl.SSLCertVerificationError) else "TLS"
        raise Unreachable(f"the {what} of {host} ({name}) cannot be trusted: {_cause(error)}") from error
    except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
        silent = Stalled(f"{host} ({name}) sent nothing for {silence:g} s; try again later")
        raise PassingFault(silent) from error
    except urllib3.exceptions.DecodeError as error:
        wrong = ProviderFailed(f"{name} sent bytes that cannot be unpacked as it says; try again later")
        raise PassingFault(wrong) from error
    except ValueError as error:  # also that of a redirect
        raise NotSupported(f"the link of the search result cannot be used: {plain(url)}") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        broken = Unreachable(f"{host} ({name}) cannot be reached: {_cause(error)}; check the network, try again")
        raise PassingFault(broken) from error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, whether it names them or a date; None where it does not."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        seconds: float = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        return max(0.0, seconds)
    return None


def patiently(ask: Callable[[], Answer], provider: Provider, what: str, wait: Callable[[float], object]) -> Answer:
    """Return what `ask` answers, asked again after each fault that can pass, as often as the provider's settings say.

    Args:
        ask: asks once.
        provider: says how often, and how long to wait.
        what: is asked for, for the log.
        wait: waits so many seconds.

    Raises:
        EofsError: that of the last try; what else `ask` raises passes through.
    """
    tries = 0
    while True:
        try:
            return ask()
        except PassingFault as fault:
            tries += 1
            pause = back_off(tries, provider.retry_delay, fault.retry_after)
            if tries > provider.retries or pause > LONGEST_BACK_OFF:
                raise fault.error from None
            log.info("%s: %s (try %d, next in %.1f s)", what, fault.error, tries, pause)
        wait(pause)


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
