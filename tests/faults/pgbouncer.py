"""A PgBouncer in transaction mode in front of a server: no session state survives behind it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import PGconn, Ping
from tests.kit.databases import Server
from tests.kit.debian import PackageMissingError, unpacked
from tests.kit.lacking import lacking

from perdure.embedded.process import unprivileged
from perdure.embedded.server import free_port

START_SECONDS = 10.0
STOP_SECONDS = 5.0

_PAUSE_SECONDS = 0.02
# What a Debian may lack of its packages; the other libraries are there wherever PostgreSQL is.
_LIBRARIES = ("libc-ares", "libcares", "libevent-2")


def find_pgbouncer() -> list[str]:
    """The command that runs PgBouncer: the one on PATH, else Debian's, unpacked, not installed.

    Raises:
        PackageMissingError: there is none, and it cannot be fetched.
    """
    installed = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if installed:
        return [installed]
    folder = unpacked("pgbouncer", _LIBRARIES)
    libraries = sorted({str(path.parent) for path in folder.rglob("*.so.*")})
    program = str(folder / "usr" / "sbin" / "pgbouncer")
    return ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", program]


class PgBouncer:
    """PgBouncer on 127.0.0.1 in transaction mode, from `with` or `start()` to `stop()`.

    `settings` are put over those of its section [pgbouncer]. Every database of `server` is reached
    by its name and every login by its own password.
    """

    def __init__(self, server: Server, settings: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self._to = conninfo_to_dict(server.dsn())
        self._settings = dict(settings or {})
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres") -> str:
        """Where to reach `database` through the pooler, with the login that the server gave."""
        user, password = (quote(str(self._to.get(key) or ""), "") for key in ("user", "password"))
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{quote(database, '')}"

    def start(self) -> Self:
        """Start it and wait until it answers; raises PackageMissingError or RuntimeError."""
        command = find_pgbouncer()
        identity = unprivileged()
        self._folder = tempfile.TemporaryDirectory(prefix="perdure-pooler-")
        folder = Path(self._folder.name)
        self._write_files(folder)
        identity.give(folder)
        with (folder / "log").open("wb") as log:
            self._process = identity.popen([*command, str(folder / "pooler.ini")], log.fileno())
        if not self._is_ready(folder):
            said = (folder / "log").read_text(errors="replace")
            self.stop()
            raise RuntimeError(f"pgbouncer did not start:\n{said}")
        return self

    def stop(self) -> None:
        """End it at once, its clients' connections too; does nothing when it does not run."""
        process, self._process = self._process, None
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process is None or process.poll() is not None:
                break
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _write_files(self, folder: Path) -> None:
        user, password = self._to["user"], self._to.get("password") or ""
        (folder / "users").write_text(f'"{user}" "{password}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": str(folder),
            "auth_type": "scram-sha-256",
            "auth_file": str(folder / "users"),
            "auth_user": str(user),  # it looks up the passwords of all others
            "pool_mode": "transaction",
            "max_client_conn": "500",
            "default_pool_size": "20",
            "admin_users": str(user),
            **self._settings,
        }
        lines = ["[databases]", f"* = host={self._to['host']} port={self._to['port']}"]
        lines += ["[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
        (folder / "pooler.ini").write_text("\n".join(lines) + "\n")

    def _is_ready(self, folder: Path) -> bool:
        # Its own console knows the login: any other would be looked up in a database first.
        console = f"dbname=pgbouncer user='{self._to['user']}' connect_timeout=2"
        asked = f"host='{folder}' port={self.port} {console}".encode()
        for _ in range(int(START_SECONDS / _PAUSE_SECONDS)):
            if PGconn.ping(asked) == Ping.OK:
                return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._process is None or self._process.wait(_PAUSE_SECONDS) is not None:
                    return False
        return False


@contextlib.contextmanager
def pooling(server: Server, settings: Mapping[str, str] | None = None) -> Iterator[PgBouncer]:
    """A started PgBouncer for the life of the block; a test on a machine without ends here."""
    try:
        started = PgBouncer(server, settings).start()
    except PackageMissingError as error:
        lacking(error)
    try:
        yield started
    finally:
        started.stop()
