"""Mutants of schedules, and of what is due at a time."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
BESIDE: Final = "tests/concurrency/test_schedules.py"
EXACT: Final = "tests/integration/test_exact_times.py"

MUTANTS: Final = (
    Mutant(
        name="X29",
        says="what was decided of a schedule is written to a row that has changed since",
        file=f"{FUNCTIONS}/fire.1.sql",
        old="where s.xmin::text = d.version order by",
        new="where true order by",
        tests=BESIDE,
        red=("test_what_was_decided_of_an_older_row_is_not_written",),
    ),
    Mutant(
        name="X29b",
        says="a look waits for whoever holds a schedule",
        file=f"{FUNCTIONS}/fire.1.sql",
        old="for update of s skip locked",
        new="for update of s",
        tests=BESIDE,
        red=("test_a_look_passes_over_what_an_open_transaction_holds",),
    ),
    Mutant(
        name="X29c",
        says="nobody is told of what is due before the next look",
        file=f"{FUNCTIONS}/wake_at.1.sql",
        old="if exists (select from perdure.workers)\n",
        new="if false\n",
        tests=EXACT,
        red=("test_what_is_due_before_anybody_looks_again_is_served_at_its_time",),
    ),
    Mutant(
        name="X29d",
        says="each promotion puts off the next one",
        file="service/perdure/run/duties.py",
        old="            if due > 0:\n",
        new="            if due > 3600:\n",
        tests=EXACT,
        red=("test_what_is_due_next_does_not_wait_for_what_was_promoted",),
    ),
    Mutant(
        name="X29e",
        says="nobody is told of a delay that begins with the end of another task",
        file=f"{FUNCTIONS}/unblock.1.sql",
        old="if next_at is not null then",
        new="if false then",
        tests=EXACT,
        red=("test_a_time_that_is_moved_or_only_now_begins_to_count_is_told_as_well",),
    ),
    Mutant(
        name="X29f",
        says="who queues waits for one that leaves the line, and for nobody before it",
        file=f"{FUNCTIONS}/occur.1.sql",
        old="if not perdure.at_hand(after[at]) then",
        new="if false then",
        tests=BESIDE,
        red=("test_who_queues_waits_for_all_that_live",),
    ),
    Mutant(
        name="X29p",
        says="the times of a trigger are written in the zone of the session",
        file=f"{FUNCTIONS}/put_schedule.1.sql",
        old="pg_temp set timezone = 'UTC' set",
        new="pg_temp set",
        tests="tests/integration/client/test_schedules.py",
        red=("test_the_same_moment_from_another_zone_is_the_same_trigger",),
    ),
    Mutant(
        name="X29q",
        says="a worker does not start beside whoever holds a schedule that it declares",
        file="service/perdure/run/putter.py",
        old="except LATER:",
        new="except ZeroDivisionError:",
        tests="tests/integration/test_declared_schedules.py",
        red=("test_what_an_open_transaction_holds_is_put_when_that_is_over",),
    ),
)
