"""A proxy that drops the reply to a completion, also to one that was prepared long before."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict
from tests.faults.peers.adapter import Finishing
from tests.kit.proxy import Proxy, Statements, _hang_up, _Line


class Cutter(Proxy):
    """Drops the reply to the next completion, together with its connection, each time it is told.

    Attributes:
        times: when replies were dropped, monotonic.
        due: how many are still to be dropped.
    """

    def __init__(self, dsn: str, finishing: Finishing) -> None:
        self.times: list[float] = []
        self._finishing = finishing
        self.due = 0
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
        self.due += 1

    def _ask(self, client: socket.socket, server: socket.socket, line: _Line) -> None:
        statements, (words, after) = Statements(), self._finishing
        armed = after is None
        with contextlib.suppress(OSError):
            while data := client.recv(2**16):
                for text in statements.run(data):
                    if armed and words in text and self.due > 0:
                        self.due -= 1
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
