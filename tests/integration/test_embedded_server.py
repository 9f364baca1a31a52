"""A PostgreSQL of our own: started, stopped, killed, kept, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.faults.watch import command_lines

from perdure.embedded import EmbeddedServer
from perdure.embedded import server as server_module
from perdure.embedded.binaries import Binaries, find_binaries
from perdure.embedded.process import Identity, unprivileged
from perdure.errors import EmbeddedServerError

SETTINGS = {"fsync": "off"}


def all_binaries() -> list[Binaries]:
    """One of each supported major that this machine has."""
    found = []
    for major in range(15, 19):
        with contextlib.suppress(EmbeddedServerError):
            found.append(find_binaries(major=major))
    return found


def identities() -> list[Identity]:
    """Every way to run a server here: root has two."""
    nobody = pwd.getpwnam("nobody")
    as_nobody = Identity(user=nobody.pw_uid, group=nobody.pw_gid)
    return list(dict.fromkeys([unprivileged(), *([as_nobody] if os.geteuid() == 0 else [])]))


def ask(server: EmbeddedServer, text: str) -> Any:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        return (cursor.fetchone() or [None])[0] if cursor.description else None


def lives(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that the user nobody can reach, and that ends up empty."""
    with tempfile.TemporaryDirectory(prefix="perdure-test-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        monkeypatch.setattr(tempfile, "tempdir", name)
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)
        assert list(Path(name).glob("perdure-pg-*")) == []


@pytest.mark.parametrize("binaries", all_binaries(), ids=lambda found: found.version)
def test_every_major_sorts_by_bytes_and_knows_letters(binaries: Binaries) -> None:
    with EmbeddedServer(binaries=binaries.folder, settings=SETTINGS) as server:
        assert server.version == binaries.version
        assert ask(server, "show server_version").startswith(binaries.version)
        assert ask(server, "select 'B' < 'a' and lower('Ä') = 'ä'") is True
        assert ask(server, "show server_encoding") == "UTF8"
        assert ask(server, "show fsync") == "off"
        assert ask(server, "show shared_preload_libraries") == "pg_stat_statements"


@pytest.mark.parametrize("identity", identities(), ids=str)
def test_each_identity_can_run_it_twice(
    identity: Identity, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "unprivileged", lambda: identity)
    kept = temporary / "kept"
    with EmbeddedServer(data_dir=kept, settings=SETTINGS) as server:
        ask(server, "create table remembered as select 42 as answer")
    with EmbeddedServer(settings=SETTINGS) as server:
        assert ask(server, "select to_regclass('remembered')") is None
    with EmbeddedServer(data_dir=kept, settings=SETTINGS) as server:
        assert ask(server, "select answer from remembered") == 42


def test_data_kept_by_one_identity_is_taken_over_by_another(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, identity in enumerate([*identities(), *identities()]):
        monkeypatch.setattr(server_module, "unprivileged", lambda chosen=identity: chosen)
        with EmbeddedServer(data_dir=temporary / "kept", settings=SETTINGS) as server:
            ask(server, f"create table of_{number} ()")
            assert ask(server, "select to_regclass('of_0')") == "of_0"


def test_a_restart_keeps_port_and_data_and_takes_settings() -> None:
    with EmbeddedServer(settings=SETTINGS) as server:
        port, pid = server.port, server.pid
        ask(server, "create table remembered as select 42 as answer")

        server.restart("immediate", settings={"work_mem": "7MB"})

        assert (server.port, server.pid != pid) == (port, True)
        assert ask(server, "select answer from remembered") == 42
        assert (ask(server, "show work_mem"), ask(server, "show fsync")) == ("7MB", "off")
        assert "not properly shut down" in server.log


def test_a_killed_server_is_started_again() -> None:
    with EmbeddedServer(settings=SETTINGS) as server:
        ask(server, "create table remembered as select 42 as answer")
        killed = server.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
        assert server.pid is None

        server.start()

        assert ask(server, "select answer from remembered") == 42


def test_starting_and_stopping_twice_is_like_once(temporary: Path) -> None:
    server = EmbeddedServer(settings=SETTINGS).start()
    pid = server.pid
    assert pid is not None

    assert server.start().pid == pid
    server.stop()
    server.stop()

    assert not lives(pid)
    assert list(temporary.iterdir()) == []


def test_a_stopped_object_starts_with_new_data() -> None:
    server = EmbeddedServer(settings=SETTINGS).start()
    ask(server, "create table forgotten ()")
    server.stop()

    with server:
        assert ask(server, "select to_regclass('forgotten')") is None


def test_the_password_is_needed_and_in_no_command_line() -> None:
    with EmbeddedServer(settings=SETTINGS) as server:
        password = conninfo_to_dict(server.dsn())["password"]
        assert len(str(password)) > 20
        assert str(password) not in command_lines()
        wrong = make_conninfo(server.dsn(), password="wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)


def test_a_database_of_any_name_is_reached() -> None:
    with EmbeddedServer(settings=SETTINGS) as server:
        ask(server, 'create database "a/b ?%41"')
        with psycopg.connect(server.dsn("a/b ?%41")) as connection:
            assert connection.info.dbname == "a/b ?%41"


def test_a_port_that_was_taken_meanwhile_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    free = server_module.free_port()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        ports = iter([stranger.getsockname()[1], free])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports))

        with EmbeddedServer(settings=SETTINGS) as server:
            assert server.port == free
            assert ask(server, "select 1") == 1


