"""So many at once: mutants of who gets an instance, and of who hands it over."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
INSTANCES: Final = "tests/integration/test_instances.py"

MUTANTS: Final = (
    Mutant(
        name="X140",
        says="a beat takes a look for done while a holder leaves that has not seen who waits",
        file=f"{FUNCTIONS}/let_in.1.sql",
        old="where i.key = let_in.instance_key for no key update skip locked)",
        new="where i.key = let_in.instance_key)",
        tests=INSTANCES,
        red=("test_an_instance_that_comes_free_beside_an_enqueue_is_found_by_a_beat",),
    ),
    Mutant(
        name="X141",
        says="nobody comes back to a key that was full at the commit of who waits for it",
        file=f"{FUNCTIONS}/let_in.1.sql",
        old="answer := 'full';",
        new="answer := 'served';",
        tests=INSTANCES,
        red=("test_an_instance_that_comes_free_beside_an_enqueue_is_found_by_a_beat",),
    ),
    Mutant(
        name="X142",
        says="who leaves forgets those that it has passed over because they were locked",
        file=f"{FUNCTIONS}/hand_over.1.sql",
        old="select held.key where not calm or perdure.first",
        new="select held.key where not calm or false and perdure.first",
        tests=INSTANCES,
        red=("test_who_waits_and_is_locked_is_passed_over_and_not_forgotten",),
    ),
    Mutant(
        name="X143",
        says="who reads as of its beginning hands an instance on as if it saw who waits now",
        file=f"{FUNCTIONS}/hand_over.1.sql",
        old="current_setting('transaction_isolation') = 'read committed'",
        new="true",
        tests=INSTANCES,
        red=("test_a_transaction_that_reads_as_of_its_beginning_leaves_the_look_to_a_beat",),
    ),
    Mutant(
        name="X144",
        says="who needs another key by now is handed one all the same, and hands it on at once",
        file=f"{FUNCTIONS}/hand_over.1.sql",
        old="(array[next]) as k where k.instance_key = held.key)",
        new="(array[next]) as k)",
        tests=INSTANCES,
        red=("test_an_end_while_a_long_line_asks_anew_hands_nothing_down_the_line",),
    ),
    Mutant(
        name="X145",
        says="a task keeps its instance while it waits for something else",
        file=f"{FUNCTIONS}/seat.1.sql",
        old="if one.held is not null and (one.waits or one.held is distinct",
        new="if one.held is not null and (false or one.held is distinct",
        tests="tests/conformance/test_instances.py",
        red=("test_a_task_that_is_retried_or_suspended_holds_no_instance",),
    ),
    Mutant(
        name="X273",
        says="who waits for an instance is looked for among all that wait for any",
        file=f"{FUNCTIONS}/first_waiting.1.sql",
        old="""w.instance_key between first_waiting.instance_key and first_waiting.instance_key
        order by w.instance_key, w.task_id""",
        new="""w.instance_key = first_waiting.instance_key
        order by w.task_id""",
        tests="tests/integration/test_plans.py",
        red=("test_who_waits_for_an_instance_is_found_by_the_key_however_many_wait_for_another",),
    ),
    Mutant(
        name="X274",
        says="numbers that are held are offered again, and those between are not",
        file=f"{FUNCTIONS}/let_in.1.sql",
        old="where n not in (select o.number from used as o)",
        new="",
        tests=INSTANCES,
        red=("test_many_are_let_in_together_and_the_numbers_between_are_given_again",),
    ),
    Mutant(
        name="X275",
        says="a beat is done with a full key although somebody raises its limit just now",
        file=f"{FUNCTIONS}/let_in.1.sql",
        old="let_in.instance_key, ' ', 1) for share skip locked)",
        new="let_in.instance_key, ' ', 1))",
        tests="tests/concurrency/test_instances.py",
        red=("test_a_limit_that_is_raised_beside_a_look_is_looked_at_once_more",),
    ),
    Mutant(
        name="X276",
        says="one look of a beat lets in all who wait for any key, however long that takes",
        file=f"{FUNCTIONS}/serve_openings.1.sql",
        old="exit when late = 10 or placed >= at_most;",
        new="exit when late = 10;",
        tests=INSTANCES,
        red=("test_one_look_of_a_beat_lets_in_some_and_the_next_goes_on",),
    ),
    Mutant(
        name="X277",
        says="who changes a limit looks at every key of it at its commit",
        file=f"{FUNCTIONS}/register_types.1.sql",
        old="select distinct w.instance_key, false from",
        new="select distinct w.instance_key, true from",
        tests=INSTANCES,
        red=("test_a_limit_that_changes_leaves_all_looks_to_the_beats",),
    ),
    Mutant(
        name="X278",
        says="an occurrence that lives again does not count for the overlap of its schedule",
        file=f"{FUNCTIONS}/requeue.1.sql",
        old="where s.key = task.schedule_key and s.oldest_live > task.id;",
        new="where false and s.key = task.schedule_key and s.oldest_live > task.id;",
        tests="tests/concurrency/test_schedules.py",
        red=("test_a_retry_of_an_occurrence_waits_for_who_holds_its_schedule",),
    ),
    Mutant(
        name="X279",
        says="the tasks of a schedule are looked for among those of all",
        file=f"{FUNCTIONS}/first_live.1.sql",
        old="between key and key and t.id >= since order by t.schedule_key, t.id limit at_most",
        new="= key and t.id >= since order by t.id limit at_most",
        tests="tests/integration/test_plans.py",
        red=("test_what_a_schedule_has_made_is_found_by_its_key_however_many_others_have",),
    ),
)
