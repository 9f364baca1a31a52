"""A parent that has loaded what workers need: it forks them, which saves each a second of imports.

It opens no connection and starts no thread, so that there is nothing a fork could share or lose.
`python -m tests.kit.warm N` serves the socket N until its other end is closed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn, TypedDict

from tests.kit.work import main as work

from perdure.run.lean import load_structlog

MODULES = (
    "psycopg_pool", "tests.kit.ledger", "perdure.service", "perdure.run.worker",
    "pydantic._internal._dataclasses", "uvloop",
)  # fmt: skip
REQUEST_BYTES = 2**20
TOLD_BYTES = 64


class Request(TypedDict):
    """What a worker is started with."""

    arguments: list[str]
    environment: dict[str, str]


class Forked:
    """A process that a warm parent has forked: what `subprocess.Popen` is to its own.

    `returncode` is its exit code, a signal's number below zero; None: it has not ended.
    """

    def __init__(self, answers: socket.socket) -> None:
        self.pid = int(answers.recv(TOLD_BYTES))
        self.returncode: int | None = None
        self._over = threading.Event()
        threading.Thread(target=self._watch, args=(answers,), daemon=True).start()

    def _watch(self, answers: socket.socket) -> None:
        with answers:
            # Nothing comes from a parent that has died: it takes all of its children with it.
            self.returncode = int(answers.recv(TOLD_BYTES) or -signal.SIGKILL)
        self._over.set()

    def poll(self) -> int | None:
        """The exit code."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, so many seconds at most; the exit code.

        Raises:
            TimeoutExpired: it has not come.
        """
        self._over.wait(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing, if it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Parent:
    """The warm parent of this process's workers."""

    def __init__(self, path: str, root: Path) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kit.warm", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": path}, cwd=root, pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        atexit.register(self.close)

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
        """Start a worker with these arguments of `tests.kit.work`."""
        answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = Request(arguments=[*arguments], environment={**environment})
        with theirs:
            told, files = json.dumps(request).encode(), [theirs.fileno(), 1, 2]
            socket.send_fds(self._requests, [told], files)
        return Forked(answers)

    def close(self) -> None:
        """End it, and all that it has forked."""
        self._requests.close()
        self._process.wait()


@cache
def parent(path: str, root: Path) -> Parent:
    """The one of this process, started at the first use."""
    return Parent(path, root)


def serve(requests: socket.socket) -> list[str]:
    """Fork for each request; the arguments of a worker in its process. Ends with the requests."""
    living: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    _, status = os.waitpid(key.data, 0)
                    with living.pop(key.data) as answers:
                        answers.send(str(os.waitstatus_to_exitcode(status)).encode())
                    continue
                request, files, *_ = socket.recv_fds(requests, REQUEST_BYTES, 3)
                if not request:
                    end(living)
                pid = os.fork()
                if pid == 0:
                    for one in selector.get_map().values():
                        if one.fileobj is not requests:
                            os.close(one.fd)
                    for other in (requests, *living.values()):
                        other.close()
                    return become(json.loads(request), files)
                answers = living[pid] = socket.socket(fileno=files[0])
                answers.send(str(pid).encode())
                os.close(files[1])
                os.close(files[2])
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)


def become(request: Request, files: Sequence[int]) -> list[str]:
    """Make this process what a fresh one with these files and variables would be."""
    answers, output, errors = files
    os.close(answers)
    for given, number in ((output, 1), (errors, 2)):
        os.dup2(given, number)
        os.close(given)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    return request["arguments"]


def end(living: Mapping[int, socket.socket]) -> NoReturn:
    """Whoever wanted these processes is gone."""
    for pid in living:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def main() -> int:
    """Load, and fork until nobody asks any more; in each worker, run it."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load_structlog()
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()
    sys.argv[1:] = serve(requests)
    return work()


if __name__ == "__main__":
    sys.exit(main())
