"""Transactions of a run: both or neither, the model restored, the task completed in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.declare.runs import AsyncPort, Connection, Progress, Report, begin

from perdure.errors import InvalidArgument, LeaseLost, UnencodableValue
from perdure.tasks.outcomes import Failure, Success


@pytest.fixture
def port() -> AsyncPort:
    return AsyncPort()


async def test_a_transaction_commits_the_checkpoint_as_at_its_end(port: AsyncPort) -> None:
    context = begin(port)
    async with context.transaction() as connection:
        assert connection is port.connection
        context.execution_metadata.rows = 5
        assert port.written == []
    assert port.written == [("save_on", 5)]
    assert context.left_behind() == (None, True, None)


@pytest.mark.parametrize("moment", ["body", "save", "commit"])
async def test_after_a_rollback_the_same_object_is_what_it_was(
    port: AsyncPort, moment: str
) -> None:
    context = begin(port, execution_metadata='{"rows": 1, "pages": ["a"]}')
    held = context.execution_metadata
    with pytest.raises(LeaseLost):  # noqa: PT012  (a block is what is tested)
        async with context.transaction():
            held.rows = 2
            held.pages.append("b")
            if moment == "body":
                raise LeaseLost
            if moment == "save":
                port.fault = LeaseLost()
            else:
                port.commit_fault = LeaseLost()
    assert held is context.execution_metadata
    assert held == Progress(rows=1, pages=["a"])
    assert port.written == []
    assert context.left_behind().saved is None


async def test_a_value_replaced_in_a_transaction_is_put_back(port: AsyncPort) -> None:
    context = begin(port)
    before = context.execution_metadata
    with pytest.raises(ValueError, match="no"):  # noqa: PT012  (a block is what is tested)
        async with context.transaction():
            context.execution_metadata = Progress(rows=9)
            raise ValueError("no")
    assert context.execution_metadata is before


async def test_a_handler_that_catches_the_error_goes_on_where_it_was(port: AsyncPort) -> None:
    context = begin(port)
    for page in range(3):
        try:
            async with context.transaction():
                context.execution_metadata.rows += 10
                if page == 1:
                    raise ValueError
        except ValueError:
            pass
    assert port.written == [("save_on", 10), ("save_on", 20)]


async def test_a_cancelled_transaction_leaves_the_model_as_it_was(port: AsyncPort) -> None:
    context = begin(port)
    inside = asyncio.Event()

    async def work() -> None:
        async with context.transaction():
            context.execution_metadata.rows = 8
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert context.execution_metadata.rows == 0


async def test_a_transaction_in_a_transaction_is_refused_and_harms_the_first_not(
    port: AsyncPort,
) -> None:
    context = begin(port)
    async with context.transaction():
        context.execution_metadata.rows = 4
        with pytest.raises(InvalidArgument, match="open already"):
            async with context.transaction():
                pass
    assert port.written == [("save_on", 4)]


async def test_a_plain_checkpoint_in_a_transaction_is_refused(port: AsyncPort) -> None:
    context = begin(port)
    async with context.transaction():
        with pytest.raises(InvalidArgument, match="saves at its end"):
            await context.checkpoint()
        with pytest.raises(InvalidArgument, match="saves at its end"):
            context.checkpoint_soon()
    assert port.written == [("save_on", 0)]


async def test_in_a_transaction_on_takes_only_its_connection(port: AsyncPort) -> None:
    context = begin(port)
    async with context.transaction() as connection:
        await context.checkpoint(on=connection)
        other: object = Connection()
        with pytest.raises(InvalidArgument, match="its connection"):
            await context.checkpoint(on=other)  # type: ignore[arg-type]
    assert port.written == [("save_on", 0)]


async def test_a_transaction_with_a_result_completes_the_task(port: AsyncPort) -> None:
    context = begin(port)
    async with context.transaction(result=Report(rows=5)):
        context.execution_metadata.rows = 5
    assert port.written == [("complete_on", {"rows": 5}, 5)]
    assert context.left_behind().completed == ('{"rows":5}', True)


async def test_after_a_rollback_the_task_is_not_completed(port: AsyncPort) -> None:
    context = begin(port)
    with pytest.raises(ValueError, match="no"):
        async with context.transaction(result=Report(rows=5)):
            raise ValueError("no")
    assert context.left_behind().completed is None
    assert port.written == []


async def test_a_result_of_another_type_rolls_the_transaction_back(port: AsyncPort) -> None:
    context = begin(port)
    with pytest.raises(UnencodableValue):
        async with context.transaction(result="done"):
            context.execution_metadata.rows = 5
    assert port.written == []
    assert context.execution_metadata.rows == 0


async def test_complete_in_the_runs_own_transaction_happens_at_its_end(port: AsyncPort) -> None:
    context = begin(port)
    async with context.transaction() as connection:
        await context.complete(Report(rows=1), on=connection)
        context.execution_metadata.rows = 1
    assert port.written == [("complete_on", {"rows": 1}, 1)]
    assert context.left_behind().completed == ('{"rows":1}', True)


async def test_complete_on_the_callers_connection_is_not_certain(port: AsyncPort) -> None:
    context = begin(port)
    mine: object = Connection()
    await context.complete(Report(rows=1), on=mine)  # type: ignore[arg-type]
    assert port.written == [("complete_on", {"rows": 1}, 0)]
    assert context.left_behind().completed == ('{"rows":1}', False)


async def test_another_result_than_the_completed_one_is_warned_of(
    port: AsyncPort, capsys: pytest.CaptureFixture[str]
) -> None:
    context = begin(port)
    async with context.transaction(result=Report(rows=1)):
        pass
    context.warn_if_ignored(Success(None))
    context.warn_if_ignored(Success(Report(rows=1)))
    assert capsys.readouterr().out == ""
    for other in (Success(Report(rows=2)), Success("of another type"), Failure("late")):
        context.warn_if_ignored(other)
        assert "result ignored" in capsys.readouterr().out


async def test_a_step_beside_a_transaction_waits_until_it_has_committed() -> None:
    class Slow(AsyncPort):
        def __init__(self) -> None:
            super().__init__()
            self.committing, self.go = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Any]:
            with self._transaction() as connection:
                yield connection
                self.committing.set()
                await self.go.wait()

    port = Slow()
    context = begin(port)

    async def work() -> None:
        async with context.transaction():
            context.execution_metadata.rows = 5

    async def mark() -> int:
        return 1

    working = asyncio.create_task(work())
    await port.committing.wait()
    stepping = asyncio.create_task(context.step("a", mark))
    for _ in range(10):
        await asyncio.sleep(0)
    assert port.written == []
    port.go.set()
    await asyncio.gather(working, stepping)
    assert port.written == [("save_on", 5), ("save", 5, {"a": 1}, True)]
