"""Asking a provider for lists: several at a time, each again where that may help.

Threads: each question is asked in a thread of its own, which knows nothing but the question. All answers are taken in
the thread that called `ask`; that one alone calls `check`, too.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent import futures
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from eofs import auth, faults
from eofs.blocks import POLL
from eofs.catalog.envelope import NOT_JSON
from eofs.errors import Cancelled, ProviderFailed
from eofs.faults import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from eofs.client import Client
    from eofs.model import Provider

LARGEST = 16 << 20  # bytes of one answer
MOST = 1024  # questions of one list: a directory each; a product of more is better read from its archive

_INSTEAD = "the product's archive holds them as well"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """What is in the directory `path` of a product? It is asked at `url`."""

    path: str
    url: str


def ask(
    client: Client,
    first: Question,
    read: Callable[[bytes], T],
    take: Callable[[Question, T], Iterable[Question]],
    check: Callable[[], None],
) -> None:
    """Ask a question, and all that its answer leads to, and so on; breadth first.

    Args:
        client: at most as many questions are under way as it has connections.
        first: the question to begin with.
        read: reads an answer; raises one of `NOT_JSON` for one in a form that is not known.
        take: takes a question and its answer, returns the further questions. The question's `url` is then at the host
            that answered, as long as that is the provider's own.
        check: raises where nobody wants the answers any more.

    Raises:
        EofsError: a question remains without answer, or there are too many of them.
    """
    over = threading.Event()
    waiting, asked = deque([first]), 0
    under_way: set[Future[tuple[Question, T]]] = set()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < client.slots.number:
                under_way.add(_aside(client, waiting.popleft(), read, over))
                asked += 1
            done, under_way = futures.wait(under_way, POLL, futures.FIRST_COMPLETED)
            check()
            for answer in done:
                waiting.extend(take(*answer.result()))
            if asked + len(waiting) > MOST:
                raise ProviderFailed(f"{client.provider.name} lists more than {MOST:,} directories; {_INSTEAD}")
    finally:
        over.set()


def _aside(
    client: Client, question: Question, read: Callable[[bytes], T], over: threading.Event
) -> Future[tuple[Question, T]]:
    future: Future[tuple[Question, T]] = futures.Future()

    def run() -> None:
        try:
            future.set_result(_answer(client, question, read, over))
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            future.set_exception(error)

    # A daemon, unlike an executor's threads: the program's end does not wait for a provider that is silent.
    threading.Thread(target=run, name="listing", daemon=True).start()
    return future


def _answer(
    client: Client, question: Question, read: Callable[[bytes], T], over: threading.Event
) -> tuple[Question, T]:
    """Ask until there is an answer, as often as the provider's settings say."""
    name = client.provider.name

    def check() -> None:
        if over.is_set():
            raise Cancelled("the list of files is not wanted any more")

    def once() -> tuple[Question, T]:
        with client.connection(check):
            check()
            return _ask_once(client, question, read)

    try:
        return faults.patiently(once, client.provider, "list of files", over.wait)
    except Staging:
        raise ProviderFailed(f"{name} lists no files of what it has yet to bring; {_INSTEAD}") from None


def _ask_once(client: Client, question: Question, read: Callable[[bytes], T]) -> tuple[Question, T]:
    answer, url = told(client, question.url, read, "files", _INSTEAD)
    return replace(question, url=_moved(question.url, url, client.provider)), answer


def told(client: Client, url: str, read: Callable[[bytes], T], what: str, instead: str) -> tuple[T, str]:
    """Ask for a list, once, and return it with the address that gave it.

    Args:
        client: has a connection to spare.
        url: the address.
        read: as `ask` has it.
        what: is listed, for the user to read.
        instead: what he can do where the list is of no use.

    Raises:
        Staging, PassingFault, EofsError: as `Client.message`; or the list is of no use.
    """
    name, said = client.provider.name, b""
    with contextlib.closing(client.message(url)) as response:
        for piece in client.body(response):
            said += piece
            if len(said) > LARGEST:
                raise ProviderFailed(f"{name} sent a list of {what} of more than {LARGEST >> 20} MB; {instead}")
    try:
        return read(said), response.url
    except NOT_JSON:
        raise ProviderFailed(f"{name} lists {what} in a form that is not known; {instead}") from None


def _moved(asked: str, answered: str, provider: Provider) -> str:
    """Return the address at the host that a redirect led to, if only the host differs and it is the provider's own.

    Copernicus redirects each request from its catalogue to its download service: so it is one, and not one for each.
    """
    old, new = urlsplit(asked), urlsplit(answered)
    same = (unquote(old.path), unquote(old.query)) == (unquote(new.path), unquote(new.query))
    if not same or not auth.may_receive(provider, answered):
        return asked
    return urlunsplit(old._replace(scheme=new.scheme, netloc=new.netloc))
