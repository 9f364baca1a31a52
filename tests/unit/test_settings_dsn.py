"""DSNs: taken apart as libpq does, refused without an echo, masked in every spelling."""

from __future__ import annotations

from json import dumps
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some
from psycopg.conninfo import conninfo_to_dict

from perdure.errors import ConfigurationError
from perdure.settings import Settings, connection_parameters, load, mask, parse_dsn, redact
from perdure.settings.dsn import write_dsn

SECRET = "h0rse-b@tt'ery %\"staple\\"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("postgresql://", {}),
        ("postgresql:///d", {"dbname": "d"}),
        (
            "postgres://u:p%40w@h:5433/d",
            {"user": "u", "password": "p@w", "host": "h", "port": "5433", "dbname": "d"},
        ),
        (
            "postgresql+psycopg://u@h/d?sslmode=require",
            {"user": "u", "host": "h", "dbname": "d", "sslmode": "require"},
        ),
        ("postgresql://h1:1,h2:2/d", {"host": "h1,h2", "port": "1,2", "dbname": "d"}),
        ("postgresql://[::1]:5432/d", {"host": "::1", "port": "5432", "dbname": "d"}),
        (
            "postgresql://%2Ftmp%2Fpg/d?ssl=true",
            {"host": "/tmp/pg", "dbname": "d", "sslmode": "require"},
        ),
        (
            "host=h port=1 dbname='a b' password='it\\'s'",
            {"host": "h", "port": "1", "dbname": "a b", "password": "it's"},
        ),
        ("host = h password=a\\ b options=", {"host": "h", "password": "a b", "options": ""}),
    ],
)
def test_a_dsn_is_taken_apart_as_libpq_does(text: str, expected: dict[str, str]) -> None:
    assert parse_dsn(text) == expected
    as_libpq = conninfo_to_dict(text.replace("+psycopg", ""))
    assert {key: value for key, value in as_libpq.items() if value} == {
        key: value for key, value in expected.items() if value
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "postgresql//user:hunter2@host/db",
        "postgresql:/user:hunter2@host/db",
        "mysql://user:hunter2@host/db",
        "postgresql://user:hun@ter2@host/db",
        "postgresql://user:hunter2/x@host/db",
        "postgresql://user:123?hunter2@host/db",
        "postgresql://user:hunter2#@host/db",
        "postgresql://user:hunter2",
        "postgresql://user:@host",
        "postgresql://user:hunter2%@host/db",
        "postgresql://user:hunter2%ff@host/db",
        "postgresql://user:hunter2@host:port/db",
        "postgresql://user:hunter2@host:70000/db",
        "host=h1,h2,h3 port=1,2 password=hunter2",
        "postgresql://user:hunter2@[::1]x/db",
        "postgresql://user:hunter2@ho st/db",
        "postgresql://user:hunter2@host/db?sslmod=require",
        "postgresql://user:x@host/db?hunter2=require",
        "host=h password=x hunter2=3",
        "host=h password='hunter2",
        "host=h password=hunter2\nport=5",
        "postgres//u:hunter2?sslmode=require",
    ],
)
def test_a_mistyped_dsn_is_refused_without_repeating_its_password(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_dsn(text)
    assert "hun" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="1 problem:\n  - dsn ") as caught:
        load(builder={"dsn": text}, environ={})
    assert "hun" not in str(caught.value)


@given(some.text(max_size=60))
def test_any_text_as_dsn_is_read_or_refused(text: str) -> None:
    for dsn in (text, f"postgresql://{text}", f"host={text}"):
        try:
            found = parse_dsn(dsn)
        except ConfigurationError:
            continue
        assert parse_dsn(write_dsn(found) or "host=''") == (found or {"host": ""})


def test_connections_wait_for_bounded_times_and_the_dsn_has_the_last_word() -> None:
    settings = load(
        environ={"PERDURE_DSN": "postgresql://h/d?application_name=mine&connect_timeout=3"},
        builder={"execution.lease_duration": "6s"},
    ).settings
    assert connection_parameters(settings) == {
        "application_name": "mine",
        "connect_timeout": "3",
        "dbname": "d",
        "host": "h",
        "keepalives": 1,
        "keepalives_count": 3,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "target_session_attrs": "read-write",
        "tcp_user_timeout": 6_000,
    }
    assert connection_parameters(Settings())["connect_timeout"] == 10


def test_the_dsn_and_its_password_are_masked_in_every_spelling() -> None:
    dsn = f"postgresql://u:{quote(SECRET, safe='')}@h/d"
    settings = load(environ={"PERDURE_DSN": dsn}).settings
    for text in (dsn, SECRET, quote(SECRET), dumps({"p": SECRET}), repr(SECRET)):
        masked = mask(f"before {text} after", settings)
        assert "h0rse" not in masked
        assert masked.startswith("before ")
        assert masked.endswith(" after")


def test_what_looks_like_a_login_is_masked_without_any_settings() -> None:
    for text in (
        "postgresql//user:hunter2@host",
        "postgresql+asyncpg://user:hun@ter2@host",
        "connection failed: host=h password=hunter2 user=x",
        "password = 'hunter2 x'",
    ):
        assert "hunter2" not in mask(text)
    assert mask("task.completed name=a") == "task.completed name=a"


def test_values_of_keys_that_look_secret_are_masked_and_checkpoints_are_not() -> None:
    value = {
        "password": "x", "apiKey": "x", "user": {"auth_token": "x", "name": "y"},
        "page_token": "p7", "list": [{"client_secret": "x"}], "token": None,
    }  # fmt: skip
    assert redact(value) == {
        "password": "***", "apiKey": "***", "user": {"auth_token": "***", "name": "y"},
        "page_token": "p7", "list": [{"client_secret": "***"}], "token": None,
    }  # fmt: skip
