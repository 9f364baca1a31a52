"""The run folder of a server: who owns it, what is in it, and what becomes of an abandoned one."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

from perdure.embedded.process import Identity

LOG_TAIL_LINES: Final = 15
ORPHAN_SECONDS: Final = 10.0

_PREFIX: Final = "perdure-pg-"
_SOCKET_FOLDER_BYTES: Final = 60  # a socket's path may have 107; the names below take the rest


class RunFolder:
    """The files of one running server; whoever holds the lock owns it."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        self.data = path / "data"
        self.work = path / "work"  # what the server writes beside its data
        self.log = path / "log"
        self.output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @classmethod
    def make(cls, identity: Identity) -> RunFolder:
        """A new folder, locked; the user of `identity` may pass through and write in `work`."""
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_temporary()))
            path.chmod(0o711)
            lock = _lock(path)
            if lock is not None:
                break
        home = cls(path, lock)
        home.work.mkdir(mode=0o700)
        identity.give(home.work)
        return home

    def tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def remove(self) -> None:
        """Remove the folder and give up the lock, in this order."""
        shutil.rmtree(self._path, ignore_errors=True)
        os.close(self.output)
        os.close(self._lock)


def _temporary() -> Path:
    """The folder for temporary files, or /tmp where that is too long for a socket's path."""
    folder = Path(tempfile.gettempdir())
    return folder if len(os.fsencode(folder)) <= _SOCKET_FOLDER_BYTES else Path("/tmp")  # noqa: S108


def _lock(folder: Path) -> int | None:
    """Take the lock of a run folder; None when another process has it, or has removed it."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), (folder / "lock").stat()):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def remove_abandoned() -> None:
    """Remove run folders whose owner is dead; end the server that one of them may still have."""
    for folder in _temporary().glob(f"{_PREFIX}*"):
        try:
            ours = folder.lstat().st_uid == os.geteuid() and (folder / "lock").exists()
        except OSError:
            continue
        lock = _lock(folder) if ours else None
        if lock is None:
            continue
        _end_orphan(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _end_orphan(folder: Path) -> None:
    """End the server of an abandoned run folder; its command line proves that it is this one."""
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        process = os.pidfd_open(pid)
    except (OSError, ValueError, IndexError):
        return
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if os.fsencode(folder / "data") in command.split(b"\0"):
            signal.pidfd_send_signal(process, signal.SIGQUIT)
            select.select([process], [], [], ORPHAN_SECONDS)
    except OSError:
        return
    finally:
        os.close(process)
