"""A proxy that can swallow what it is given: sockets stay open and nothing arrives any more."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Hole:
    """Passes everything on, until `swallow`; `accepted` connections were made."""

    def __init__(self, dsn: str) -> None:
        self.accepted = 0
        self._given = dsn
        parameters = conninfo_to_dict(dsn)
        self._server = (str(parameters["host"]), int(str(parameters["port"])))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._passing = threading.Event()
        self._passing.set()
        self._end = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def dsn(self) -> str:
        """The server by way of here."""
        port = self._listener.getsockname()[1]
        return make_conninfo(self._given, host="127.0.0.1", port=port)

    def swallow(self, *, new: bool) -> None:
        """Let nothing through the connections that are there; nor through `new` ones."""
        self._passing.clear()
        if not new:
            self._passing = threading.Event()
            self._passing.set()

    def close(self) -> None:
        """Hang up everything."""
        self._end.set()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                self.accepted += 1
                for source, target in ((client, server), (server, client)):
                    arguments = (source, target, self._passing)
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, passing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if not passing.is_set():
                    self._end.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def hole(dsn: str) -> Iterator[Hole]:
    """A proxy to the server, for the life of the block."""
    made = Hole(dsn)
    try:
        yield made
    finally:
        made.close()
