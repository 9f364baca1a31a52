"""A proxy to the server with faults: it cuts at a request or a reply, swallows all, or is slow."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Where: TypeAlias = Literal["request", "reply", "inside", "held"]
"""Where a connection is cut: before the request arrives, before its reply, or in its middle; or
the request waits and then goes on."""
Way: TypeAlias = Literal["asked", "answered"]
"""What goes to the server, and what comes from it."""


PROTOCOL = 3
HEAD = 4
"""Bytes of a message's length, which counts itself."""


class Statements:
    """What one client runs, told from what it sends: a prepared statement by its text."""

    def __init__(self) -> None:
        self._left = bytearray()
        self._started = False
        self._texts: dict[bytes, bytes] = {}

    def run(self, data: bytes) -> list[bytes]:
        """The texts of the statements that are run by the messages which end in `data`."""
        self._left += data
        texts = []
        while (text := self._next()) is not None:
            if text:
                texts.append(text)
        return texts

    def _next(self) -> bytes | None:
        """The text of the next whole message, empty if it runs nothing; None: there is none."""
        kind = 1 if self._started else 0
        if len(self._left) < kind + HEAD:
            return None
        end = kind + int.from_bytes(self._left[kind : kind + HEAD])
        if len(self._left) < end:
            return None
        name, body = bytes(self._left[:kind]), bytes(self._left[kind + HEAD : end])
        del self._left[:end]
        if not self._started:
            # What comes before the start asks for encryption.
            self._started = int.from_bytes(body[:2]) == PROTOCOL
        elif name == b"Q":
            return body.rstrip(b"\0")
        elif name == b"P":
            statement, text, _ = body.split(b"\0", 2)
            self._texts[statement] = text
        elif name == b"B":
            _, statement, _ = body.split(b"\0", 2)
            return self._texts.get(statement, b"")
        return b""


class Hold:
    """What stops whoever calls it, from the moment that `reached` is set until `over` is."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.over = threading.Event()

    def __call__(self) -> None:
        """Wait until it is over."""
        self.reached.set()
        self.over.wait()


class _Line(NamedTuple):
    """One connection: whether anything passes each way, and whether it ends with the next reply."""

    asked: threading.Event
    answered: threading.Event
    doomed: threading.Event


class Proxy:
    """Passes everything on until it is told not to.

    Attributes:
        accepted: connections that were made.
        cuts: connections that were cut.
        delay: seconds that everything takes longer, in each direction.
        trickle: everything comes byte by byte.
    """

    def __init__(self, dsn: str) -> None:
        self.accepted = 0
        self.cuts = 0
        self.delay = 0.0
        self.trickle = False
        self._given = dsn
        self._server = _address(dsn)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = {self._listener}
        self._words: bytes | None = None
        self._times = 0
        self._where: Where = "reply"
        self._then: Callable[[], object] = bool
        self._passing: dict[Way, threading.Event] = {"asked": _open(), "answered": _open()}
        self._swallowing: list[threading.Event] = []
        self._end = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def dsn(self) -> str:
        """The server by way of here."""
        port = self._listener.getsockname()[1]
        return make_conninfo(self._given, host="127.0.0.1", port=port)

    def lead_to(self, dsn: str) -> None:
        """Connect to this server from now on; connections that are there stay where they are."""
        self._server = _address(dsn)

    def cut(
        self,
        words: bytes | None,
        times: int = 1,
        *,
        where: Where = "reply",
        then: Callable[[], object] = bool,
    ) -> None:
        """Cut the connections of the next `times` requests with the words; None: of none.

        The words are those of statements, also of prepared ones, not of what they are given.
        At the `reply`: the request has been applied, and nobody is told.

        `then` is called at the moment of the cut, and waited for.
        """
        self._words, self._times, self._where, self._then = words, times, where, then

    def swallow(self, *, new: bool, only: Way | None = None) -> None:
        """Let nothing through the connections that are there; nor through `new` ones.

        Sockets stay open, and nothing arrives before `pass_on`. `only`: in this direction.
        """
        ways: tuple[Way, ...] = ("asked", "answered") if only is None else (only,)
        for way in ways:
            self._passing[way].clear()
            self._swallowing.append(self._passing[way])
            if not new:
                self._passing[way] = _open()

    def pass_on(self) -> None:
        """Let through what was swallowed, and all that comes."""
        while self._swallowing:
            self._swallowing.pop().set()

    def close(self) -> None:
        """Hang up everything."""
        self._end.set()
        for each in tuple(self._sockets):
            _hang_up(each)
            each.close()
        self.pass_on()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._server)
                except OSError:  # The server is away: so it looks to whoever asks.
                    client.close()
                    continue
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets |= {client, server}
                self.accepted += 1
                line = _Line(**self._passing, doomed=threading.Event())
                threading.Thread(
                    target=self._carry, args=(client, server, line), daemon=True
                ).start()

    def _carry(self, client: socket.socket, server: socket.socket, line: _Line) -> None:
        """Until both have hung up: a proxy that serves for long keeps no socket that is over."""
        answering = threading.Thread(target=self._answer, args=(server, client, line), daemon=True)
        answering.start()
        self._ask(client, server, line)
        answering.join()
        for end in (client, server):
            end.close()
            self._sockets.discard(end)

    def _ask(self, client: socket.socket, server: socket.socket, line: _Line) -> None:
        statements = Statements()
        with contextlib.suppress(OSError):
            while data := client.recv(2**16):
                texts, words = statements.run(data), self._words
                if words is not None and any(words in text for text in texts):
                    self._times -= 1
                    self._words = words if self._times else None
                    self.cuts += 1
                    if self._where in {"request", "held"}:
                        self._then()
                        if self._where == "request":
                            break
                    else:
                        line.doomed.set()
                self._pass(data, server, line.asked)
        _hang_up(client, server)

    def _answer(self, server: socket.socket, client: socket.socket, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(2**16):
                if line.doomed.is_set():
                    self._then()
                    if self._where == "inside":
                        self._pass(data[: len(data) // 2], client, line.answered)
                    break
                self._pass(data, client, line.answered)
        _hang_up(client, server)

    def _pass(self, data: bytes, target: socket.socket, passing: threading.Event) -> None:
        self._end.wait(self.delay)
        passing.wait()
        if self.trickle:
            for number in range(len(data)):
                target.sendall(data[number : number + 1])
        else:
            target.sendall(data)


def _address(dsn: str) -> tuple[str, int]:
    parameters = conninfo_to_dict(dsn)
    return str(parameters["host"]), int(str(parameters["port"]))


def _open() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def _hang_up(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxied(dsn: str) -> Iterator[Proxy]:
    """A proxy to the server, for the life of the block."""
    made = Proxy(dsn)
    try:
        yield made
    finally:
        made.close()
