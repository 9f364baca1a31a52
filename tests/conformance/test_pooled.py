"""Some of the list without wake-ups, behind a pooler in transaction mode; all of it at night."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.conformance import (
    test_endings,
    test_enqueue,
    test_observing,
    test_operators,
    test_retries,
    test_shapes,
    test_signals,
    test_state_machine,
    test_stop_protocol,
    test_suspend,
)
from tests.conformance.pooled import CANNOT_PASS
from tests.conformance.statements import proofs
from tests.faults.pgbouncer import PgBouncer
from tests.kit.databases import Database
from tests.kit.fleet import QUICK

SOME: tuple[Callable[[Database], Awaitable[None]], ...] = (
    test_enqueue.test_a_row_of_name_and_metadata_is_a_task_that_completes,
    test_retries.test_every_run_keeps_its_error,
    test_endings.test_a_failure_keeps_the_checkpoint_that_its_kind_promises,
    test_suspend.test_two_patches_at_once_are_both_in,
    test_signals.test_all_signals_that_pass_one_suspension_are_used_by_it,
    test_operators.test_repeat_of_a_completed_task_is_a_new_task,
    test_stop_protocol.test_a_sync_handler_sees_the_request_by_check,
    test_shapes.test_an_unknown_name_waits_for_a_worker_that_knows_it,
    test_observing.test_a_listener_that_raises_changes_no_outcome,
    test_state_machine.test_every_outcome_ends_a_machine_with_its_last_state_saved,
)


@pytest.fixture
def behind(database: Database, pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The test's database, by way of the pooler, for workers that do not listen."""
    monkeypatch.setitem(QUICK, "scheduling.wakeups", "off")
    database.pooler = pooler
    return database


@pytest.mark.conformance("C113")
@pytest.mark.parametrize("proof", SOME, ids=lambda proof: proof.__name__)
async def test_it_holds_behind_a_pooler_without_wakeups(
    proof: Callable[[Database], Awaitable[None]], behind: Database
) -> None:
    await proof(behind)


def test_what_is_left_out_at_night_is_there() -> None:
    nodes = [f"{proof.file}::{proof.test or ''}" for each in proofs().values() for proof in each]
    assert all(any(part in node for node in nodes) for part in CANNOT_PASS)
