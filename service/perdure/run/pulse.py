"""A sign of life for probes: a file that a worker's event loop touches; standard library only.

A lock on the file says whether its worker lives, its time says whether the loop turns: so a file
that a killed worker has left behind is never taken for a worker that hangs, and the database has no
part in it: an outage must not restart a fleet.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

VARIABLE: Final = "PERDURE_HEALTH_FILE"
"""Names the file instead; workers that share it count as one, alive while any of them is."""
_PREFIX: Final = "perdure-health-"


def pulse_file() -> Path:
    """The file of this process."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / f"{_PREFIX}{os.getpid()}"


class Pulse:
    """Holds and touches a file for the length of a block.

    Without a path it does nothing; that a file cannot be made is no fault of the worker.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        if path is not None:
            _remove_abandoned()
            with suppress(OSError):
                self._file = _hold(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def beat(self) -> None:
        """The loop has turned."""
        if self._file is not None:
            os.utime(self._file)

    def close(self) -> None:
        """The worker ends: there is nothing to look at any more."""
        if self._file is None or self._path is None:
            return
        os.close(self._file)
        self._file = None
        with suppress(OSError):
            _is_held(self._path, remove=True)


def pulses() -> Iterator[tuple[str, float]]:
    """The workers of this user that live here: name of the file, seconds since its last beat."""
    named = os.environ.get(VARIABLE)
    folder = Path(tempfile.gettempdir())
    for path in [Path(named)] if named else sorted(folder.glob(f"{_PREFIX}*")):
        with suppress(OSError):
            found = path.lstat()
            if found.st_uid == os.geteuid() and _is_held(path):
                yield path.name, max(0.0, time.time() - found.st_mtime)


def _hold(path: Path) -> int:
    """Open the file, made if need be, as one's own; again if it has been removed meanwhile."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.lstat()):
                return file
        os.close(file)


def _remove_abandoned() -> None:
    """Remove the files of workers of this user that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                _is_held(path, remove=True)


def _is_held(path: Path, *, remove: bool = False) -> bool:
    """Whether a process that lives has the file as its own; `remove` one that nobody has."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if remove:
            path.unlink()
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
