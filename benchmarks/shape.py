"""A long line on the loopback address: a TCP proxy with a round trip and a rate, for any number of connections.

``python -m benchmarks.shape PORT SECONDS BYTES`` forwards to that port of this machine, with that round trip and that
rate. It prints its own port, then for each line on its standard input one line of JSON, a `Traffic`; it ends with its
standard input.

What is simulated: a connection is made after one round trip; each byte travels for half a round trip; what comes from
the server passes one link, shared by all connections in turn; a connection has at most `WINDOW` bytes under way, as
TCP has. What is not: slow start, losses, a limit on what goes to the server (requests are small).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

ROUND_TRIP = 0.040  # seconds
RATE = 25e6  # bytes a second
PIECE = 1 << 15  # bytes: 1.3 ms of the link
WINDOW = 4 << 20  # bytes, four times what the line holds
AHEAD = 0.010  # seconds of the link that may be queued before it, as in any router: it must not run dry
BUFFER = 1 << 18  # bytes in the kernel towards a client; what it does not read must hold the server up


@dataclass(slots=True)
class Traffic:
    """What has passed: bytes from the server and to it, connections."""

    down: int = 0
    up: int = 0
    connections: int = 0

    def since(self, before: Traffic) -> Traffic:
        """Return what has passed since `before`."""
        return Traffic(self.down - before.down, self.up - before.up, self.connections - before.connections)


class Link:
    """What all connections share: it carries one piece after the other."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0

    def carry(self, size: int, now: float) -> float:
        """Return when the last of `size` bytes that are there now has left."""
        self._free = max(self._free, now) + size / self._rate
        return self._free


class Pipe:
    """One direction of one connection: pieces, each with the time at which it arrives."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = asyncio.Event()

    async def put(self, due: float, piece: bytes) -> None:
        """Send a piece that arrives at `due`; nothing is the end. Waits while the window is full."""
        while self._size >= self._window:
            await self._change()
        self._pieces.append((due, piece))
        self._size += len(piece)
        self._changed.set()

    async def deliver(self, writer: asyncio.StreamWriter) -> None:
        """Hand each piece over when it arrives, until the end."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._pieces:
                await self._change()
            due, piece = self._pieces[0]
            await asyncio.sleep(due - loop.time())
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()
            self._pieces.popleft()
            self._size -= len(piece)
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Line:
    """The proxy."""

    def __init__(self, port: int, round_trip: float, rate: float) -> None:
        self.traffic = Traffic()
        self._port = port
        self._round_trip = round_trip
        self._link = Link(rate)

    async def connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        made = asyncio.get_running_loop().time() + self._round_trip
        self.traffic.connections += 1
        to_client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        to_server = None
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
            for writer in (to_client, to_server):
                writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            up, down = Pipe(WINDOW), Pipe(WINDOW)
            await _until_one_fails_or_all_end(
                self._send(client, up, made), up.deliver(to_server), self._answer(server, down), down.deliver(to_client)
            )
        except OSError:
            pass  # one of the two has gone, and so goes the other
        finally:
            for end in filter(None, (to_client, to_server)):
                end.transport.abort() if end.transport.get_write_buffer_size() else end.close()

    async def _send(self, client: asyncio.StreamReader, pipe: Pipe, made: float) -> None:
        loop, piece = asyncio.get_running_loop(), b"-"
        while piece:
            piece = await client.read(PIECE)
            self.traffic.up += len(piece)
            await pipe.put(max(loop.time(), made) + self._round_trip / 2, piece)

    async def _answer(self, server: asyncio.StreamReader, pipe: Pipe) -> None:
        loop, piece = asyncio.get_running_loop(), b"-"
        while piece:
            piece = await server.read(PIECE)
            self.traffic.down += len(piece)
            left = self._link.carry(len(piece), loop.time())
            await pipe.put(left + self._round_trip / 2, piece)
            await asyncio.sleep(left - loop.time() - AHEAD)


async def _until_one_fails_or_all_end(*parts: Coroutine[object, object, None]) -> None:
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def serve(port: int, round_trip: float, rate: float) -> None:
    """Forward to `port` of this machine until our standard input ends."""
    line = Line(port, round_trip, rate)
    server = await asyncio.start_server(line.connected, "127.0.0.1", backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while await questions.readline():
        print(json.dumps(asdict(line.traffic)), flush=True)
    server.close()


class Shaped:
    """A server of this machine, seen through such a line; to be closed."""

    def __init__(self, port: int, *, round_trip: float = ROUND_TRIP, rate: float = RATE) -> None:
        command = [sys.executable, "-m", "benchmarks.shape", str(port), str(round_trip), str(rate)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.port = int(self._answer())

    def traffic(self) -> Traffic:
        """Return what has passed so far."""
        if self._process.stdin:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return Traffic(**json.loads(self._answer()))

    def close(self) -> None:
        """End all connections."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        return self._process.stdout.readline() if self._process.stdout else ""


def main() -> None:
    """Be such a line."""
    port, round_trip, rate = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(port), float(round_trip), float(rate)))


if __name__ == "__main__":
    main()
