"""How a run ends: mutants of completer, checkpoint, crash, stop and child process."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

FUNCTIONS: Final = "migrations/sql/functions"
STATEMENTS: Final = "service/perdure/store/sql"
RUN: Final = "service/perdure/run"
DECIDE: Final = "service/perdure/tasks/decide.py"
ORDERS: Final = "tests/concurrency/test_interleavings.py"
COMPLETER: Final = "tests/integration/test_completer.py"
STOPS: Final = "tests/conformance/test_stop_protocol.py"
DECISIONS: Final = "tests/unit/tasks/test_decide.py"
CHILD: Final = "tests/integration/test_child.py"
CODEC_ROUND_TRIP: Final = "tests/property/test_codec_round_trip.py"
FENCE: Final = "tests/integration/test_fence.py"
LEASES: Final = "tests/chaos/test_leases.py"
SETTLE: Final = "tests/integration/test_settle.py"
TRANSACTIONS: Final = "tests/conformance/test_transactions.py"
OBSERVING: Final = "tests/conformance/test_observing.py"
OPEN: Final = "tests/integration/test_open_transactions.py"
SAVES: Final = "tests/unit/run/test_saves.py"
PAIRS: Final = "tests/concurrency/test_pairs.py"

MUTANTS: Final = (
    Mutant(
        name="X13",
        says="the beat asks the event loop, and waits with it",
        file=f"{RUN}/news.py",
        old="holdings=held, heard=self._on_loop(self.heard), counts=self.counts,",
        new=(
            "holdings=lambda: asyncio.run_coroutine_threadsafe("
            "asyncio.to_thread(held), self.loop).result(),"
            " heard=self._on_loop(self.heard), counts=self.counts,"
        ),
        tests=LEASES,
        red=("test_runs_of_ten_leases_and_a_blocked_loop_keep_their_leases",),
    ),
    Mutant(
        name="X21",
        says="the start of a recovered task is not written before it runs",
        file=DECIDE,
        old="write_start=claimed.recovered or claimed.suspect or claimed.crashes > 0,",
        new="write_start=False,",
        tests=DECISIONS,
        red=("test_a_start_decides_before_the_handler_is_called",),
    ),
    Mutant(
        name="X22",
        says="an interruption counts as a failure",
        file=DECIDE,
        old='run="interruption", run_reason=stop, interruptions=1)',
        new='run="interruption", run_reason=stop, failures=1)',
        tests=STOPS,
        red=("test_what_was_prefetched_when_the_worker_stops_is_as_if_it_had_never_left",),
    ),
    Mutant(
        name="X23",
        says="what was only prefetched is kept at a shutdown",
        file=f"{RUN}/worker.py",
        old="        await self._enqueuer.give_back_all()\n",
        new="",
        tests=STOPS,
        red=("test_what_was_prefetched_when_the_worker_stops_is_as_if_it_had_never_left",),
    ),
    Mutant(
        name="X24",
        says="execution metadata is not saved at a stop",
        file=DECIDE,
        old="stopped = saved if base.explicit else base",
        new="stopped = saved",
        tests=TRANSACTIONS,
        red=("test_a_run_without_transactions_is_saved_as_it_stands_when_it_is_stopped",),
    ),
    Mutant(
        name="X25",
        says="checkpoint() returns before its commit",
        file=f"{RUN}/port.py",
        old="held = await self.tools.completer.save(saving, self)",
        new="held = self.save_soon(saved) is None",
        tests=COMPLETER,
        red=("test_a_checkpoint_is_in_the_database_when_it_returns",),
    ),
    Mutant(
        name="X26",
        says="the completer drops what it was writing when the connection is lost",
        file=f"{RUN}/completer.py",
        old="            self._plain.extendleft(reversed(batch))\n",
        new="",
        tests=COMPLETER,
        red=("test_a_connection_lost_while_a_refused_value_is_sought_drops_no_ending",),
    ),
    Mutant(
        name="X26b",
        says="an ending whose reply was lost is not known as one's own",
        file=f"{STATEMENTS}/fate.sql",
        old="where d.task_id = o.task_id and d.worker_id = %(worker)s::bigint",
        new="where d.task_id is null and d.worker_id = %(worker)s::bigint",
        tests=SETTLE,
        red=("test_a_repeated_settle_writes_nothing_and_is_known_as_ones_own",),
    ),
    Mutant(
        name="X27",
        says="one lost lease refuses the whole flush",
        file=f"{STATEMENTS}/finish_plain.sql",
        old="where e.task_id = any (h.task_ids)),",
        new=(
            "where e.task_id = any (h.task_ids) and not exists ("
            "select from ended as x where x.lease not in (select k.id from held as k))),"
        ),
        tests=FENCE,
        red=("test_one_lost_lease_refuses_nothing_else",),
    ),
    Mutant(
        name="X28",
        says="the text of an error is stored as it was thrown",
        file="service/perdure/tasks/codec.py",
        old=r'return _SURROGATES.sub("\ufffd", text.replace("\0", ""))',
        new="return text",
        tests=CODEC_ROUND_TRIP,
        red=("test_cleaned_text_fits_and_keeps_what_was_clean",),
    ),
    Mutant(
        name="X39",
        says="settle reads the lease before it locks it",
        file=f"{FUNCTIONS}/settle.1.sql",
        old="where l.id = settle.lease for no key update skip locked;",
        new=(
            "where l.id = settle.lease;\n"
            "        perform from perdure.leases as l where l.id = settle.lease for no key update;"
        ),
        tests=ORDERS,
        red=("test_a_flush_and_a_settling_of_one_lease_end_each_run_once",),
    ),
    Mutant(
        name="X40",
        says="a run is handed in before its thread has stopped",
        file=f"{RUN}/stopping.py",
        old=(
            '            if self.definition.handler.mode == "async":\n'
            "                self.slot.cancel()"
        ),
        new=(
            '            if self.definition.handler.mode == "async":\n'
            "                self.slot.cancel()\n"
            "            else:\n"
            "                self.abandon()"
        ),
        tests=STOPS,
        red=("test_a_run_that_does_not_stop_within_its_grace_is_reported_as_overdue",),
    ),
    Mutant(
        name="X41",
        says="a child process that holds the interpreter outlives its worker",
        file=f"{RUN}/child.py",
        old="        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)\n",
        new="        pass\n",
        tests=CHILD,
        red=("test_a_killed_worker_takes_its_children_along",),
    ),
    Mutant(
        name="X46",
        says="the last release does not mind an open transaction of its handler",
        file=f"{FUNCTIONS}/settle.1.sql",
        old="where l.id = settle.lease for update skip locked;",
        new="where l.id = settle.lease for no key update skip locked;",
        tests=SETTLE,
        red=("test_a_fence_in_an_open_transaction_holds_up_only_the_last_release",),
    ),
    Mutant(
        name="X49b",
        says="a save that was cut off may be written after the one that follows it",
        file=f"{RUN}/completer.py",
        old="await queue.end_session(session, self._cut_off[-1])",
        new="pass",
        tests=COMPLETER,
        red=("test_a_save_that_was_cut_off_is_not_written_over_a_later_one",),
    ),
    Mutant(
        name="X50",
        says="what has crashed twice goes on among others",
        file=DECIDE,
        old="return claimed.crashes + claimed.suspect >= isolate_after",
        new="return False",
        tests=DECISIONS,
        red=(
            "test_a_child_that_dies_alone_is_guilty_only_after_crashes",
            "test_a_start_decides_before_the_handler_is_called",
        ),
    ),
    Mutant(
        name="X58",
        says="a save waits for a handler's open transaction, and all endings behind it",
        file=f"{RUN}/saves.py",
        old="partial(queue.save_at_once, session)",
        new="partial(queue.save, session)",
        tests=OPEN,
        red=("test_a_report_beside_an_open_checkpoint_holds_up_no_neighbour_and_no_completion",),
    ),
    Mutant(
        name="X58b",
        says="a completion waits for an open transaction of its own run, which waits for it",
        file=f"{FUNCTIONS}/complete.1.sql",
        old="perform set_config('lock_timeout', '2s', true);",
        new="null;",
        tests=OPEN,
        red=("test_a_completion_beside_an_open_transaction_of_its_own_run_fails_soon",),
    ),
    Mutant(
        name="X60",
        says="a save is lost that was asked for under the lease which its run has left since",
        file=f"{RUN}/saves.py",
        old="if held is False and unsaved.misplaced:",
        new="if False:",
        tests=OPEN,
        red=("test_what_was_asked_to_be_saved_before_the_lease_changed_is_saved",),
    ),
    Mutant(
        name="X61",
        says="a run that ends in a transaction trusts that its last progress is on its way",
        file=f"{RUN}/port.py",
        old="self.started_at, move, self._last_report)",
        new="self.started_at, move, self.progress)",
        tests=OBSERVING,
        red=("test_what_a_transaction_that_ends_the_run_reports_is_its_last_progress",),
    ),
    Mutant(
        name="X65",
        says="a completion does not wait for a save of its own run, and is refused",
        file=f"{FUNCTIONS}/complete.1.sql",
        old="perform from perdure.leases as l where l.id = complete.lease for update;",
        new="null;",
        tests=PAIRS,
        red=("test_a_completion_beside_a_save_of_its_own_run_is_accepted",),
    ),
    Mutant(
        name="X67",
        says="a checkpoint that was put off follows a later one of a transaction",
        file=f"{RUN}/port.py",
        old="await self.tools.completer.overtake(self)",
        new="return",
        tests=OPEN,
        red=("test_what_was_asked_before_does_not_follow_a_checkpoint_of_a_transaction",),
    ),
    Mutant(
        name="X69",
        says="what a run has overtaken behind others of a flush waits for its transaction",
        file=f"{RUN}/saves.py",
        old="while self._part_overtaken():",
        new="while self._shared:",
        tests=OPEN,
        red=("test_nor_what_stood_behind_others_of_its_flush",),
    ),
    Mutant(
        name="X71",
        says="what was refused under a lease that its run has left is sent after a failover",
        file=f"{RUN}/saves.py",
        old="every = (*self._shared, *self._misplaced, *alone)",
        new="every = (*self._shared, *alone)",
        tests=SAVES,
        red=("test_a_save_of_a_lease_that_its_run_has_left_is_refused_after_a_failover",),
    ),
)
