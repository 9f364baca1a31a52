"""Around the runs: mutants of places, keys, mail, ranges, wake-ups, clocks and rights."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
TABLES: Final = "migrations/sql/tables"
BY_HAND: Final = "tests/integration/test_functions.py"
DUMP: Final = "tests/integration/test_dump.py"
RETENTION: Final = "tests/integration/test_retention.py"
TIMES: Final = "tests/integration/test_times.py"
WAKEUPS: Final = "tests/integration/test_wakeups.py"
CANCEL: Final = "tests/conformance/test_cancel.py"
GRANTS: Final = "tests/integration/test_grants.py"
LOST_REPLIES: Final = "tests/integration/client/test_lost_replies.py"
MAIL: Final = "tests/integration/test_mail.py"
PLAN: Final = "tests/unit/tasks/test_plan.py"
POOLER: Final = "tests/integration/client/test_pooler.py"
PUBLICATION: Final = "tests/integration/test_publication.py"
REFUSALS: Final = "tests/integration/test_refusals.py"
SHAPE: Final = "tests/test_shape.py"
SIGNALS: Final = "tests/conformance/test_signals.py"
TIMELINE: Final = "tests/integration/test_timeline.py"

MUTANTS: Final = (
    Mutant(
        name="X7",
        says="outcomes have no primary key",
        file=f"{TABLES}/outcomes.1.sql",
        old="    error jsonb,\n    primary key (task_id)\n",
        new="    error jsonb\n",
        tests=BY_HAND,
        red=("test_a_task_cannot_be_ended_twice",),
    ),
    Mutant(
        name="X12",
        says="a beat is dated at the start of its transaction",
        file=f"{FUNCTIONS}/beat.1.sql",
        old="set heartbeat_at = clock_timestamp(), running",
        new="set heartbeat_at = now(), running",
        tests=TIMES,
        red=("test_times_are_of_the_moment_however_old_their_transaction_is",),
    ),
    Mutant(
        name="X12b",
        says="a lease is dated at the start of its transaction",
        file=f"{TABLES}/leases.1.sql",
        old="claimed_at timestamptz not null default clock_timestamp()",
        new="claimed_at timestamptz not null default now()",
        tests=TIMES,
        red=("test_times_are_of_the_moment_however_old_their_transaction_is",),
    ),
    Mutant(
        name="X12c",
        says="a delay is counted from the start of the producer's transaction",
        file=f"{FUNCTIONS}/enqueue.1.sql",
        old="due := coalesce(enqueue.run_at, clock_timestamp() + enqueue.delay);",
        new="due := coalesce(enqueue.run_at, now() + enqueue.delay);",
        tests=TIMES,
        red=("test_times_are_of_the_moment_however_old_their_transaction_is",),
    ),
    Mutant(
        name="X17",
        says="nothing is read again behind the position of a seek",
        file="service/perdure/tasks/positions.py",
        old="if sweep or self.short or now >= self.sweep_at:",
        new="if sweep or self.short:",
        tests=PLAN,
        red=("test_sweeps_come_in_proportion_to_their_cost",),
    ),
    Mutant(
        name="X18",
        says="an idle enqueuer that hears no wake-ups does not look by itself",
        file="service/perdure/run/enqueuer.py",
        old=(
            "not lanes:\n            await self._gate.close(session)\n"
            "            return tuning.polling_delay"
        ),
        new="not lanes:\n            await self._gate.close(session)\n            return None",
        tests=WAKEUPS,
        red=("test_without_wake_ups_tasks_are_found_by_looking",),
    ),
    Mutant(
        name="X18b",
        says="who has no free slot any more leaves the gate open",
        file="service/perdure/run/enqueuer.py",
        old="if most <= 0:\n            await self._gate.close(session)\n",
        new="if most <= 0:\n",
        tests=WAKEUPS,
        red=(
            "test_what_comes_while_the_gate_is_opened_closes_it_again",
            "test_who_may_not_claim_any_more_closes_the_gate",
        ),
    ),
    Mutant(
        name="X19",
        says="the keys of a batch are taken in the order in which they were given",
        file=f"{FUNCTIONS}/lock_entries.1.sql",
        old="u.key, 0 from unnest(keys) with ordinality as u (key, n) order by u.n",
        new="e ->> 'unique_key', 0 from jsonb_array_elements(tasks) as e",
        tests=BY_HAND,
        red=("test_a_batch_takes_its_keys_in_one_order",),
    ),
    Mutant(
        name="X30",
        says="a range is dropped without a copy of what must stay",
        file=f"{FUNCTIONS}/drop_range.1.sql",
        old=(
            "execute format('insert into %1$I.tasks_default select * from %1$I.tasks_%2$s"
            " where id in (select id from pg_temp.kept_ids)', schema, number);"
        ),
        new="",
        tests=RETENTION,
        red=("test_a_range_is_dropped_whole_and_what_must_stay_is_kept",),
    ),
    Mutant(
        name="X31",
        says="the sequence moves to a boundary below the highest id of the default partition",
        file=f"{FUNCTIONS}/keep_ranges.1.sql",
        old="at := greatest(at, coalesce((select max(id) from perdure.tasks_default), 0));",
        new="",
        tests=RETENTION,
        red=("test_ids_go_on_behind_the_highest_of_the_default_partition",),
    ),
    Mutant(
        name="X31b",
        says="two upkeeps move the sequence without a lock on the day",
        file=f"{FUNCTIONS}/keep_ranges.1.sql",
        old="where s.key = 'range_began_at' for update;",
        new="where s.key = 'range_began_at';",
        tests=BY_HAND,
        red=("test_two_upkeeps_never_move_the_sequence_back",),
    ),
    Mutant(
        name="X33",
        says="statements are prepared behind a pooler",
        file="service/perdure/store/database.py",
        old="""    async def _prepare_async(self, connection: AsyncConnection[Row]) -> None:
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.prepare_threshold = None if self.pooled or self.prepare is False else 5
""",
        new="""    async def _prepare_async(self, connection: AsyncConnection[Row]) -> None:
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.prepare_threshold = 5
""",
        tests=POOLER,
        red=("test_nothing_is_prepared_behind_a_pooler",),
    ),
    Mutant(
        name="X34",
        says="a function that runs as its owner takes the caller's search path",
        file=f"{FUNCTIONS}/enqueue.1.sql",
        old="security definer set search_path = pg_catalog, perdure, pg_temp as",
        new="security definer as",
        tests=REFUSALS,
        red=("test_nothing_that_a_producer_puts_in_its_way_is_run_by_our_functions",),
    ),
    Mutant(
        name="X34b",
        says="a search path without pg_temp at its end looks there first",
        file=f"{FUNCTIONS}/admit.1.sql",
        old="set search_path = pg_catalog, perdure, pg_temp as",
        new="set search_path = pg_catalog, perdure as",
        tests=SHAPE,
        red=("test_the_house_keeps_its_rule",),
    ),
    Mutant(
        name="X35",
        says="PUBLIC keeps the right to execute",
        file="migrations/sql/grants.sql",
        old="revoke all on all routines in schema perdure from public;",
        new="",
        tests=GRANTS,
        red=("test_every_right_of_every_login_is_as_committed",),
    ),
    Mutant(
        name="X36",
        says="every commit of a task notifies",
        file=f"{FUNCTIONS}/admit.1.sql",
        old="    if seen.awaited then\n        perform perdure.wake(lanes);",
        new="    if true then\n        perform pg_notify(perdure.channel(), '');",
        tests=WAKEUPS,
        red=("test_nobody_is_notified_of_tasks_while_every_slot_is_taken",),
    ),
    Mutant(
        name="X37",
        says="a unique key that is there is read without a lock on its row",
        file=f"{FUNCTIONS}/hold_key.1.sql",
        old="""unique_keys as k (key, task_id, request_id, held_for)
    values (hold_key.unique_key, new_id, hold_key.request_id, hold_key.unique_for)
    on conflict (key) do update set key = excluded.key
    returning k.task_id as id, k.request_id as asked, k.answer as answered, k.held_for into named;
