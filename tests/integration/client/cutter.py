"""A proxy that swallows one reply of the server and hangs up: applied, and the caller not told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Cutter:
    """Passes everything on until a request that holds the armed words has been sent.

    The server's answer to it is dropped, with the connection. `cuts` counts how often.
    """

    def __init__(self, dsn: str) -> None:
        self._given = dsn
        parameters = conninfo_to_dict(dsn)
        self._server = (str(parameters["host"]), int(str(parameters["port"])))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._words: bytes | None = None
        self._times = 0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def dsn(self) -> str:
        """The server by way of here."""
        port = self._listener.getsockname()[1]
        return make_conninfo(self._given, host="127.0.0.1", port=port)

    def arm(self, words: bytes, times: int = 1) -> None:
        """Cut the next `times` requests that hold the words."""
        self._words, self._times = words, times

    def close(self) -> None:
        """Hang up everything."""
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
                doomed = threading.Event()
                for source, target in ((client, server), (server, client)):
                    arguments = (source, target, doomed, source is client)
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(
        self, source: socket.socket, target: socket.socket, doomed: threading.Event, asks: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if asks and self._words is not None and self._words in data:
                    self._times -= 1
                    self._words = self._words if self._times else None
                    self.cuts += 1
                    doomed.set()
                if not asks and doomed.is_set():
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutter_before(dsn: str) -> Iterator[Cutter]:
    """A cutter for the length of a block."""
    made = Cutter(dsn)
    try:
        yield made
    finally:
        made.close()
