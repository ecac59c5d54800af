"""Providers played on this machine: each of their hosts is a port of the loopback address, and knows what it was asked.

What is tested with it is a provider's own file, with nothing but its hosts replaced.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode

from eofs import auth, catalog, providers
from eofs.cache import Cache
from eofs.client import Client
from eofs.config import Network
from eofs.demo.replies import Reply, byte_range
from eofs.demo.wire import Listener
from eofs.fetch import Engine
from eofs.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Self

    from eofs.demo.replies import Kind, Request
    from eofs.model import Product, Provider

    Answer = Callable[["Asked"], Reply]

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html;charset=utf-8"}


@dataclass(frozen=True)
class Asked:
    """What a host was asked: its real name, the method, the path with the query as it was sent, and the rest."""

    host: str
    request: Request

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def form(self) -> dict[str, str]:
        """Return the names in the body, be it a form or JSON."""
        text = self.request.body.decode()
        return dict(json.loads(text) if text.startswith("{") else parse_qsl(text, keep_blank_values=True))

    @property
    def authorization(self) -> str:
        """Return what was shown, in words: ``Basic user:password`` is decoded."""
        shown = self.request.headers.get("authorization", "")
        scheme, _, token = shown.partition(" ")
        return f"Basic {base64.b64decode(token).decode()}" if scheme == "Basic" else shown

    def shows(self, secrets: dict[str, str]) -> set[str]:
        """Return the names of those secrets that went along, wherever in the request they stood."""
        headers = "\n".join(self.request.headers.values())
        body = unquote(self.request.body.decode().replace("+", " "))
        seen = "\n".join([headers, self.authorization, body, *self.request.query.values()])
        return {name for name, secret in secrets.items() if secret in seen}


class _Host:
    """One host, as `Listener` wants it."""

    rate: float | None = None

    def __init__(self, name: str, played: Played) -> None:
        self.name, self.stopping, self._played = name, threading.Event(), played
        self.listener = Listener(0, self)

    def clock(self) -> float:
        return time.time()

    def route(self, path: str) -> tuple[Kind | None, str | None]:
        return None, None

    def knows(self, username: str, password: str) -> bool:
        return False

    def begin(self) -> None:
        pass

    def end(self, request: Request) -> None:
        pass

    def reply_to(self, request: Request) -> Reply:
        asked = Asked(self.name, request)
        self._played.asked.append(asked)
        reply = self._played.answer(asked)
        return replace(reply, headers={name: self._played.local(value) for name, value in reply.headers.items()})


class Played:
    """Hosts that run inside of ``with``; those of others, `elsewhere`, bear another name here and get no cookie.

    Attributes:
        asked: every request, in the order in which they came.
        answer: what the hosts answer. Addresses in the heads of its replies are real; `local` is for bodies.
    """

    def __init__(self, *hosts: str, answer: Answer, elsewhere: tuple[str, ...] = ()) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._names = {**dict.fromkeys(hosts, "127.0.0.1"), **dict.fromkeys(elsewhere, "localhost")}
        self._hosts: dict[str, _Host] = {}

    def __enter__(self) -> Self:
        self._hosts = {name: _Host(name, self) for name in self._names}
        return self

    def __exit__(self, *error: object) -> None:
        for host in self._hosts.values():
            host.stopping.set()
            host.listener.close()

    def place(self, host: str) -> str:
        """Return where a host is on this machine, such as ``127.0.0.1:40123``."""
        return f"{self._names[host]}:{self._hosts[host].listener.server_port}"

    def local(self, text: str) -> str:
        """Return a text with the addresses of the hosts replaced by those on this machine."""
        for name in self._hosts:
            text = re.sub(rf"https://{re.escape(name)}(?![\w.:-])", f"http://{self.place(name)}", text)
        return text

    def real(self, text: str) -> str:
        """Undo `local`."""
        for name in self._hosts:
            text = text.replace(f"http://{self.place(name)}", f"https://{name}")
        return text

    def settings(self, name: str, **credentials: str) -> dict[str, Any]:
        """Return the settings of a built-in provider with its hosts replaced: of ours, those that are its own."""
        built_in = providers.builtin()[name]
        real = providers.build(name, built_in, source=None)
        settings: dict[str, Any] = json.loads(self.local(json.dumps(built_in)))
        own = [host for host in self._hosts if auth.may_receive(real, f"https://{host}/")]
        settings["hosts"] = [self.place(host) for host in own]
        settings["auth"] = {**settings.get("auth", {}), "credentials": credentials}
        settings["download"] = {**settings.get("download", {}), "retry_delay": 0.001}
        return settings

    def provider(self, name: str, **credentials: str) -> Provider:
        return providers.build(name, self.settings(name, **credentials), source="eofs.yml")

    def result(self, *features: dict[str, Any]) -> tuple[Product, ...]:
        """Read features as a search result, with their addresses replaced."""
        text = self.local(json.dumps({"type": "FeatureCollection", "features": features}))
        return tuple(catalog.read(text.encode()).products)

    def shown(self, secrets: dict[str, str]) -> list[tuple[str, set[str]]]:
        """Return what was asked, and which secrets went along: ``GET host/path?query``, without them.

        Several parts of the same thing count once: how many there are is not the provider's.
        """
        found: list[tuple[str, set[str]]] = []
        for asked in list(self.asked):
            line = self._line(asked, secrets), asked.shows(secrets)
            if asked.request.range is None or line not in found:
                found.append(line)
        return found

    def _line(self, asked: Asked, secrets: dict[str, str]) -> str:
        query = {
            name: self.real(value)
            for name, value in asked.request.query.items()
            if not any(secret in value for secret in secrets.values())
        }
        return f"{asked.request.method} {asked.host}{asked.path}" + (f"?{urlencode(query)}" if query else "")


def say(**what: Any) -> Reply:
    """Answer with JSON."""
    return Reply(200, JSON, json.dumps(what).encode())


def serve(asked: Asked, content: bytes, kind: str = "application/zip", *, ranges: bool = True) -> Reply:
    """Answer with bytes, as a whole or the part that is asked for."""
    wanted = byte_range(asked.request.range, len(content)) if ranges else None
    if wanted is None:
        return Reply(200, {"Content-Type": kind}, content)
    head = {"Content-Type": kind, "Content-Range": f"bytes {wanted.start}-{wanted.stop - 1}/{len(content)}"}
    return Reply(206, head, content[wanted.start : wanted.stop])


@contextlib.contextmanager
def engine(speaks: Provider, directory: Path, **more: Any) -> Iterator[Engine]:
    """Open an engine on a cache that speaks with one provider."""
    options = Options(cache_dir=directory, wait=0.002, timeout=0.5, stall_timeout=30.0, fallback=(), **more)
    cache = Cache(directory, 1 << 30)

    def client_for(_: str) -> Client:
        return Client(speaks, Network(), connections=4, stall_timeout=30.0)

    opened = Engine(cache, options, client_for)
    try:
        yield opened
    finally:
        opened.close()
        cache.close()
