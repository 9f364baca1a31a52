"""EmbeddedServer: makes its data, starts, restarts and stops, and leaves nothing behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import ClassVar, Final, Literal, Self
from urllib.parse import quote

from psycopg.pq import PGconn, Ping

from perdure.embedded.binaries import Binaries, find_binaries
from perdure.embedded.folder import RunFolder, remove_abandoned
from perdure.embedded.process import Identity, unprivileged
from perdure.errors import EmbeddedServerError

StopMode = Literal["fast", "immediate"]

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0  # before each harsher signal
PORT_TRIES: Final = 20

_PASSWORD_FILE: Final = "perdure.password"  # noqa: S105  (a file's name)
_PAUSE_SECONDS: Final = 0.02


class EmbeddedServer:
    """One PostgreSQL server on 127.0.0.1 that lives no longer than this process.

    `data_dir`: None keeps the data in a temporary folder that `stop()` removes; a path is made when
    it is missing or empty, kept, and used again by the next start. `settings`: names and values for
    the server, over ours. `binaries`: the folder of its programs, default: `find_binaries()`.
    `port`: default: a free one, kept over restarts of this object.

    The server is stopped at the end of a `with` block, at interpreter exit, and on SIGTERM if the
    main thread starts it and SIGTERM had no handler. An object is for one thread at a time.
    """

    _at_work: ClassVar[set[EmbeddedServer]] = set()
    """Those of this process that have not been stopped: the last one puts SIGTERM back."""

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        port: int | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute() if data_dir else None
        self.settings: Mapping[str, str] = dict(settings or {})
        self.port = port
        self._port_is_fixed = port is not None
        self._folder = binaries
        self._binaries: Binaries | None = None
        self._identity = Identity()
        self._password = ""
        self._home: RunFolder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @property
    def binaries(self) -> Binaries:
        """The programs that are used; searched at the first call, raises EmbeddedServerError."""
        if self._binaries is None:
            self._binaries = find_binaries(self._folder, major=self._major_of_data())
        return self._binaries

    @property
    def version(self) -> str:
        """The server's version, such as `15.18`."""
        return self.binaries.version

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster while it runs, else None."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    @property
    def log(self) -> str:
        """What the server has written since `start()`; empty once it was stopped."""
        return self._home.log.read_text(errors="replace") if self._home else ""

    def dsn(self, database: str = "postgres") -> str:
        """A URL, password included; raises EmbeddedServerError before the first start."""
        if self.port is None or not self._password:
            raise EmbeddedServerError("the embedded server has no DSN yet: call start() first")
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{quote(database, '')}"

    def start(self) -> Self:
        """Make the data folder if there is none, start, return when connections are answered.

        A second call while the server runs does nothing; after a crash of the server it is started
        again. Raises EmbeddedServerError with the end of the server's log.
        """
        if self.pid is not None:
            return self
        try:
            home = self._home or self._move_in()
            self._make_data(home)
            self._launch(home)
        except OSError as error:
            self.stop("immediate")
            raise EmbeddedServerError(
                f"no embedded server, because of its files: {error}; name another data_dir, or "
                "another folder for temporary files (TMPDIR)"
            ) from error
        except BaseException:
            self.stop("immediate")
            raise
        return self

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server and remove its temporary folder; does nothing when it does not run.

        `fast` ends sessions and writes a checkpoint, `immediate` is a crash that the next start
        recovers from. Each is followed by harsher signals when it takes longer than 10 s.
        """
        self._end(mode)
        if self._home is not None:
            self._home.remove()
            self._home = None
        atexit.unregister(self._stop_at_exit)
        self._at_work.discard(self)
        if not self._at_work:
            _restore_sigterm()

    def restart(self, mode: StopMode = "fast", settings: Mapping[str, str] | None = None) -> None:
        """Stop and start on the same data and port, with `settings` put over those it had."""
        self.settings = {**self.settings, **(settings or {})}
        self._end(mode)
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._owner:  # a forked child inherits this object, not the server
            self.stop()

    def _move_in(self) -> RunFolder:
        remove_abandoned()
        self._identity = unprivileged()
        self._home = RunFolder.make(self._identity)
        self._owner = os.getpid()
        atexit.register(self._stop_at_exit)
        self._at_work.add(self)
        _exit_on_sigterm()
        return self._home

    def _major_of_data(self) -> int | None:
        try:
            return int((self.data_dir / "PG_VERSION").read_text()) if self.data_dir else None
        except FileNotFoundError:
            return None

    def _make_data(self, home: RunFolder) -> None:
        """Run initdb beside the data folder and rename: one that was interrupted is never used."""
        if not home.data.exists() and self.data_dir is not None:
            home.data.symlink_to(self.data_dir)
        data = self.data_dir or home.data
        if (data / _PASSWORD_FILE).exists():
            self._password = (data / _PASSWORD_FILE).read_text()
            self._identity.give(data)
            return
        if data.exists() and any(data.iterdir()):
            raise EmbeddedServerError(f"{data} is not empty and not ours: name another data_dir")
        new = data.with_name(f"{data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        self._identity.give(new)
        self._password = secrets.token_urlsafe(24)
        self._initdb(home, new)
        (new / _PASSWORD_FILE).write_text(self._password)
        (new / _PASSWORD_FILE).chmod(0o600)
        new.rename(data)

    def _initdb(self, home: RunFolder, data: Path) -> None:
        """Make a cluster that sorts alike everywhere: by bytes, with the letters of Unicode."""
        secret = home.work / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        self._identity.give(secret)
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        modern = self.binaries.major >= 17  # noqa: PLR2004  (where the builtin provider came)
        for locale in [builtin] if modern else [["--locale=C.UTF-8"], ["--locale=C"]]:
            command = [str(self.binaries.folder / "initdb"), "-D", str(data), "-U", "postgres"]
            command += ["-E", "UTF8", "-A", "scram-sha-256", f"--pwfile={secret}"]
            command += ["--no-sync", "--no-instructions", *locale]
            if self._identity.popen(command, home.output).wait() == 0:
                secret.unlink()
                return
        raise EmbeddedServerError(f"initdb failed in {data}:\n{home.tail()}")

    def _launch(self, home: RunFolder) -> None:
        for _ in range(PORT_TRIES):
            if not self._port_is_fixed:
                self.port = free_port()
            since = home.log.stat().st_size
            self._process = self._identity.popen(self._command(home), home.output)
            if self._is_ready(home):
                self._port_is_fixed = True
                return
            said = home.log.read_bytes()[since:]
            # The port was taken meanwhile, or children of a killed postmaster are still ending.
            if b"could not bind" not in said and b"is still in use" not in said:
                break
        raise EmbeddedServerError(
            f"PostgreSQL {self.version} of {self.binaries.folder} did not start on port "
            f"{self.port}; the end of its log:\n{home.tail()}"
        )

    def _command(self, home: RunFolder) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(home.work),
            **(
                {"shared_preload_libraries": "pg_stat_statements"} if self._has_statistics() else {}
            ),
            **self.settings,
        }
        command = [str(self.binaries.folder / "postgres"), "-D", str(home.data)]
        command += ["-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _has_statistics(self) -> bool:
        """Whether contrib is there: some packages of binaries come without."""
        return any((self.binaries.folder.parent / "lib").rglob("pg_stat_statements.so"))

    def _is_ready(self, home: RunFolder) -> bool:
        """Wait until the server answers (True), or has ended (False), or the bound has passed.

        Asked on its socket, which nobody else can own: on the port a stranger might answer.
        """
        process = self._process
        asked = f"host='{home.work}' port={self.port} connect_timeout=2".encode()
        for _ in range(int(START_SECONDS / _PAUSE_SECONDS)):
            if PGconn.ping(asked) == Ping.OK:
                return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                if process is None or process.wait(_PAUSE_SECONDS) is not None:
                    return False
        return False

    def _end(self, mode: StopMode) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        signals = [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]
        for number in signals[mode == "immediate" :]:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
                return


def free_port() -> int:
    """A port that is free now, below those that the system hands to outgoing connections.

    One of those could be taken by any client while the server restarts, even by a client of this
    very port that connects to itself.
    """
    for _ in range(PORT_TRIES):
        port = 15_000 + secrets.randbelow(17_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedServerError("no free port between 15000 and 32000 was found: pass port=")


def _exit_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit, so that exit handlers run, where nobody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def _restore_sigterm() -> None:
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is _exit:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
