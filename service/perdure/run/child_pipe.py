"""The child's end of its pipe: one thread reads it, every thread may write."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from perdure import errors
from perdure.errors import DatabaseError, LeaseLost, PerdureError
from perdure.run.pipe import HEADER, Message, packed

EXIT_ORPHAN = 70
"""The worker is gone."""
EXIT_BROKEN = 71
"""Nothing sensible can be sent any more, because a message was broken off in the middle."""


class Pipe:
    """The child's end of the pipe: one thread reads it, every thread may write."""

    def __init__(self, connection: socket.socket) -> None:
        self.runs: SimpleQueue[Message] = SimpleQueue()
        self.broken_off = False
        """Whether the worker has broken off this run."""
        self._on_stop: Callable[[str], object] | None = None
        self._connection = connection
        self._ids = itertools.count()
        self._answers: dict[int, Future[Message]] = {}
        self._lock = threading.Lock()
        self._intact = True
        self._running = False

    def ask(self, what: str, **body: object) -> Any:
        """Have the worker do something, and wait for its answer.

        Raises:
            LeaseLost: the run has ended; or the task has another holder.
            PerdureError: whatever it has met with.
        """
        answer: Future[Message] = Future()
        with self._lock:
            if not self._running:
                raise LeaseLost("the run has ended: nothing can be written for it any more")
            number = next(self._ids)
            self._answers[number] = answer
            self._write({"what": what, "id": number, **body})
        reply = answer.result()
        if "error" in reply:
            raise _error(reply["error"], reply["text"])
        return reply["value"]

    def begin(self, on_stop: Callable[[str], object]) -> None:
        """Say that the handler is called now; from here on it can be asked to stop."""
        with self._lock:
            self._on_stop = on_stop
            self.broken_off = False
            self._running = True
            self._write({"what": "begun"})

    def end(self, message: Message) -> None:
        """Say how the run has ended; what it has left running can say nothing after this."""
        with self._lock:
            self._on_stop = None
            self._running = False
            if not self._intact:
                os._exit(EXIT_BROKEN)
            self._write(message)

    def listen(self) -> None:
        """Read until the worker is gone, and end with it."""
        with suppress(BaseException):
            while (message := self._read()) is not None:
                match message["what"]:
                    case "run":
                        self.runs.put(message)
                    case "stop":
                        if (on_stop := self._on_stop) is not None:
                            with suppress(RuntimeError):  # its loop has just been closed
                                on_stop(message["reason"])
                    case "break":
                        self.broken_off = True
                        # Sent to the process, another thread might get it, and wake nobody.
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                    case _:
                        self._answers.pop(message["id"]).set_result(message)
        os._exit(EXIT_ORPHAN)

    def _write(self, message: Message) -> None:
        data = packed(message)
        # A signal may break off in the middle: then nothing that followed could be understood.
        self._intact = False
        self._connection.sendall(data)
        self._intact = True

    def _read(self) -> Message | None:
        header = self._exactly(HEADER.size)
        body = header and self._exactly(HEADER.unpack(header)[0])
        return json.loads(body) if body else None

    def _exactly(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            part = self._connection.recv(min(size - len(data), 2**20))
            if not part:
                return None
            data += part
        return bytes(data)


def _error(name: str, text: str) -> PerdureError:
    """What the worker has met with, as it would be raised there."""
    found = getattr(errors, name, None)
    if isinstance(found, type) and issubclass(found, PerdureError):
        return found(text)
    return DatabaseError(text)
