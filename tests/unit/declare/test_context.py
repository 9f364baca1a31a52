"""A run as an async handler sees it: checkpoints, transactions, ends, children, stop."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.declare.runs import AsyncPort, Connection, Progress, Report, begin, definition

from perdure.declare.kind import TaskKind
from perdure.errors import InvalidArgument, InvalidPayload, TaskStopped
from perdure.tasks.policies import UNLIMITED


@pytest.fixture
def port() -> AsyncPort:
    return AsyncPort()


def test_a_context_says_what_was_claimed(port: AsyncPort) -> None:
    context = begin(port, attempt=2, failures=1, reason="retry", headers='{"trace": "00-1"}')
    assert (context.task_id, context.name, context.attempt) == (42, "catalogue.import", 3)
    assert (context.failures, context.run_reason, context.headers["trace"]) == (1, "retry", "00-1")
    assert context.metadata.url == "https://example.org"


def test_headers_are_empty_where_none_were_sent(port: AsyncPort) -> None:
    assert begin(port).headers == {}


def test_keys_are_the_same_in_every_run_and_differ_by_step(port: AsyncPort) -> None:
    first, second = begin(port), begin(port, attempt=5)
    assert first.idempotency_key == second.idempotency_key
    keys = {first.step_key("charge"), first.step_key("refund"), first.idempotency_key}
    assert len(keys) == 3
    assert first.step_key("charge") == second.step_key("charge")


def test_the_logger_knows_the_run_and_is_made_once(port: AsyncPort) -> None:
    context = begin(port, attempt=1)
    assert context.logger is context.logger
    bound = context.logger._context
    assert bound == {"task_id": 42, "name": "catalogue.import", "attempt": 2}


@pytest.mark.parametrize(
    "failures, own, last", [(2, None, False), (3, None, True), (0, 0, True), (9, UNLIMITED, False)]
)
def test_the_last_attempt_is_the_one_whose_failure_is_not_retried(
    port: AsyncPort, failures: int, own: int | None, last: bool
) -> None:
    assert begin(port, failures=failures, max_retries=own).is_last_attempt is last


def test_the_larger_of_two_limits_decides_about_the_last_attempt(port: AsyncPort) -> None:
    port.retry_defaults = type(port.retry_defaults)(scheduler_retry_count=5)
    assert not begin(port, failures=3).is_last_attempt
    assert begin(port, failures=5).is_last_attempt


def test_the_first_run_starts_with_the_defaults_and_a_later_one_with_what_was_saved(
    port: AsyncPort,
) -> None:
    assert begin(port).execution_metadata == Progress(rows=0)
    assert begin(port, execution_metadata='{"rows": 7}').execution_metadata.rows == 7


@pytest.mark.conformance("C101")
def test_a_saved_checkpoint_goes_through_the_upgrades_in_order(port: AsyncPort) -> None:
    upgrades = {1: lambda old: {"rows": old["r"] + 1}, 2: lambda old: {"rows": old["rows"] * 10}}
    newer = definition(version=3, upgrades=upgrades)
    context = begin(port, of=newer, execution_metadata='{"r": 1}', version=1)
    assert context.execution_metadata.rows == 20
    saved = context.left_behind().saved
    assert saved is not None
    assert saved.version == 3


def test_a_saved_checkpoint_that_does_not_fit_is_an_error_at_first_use(port: AsyncPort) -> None:
    context = begin(port, execution_metadata='{"rows": "many"}')
    with pytest.raises(InvalidPayload, match=r"\$\.rows"):
        _ = context.execution_metadata


def test_a_run_that_touches_nothing_leaves_nothing_behind(port: AsyncPort) -> None:
    left = begin(port, execution_metadata='{"rows": 7}').left_behind()
    assert left == (None, False, None)


def test_a_run_that_only_reads_leaves_nothing_behind(port: AsyncPort) -> None:
    context = begin(port, execution_metadata='{"rows": 7}')
    _ = context.execution_metadata.rows
    assert context.left_behind().saved is None


def test_a_run_that_changes_its_execution_metadata_leaves_it_behind(port: AsyncPort) -> None:
    context = begin(port)
    context.execution_metadata.rows = 3
    saved = context.left_behind().saved
    assert saved is not None
    assert saved.execution_metadata == '{"rows":3,"pages":[]}'


async def test_what_was_saved_need_not_be_left_behind(port: AsyncPort) -> None:
    context = begin(port)
    context.execution_metadata.rows = 3
    await context.checkpoint()
    assert port.written == [("save", 3, {}, False)]
    assert context.left_behind().saved is None


async def test_what_was_to_be_saved_soon_is_left_behind_all_the_same(port: AsyncPort) -> None:
    context = begin(port)
    context.execution_metadata.rows = 3
    context.checkpoint_soon()
    assert port.written == [("soon", 3)]
    assert context.left_behind().saved is not None


async def test_a_whole_new_value_can_be_assigned(port: AsyncPort) -> None:
    context = begin(port)
    context.execution_metadata = Progress(rows=9)
    await context.checkpoint()
    assert port.written == [("save", 9, {}, False)]


async def test_a_checkpoint_on_a_connection_makes_the_run_explicit(port: AsyncPort) -> None:
    context = begin(port)
    context.execution_metadata.rows = 1
    mine: object = Connection()
    await context.checkpoint(on=mine)  # type: ignore[arg-type]
    assert port.written == [("save_on", 1)]
    assert context.left_behind().explicit
    # Whether the caller commits is not known, so it is left behind as well.
    assert context.left_behind().saved is not None


def test_runs_are_explicit_if_declared_so_or_if_an_earlier_one_was(port: AsyncPort) -> None:
    assert begin(port, of=definition(save_on_stop=False)).left_behind().explicit
    assert begin(port, explicit=True).left_behind().explicit


async def test_checkpoints_are_written_one_at_a_time_each_as_it_then_stands() -> None:
    class Slow(AsyncPort):
        def __init__(self) -> None:
            super().__init__()
            self.go = asyncio.Event()

        async def save(self, saved: object, explicit: bool) -> None:
            await self.go.wait()
            await super().save(saved, explicit)  # type: ignore[arg-type]

    port = Slow()
    context = begin(port)
    context.execution_metadata.rows = 1
    first = asyncio.create_task(context.checkpoint())
    second = asyncio.create_task(context.checkpoint())
    await asyncio.sleep(0)
    context.execution_metadata.rows = 2
    port.go.set()
    await asyncio.gather(first, second)
    assert [entry[1] for entry in port.written] == [1, 2]


def test_progress_is_told_with_a_message_of_bounded_length(port: AsyncPort) -> None:
    begin(port).progress(3, 10, "x" * 5_000)
    kind, told = port.written[0]
    assert (kind, told["done"], told["total"]) == ("progress", 3, 10)
    assert len(told["message"]) <= 1_000
    with pytest.raises(InvalidArgument, match="finite"):
        begin(port).progress(float("nan"))


async def test_a_child_is_enqueued_through_the_port(port: AsyncPort) -> None:
    context = begin(port)
    child = TaskKind("thumbnail", Report)
    assert (await context.enqueue(child, Report(rows=1), priority=2)).id == 7
    await context.enqueue("by.name", {"any": "thing"})
    assert port.written == [
        ("enqueue", "thumbnail", {"rows": 1}),
        ("enqueue", "by.name", {"any": "thing"}),
    ]


async def test_a_stop_is_seen_by_waiting_by_checking_and_by_asking(port: AsyncPort) -> None:
    context = begin(port)
    context.stop.check()
    waiter = asyncio.create_task(context.stop.wait())
    await asyncio.sleep(0)
    assert not waiter.done()
    context.stop.ask("shutdown")
    await waiter
    await context.stop.wait()
    assert (context.stop.requested, context.stop.reason) == (True, "shutdown")
    with pytest.raises(TaskStopped, match="shutdown"):
        context.stop.check()


@pytest.mark.parametrize(
    "reasons, final",
    [
        (["timeout", "shutdown"], "timeout"),
        (["shutdown", "cancelled"], "cancelled"),
        (["drain", "replaced"], "replaced"),
        (["cancelled", "timeout"], "cancelled"),
    ],
)
def test_a_cancel_wins_over_any_other_stop(port: AsyncPort, reasons: list[str], final: str) -> None:
    stop = begin(port).stop
    for reason in reasons:
        stop.ask(reason)
    assert stop.reason == final
