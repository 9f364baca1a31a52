"""A proxy that drops the reply to a completion, also to one that was prepared long before."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict
from tests.faults.peers.adapter import Finishing
from tests.kit.proxy import Proxy, _hang_up, _Line

PROTOCOL = 3
HEAD = 4
"""Bytes of a message's length, which counts itself."""


class Statements:
    """What one client runs, told from what it sends: a prepared statement by its text."""

    def __init__(self) -> None:
        self._left = b""
        self._started = False
        self._texts: dict[bytes, bytes] = {}

    def run(self, data: bytes) -> Iterator[bytes]:
        """The texts of the statements that are run by the messages which end in `data`."""
        self._left += data
        while (text := self._next()) is not None:
            if text:
                yield text

    def _next(self) -> bytes | None:
        """The text of the next whole message, empty if it runs nothing; None: there is none."""
        kind = 1 if self._started else 0
        if len(self._left) < kind + HEAD:
            return None
        end = kind + int.from_bytes(self._left[kind : kind + HEAD])
        if len(self._left) < end:
            return None
        name, body = self._left[:kind], self._left[kind + HEAD : end]
        self._left = self._left[end:]
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


class Cutter(Proxy):
    """Drops the reply to the next completion, together with its connection, each time it is told.

    Attributes:
        times: when replies were dropped, monotonic.
    """

    def __init__(self, dsn: str, finishing: Finishing) -> None:
        self.times: list[float] = []
        self._finishing = finishing
        self._due = 0
        super().__init__(dsn)

    @property
    def dsn(self) -> str:
        """The server by way of here, as the URL that every driver takes."""
        given = {key: quote(str(value), "") for key, value in conninfo_to_dict(self._given).items()}
        port = self._listener.getsockname()[1]
        login = f"{given['user']}:{given['password']}"
        return f"postgresql://{login}@127.0.0.1:{port}/{given['dbname']}"

    def cut_next(self) -> None:
        """Drop one reply more."""
        self._due += 1

    def _ask(self, client: socket.socket, server: socket.socket, line: _Line) -> None:
        statements, (words, after) = Statements(), self._finishing
        armed = after is None
        with contextlib.suppress(OSError):
            while data := client.recv(2**16):
                for text in statements.run(data):
                    if armed and words in text and self._due > 0:
                        self._due -= 1
                        self.times.append(time.monotonic())
                        line.doomed.set()
                    if after is not None:
                        armed = after in text or (armed and words not in text)
                self._pass(data, server, line.asked)
        _hang_up(client, server)


@contextlib.contextmanager
def cutting(dsn: str, finishing: Finishing) -> Iterator[Cutter]:
    """Such a proxy, for the life of the block."""
    made = Cutter(dsn, finishing)
    try:
        yield made
    finally:
        made.close()
