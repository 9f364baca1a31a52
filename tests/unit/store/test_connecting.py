"""What is said of a connection that could not be made: where, as whom, why, what to do."""

from __future__ import annotations

import psycopg
import pytest

from perdure.store.connecting import unreachable
from perdure.store.faults import describe

PLACE = {"host": "db.example", "port": "5433", "user": "me", "password": "h0rse", "dbname": "app"}
SERVER = 'connection failed: connection to server at "10.0.0.7", port 5433 failed: '


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            SERVER + "Connection refused\n\tIs the server running on that host?",
            "Connection refused; is PostgreSQL running there? check host and port",
        ),
        (
            SERVER + 'FATAL:  password authentication failed for user "me"',
            'password authentication failed for user "me"; check user and password',
        ),
        (
            SERVER + 'FATAL:  database "app" does not exist',
            'database "app" does not exist; create the database, or name another',
        ),
        (
            "failed to resolve host 'db.example': [Errno -2] Name or service not known",
            "failed to resolve host 'db.example': [Errno -2] Name or service not known; check the",
        ),
        ("connection timeout expired", "connection timeout expired; nobody answers"),
        (
            SERVER + "FATAL:  sorry, too many clients already",
            "sorry, too many clients already; raise max_",
        ),
        ("something of a server's own", "something of a server's own; check the DSN"),
        ("", "OSError; check the DSN"),
    ],
)
def test_where_as_whom_why_and_what_to_do_are_one_line(said: str, reason: str) -> None:
    text = str(unreachable(OSError(said), PLACE))
    assert text.startswith(f"could not connect to db.example:5433/app as me: {reason}")
    assert "\n" not in text


def test_of_several_hosts_each_says_its_own_reason() -> None:
    said = (
        'connection failed: connection to server at "b" (10.0.0.2), port 2 failed: Connection '
        "refused\n\tIs the server running?\nMultiple connection attempts failed. All failures were:"
        "\n- host: 'a': connection failed: connection to server at \"a\" (10.0.0.1), port 1 failed:"
        " FATAL:  session is read-only\n- host: 'b': connection failed: connection to server at "
        '"b" (10.0.0.2), port 2 failed: Connection refused\n\tIs the server running?'
    )
    text = str(unreachable(OSError(said), {"host": "a,b", "port": "1,2", "dbname": "app"}))
    assert text.startswith(
        "could not connect to a:1,b:2/app: Connection refused (b:2), session is read-only (a:1); "
    )


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"service": "shop"}, "service=shop"),
        ({}, "(local socket)/"),
        ({"host": "/run/pg", "dbname": "app"}, "%2Frun%2Fpg/app"),
    ],
)
def test_a_place_is_named_as_far_as_it_was_given(parameters: dict[str, str], place: str) -> None:
    text = str(unreachable(OSError("no"), parameters))
    assert text.startswith(f"could not connect to {place}: no")


def test_a_password_is_masked_in_every_spelling_and_the_text_is_cut() -> None:
    said = "bad: h0rse postgresql://me:h0rse@db/app password='h0rse' " + "x" * 10_000
    text = str(unreachable(OSError(said), PLACE))
    assert "h0rse" not in text
    assert len(text) < 1_000


def test_a_lost_connection_and_a_statement_that_may_be_repeated_say_what_happened() -> None:
    lost = psycopg.OperationalError("server closed the connection\n\tThis probably means")
    assert describe(lost) == "the connection was lost: server closed the connection"
    masked = psycopg.OperationalError("bad postgresql://me:h0rse@db/app")
    assert "h0rse" not in describe(masked)
    deadlock = describe(psycopg.errors.DeadlockDetected("deadlock detected"))
    assert "SQLSTATE 40P01" in deadlock
    assert "connection" not in deadlock
