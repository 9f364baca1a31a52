"""Who holds a task: mutants of fence, claim, lease, recovery and reconciliation."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
STATEMENTS: Final = "service/perdure/store/sql"
RUN: Final = "service/perdure/run"
ORDERS: Final = "tests/concurrency/test_interleavings.py"
FENCES: Final = "tests/integration/test_fence.py"
SETTLE: Final = "tests/integration/test_settle.py"
DOUBTS: Final = "tests/integration/test_doubts.py"
HOLDING: Final = "tests/integration/test_holding.py"
COMPLETER: Final = "tests/integration/test_completer.py"
PLANS: Final = "tests/integration/test_plans.py"
READ_ONLY: Final = "tests/integration/test_read_only.py"
BESIDE: Final = "tests/integration/test_beside.py"
SERVER_CLOCK: Final = "tests/chaos/test_server_clock.py"
SERVER_RESTART: Final = "tests/chaos/test_server_restart.py"

MUTANTS: Final = (
    Mutant(
        name="X2",
        says="the fence of a caller's transaction asks for the task alone",
        file=f"{FUNCTIONS}/fence.1.sql",
        old="where l.id = fence.lease and fence.task = any (l.task_ids) for key share;",
        new="where fence.task = any (l.task_ids) for key share;",
        tests=FENCES,
        red=("test_no_write_is_taken_under_a_lease_that_does_not_hold_the_task",),
    ),
    Mutant(
        name="X2b",
        says="a checkpoint is saved for whoever names the task",
        file=f"{STATEMENTS}/save.sql",
        old="where l.id = a.lease and a.task_id = any (l.task_ids) limit 1",
        new="where a.task_id = any (l.task_ids) limit 1",
        tests=FENCES,
        red=("test_no_write_is_taken_under_a_lease_that_does_not_hold_the_task",),
    ),
    Mutant(
        name="X2c",
        says="settle believes whoever names a lease that is there",
        file=f"{FUNCTIONS}/settle.1.sql",
        old="elsif held is null or not (task = any (held)) then",
        new="elsif held is null then",
        tests=SETTLE,
        red=("test_a_lost_lease_writes_nothing",),
    ),
    Mutant(
        name="X2d",
        says="a flush of successes has no fence",
        file=f"{STATEMENTS}/finish_plain.sql",
        old="on e.lease = h.id where e.task_id = any (h.task_ids)),",
        new="on e.lease = h.id),",
        tests=ORDERS,
        red=("test_two_flushes_of_one_lease_end_each_task_once",),
    ),
    Mutant(
        name="X3",
        says="the fence of a caller's transaction is a plain read",
        file=f"{FUNCTIONS}/fence.1.sql",
        old="fence.task = any (l.task_ids) for key share;",
        new="fence.task = any (l.task_ids);",
        tests=ORDERS,
        red=("test_a_checkpoint_and_its_business_write_live_or_die_together",),
    ),
    Mutant(
        name="X3b",
        says="the fence of a checkpoint is a plain read",
        file=f"{STATEMENTS}/save.sql",
        old="any (l.task_ids) limit 1\n        for key share) as l),",
        new="any (l.task_ids) limit 1) as l),",
        tests=ORDERS,
        red=("test_a_save_counts_or_is_refused_when_the_worker_is_recovered",),
    ),
    Mutant(
        name="X4",
        says="the fence locks for update, so that neighbours wait for a handler's commit",
        file=f"{FUNCTIONS}/fence.1.sql",
        old="fence.task = any (l.task_ids) for key share;",
        new="fence.task = any (l.task_ids) for update;",
        tests=SETTLE,
        red=("test_a_fence_in_an_open_transaction_holds_up_only_the_last_release",),
    ),
    Mutant(
        name="X4b",
        says="a flush locks its leases for update, so that it passes over those with a fence",
        file=f"{STATEMENTS}/finish_plain.sql",
        old="where id = i.id limit 1 for no key update skip locked) as l),",
        new="where id = i.id limit 1 for update skip locked) as l),",
        tests=FENCES,
        red=("test_a_fence_in_an_open_transaction_holds_up_no_success_beside_it",),
    ),
    Mutant(
        name="X5",
        says="recovery empties leases by an update, which a fence does not stop",
        file=f"{FUNCTIONS}/recover.1.sql",
        old="""where l.worker_id = gone.id order by l.id for update skip locked),
        removed as (delete from perdure.leases where id""",
        new="""where l.worker_id = gone.id order by l.id for no key update skip locked),
        removed as (update perdure.leases set task_ids = '{}' where id""",
        tests=ORDERS,
        red=("test_a_checkpoint_and_its_business_write_live_or_die_together",),
    ),
    Mutant(
        name="X6",
        says="a flush computes what is left of a lease from a read without a lock",
        file=f"{STATEMENTS}/finish_plain.sql",
        old="where id = i.id limit 1 for no key update skip locked) as l),",
        new="where id = i.id limit 1) as l),",
        tests=ORDERS,
        red=("test_two_flushes_of_one_lease_end_each_task_once",),
    ),
    Mutant(
        name="X8",
        says="a claim deletes what a sub-select with LIMIT gives, which may be run again",
        file=f"{STATEMENTS}/claim.sql",
        old="""picked as materialized (
    select r.row_at
    from worker
    cross join unnest(%(lanes)s::integer[], %(priorities)s::smallint[], %(after)s::bigint[], %(shares)s::integer[])
        as p (lane, priority, after, share)
    cross join lateral (
        select ctid as row_at from perdure.ready
        where lane = p.lane and priority = p.priority and task_id > p.after
        order by task_id limit p.share for update skip locked) as r
    limit %(at_most)s::bigint),
taken as materialized (
    delete from perdure.ready where ctid = any (array(select row_at from picked))
""",  # noqa: E501  (as it stands there)
        new="""taken as materialized (
    delete from perdure.ready where ctid in (
        select r.row_at
        from worker
        cross join unnest(
            %(lanes)s::integer[], %(priorities)s::smallint[], %(after)s::bigint[],
            %(shares)s::integer[]) as p (lane, priority, after, share)
        cross join lateral (
            select ctid as row_at from perdure.ready
            where lane = p.lane and priority = p.priority and task_id > p.after
            order by task_id limit p.share for update skip locked) as r
        limit %(at_most)s::bigint)
""",
        tests=PLANS,
        red=("test_a_claim_takes_its_picks_in_order_and_no_more_whatever_the_planner_may_use",),
    ),
    Mutant(
        name="X10",
        says="a claim reads its worker's row plainly",
        file=f"{STATEMENTS}/claim.sql",
        old="where id = %(worker)s::bigint for key share),",
        new="where id = %(worker)s::bigint),",
        tests=ORDERS,
        red=("test_a_claim_in_flight_leaves_no_lease_without_a_worker",),
    ),
    Mutant(
        name="X11",
        says="nobody looks for what a claim took whose reply was lost",
        file=f"{RUN}/enqueuer.py",
        old="await self._reconciler.compare(session)",
        new="pass",
        tests=HOLDING,
        red=("test_what_a_claim_took_before_it_failed_is_found_without_a_lost_connection",),
    ),
    Mutant(
        name="X14",
        says="the lease is counted from the reply of a beat, not from its sending",
        file=f"{RUN}/beat.py",
        old="self.good_until = sent + pace.lease_seconds",
        new="self.good_until = time.monotonic() + pace.lease_seconds",
        tests=HOLDING,
        red=("test_a_lease_is_counted_from_the_sending_of_its_beat",),
    ),
    Mutant(
        name="X14b",
        says="handlers run on when their own lease is over",
        file=f"{RUN}/news.py",
        old='        self._enqueuer.hold(held=True)\n        self._ask_all("lease_lost")\n',
        new="        self._enqueuer.hold(held=True)\n",
        tests=HOLDING,
        red=("test_a_beat_that_hangs_lets_the_lease_end_on_time",),
    ),
    Mutant(
        name="X16",
        says="a claim brings metadata of any size in its reply",
        file=f"{STATEMENTS}/claim.sql",
        old="case when octet_length(t.body) <= %(body_bytes)s::integer then t.body end,",
        new="t.body,",
        tests=HOLDING,
        red=("test_what_a_claim_took_before_it_failed_is_found_without_a_lost_connection",),
    ),
    Mutant(
        name="X20",
        says="recovery leaves the crash to be counted by the end of the run, which never comes",
        file=f"{FUNCTIONS}/recover.1.sql",
        old="crashes = p.crashes + excluded.crashes, marks",
        new="crashes = p.crashes, marks",
        tests=ORDERS,
        red=("test_a_save_counts_or_is_refused_when_the_worker_is_recovered",),
    ),
    Mutant(
        name="X32",
        says="a session is kept whose server takes no writes any more",
        file="service/perdure/store/database.py",
        old="with left_if_read_only(self._connection):",
        new="if True:",
        tests=READ_ONLY,
        red=("test_a_session_whose_server_takes_no_writes_any_more_is_given_up",),
    ),
    Mutant(
        name="X32b",
        says="the beat keeps a session whose server takes no writes any more",
        file="service/perdure/store/database.py",
        old="with left_if_read_only(self.connection), begun_sync(",
        new="with begun_sync(",
        tests=READ_ONLY,
        red=("test_a_session_whose_server_takes_no_writes_any_more_is_given_up",),
    ),
    Mutant(
        name="X43",
        says="a lease that somebody has locked for a moment is taken for lost",
        file=f"{FUNCTIONS}/settle.1.sql",
        old="if held is null and exists (",
        new="if false and exists (",
        tests=SETTLE,
        red=("test_a_locked_lease_is_busy_and_nothing_is_done",),
    ),
    Mutant(
        name="X45",
        says="who comes back from an outage judges the others at once",
        file=f"{RUN}/duties.py",
        old="if heard.dead and judges:",
        new="if heard.dead:",
        tests=SERVER_RESTART,
        red=("test_after_an_outage_of_three_leases_no_living_worker_is_taken_for_dead",),
    ),
    Mutant(
        name="X64",
        says="a step of the server's clock makes everybody dead who has not beaten since",
        file=f"{RUN}/beat.py",
        old="if self._good_since is None or _has_jumped(before, self._heard, heard.lease, pace):",
        new="if self._good_since is None:",
        tests=SERVER_CLOCK,
        red=(
            "test_a_clock_that_is_set_makes_nobody_dead",
            "test_a_server_that_stands_still_makes_nobody_dead",
        ),
    ),
    Mutant(
        name="X68",
        says="a run begins beside the one before, which is not seen any more",
        file=f"{RUN}/attempt.py",
        old="if task_id in running:",
        new="if False:",
        tests=BESIDE,
        red=("test_a_task_waits_until_its_run_before_has_stopped_here",),
    ),
    Mutant(
        name="X47",
        says="recovery takes a worker's row away although it has not taken all its leases",
        file=f"{FUNCTIONS}/recover.1.sql",
        old="if not exists (select from perdure.leases as l where l.worker_id = gone.id) then",
        new="if true then",
        tests=ORDERS,
        red=("test_a_checkpoint_and_its_business_write_live_or_die_together",),
    ),
    Mutant(
        name="X48",
        says="a run writes in a caller's transaction under the lease that it shares",
        file=f"{RUN}/port.py",
        old="            if self._own:\n                return\n",
        new="            if not self._own:\n                return\n",
        tests=COMPLETER,
        red=("test_a_completion_in_an_open_transaction_holds_up_no_neighbour",),
    ),
    Mutant(
        name="X49",
        says="leases are compared while the session of the lost claim may still commit",
        file=f"{RUN}/reconciler.py",
        old="await queue.end_session(session, backend_pid)",
        new="pass",
        tests=HOLDING,
        red=("test_a_claim_that_was_cut_off_cannot_commit_behind_the_next_one",),
    ),
    Mutant(
        name="X51",
        says="recovery takes a worker without the lock on its row",
        file=f"{FUNCTIONS}/recover.1.sql",
        old="order by w.id limit 10 for update skip locked",
        new="order by w.id limit 10",
        tests=ORDERS,
        red=("test_a_claim_in_flight_leaves_no_lease_without_a_worker",),
    ),
    Mutant(
        name="X53",
        says="what waits for a slot is started although its lease is lost",
        file=f"{RUN}/news.py",
        old="        self._enqueuer.drop(gone)\n",
        new="",
        tests=HOLDING,
        red=("test_what_waits_here_of_a_lost_lease_is_not_started",),
    ),
    Mutant(
        name="X57",
        says="a lease of a task's own that nobody knows of is not looked for",
        file=f"{RUN}/holdings.py",
        old="                self.doubt(backend_pid, since)\n",
        new="                pass\n",
        tests=DOUBTS,
        red=("test_a_lease_that_came_unheard_while_it_is_still_asked_for_keeps_no_task",),
    ),
    Mutant(
        name="X57b",
        says="a doubt is forgotten although its session has been asked once more",
        file=f"{RUN}/holdings.py",
        old="if self._doubts.get(backend_pid) == since:",
        new="if backend_pid in self._doubts:",
        tests=DOUBTS,
        red=("test_a_session_that_was_asked_again_meanwhile_is_still_doubted",),
    ),
    Mutant(
        name="X57c",
        says="a session of the pool cannot be ended, so that a lease may come behind the look",
        file=f"{FUNCTIONS}/end_session.1.sql",
        old="a.application_name ~ '^perdure( |$)';",
        new="a.application_name ~ '^perdure ';",
        tests=DOUBTS,
        red=("test_a_lease_that_was_asked_for_on_a_lost_connection_does_not_come_later",),
    ),
    Mutant(
        name="X57d",
        says="a session that does not end is taken for ended",
        file="service/perdure/store/queue.py",
        old="    if not ended:\n",
        new="    if False:\n",
        tests=DOUBTS,
        red=("test_leases_are_not_compared_before_the_old_session_has_ended",),
    ),
    Mutant(
        name="X57e",
        says="who has refused a lease is doubted",
        file=f"{RUN}/port.py",
        old="if not is_refusal(error):",
        new="if True:",
        tests=DOUBTS,
        red=("test_who_has_answered_is_not_doubted",),
    ),
    Mutant(
        name="X57f",
        says="behind a pooler leases are compared while a lost claim may yet commit",
        file=f"{RUN}/reconciler.py",
        old="if pid == own or since < last}",
        new="}",
        tests=DOUBTS,
        red=("test_claims_go_on_while_a_pooler_may_yet_bring_a_lost_one",),
    ),
    Mutant(
        name="X57g",
        says="a run whose task went back is not asked to stop where the reply was lost",
        file=f"{RUN}/reconciler.py",
        old="        self._holdings.went_back(went, held)\n",
        new="",
        tests=DOUBTS,
        red=("test_a_run_is_asked_to_stop_although_its_task_went_back_unheard",),
    ),
    Mutant(
        name="X57h",
        says="who asks again for a lease that is just given is told that it is lost",
        file=f"{FUNCTIONS}/separate.1.sql",
        old="where l.id = separate.own and separate.task = any (l.task_ids)) then",
        new="where false) then",
        tests=SETTLE,
        red=("test_who_asks_again_for_a_lease_that_is_just_given_is_given_it",),
    ),
)
