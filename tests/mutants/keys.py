"""Lines of a unique key: mutants of who stands behind whom, and of how long a key is held."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
LINES: Final = "tests/integration/test_unique_keys.py"
LEAVING: Final = "tests/integration/test_leaving_lines.py"

MUTANTS: Final = (
    Mutant(
        name="X130",
        says="who is cancelled in a line lets those behind it pass",
        file=f"{FUNCTIONS}/end_unrun.1.sql",
        old="perform perdure.leave_line(task);",
        new="",
        tests=LINES,
        red=("test_who_leaves_a_line_hands_on_its_place_in_it",),
    ),
    Mutant(
        name="X131",
        says="who leaves a line need not have seen all that are behind it",
        file=f"{FUNCTIONS}/line_up.1.sql",
        old="update perdure.waiting as w set blockers = w.blockers where w.task_id = before;",
        new="",
        tests=LINES,
        red=("test_who_cannot_see_that_one_has_been_appended_cannot_leave_the_line",),
    ),
    Mutant(
        name="X272",
        says="a task of a line keeps the number that it drew before it got the key",
        file=f"{FUNCTIONS}/hold_key.1.sql",
        old="new_id := nextval('tasks_id_seq');",
        new="null;",
        tests=LINES,
        red=("test_who_drew_an_earlier_number_before_it_got_the_key_draws_a_later_one",),
    ),
    Mutant(
        name="X132",
        says="a task that was told to stop holds its key, although it runs no more",
        file=f"{FUNCTIONS}/hold_key.1.sql",
        old="or place <> 'ended' and told is null;",
        new="or place <> 'ended';",
        tests=LINES,
        red=("test_who_was_told_to_stop_and_does_not_run_any_more_holds_no_key",),
    ),
    Mutant(
        name="X133",
        says="retention forgets a task whose key is held after its end",
        file=f"{FUNCTIONS}/still_needed.1.sql",
        old="ended_at > (select clock_timestamp()) - k.held_for",
        new="false",
        tests=LINES,
        red=("test_retention_keeps_a_task_while_its_key_is_held_after_the_end",),
    ),
    Mutant(
        name="X134",
        says="a repeated update undoes what was changed since",
        file=f"{FUNCTIONS}/enqueue.1.sql",
        old="if answer = 'updated' and not repeated then",
        new="if answer = 'updated' then",
        tests=LINES,
        red=("test_a_request_that_comes_again_is_answered_as_it_was",),
    ),
    Mutant(
        name="X135",
        says="of neighbours that leave a line at once one need not see the other",
        file=f"{FUNCTIONS}/leave_line.1.sql",
        old="order by e.after_id for update;",
        new="order by e.after_id;",
        tests=LEAVING,
        red=("test_of_neighbours_that_leave_at_once_each_hands_its_place_on",),
    ),
    Mutant(
        name="X136",
        says="the end of a parent waits for whoever leaves a line in an open transaction",
        file=f"{FUNCTIONS}/unblock.1.sql",
        old="where not f.doomed or perdure.line_at_hand(w.task_id)",
        new="where true",
        tests=LEAVING,
        red=("test_no_worker_waits_for_who_leaves_a_line_in_an_open_transaction",),
    ),
    Mutant(
        name="X137",
        says="who follows the one before it in a chain, too, stands in no line",
        file=f"{FUNCTIONS}/link.1.sql",
        old="do update set rule = excluded.rule",
        new="do update set rule = excluded.rule, kind = excluded.kind",
        tests=LEAVING,
        red=(
            "test_who_follows_the_one_before_it_in_a_chain_too_stays_in_the_line",
            "test_who_ends_with_the_one_before_it_in_chain_and_line_hands_the_place_on",
        ),
    ),
    Mutant(
        name="X138",
        says="a key is free at the end of its task, however long it was to be held",
        file=f"{FUNCTIONS}/hold_key.1.sql",
        old="recent := place is null and exists (",
        new="recent := false and exists (",
        tests="tests/conformance/test_unique_key_lines.py",
        red=("test_a_key_may_be_held_after_the_end_and_may_be_refused",),
    ),
)
