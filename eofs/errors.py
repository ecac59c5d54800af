"""Everything that can go wrong, with the errno that a program gets.

Each class stands for one line of the table of errors in ``docs/SEMANTICS.md``; its message is one sentence that
says what happened and, where the user can do something about it, what.

    EofsError
    ├── ResultError            the search result cannot be used           (command line only)
    │   └── Empty              there is nothing in it
    ├── ConfigError            an option or a configuration file is wrong (command line only)
    │   └── UsageError         the command line itself is
    ├── MountError             the mount cannot be made or unmade         (command line only)
    ├── InUse                  what somebody uses cannot be removed       (command line only)
    ├── AccessRefused          EACCES       no credentials, or refused; a crawler
    ├── NotAllowed             EPERM        ordering is switched off, or paying is
    ├── Gone                   ENODATA      the provider no longer has it
    ├── NotReady               EAGAIN       not ready by the deadline
    ├── ProviderFailed         EREMOTEIO    the order or the provider failed
    ├── Unreachable            EHOSTUNREACH the provider cannot be reached
    ├── Stalled                ETIMEDOUT    the provider went silent
    ├── CacheFull              ENOSPC       no room in the cache
    ├── Corrupt                EIO          the bytes are wrong
    ├── NotSupported           EOPNOTSUPP   encrypted, unknown compression
    ├── TooLarge               EFBIG        beyond the limits against archive bombs
    ├── NotFound               ENOENT       no such name
    ├── Cancelled              ECANCELED    stopped by the user or by the unmount
    └── Interrupted            EINTR        the program was interrupted
"""

from __future__ import annotations

import errno
from typing import ClassVar


class EofsError(Exception):
    """Base of all errors that eofs raises on purpose; its text is fit for a user."""

    errno: ClassVar[int] = errno.EIO

    def again(self) -> EofsError:
        """Return a fresh copy: one object raised in many threads would gather all their tracebacks."""
        return type(self)(*self.args)


def unforeseen(error: Exception) -> EofsError:
    """Return what a user is told of a fault in eofs, whose traceback is in the log."""
    return EofsError(f"a fault in eofs ({type(error).__name__}); its log says more")


class ResultError(EofsError):
    """The search result does not exist, is not GeoJSON, or holds no product."""


class Empty(ResultError):
    """The search result is as it should be, but for that it holds no product."""


class ConfigError(EofsError):
    """An option, a variable or a configuration file holds what cannot be meant."""


class UsageError(ConfigError):
    """The command line itself holds what cannot be meant."""


class MountError(EofsError):
    """The mount cannot be made, found or unmade."""


class InUse(EofsError):
    """What is to be removed from the cache is open, or still coming."""

    errno = errno.EBUSY


class AccessRefused(EofsError):
    """No credentials, refused credentials, a log-in page instead of data, or a crawler that asks."""

    errno = errno.EACCES


class NotAllowed(EofsError):
    """The user has switched off what this would need: ordering, or paying."""

    errno = errno.EPERM


class Gone(EofsError):
    """The provider no longer has the product."""

    errno = errno.ENODATA


class NotReady(EofsError):
    """Not ready by the deadline, or the caller does not want to wait."""

    errno = errno.EAGAIN


class ProviderFailed(EofsError):
    """The order was refused or failed, or the provider answers with errors."""

    errno = errno.EREMOTEIO


class Unreachable(EofsError):
    """The provider's host is unknown, refuses or drops connections."""

    errno = errno.EHOSTUNREACH


class Stalled(EofsError):
    """The provider sent no byte for ``stall_timeout`` seconds."""

    errno = errno.ETIMEDOUT


class CacheFull(EofsError):
    """The product does not fit in the cache, or the cache's disk is full."""

    errno = errno.ENOSPC


class Corrupt(EofsError):
    """Size, checksum, CRC or structure are wrong after one fresh try."""

    errno = errno.EIO


class Changed(Corrupt):
    """The provider holds another version than the one that was begun; opened again, that one is brought."""


class NotSupported(EofsError):
    """An encrypted member, an unknown compression, a kind of product that eofs cannot serve."""

    errno = errno.EOPNOTSUPP


class TooLarge(EofsError):
    """An archive member beyond the limits that guard against archive bombs."""

    errno = errno.EFBIG


class NotFound(EofsError):
    """A name that does not exist."""

    errno = errno.ENOENT


class Cancelled(EofsError):
    """Stopped by the user, or by the unmount."""

    errno = errno.ECANCELED


class Interrupted(EofsError):
    """The waiting program received a signal that ends its wait."""

    errno = errno.EINTR


NOT_YET = (Cancelled, Interrupted, NotReady)
"""Nothing has failed: asked again, it may go well."""

BY_PROVIDER = (AccessRefused, Gone, ProviderFailed, Stalled, Unreachable)
"""What a provider gives instead of the bytes; another one may give those."""
