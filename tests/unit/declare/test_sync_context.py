"""A run as a plain handler sees it: the same names, without await, from any thread."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.unit.declare.runs import Connection, Report, SyncPort, begin_sync

from perdure.declare.context import TaskContext
from perdure.declare.sync_context import SyncTaskContext
from perdure.errors import InvalidArgument, TaskStopped


@pytest.fixture
def port() -> SyncPort:
    return SyncPort()


def public(kind: type) -> dict[str, object]:
    found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
    return {
        name: str(inspect.signature(one)).partition(" -> ")[0] if inspect.isfunction(one) else ""
        for name, one in found.items()
    }


def test_both_contexts_have_the_same_names_and_arguments() -> None:
    assert public(TaskContext) == public(SyncTaskContext)


def test_a_transaction_commits_the_checkpoint_or_restores_it(port: SyncPort) -> None:
    context = begin_sync(port)
    with context.transaction():
        context.execution_metadata.rows = 1
    with pytest.raises(ValueError, match="no"), context.transaction():  # noqa: PT012
        context.execution_metadata.rows = 2
        raise ValueError("no")
    assert port.written == [("save_on", 1)]
    assert context.execution_metadata.rows == 1


def test_checkpoints_completions_and_children_go_through_the_port(port: SyncPort) -> None:
    context = begin_sync(port)
    context.execution_metadata.rows = 1
    context.checkpoint()
    context.checkpoint_soon()
    mine: object = Connection()
    context.checkpoint(on=mine)  # type: ignore[arg-type]
    context.complete(Report(rows=1), on=mine)  # type: ignore[arg-type]
    context.enqueue("child")
    assert port.written == [
        ("save", 1, {}, False),
        ("soon", 1),
        ("save_on", 1),
        ("complete_on", {"rows": 1}, 1),
        ("enqueue", "child", {}),
    ]


def test_a_transaction_with_a_result_completes_the_task(port: SyncPort) -> None:
    context = begin_sync(port)
    with context.transaction(result=Report(rows=3)):
        pass
    with context.transaction() as connection:
        context.complete(Report(rows=4), on=connection)
    assert port.written == [("complete_on", {"rows": 3}, 0), ("complete_on", {"rows": 4}, 0)]
    assert context.left_behind().completed == ('{"rows":4}', True)


def test_steps_come_back_without_a_second_call(port: SyncPort) -> None:
    context = begin_sync(port, steps='{"a": {"rows": 1}}')
    called = []

    def count(rows: int) -> Report:
        called.append(rows)
        return Report(rows=rows)

    assert context.step("a", count, 1) == Report(rows=1)
    assert context.step("b", count, 2) == Report(rows=2)
    with context.step("c", returns=int) as step:
        step.value = 3
    assert called == [2]
    assert port.written[-1][2] == {"a": {"rows": 1}, "b": {"rows": 2}, "c": 3}


def test_a_plain_checkpoint_in_a_transaction_is_refused(port: SyncPort) -> None:
    context = begin_sync(port)
    with context.transaction(), pytest.raises(InvalidArgument, match="saves at its end"):
        context.checkpoint()


def test_steps_of_several_threads_are_all_kept(port: SyncPort) -> None:
    context = begin_sync(port)

    def double(number: int) -> int:
        return 2 * number

    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(lambda n: context.step(f"s{n}", double, n), range(40)))
    assert values == [2 * n for n in range(40)]
    assert port.written[-1][2] == {f"s{n}": 2 * n for n in range(40)}


def test_a_stop_asked_for_in_another_thread_ends_the_waiting(port: SyncPort) -> None:
    context = begin_sync(port)
    assert not context.stop.wait(0)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(context.stop.wait, 30)
        context.stop.ask("shutdown")
        assert waiting.result(30)
    context.stop.ask("cancelled")
    assert context.stop.reason == "cancelled"
    with pytest.raises(TaskStopped):
        context.stop.check()