""",
        new="""unique_keys as k (key, task_id, request_id, held_for)
    select hold_key.unique_key, new_id, hold_key.request_id, hold_key.unique_for
    where not exists (select from perdure.unique_keys as k where k.key = hold_key.unique_key)
    on conflict (key) do nothing;
    select k.task_id as id, k.request_id as asked, k.answer as answered, k.held_for into named
    from perdure.unique_keys as k where k.key = hold_key.unique_key;
""",
        tests=BY_HAND,
        red=("test_a_key_whose_task_has_ended_is_given_to_one_of_two",),
    ),
    Mutant(
        name="X66",
        says="who holds a unique key is read with a snapshot from before a wait",
        file=f"{FUNCTIONS}/key_holder.1.sql",
        old="language plpgsql set search_path",
        new="language plpgsql stable set search_path",
        tests="tests/concurrency/test_pairs.py",
        red=("test_a_task_whose_range_is_dropped_beside_an_enqueue_keeps_its_key",),
    ),
    Mutant(
        name="X62",
        says="an enqueue under a key that comes again makes another task",
        file=f"{FUNCTIONS}/hold_key.1.sql",
        old="if not repeated or named.asked = hold_key.request_id then",
        new="if not repeated then",
        tests=LOST_REPLIES,
        red=("test_an_enqueue_with_a_key_is_repeated_and_makes_one_task",),
    ),
    Mutant(
        name="X62b",
        says="what fails when tried again is told not to have taken effect",
        file="service/perdure/store/perform.py",
        old="            if not self._is_there:\n",
        new="            if True:\n",
        tests=LOST_REPLIES,
        red=("test_a_repeat_that_finds_no_server_does_not_deny_the_first_try",),
    ),
    Mutant(
        name="X62c",
        says="an enqueue under a key that comes again is refused where the queue is full by now",
        file=f"{FUNCTIONS}/enqueue.1.sql",
        old="where k.key = enqueue.unique_key and k.request_id = enqueue.request_id)",
        new="where false)",
        tests=LOST_REPLIES,
        red=("test_a_repeat_on_a_queue_that_the_first_try_has_filled_is_answered",),
    ),
    Mutant(
        name="X63",
        says="a run goes on from what was lost with the old primary",
        file="service/perdure/store/timeline.py",
        old="return self.number not in {0, since}",
        new="return False",
        tests=TIMELINE,
        red=("test_a_run_does_not_go_on_from_what_another_server_may_lack",),
    ),
    Mutant(
        name="X42",
        says="the rows of ready have no identity for a publication",
        file=f"{TABLES}/ready.1.sql",
        old="alter table perdure.ready replica identity using index ready_order;",
        new="",
        tests=PUBLICATION,
        red=("test_tasks_go_their_way_in_a_database_that_publishes_all_tables",),
    ),
    Mutant(
        name="X52",
        says="nobody obeys the mail of tasks in no lease",
        file="service/perdure/run/duties.py",
        old="if heard.mail and upkeep.obey(session, OBEY_MOST):",
        new="if heard.mail and False:",
        tests=CANCEL,
        red=("test_a_cancel_beside_the_end_of_a_run_in_every_order",),
    ),
    Mutant(
        name="X52b",
        says="who obeys mail waits for an open transaction, and the beat with it",
        file=f"{FUNCTIONS}/obey.1.sql",
        old="    set lock_timeout = '50ms' as",
        new="    as",
        tests=SIGNALS,
        red=("test_an_open_transaction_holds_up_neither_beats_nor_other_signals",),
    ),
    Mutant(
        name="X54",
        says="a follower is counted by everybody who tells it, not by who takes the edge away",
        file=f"{FUNCTIONS}/unblock.1.sql",
        old="from unnest(cut_of) as i group by i) as c",
        new="from unnest(followers) as i group by i) as c",
        tests=MAIL,
        red=("test_a_follower_is_counted_by_one_of_two_that_tell_it",),
    ),
    Mutant(
        name="X55",
        says="a repair looks for places without a lock on the task",
        file=f"{FUNCTIONS}/repair.1.sql",
        old="order by t.id for update;",
        new="order by t.id;",
        tests=BY_HAND,
        red=("test_a_repair_that_has_waited_for_another_looks_again",),
    ),
    Mutant(
        name="X70",
        says="a repair leaves in ready what has ended",
        file=f"{FUNCTIONS}/repair.1.sql",
        old="from perdure.outcomes as o where o.task_id = f.task_id)",
        new="from perdure.outcomes as o where false)",
        tests=DUMP,
        red=("test_a_repair_gives_every_task_a_place_whose_row_was_restored",),
    ),
    Mutant(
        name="X56",
        says="an enqueue without a key is repeated when its reply was lost",
        file="service/perdure/store/perform.py",
        old='            return self._repeat != "never"\n',
        new="            return True\n",
        tests=LOST_REPLIES,
        red=("test_an_enqueue_without_a_key_is_unknown_and_not_repeated",),
    ),
    Mutant(
        name="X59",
        says="one locked key ends retention for the minute",
        file="service/perdure/run/chores.py",
        old="< RETIRE_MOST // 2:",
        new="< RETIRE_MOST:",
        tests="tests/integration/test_retention.py",
        red=("test_a_locked_key_does_not_keep_the_other_batches_from_being_retired",),
    ),
    Mutant(
        name="X235",
        says="a range that is dropped takes along what its name keeps longer",
        file="migrations/sql/functions/drop_range.1.sql",
        old="coalesce(y.keep_results, case o.state",
        new="coalesce(null, case o.state",
        tests="tests/conformance/test_retention.py",
        red=("test_what_ended_long_ago_goes_with_all_of_it_and_what_is_needed_stays",),
    ),
    Mutant(
        name="X236",
        says="what stayed longer for its name goes with the next turn",
        file="migrations/sql/functions/retire.1.sql",
        old="case when named then (",
        new="case when false then (",
        tests="tests/conformance/test_retention.py",
        red=("test_what_ended_long_ago_goes_with_all_of_it_and_what_is_needed_stays",),
    ),
    Mutant(
        name="X237",
        says="pruning removes what is not old enough",
        file="migrations/sql/functions/prune_after.1.sql",
        old="perdure.remove_ended(old)",
        new="perdure.remove_ended(array(select task_id from perdure.outcomes))",
        tests="tests/conformance/test_retention.py",
        red=("test_pruning_counts_and_erasing_leaves_the_counters_and_no_payload",),
    ),
    Mutant(
        name="X239",
        says="pruning removes what a live task follows, or a key is held by",
        file=f"{FUNCTIONS}/prune_after.1.sql",
        old="and not perdure.still_needed(x.task_id, x.finished_at)",
        new="",
        tests="tests/conformance/test_retention.py",
        red=("test_pruning_counts_and_erasing_leaves_the_counters_and_no_payload",),
    ),
    Mutant(
        name="X240",
        says="pruning that was not told to remove anything does",
        file=f"{FUNCTIONS}/prune_after.1.sql",
        old="pruned := case when dry_run is not false then",
        new="pruned := case when dry_run then",
        tests="tests/integration/test_retention.py",
        red=("test_pruning_removes_in_every_range_what_ended_long_ago_and_counts_it_first",),
    ),
    Mutant(
        name="X238",
        says="a drained worker claims again when a queue is resumed",
        file="service/perdure/run/news.py",
        old='{**self._paused, "*": True} if self.draining else self._paused',
        new="self._paused",
        tests="tests/integration/test_draining.py",
        red=("test_a_drained_worker_takes_nothing_more_and_another_goes_on",),
    ),
)
