"""A proxy to the server with faults: it swallows all, or one reply, of which nobody is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class _Line(NamedTuple):
    """One connection: whether anything passes, and whether the next reply is dropped."""

    passing: threading.Event
    doomed: threading.Event


class Proxy:
    """Passes everything on until it is told not to.

    Attributes:
        accepted: connections that were made.
        cuts: replies that were dropped, each together with its connection.
    """

    def __init__(self, dsn: str) -> None:
        self.accepted = 0
        self.cuts = 0
        self._given = dsn
        parameters = conninfo_to_dict(dsn)
        self._server = (str(parameters["host"]), int(str(parameters["port"])))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._words: bytes | None = None
        self._times = 0
        self._passing = threading.Event()
        self._passing.set()
        self._end = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def dsn(self) -> str:
        """The server by way of here."""
        port = self._listener.getsockname()[1]
        return make_conninfo(self._given, host="127.0.0.1", port=port)

    def cut(self, words: bytes, times: int = 1) -> None:
        """Drop the replies to the next `times` requests that hold the words: applied, not told."""
        self._words, self._times = words, times

    def swallow(self, *, new: bool) -> None:
        """Let nothing through the connections that are there; nor through `new` ones.

        Sockets stay open, and nothing arrives any more.
        """
        self._passing.clear()
        if not new:
            self._passing = threading.Event()
            self._passing.set()

    def close(self) -> None:
        """Hang up everything."""
        self._end.set()
        for each in self._sockets:
            _hang_up(each)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                self.accepted += 1
                line = _Line(self._passing, threading.Event())
                for pump, ends in ((self._ask, (client, server)), (self._answer, (server, client))):
                    threading.Thread(target=pump, args=(*ends, line), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(2**16):
                if self._words is not None and self._words in data:
                    self._times -= 1
                    self._words = self._words if self._times else None
                    self.cuts += 1
                    line.doomed.set()
                self._pass(data, server, line)
        _hang_up(client, server)

    def _answer(self, server: socket.socket, client: socket.socket, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while (data := server.recv(2**16)) and not line.doomed.is_set():
                self._pass(data, client, line)
        _hang_up(client, server)

    def _pass(self, data: bytes, target: socket.socket, line: _Line) -> None:
        if not line.passing.is_set():
            self._end.wait()
        target.sendall(data)


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
