"""Who follows whom: mutants of edges, of the letters about them, and of retries."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
CHAINS: Final = "tests/integration/test_chains.py"
HELD: Final = "tests/integration/test_unblock.py"
ENDS: Final = "tests/conformance/test_chains.py"

MUTANTS: Final = (
    Mutant(
        name="X110",
        says="a mark is set where somebody else may have taken the parent already",
        file=f"{FUNCTIONS}/mark_followed.1.sql",
        old="if perdure.placed_here(task) then",
        new="if true then",
        tests=CHAINS,
        red=("test_promotion_turns_letters_into_marks_that_every_claim_sees",),
    ),
    Mutant(
        name="X111",
        says="a claim that looked before a mark takes the task without it",
        file=f"{FUNCTIONS}/obey.1.sql",
        old="if place = 'ready' then\n                    perform perdure.take_out",
        new="if false then\n                    perform perdure.take_out",
        tests=CHAINS,
        red=("test_promotion_turns_letters_into_marks_that_every_claim_sees",),
    ),
    Mutant(
        name="X112",
        says="a retry forgets who follows the end that it takes back",
        file=f"{FUNCTIONS}/requeue.1.sql",
        old="    perform perdure.unblock(task.id);\n",
        new="",
        tests=CHAINS,
        red=("test_a_follower_that_an_end_was_hiding_is_told_before_a_retry_undoes_it",),
    ),
    Mutant(
        name="X113",
        says="retention removes what a task that lives has to read",
        file=f"{FUNCTIONS}/still_needed.1.sql",
        old="select from perdure.inputs as i where i.after_id = task",
        new="select from perdure.inputs as i where false and i.after_id = task",
        tests=CHAINS,
        red=("test_a_parent_stays_as_long_as_a_live_task_follows_it",),
    ),
    Mutant(
        name="X114",
        says="a worker does not hear who follows what it runs",
        file=f"{FUNCTIONS}/beat.1.sql",
        old="in ('cancel', 'replaced', 'follower')",
        new="in ('cancel', 'replaced')",
        tests=CHAINS,
        red=("test_a_running_task_is_followed_from_outside_and_by_its_own_handler",),
    ),
    Mutant(
        name="X115",
        says="what follows another bad end, too, is put back with the rest",
        file=f"{FUNCTIONS}/requeue.1.sql",
        old="if doom is not null and not anyway then",
        new="if false then",
        tests=ENDS,
        red=("test_a_retry_with_dependents_lets_the_chain_complete",),
    ),
    Mutant(
        name="X116",
        says="a producer may follow, and read, what is not its to see",
        file=f"{FUNCTIONS}/link.1.sql",
        old="(p.enqueued_by = session_user or perdure.sees(p.enqueued_by)) is not true",
        new="false",
        tests=CHAINS,
        red=("test_a_producer_follows_no_task_that_it_may_not_see",),
    ),
    Mutant(
        name="X117",
        says="the end of a parent waits for whoever has locked a follower",
        file=f"{FUNCTIONS}/unblock.1.sql",
        old="where w.task_id = f.task_id for update skip locked",
        new="where w.task_id = f.task_id for update",
        tests=HELD,
        red=("test_a_follower_that_an_open_transaction_holds_is_not_waited_for",),
    ),
    Mutant(
        name="X118",
        says="nobody comes back to a follower that was locked at the end of its parent",
        file=f"{FUNCTIONS}/unblock.1.sql",
        old="select i.id, 'follower' from unnest(told) as i (id)\n        where (",
        new="select i.id, 'follower' from unnest(told) as i (id)\n        where false and (",
        tests=HELD,
        red=("test_a_follower_that_an_open_transaction_holds_is_not_waited_for",),
    ),
)
