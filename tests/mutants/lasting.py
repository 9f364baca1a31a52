"""What outlives a run: mutants of lifespans and singletons."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

CONFORMANCE: Final = "tests/conformance/test_lifespans.py"
SINGLETONS: Final = "tests/integration/test_singletons.py"

MUTANTS: Final = (
    Mutant(
        name="X90",
        says="lifespans are left in the order in which they were entered",
        file="service/perdure/run/lifespans.py",
        old="in reversed(entered):",
        new="in entered:",
        tests=CONFORMANCE,
        red=("test_lifespans_are_entered_before_the_first_handler_and_left_after_the_last",),
    ),
    Mutant(
        name="X91",
        says="a worker claims before its lifespans are there",
        file="service/perdure/run/worker.py",
        old="        await self._lifespans.enter()\n",
        new="        asyncio.get_running_loop().create_task(self._lifespans.enter())\n",
        tests=CONFORMANCE,
        red=(
            "test_lifespans_are_entered_before_the_first_handler_and_left_after_the_last",
            "test_a_setup_that_fails_ends_the_worker_before_it_claims",
        ),
    ),
    Mutant(
        name="X92",
        says="an instant is saved after its tick",
        file="service/perdure/declare/singletons.py",
        old="        await context.checkpoint()\n        await _tick_once(context, entered)\n",
        new="        await _tick_once(context, entered)\n        await context.checkpoint()\n",
        tests=CONFORMANCE,
        red=("test_a_singleton_goes_from_holder_to_holder_and_never_has_two",),
    ),
    Mutant(
        name="X93",
        says="who has set a singleton up is to blame for crashes before",
        file="service/perdure/declare/singletons.py",
        old="    await context.checkpoint()\n\n\nasync def _tick(",
        new="\n\nasync def _tick(",
        tests=CONFORMANCE,
        red=("test_a_singleton_is_not_quarantined_for_ten_deaths_between_its_ticks",),
    ),
    Mutant(
        name="X94",
        says="a producer may make a second holder of a singleton",
        file="migrations/sql/functions/problem.1.sql",
        old="when starts_with(name, 'singleton:') and unique_key is distinct from name",
        new="when false",
        tests=SINGLETONS,
        red=("test_nobody_can_enqueue_a_second_one",),
    ),
    Mutant(
        name="X95",
        says="a singleton waits for a slot",
        file="service/perdure/run/enqueuer.py",
        old="if self._singletons.names and self._clock() >= self._singletons.look_at:",
        new="if demand.busy < demand.concurrency and self._singletons.names:",
        tests=SINGLETONS,
        red=("test_it_runs_beside_slots_that_are_taken_and_whatever_queues_are_served",),
    ),
    Mutant(
        name="X95b",
        says="a pause that comes while a singleton is claimed is not obeyed",
        file="service/perdure/run/enqueuer.py",
        old="if barred or self._is_halted(one)]",
        new="if barred]",
        tests=SINGLETONS,
        red=("test_a_pause_that_comes_while_it_is_claimed_is_obeyed",),
    ),
    Mutant(
        name="X95c",
        says="a singleton that is refused keeps others from being put, and is not put later",
        file="service/perdure/run/putter.py",
        old="LATER: Final = (DatabaseUnavailable, UnknownOutcome, QueueFull)",
        new="LATER: Final = (DatabaseUnavailable,)",
        tests=SINGLETONS,
        red=("test_one_that_is_refused_is_put_when_it_can_be_and_keeps_no_other_from_it",),
    ),
    Mutant(
        name="X95d",
        says="a tick whose own await was cancelled is the last one",
        file="service/perdure/declare/entering.py",
        old="task.cancelling():",
        new="not task.done():",
        tests="tests/integration/test_lifespans.py",
        red=("test_a_tick_whose_own_await_was_cancelled_is_told_and_the_next_one_comes",),
    ),
)
