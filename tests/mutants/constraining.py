"""Constraints, deadlines and expiry: mutants of what holds tasks back and lets them go."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

ALARMS: Final = "tests/integration/test_alarms.py"
CONFORMANCE: Final = "tests/conformance/test_constraints.py"
SERVE: Final = "migrations/sql/functions/serve_alarms.1.sql"

MUTANTS: Final = (
    Mutant(
        name="X67a",
        says="an alarm waits for whoever has locked the row of its task",
        file=SERVE,
        old="where w.task_id = i for update skip locked) as w",
        new="where w.task_id = i for update) as w",
        tests=ALARMS,
        red=("test_an_open_transaction_puts_an_expiry_off_and_holds_up_no_promotion",),
    ),
    Mutant(
        name="X67b",
        says="an alarm that finds its task leased is forgotten",
        file=SERVE,
        old="a.task_id = any (waits || readies || ended) and",
        new="a.task_id = any (due) and",
        tests=ALARMS,
        red=("test_what_is_leased_keeps_its_alarms_for_when_it_comes_back_unstarted",),
    ),
    Mutant(
        name="X67c",
        says="a task that was interrupted after its expiry does not go on",
        file=SERVE,
        old="(coalesce(p.attempt, 0) = 0 or p.reason in ('retry', 'requeued'))",
        new="true",
        tests=ALARMS,
        red=("test_what_expires_is_what_the_rule_says",),
    ),
    Mutant(
        name="X67d",
        says="a retry waits in the lane that its task had before its deadline",
        file="migrations/sql/functions/place.1.sql",
        old="case when t.deadline_at <= now_at then '{}' when",
        new="case when",
        tests=CONFORMANCE,
        red=("test_from_its_deadline_on_a_task_runs_without_its_constraints",),
    ),
    Mutant(
        name="X67e",
        says="what waits for a slot starts though its constraint is lost",
        file="service/perdure/run/lanes.py",
        old="return lane in self._lacking",
        new="return False",
        tests="tests/integration/test_constraints.py",
        red=("test_what_waits_for_a_slot_goes_back_when_its_constraint_is_lost",),
    ),
    Mutant(
        name="X67f",
        says="what runs is not asked to stop when its constraint is lost",
        file="service/perdure/run/constraints.py",
        old="if lost and not run.deadline_passed:",
        new="if False:",
        tests=CONFORMANCE,
        red=("test_a_loss_stops_what_runs_and_each_waits_longer_than_the_one_before",),
    ),
    Mutant(
        name="X67g",
        says="every interruption makes the next loss wait longer",
        file="service/perdure/tasks/decide.py",
        old="min(claimed.losses, 10)",
        new="min(claimed.interruptions, 10)",
        tests=CONFORMANCE,
        red=("test_other_interruptions_do_not_make_a_loss_wait",),
    ),
)
