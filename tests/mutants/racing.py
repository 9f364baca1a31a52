"""Operations that meet: mutants of the order of their locks, and of looks under a lock."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
ORDER: Final = "tests/concurrency/test_lock_order.py"
FOLLOWING: Final = "tests/concurrency/test_following.py"
INSTANCES: Final = "tests/integration/test_instances.py"
SCHEDULES: Final = "tests/concurrency/test_schedules.py"

MUTANTS: Final = (
    Mutant(
        name="X260",
        says="several tasks are locked in any order",
        file=f"{FUNCTIONS}/lock_tasks.1.sql",
        old="from unnest(ids) as i order by i loop",
        new="from unnest(ids) as i order by i desc loop",
        tests=ORDER,
        red=("test_who_has_to_wait_for_one_holds_none_that_comes_after_it",),
    ),
    Mutant(
        name="X261",
        says="a replace locks the last of its line first",
        file=f"{FUNCTIONS}/hold_key.1.sql",
        old="if policy = 'replace' or exists (",
        new="if false and exists (",
        tests=ORDER,
        red=("test_who_has_to_wait_for_one_holds_none_that_comes_after_it",),
    ),
    Mutant(
        name="X262",
        says="a document locks the tasks of its keys one key after the other",
        file=f"{FUNCTIONS}/lock_entries.1.sql",
        old="if cardinality(keys) > 1 then",
        new="if false then",
        tests=ORDER,
        red=("test_who_has_to_wait_for_one_holds_none_that_comes_after_it",),
    ),
    Mutant(
        name="X263",
        says="a bulk cancel takes followers along before it has locked what it means",
        file=f"{FUNCTIONS}/cancel_where.1.sql",
        old="from perdure.lock_tasks(ids) as l",
        new="from (select i as task_id, '' as place from unnest(ids) as i) as l",
        tests=ORDER,
        red=("test_who_has_to_wait_for_one_holds_none_that_comes_after_it",),
    ),
    Mutant(
        name="X264",
        says="a bulk change of times hands instances on before it has locked what it means",
        file=f"{FUNCTIONS}/reschedule_where.1.sql",
        old="from perdure.lock_tasks(ids) as l",
        new="from (select i as task_id, 'ready' as place from unnest(ids) as i) as l",
        tests=ORDER,
        red=("test_who_has_to_wait_for_one_holds_none_that_comes_after_it",),
    ),
    Mutant(
        name="X265",
        says="a schedule that is replaced takes followers along before it has locked its tasks",
        file=f"{FUNCTIONS}/put_schedule.1.sql",
        old="    from perdure.lock_tasks(array(\n"
        "        select perdure.live_occurrences(had.key, had.oldest_live)"
        " where answer = 'replaced')) as l",
        new="    from (select i as task_id, '' as place"
        " from perdure.live_occurrences(had.key, had.oldest_live) as i"
        " where answer = 'replaced') as l",
        tests=ORDER,
        red=("test_who_has_to_wait_for_one_holds_none_that_comes_after_it",),
    ),
    Mutant(
        name="X266",
        says="who has locked several waits for one that was running then",
        file=f"{FUNCTIONS}/withdraw.1.sql",
        old="case when leased then 'lease' else",
        new="case when false then 'lease' else",
        tests=ORDER,
        red=("test_what_was_running_when_a_line_was_locked_is_not_waited_for",),
    ),
    Mutant(
        name="X268",
        says="retention removes what somebody is coming to follow",
        file=f"{FUNCTIONS}/link.1.sql",
        old="where t.id = i.after_id for key share) as t;",
        new="where t.id = i.after_id) as t;",
        tests=FOLLOWING,
        red=("test_a_parent_stays_for_a_follower_that_is_not_committed_yet",),
    ),
    Mutant(
        name="X269",
        says="retention trusts what it saw before the lock",
        file=f"{FUNCTIONS}/remove_ended.1.sql",
        old="and not perdure.still_needed(o.task_id, o.finished_at) and not exists",
        new="and not exists",
        tests=FOLLOWING,
        red=("test_who_has_come_since_a_parent_was_looked_at_is_seen_under_its_lock",),
    ),
    Mutant(
        name="X270",
        says="openings that cannot be served stay before all others",
        file=f"{FUNCTIONS}/serve_openings.1.sql",
        old="            update perdure.openings set id = default where id = ids[1];\n",
        new="",
        tests=INSTANCES,
        red=("test_keys_that_somebody_holds_do_not_hide_those_behind_them",),
    ),
    Mutant(
        name="X271",
        says="one look goes all the way to the oldest occurrence that lives",
        file=f"{FUNCTIONS}/seek_live.1.sql",
        old="greatest(way, 1)",
        new="1000000",
        tests=SCHEDULES,
        red=("test_a_long_way_to_the_oldest_that_lives_is_gone_in_short_looks",),
    ),
)