def test_a_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(EmbeddedServerError, match=rf"(?s)on port {port};.*could not bind"):
            EmbeddedServer(port=port, settings=SETTINGS).start()


def test_a_wrong_setting_is_shown_from_the_log() -> None:
    with pytest.raises(EmbeddedServerError, match="unrecognized configuration parameter"):
        EmbeddedServer(settings={"no_such_setting": "1"}).start()


def test_a_folder_of_somebody_else_is_refused_and_left_alone(temporary: Path) -> None:
    theirs = temporary / "theirs"
    theirs.mkdir()
    (theirs / "letter").write_text("dear")

    with pytest.raises(EmbeddedServerError, match="not empty and not ours"):
        EmbeddedServer(data_dir=theirs).start()
    assert (theirs / "letter").read_text() == "dear"


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(temporary: Path) -> None:
    (temporary / "file").touch()

    with pytest.raises(EmbeddedServerError, match=r"Not a directory.*name another data_dir"):
        EmbeddedServer(data_dir=temporary / "file" / "kept").start()


def test_data_that_was_not_made_to_the_end_is_made_again(temporary: Path) -> None:
    half = temporary / "kept.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("15\n")

    with EmbeddedServer(data_dir=temporary / "kept", settings=SETTINGS) as server:
        assert ask(server, "select 1") == 1
    assert not half.exists()


def test_kept_data_in_use_by_another_process_is_refused(temporary: Path) -> None:
    with EmbeddedServer(data_dir=temporary / "kept", settings=SETTINGS) as server:
        with pytest.raises(EmbeddedServerError, match=r'lock file "postmaster.pid" already exists'):
            EmbeddedServer(data_dir=temporary / "kept", settings=SETTINGS).start()
        assert ask(server, "select 1") == 1


def test_a_temporary_folder_with_a_long_name_is_not_used(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = temporary / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    with EmbeddedServer(settings=SETTINGS) as server:
        assert ask(server, "select 1") == 1
        assert list(long.iterdir()) == []


PROGRAM = """
import os, sys
from pathlib import Path
from perdure.embedded import EmbeddedServer

data = Path(sys.argv[2]) if len(sys.argv) > 2 else None
server = EmbeddedServer(settings={"fsync": "off"}, data_dir=data).start()
if sys.argv[1] == "fork":
    child = os.fork()
    if child == 0:
        sys.exit()
    os.waitpid(child, 0)
print(server.pid, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that owns a server, and the server's pid; it ends when its input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        yield owner, int(owner.stdout.readline())


def test_the_server_ends_with_its_interpreter() -> None:
    with program("exit") as (owner, pid):
        assert lives(pid)
        owner.communicate()
    assert (owner.returncode, lives(pid)) == (0, False)


def test_the_server_ends_with_its_process_on_sigterm() -> None:
    with program("exit") as (owner, pid):
        owner.terminate()
        owner.wait()
    assert (owner.returncode, lives(pid)) == (128 + signal.SIGTERM, False)


def test_a_forked_child_does_not_end_the_server() -> None:
    with program("fork") as (owner, pid):
        assert lives(pid)
        owner.communicate()
    assert not lives(pid)


def test_what_a_killed_process_left_behind_goes_at_the_next_start(temporary: Path) -> None:
    with program("exit") as (living, used):
        with program("exit") as (owner, pid):
            owner.kill()
            owner.wait()
        assert lives(pid)
        assert len(list(temporary.iterdir())) == 2

        with EmbeddedServer(settings=SETTINGS):
            assert (lives(pid), lives(used)) == (False, True)
            assert len(list(temporary.iterdir())) == 2
        living.communicate()


def test_kept_data_of_a_killed_process_is_started_again(temporary: Path) -> None:
    with program("exit", str(temporary / "kept")) as (owner, pid):
        owner.kill()
        owner.wait()
    assert lives(pid)

    with EmbeddedServer(data_dir=temporary / "kept", settings=SETTINGS) as server:
        assert not lives(pid)
        assert ask(server, "select 1") == 1


def test_sigterm_is_handled_until_the_last_server_has_stopped() -> None:
    with EmbeddedServer(settings=SETTINGS):
        handler = signal.getsignal(signal.SIGTERM)
        with EmbeddedServer(settings=SETTINGS):
            pass
        assert signal.getsignal(signal.SIGTERM) is handler


def test_the_handling_of_sigterm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with EmbeddedServer(settings=SETTINGS):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is before
