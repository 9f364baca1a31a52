"""Who sleeps in a transaction: mutants of what ends it."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
STATEMENTS: Final = "service/perdure/store/sql"
BY_HAND: Final = "tests/integration/test_functions.py"
IDLE: Final = "tests/integration/test_idle_transactions.py"

MUTANTS: Final = (
    Mutant(
        name="X15",
        says="a handler may sleep in a fenced transaction for as long as it likes",
        file=f"{FUNCTIONS}/fence.1.sql",
        old="    perform set_config('idle_in_transaction_session_timeout', ",
        new="    perform concat(",
        tests=BY_HAND,
        red=("test_the_fence_bounds_the_transaction_of_a_worker_said_to_be_dead",),
    ),
    Mutant(
        name="X15b",
        says="a worker that is frozen before a COMMIT keeps what it has locked",
        file=f"{STATEMENTS}/begin.sql",
        old="_session_timeout = %(milliseconds)s",
        new="_session_timeout = 0 -- %(milliseconds)s",
        tests=IDLE,
        red=("test_behind_a_pooler_the_server_ends_what_is_not_committed",),
    ),
    Mutant(
        name="X15c",
        says="what the server has ended for lying idle may have been committed",
        file="service/perdure/store/commit.py",
        old="error.sqlstate == _IDLE:",
        new="error.sqlstate is _IDLE and False:",
        tests=IDLE,
        red=("test_a_client_repeats_what_the_server_has_ended",),
    ),
)
