"""Credentials that no configuration holds: in ``~/.netrc``, printed by a command, kept in the system's keyring.

They are looked for when they are wanted, and not before: who reads products of one provider is not asked for the
password of another. What is written in a configuration goes first. Whether ``~/.netrc`` has an entry is looked up; that
a command or the keyring has a password is believed until it is read, as they may ask the user.

Threads: `Sought` and `Once` may be used by many threads. The lock of a `Once` is held while it asks: who wants the same
password waits for it, so that the user is asked one time. Nothing that is asked takes another lock of eofs.
"""

from __future__ import annotations

import netrc
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from eofs import auth, daemon
from eofs.errors import AccessRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eofs.model import Provider

T = TypeVar("T")

PATIENCE = 60.0  # seconds for which a command may take to answer
PAUSE = 60.0  # seconds for which what has failed is not asked for again: it may ask the user each time

# What the log-ins call the name of a user, and what nobody else may know.
_USERS = ("username", "ident", "access_key", "aws_access_key_id")
_SECRETS = ("password", "pass", "apikey", "api_key", "secret_key", "aws_secret_access_key")


class Once(Generic[T]):
    """Asks until there is an answer, which is kept as long as the process lives.

    Attributes:
        answer: None where nobody has asked, or there was none.
    """

    def __init__(self, ask: Callable[[], T], *, pause: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._pause = pause
        self._now = now
        self.answer: T | None = None
        self._refusal: tuple[AccessRefused, float] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """Return the answer.

        Raises:
            AccessRefused: there is none, or there was none less than `pause` seconds ago.
        """
        with self._lock:
            if self.answer:
                return self.answer
            if self._refusal and self._now() < self._refusal[1]:
                raise self._refusal[0].again()
            try:
                self.answer = self._ask()
            except AccessRefused as error:
                self._refusal = (error, self._now() + self._pause)
                raise
            return self.answer


class Sought(Mapping[str, str]):
    """Credentials by name, of which some are looked for when they are wanted. Two are equal only if they are one.

    Args:
        written: those of the configuration; they go first.
        entry: returns those of ``~/.netrc``; None where they are not meant.
        secret: the name of the one that `ask` returns.
        ask: asks a command or the keyring; None where neither is meant.
    """

    def __init__(
        self, written: Mapping[str, str], entry: Once[dict[str, str]] | None, secret: str, ask: Once[str] | None
    ) -> None:
        self._written = written
        self._entry = entry
        self._secret = secret
        self._ask = ask

    def __getitem__(self, name: str) -> str:
        """Return a credential; it is looked for."""
        known = self._known()
        return self._ask() if self._ask and name == self._secret and name not in known else known[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names; neither a command nor the keyring is asked."""
        return iter(dict.fromkeys([*self._known(), *([self._secret] if self._ask else [])]))

    def __len__(self) -> int:
        """Return how many there are; likewise."""
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        """Say whether there is one of this name; likewise."""
        return any(name == known for known in self)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def in_hand(self) -> list[str]:
        """Return the values that have been had so far; nothing is looked for."""
        entry = self._entry.answer if self._entry else None
        asked = self._ask.answer if self._ask else None
        return [*(entry or {}).values(), *self._written.values(), *([asked] if asked else [])]

    def _known(self) -> dict[str, str]:
        return {**(self._entry() if self._entry else {}), **self._written}


def in_hand(provider: Provider) -> list[str]:
    """Return the credentials that somebody may have been shown: not those that nobody has looked for yet."""
    found = provider.credentials
    return found.in_hand() if isinstance(found, Sought) else [*filter(None, found.values())]


def completed(provider: Provider, path: Path, shown: str) -> Provider:
    """Return a provider whose credentials are looked for where its settings say, as far as they are not written there.

    Args:
        provider: as `eofs.providers` builds it.
        path: the file of netrc.
        shown: what the user calls it.
    """
    says, written = provider.login, provider.credentials
    names = (*auth.wanted(provider), *auth.optional(provider))
    user = next((name for name in names if name in _USERS), "" if names else "username")
    secret = next((name for name in names if name in _SECRETS), "password")
    entry: Once[dict[str, str]] | None = None
    ask: Once[str] | None = None
    places = [provider.credentials_from]
    if says.get("netrc"):
        entry = Once(partial(of_netrc, provider, path, shown, (user, secret)))
        places.append(shown)
    if command := says.get("password_command"):
        ask = Once(partial(of_command, provider.name, command), pause=PAUSE)
        places.append(f"password_command ({Path(command[0]).name})")
    elif service := says.get("keyring"):
        service = f"eofs:{provider.name}" if service is True else service
        ask = Once(partial(of_keyring, provider.name, service, written.get(user), secret), pause=PAUSE)
        places.append("the keyring")
    if entry is None and ask is None:
        return provider
    found_in = " and ".join(filter(None, places))
    return replace(provider, credentials=Sought(written, entry, secret, ask), credentials_from=found_in)


def shared(providers: Mapping[str, Provider]) -> dict[str, Provider]:
    """Give each provider that has no credentials those of another at which the same account is good."""
    return {name: _with_those_of_another(provider, providers) for name, provider in providers.items()}


def _with_those_of_another(provider: Provider, providers: Mapping[str, Provider]) -> Provider:
    accounts = set() if provider.credentials_from else _accounts(provider)
    for other in providers.values() if accounts else ():
        # What has to be looked for is believed, so that nothing is looked for by who only starts.
        complete = isinstance(other.credentials, Sought) or not auth.missing(other)
        if other.credentials_from and complete and accounts & _accounts(other):
            return replace(
                provider, credentials=other.credentials, credentials_from=f"{other.credentials_from}, of {other.name}"
            )
    return provider


def _accounts(provider: Provider) -> set[tuple[str, ...]]:
    """Return what two providers have in common where one account is good at both: a kind of log-in, and its place.

    That is where the log-in is, or else what eodag compares (`PluginConfig.matches_target_auth`).
    """
    name, says = provider.auth, provider.login
    matching = str(says.get("matching_url", "")), str(says.get("matching_conf", ""))
    found: set[tuple[str, ...]] = {(name, *matching)} if any(matching) else set()
    if "subject" in says:
        name, says = "oidc_code", says["subject"]
    at = next((str(says[key]) for key in ("oidc_config_url", "token_uri", "auth_uri") if key in says), "")
    return found | {(name, at)} if at and name in auth.KINDS and auth.KINDS[name].asks else found


def of_netrc(provider: Provider, path: Path, shown: str, names: tuple[str, str]) -> dict[str, str]:
    """Return what a file of netrc(5) holds for the first of a provider's hosts that it knows; `default` is not meant.

    Args:
        provider: whose log-in, and whose hosts, are looked for.
        path: the file; one that is not there holds nothing.
        shown: what the user calls it.
        names: what the log-in calls the user, and the password.

    Raises:
        AccessRefused: it cannot be read or understood, or can be read by others.
    """
    try:
        if path.stat().st_mode & 0o044:
            raise AccessRefused(f"{shown} can be read by others, so it is not taken; to mend it: chmod 600 {shown}")
        known = netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AccessRefused(f"{shown} cannot be read: {error.strerror}; {provider.name}.auth asks for it") from None
    except (netrc.NetrcParseError, ValueError) as error:  # whose text may hold a password
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise AccessRefused(f"{shown} is not as netrc(5) says{where}; {provider.name}.auth asks for it") from None
    user, secret = names
    for place in _places(provider):
        for machine, (login, _, password) in known.items():
            if _is_at(machine.lower(), place) and provider.credentials.get(user, login) == login:
                return {name: value for name, value in ((user, login), (secret, password)) if name and value}
    return {}


def _places(provider: Provider) -> list[str]:
    """Return where a provider's password is good: where it logs in, then its hosts; as entries of `Provider.hosts`."""
    says = [*provider.login.values(), *provider.login.get("subject", {}).values()]
    addresses = [auth.authority(value) for value in says if isinstance(value, str)]
    return [*(address.host for address in addresses if address), *provider.hosts]


def _is_at(machine: str, place: str) -> bool:
    """Say whether an entry of `Provider.hosts` means a host, or a domain around it, at whatever port."""
    name = re.sub(r":[0-9*]+$", "", place).strip(".[]")
    return machine == name or (place.startswith(".") and machine.endswith(f".{name}"))


def of_command(name: str, command: Sequence[str], *, patience: float = PATIENCE) -> str:
    """Return the first line that a command prints. It is run without a shell, and reads nothing.

    Raises:
        AccessRefused: it cannot be run, fails, or prints nothing; what it says is not repeated.
    """
    program = f"the password_command of {name} ({Path(command[0]).name})"
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AccessRefused(f"{program} gave no answer within {patience:g} seconds; {_try_it()}") from None
    except OSError as error:
        raise AccessRefused(f"{program} cannot be run: {error.strerror}; check it") from None
    found = done.stdout.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "surrogateescape")
    if done.returncode or not found:
        ended = f"failed (status {done.returncode})" if done.returncode else "printed no password"
        raise AccessRefused(f"{program} {ended}; {_try_it()}")
    return found


def _try_it() -> str:
    """Return what the user can do about a command, which may have wanted to ask him."""
    if daemon.has_terminal():
        return "try it in a shell"
    return "try it in a shell; here it has no terminal to ask at, so unlock what it reads first, or mount with -f"


def of_keyring(name: str, service: str, user: str | None, secret: str) -> str:
    """Return what the system's keyring holds for a user of a service; a key that belongs to none is under its own name.

    Raises:
        AccessRefused: it cannot be asked, or does not have it.
    """
    try:
        import keyring  # noqa: PLC0415 - an extra, which few have
    except ImportError:
        raise AccessRefused(
            f"the keyring cannot be asked for the {secret} of {name}; install what that takes: "
            "pip install 'eofs-fuse[keyring]'"
        ) from None
    try:
        found = keyring.get_password(service, user or secret)
    except Exception as error:  # noqa: BLE001 - each of its backends raises what it likes
        raise AccessRefused(
            f"the keyring cannot be asked for the {secret} of {name} ({type(error).__name__}); unlock it, or see "
            "what 'keyring diagnose' says"
        ) from None
    if not found:
        raise AccessRefused(
            f"the keyring has no {secret} for {name}; add it: keyring set {service} {'USERNAME' if user else secret}"
        )
    return str(found)
