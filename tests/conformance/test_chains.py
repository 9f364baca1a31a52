"""Chains, as users are told: who waits for whom, and what becomes of those behind a bad end."""

from __future__ import annotations

import json
from itertools import product
from typing import Any, Literal, TypeAlias

import psycopg
import pytest
from tests.kit.databases import Database
from tests.kit.running import running

from perdure import (
    Cancelled,
    Edge,
    InvalidArgument,
    NewTask,
    SyncTaskClient,
    TaskClient,
    TaskContext,
    TaskService,
)
from perdure.store.views import TaskView

Rule: TypeAlias = Literal["fail", "cancel", "run"]
RULES: tuple[Rule, ...] = ("fail", "cancel", "run")
# The end of the first, by rule: how the one behind it ends.
ENDS: dict[tuple[str, Rule], str] = {
    ("failed", "fail"): "failed",
    ("failed", "cancel"): "cancelled",
    ("failed", "run"): "completed",
    ("cancelled", "fail"): "cancelled",
    ("cancelled", "cancel"): "cancelled",
    ("cancelled", "run"): "completed",
}


@pytest.mark.conformance("C72")
async def test_a_hundred_side_by_side_are_read_in_the_order_of_their_edges(
    database: Database,
) -> None:
    builder = TaskService.builder()
    ended: list[int] = []
    read: list[Any] = []

    @builder.task("part")
    async def part(context: TaskContext[dict[str, Any], None]) -> dict[str, int]:
        if context.metadata["n"] >= 0:
            ended.append(context.metadata["n"])
        return {"n": context.metadata["n"]}

    @builder.task("sum")
    async def add(context: TaskContext[dict[str, Any], None]) -> int:
        inputs = await context.inputs()
        read.append((list(ended), [one.result["n"] for one in inputs.all("part")], inputs))
        return sum(one.result_as(dict[str, int])["n"] for one in inputs.all("part"))

    # The later ones are more urgent: the order of the ends is not that of the edges.
    fan = [NewTask("part", {"n": n}, priority=9 - n // 10) for n in range(100)]
    async with running(database, builder.build()) as worker, TaskClient(database.dsn) as client:
        handles = await client.chain(NewTask("part", {"n": -1}), fan, NewTask("sum"))
        assert await handles[-1].result(timeout=30) == 4950
        row = await worker.task(handles[-1].id)
    ((before, numbers, inputs),) = read
    assert sorted(before) == numbers == list(range(100))
    assert before != numbers
    assert [one.task_id for one in inputs.all()] == [handle.id for handle in handles[1:-1]]
    assert list(inputs) == []  # of a hundred with one name none has it for its own
    assert (row["attempt"], row["failures"]) == (1, 0)
    database.check_drained()


def service(ran: list[int]) -> TaskService:
    builder = TaskService.builder().configure_execution(max_retry_count=0)

    @builder.task("failed")
    async def fail(context: TaskContext[dict[str, Any], None]) -> None:
        raise ValueError("no")

    @builder.task("cancelled")
    async def cancel(context: TaskContext[dict[str, Any], None]) -> Cancelled[None]:
        return Cancelled()

    @builder.task("next")
    async def follow(context: TaskContext[dict[str, Any], None]) -> None:
        ran.append(context.task_id)

    return builder.build()


@pytest.mark.conformance("C73")
@pytest.mark.conformance("C74")
@pytest.mark.parametrize("when", ["before the end", "after the end"])
async def test_what_follows_a_bad_end_goes_by_its_own_edge_through_three_levels(
    database: Database, when: str
) -> None:
    ran: list[int] = []
    async with running(database, service(ran)) as worker, TaskClient(database.dsn) as client:
        firsts = [await client.enqueue(end, {}, delay=3600) for end, _ in ENDS]
        if when == "after the end":
            for first in firsts:
                await client.run_now(first.id)
                await worker.ended(first.id)
        lines: list[list[int]] = []
        for first, (_, rule) in zip(firsts, ENDS, strict=True):
            new = [NewTask("next", {}, after=[Edge(first, on_failure=rule)])]
            new += [NewTask("next", {}, after=[new[0]])]
            new += [NewTask("next", {}, after=[new[1]])]
            new += [NewTask("next", {}, after=[Edge(new[2], on_failure="run")])]
            lines.append([handle.id for handle in await client.enqueue_many(new)])
            if when == "after the end":
                state = (await worker.task(lines[-1][0]))["state"]
                assert (state in {"failed", "cancelled"}) is (rule != "run"), "decided at once"
        if when == "before the end":
            for first in firsts:
                await client.run_now(first.id)
        for (end, rule), first, line in zip(ENDS, firsts, lines, strict=True):
            wanted = ENDS[end, rule]
            rows = [await worker.ended(task) for task in line]
            assert [row["state"] for row in rows] == [wanted, wanted, wanted, "completed"]
            if wanted != "completed":
                assert [row["error"]["kind"] for row in rows[:3]] == ["dependency"] * 3
                before = zip([first.id, *line], [end, wanted, wanted], strict=False)
                said = [f"task {task} {state}" for task, state in before]
                assert [row["error"]["message"] for row in rows[:3]] == said
                assert not set(line[:3]) & set(ran)
            assert line[3] in ran
    assert len(ran) == len(set(ran))
    database.check_drained()


@pytest.mark.conformance("C75")
@pytest.mark.parametrize(
    "after",
    [
        [{"task": 99}],
        [{"position": 2}],
        [{"position": 1}],
        [{"position": 0, "label": "x"}, {"task": 1, "label": "x"}],
        [{"task": 1}, {"task": 1}],
        [{"task": 1, "on_failure": "x"}],
        [{"task": 1, "label": 7}],
        [{"task": 1, "name": "a"}],
        [1],
        {},
        [{"task": n} for n in range(1, 1002)],
    ],
    ids=["missing", "forward", "itself", "label", "twice", "rule", "number", "word", "bare",
         "object", "many"],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_and_nothing_is_enqueued(
    database: Database, after: Any
) -> None:
    database.execute("insert into perdure.tasks (name) values ('a')")
    entries = [{"name": "a"}, {"name": "b", "after": after}, {"name": "c"}]
    with pytest.raises(psycopg.Error) as refused:
        database.rows("select * from perdure.enqueue_many(%s::jsonb)", [json.dumps(entries)])
    assert refused.value.diag.sqlstate == "PD004"
    assert refused.value.diag.message_hint
    assert str(refused.value).startswith("entry 1: ")
    for table in ("tasks", "inputs", "edges"):
        assert database.value(f"select count(*) from perdure.{table}") == (table == "tasks")


@pytest.mark.conformance("C75")
def test_a_client_refuses_what_is_not_before_in_the_same_call(database: Database) -> None:
    with SyncTaskClient(database.dsn) as client:
        later = NewTask("a")
        for bad in ([NewTask("a", after=[later]), later], [NewTask("a", after=[None])]):  # type: ignore[list-item]
            with pytest.raises(InvalidArgument):
                client.enqueue_many(bad)
        with pytest.raises(InvalidArgument, match="no task 7"):
            client.enqueue("a", after=[7])
    assert database.value("select count(*) from perdure.tasks") == 0


def found(client: SyncTaskClient, task: int) -> TaskView:
    view = client.get(task)
    assert view is not None
    return view


@pytest.mark.conformance("C75")
@pytest.mark.parametrize("ended", [False, True])
def test_the_delay_of_a_follower_counts_from_its_release(database: Database, ended: bool) -> None:
    with SyncTaskClient(database.dsn) as client:
        first, second = (client.enqueue("a").id for _ in range(2))
        assert client.cancel(first) == "cancelled"
        if ended:
            client.cancel(second)
        rules = [Edge(first, on_failure="run"), Edge(second, on_failure="run")]
        follower = client.enqueue("b", after=rules, delay=3600).id
        at = database.value("select run_at from perdure.tasks where id = %s", [follower])
        assert (at is None) is not ended
        before = database.value("select clock_timestamp()")
        if not ended:
            assert found(client, follower).state == "blocked"
            client.cancel(second)
        task = found(client, follower)
        assert (task.state, task.reason) == ("scheduled", "delay")
        assert task.due_at is not None
        assert abs((task.due_at - before).total_seconds() - 3600) < 60
        assert client.run_now(follower) == "hastened"
        assert found(client, follower).state == "pending"


@pytest.mark.conformance("C76")
async def test_a_retry_with_dependents_lets_the_chain_complete(database: Database) -> None:
    builder = TaskService.builder().configure_execution(max_retry_count=0)
    good: set[str] = set()

    @builder.task("work")
    async def work(context: TaskContext[dict[str, Any], None]) -> str:
        name = str(context.metadata["name"])
        if name not in good and name in {"first", "other"}:
            raise ValueError(name)
        return name + "".join(one.result or "-" for one in (await context.inputs()).all())

    def named(name: str, *after: NewTask[Any, Any]) -> NewTask[Any, Any]:
        return NewTask("work", {"name": name}, after=list(after))

    first, other = named("first"), named("other")
    second = named("second", first)
    third = named("third", second)
    both = named("both", second, other)
    tasks = [first, other, second, third, both]
    async with running(database, builder.build()) as worker, TaskClient(database.dsn) as client:
        ids = dict(zip(("first", "other", "second", "third", "both"), [
            handle.id for handle in await client.enqueue_many(tasks)], strict=True))  # fmt: skip
        for task in ids.values():
            assert (await worker.ended(task))["state"] == "failed"
        await worker.pause("default")
        good.add("first")
        assert await client.retry(ids["first"], with_dependents=True) == "retried"
        states = [(await worker.task(ids[name]))["state"] for name in ids]
        # What follows another bad end, too, stays as it is.
        assert states == ["pending", "failed", "blocked", "blocked", "failed"]
        assert await client.retry(ids["other"], with_dependents=True) == "retried"
        assert (await worker.task(ids["both"]))["state"] == "blocked"
        good.add("other")
        await client.resume_queue("default")
        results = {name: (await worker.ended(task))["result"] for name, task in ids.items()}
    assert results == {
        "first": "first", "other": "other", "second": "secondfirst",
        "third": "thirdsecondfirst", "both": "bothsecondfirstother",
    }  # fmt: skip
    database.check_drained()


def test_the_table_of_ends_is_whole() -> None:
    assert set(ENDS) == set(product(("failed", "cancelled"), RULES))
