"""Suspending and going on: restarts, times, patches, refusals, counters."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.gate import lose
from tests.kit.running import Running, running
from tests.kit.stepping import Stepped, stepped

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Cancelled, Suspended
from perdure.tasks.policies import Delays, RetryPolicy


class Plan(BaseModel):
    """Metadata: how many runs fail first, how many then suspend, and for what they wait."""

    failures: int = 0
    suspensions: int = 1
    until: datetime | None = None
    wait_key: str | None = None


class Notes(BaseModel, extra="allow"):
    """Execution metadata that takes whatever a signal brings."""

    a: int = 0


Context = TaskContext[Plan, Notes]


class Sleeper:
    """A service whose task `rest` fails, suspends and completes as its metadata says."""

    def __init__(self) -> None:
        self.runs: defaultdict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        """Of each task: run reason and execution metadata as its runs saw them."""
        self.last_start = datetime.min.replace(tzinfo=UTC)
        builder = TaskService.builder()
        builder.task("rest", retry=RetryPolicy(backoff=Delays([0])))(self.rest)
        builder.task("end", retry=0)(self.end)
        self.service: TaskService = builder.build()

    async def rest(self, context: Context) -> str | Suspended:
        runs, plan = self.runs[context.task_id], context.metadata
        self.last_start = datetime.now(UTC)
        runs.append((context.run_reason, context.execution_metadata.model_dump()))
        if len(runs) <= plan.failures:
            raise ValueError(len(runs))
        if len(runs) <= plan.failures + plan.suspensions:
            return Suspended(until=plan.until, wait_key=plan.wait_key)
        return "done"

    async def end(self, context: TaskContext[dict[str, str], None]) -> Cancelled[None] | None:
        match context.metadata["as"]:
            case "failed":
                raise ValueError
            case "cancelled":
                return Cancelled()
        return None

    async def ran(self, worker: Running, task_id: int, times: int) -> None:
        """Wait until a task has been started so often."""
        await worker.until(lambda: len(self.runs[task_id]) == times)

    async def suspended(self, worker: Running, **options: Any) -> int:
        """Enqueue `rest`, wait until it is suspended."""
        task_id = await worker.enqueue("rest", Plan(**options).model_dump_json())
        await worker.state(task_id, "suspended")
        return task_id


async def proceed(worker: Running | Stepped, task_id: int, **arguments: object) -> str:
    """Call perdure.proceed with JSON of dicts; its answer."""
    given = {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in arguments.items()}
    text = "select perdure.proceed({}) as answer".format(
        ", ".join(["%s::bigint", *(f"{name} => %s" for name in given)])
    )
    if isinstance(worker, Stepped):
        ((answer,),) = await worker.run(text, [task_id, *given.values()])
    else:
        answer = (await worker.ask(text, task_id, *given.values()))[0]["answer"]
    return str(answer)


@pytest.mark.conformance("C51")
async def test_a_suspended_task_frees_its_slot_survives_restarts_and_goes_on_patched(
    database: Database,
) -> None:
    sleeper = Sleeper()
    async with running(database, sleeper.service, execution__concurrency="1") as worker:
        task_id = await sleeper.suspended(worker)
        other = await worker.enqueue("rest", '{"suspensions": 0}')
        assert (await worker.ended(other))["state"] == "completed"
        before = await worker.task(task_id)
    async with running(database, sleeper.service, execution__concurrency="1") as worker:
        assert await worker.task(task_id) == before
        last = await worker.enqueue("rest", '{"suspensions": 0}')
        assert (await worker.ended(last))["state"] == "completed"
        assert (await worker.task(task_id))["state"] == "suspended"
        assert await proceed(worker, task_id, patch={"a": 1}) == "proceeded"
        assert (await worker.ended(task_id))["state"] == "completed"
    assert sleeper.runs[task_id] == [("first", {"a": 0}), ("proceeded", {"a": 1})]
    database.check_drained()


@pytest.mark.conformance("C52")
async def test_a_task_that_is_suspended_until_a_time_goes_on_then(database: Database) -> None:
    sleeper = Sleeper()
    async with running(database, sleeper.service) as worker:
        until = datetime.now(UTC) + timedelta(seconds=3)
        task_id = await sleeper.suspended(worker, until=until)
        assert (await worker.task(task_id))["due_at"] == until
        ended = await worker.ended(task_id)
        assert until <= sleeper.last_start <= until + timedelta(seconds=1.1)
        assert (ended["state"], ended["attempt"]) == ("completed", 2)
        past = await worker.enqueue(
            "rest", Plan(until=datetime(2020, 1, 1, tzinfo=UTC)).model_dump_json()
        )
        await worker.ended(past)
    for id_ in (task_id, past):
        assert [reason for reason, _ in sleeper.runs[id_]] == ["first", "until"]
    database.check_drained()


@pytest.mark.conformance("C52")
async def test_whichever_comes_first_of_a_time_a_proceed_and_a_wait_key_counts_once(
    database: Database,
) -> None:
    sleeper = Sleeper()
    later = datetime.now(UTC) + timedelta(hours=1)
    async with running(database, sleeper.service) as worker, stepped(database) as other:
        early = await sleeper.suspended(worker, until=later)
        assert await proceed(worker, early) == "proceeded"
        await worker.ended(early)

        keyed = await sleeper.suspended(worker, until=later, wait_key="k")
        waiting_for = (await worker.task(keyed))["waiting_for"]
        assert waiting_for == f"wait key k or until {later:%Y-%m-%dT%H:%M:%SZ}"
        assert await other.run("select perdure.proceed_waiting('k')") == [("proceeded",)]
        await worker.ended(keyed)

        timed = await sleeper.suspended(worker, until=later, wait_key="k2")
        await worker.past(timed)
        await worker.ended(timed)
        call = "select perdure.proceed_waiting('k2', keep_for => '0')"
        assert await other.run(call) == [("not_found",)]
    assert {id_: [reason for reason, _ in runs] for id_, runs in sleeper.runs.items()} == {
        early: ["first", "proceeded"], keyed: ["first", "proceeded"], timed: ["first", "until"],
    }  # fmt: skip
    database.check_drained()


@pytest.mark.conformance("C55")
async def test_two_patches_at_once_are_both_in(database: Database) -> None:
    sleeper = Sleeper()
    async with running(database, sleeper.service) as worker:
        task_id = await sleeper.suspended(worker)
    async with stepped(database) as first, stepped(database) as second:
        await first.run("begin")
        assert await proceed(first, task_id, patch={"a": 1, "b": 1}) == "proceeded"
        text = 'select perdure.proceed(%s, patch => \'{"b": null, "c": 2}\')'
        assert not await second.start(text, [task_id]), "the second should wait for the first"
        await first.run("commit")
        assert await second.end() == [("proceeded",)]
    async with running(database, sleeper.service) as worker:
        await worker.ended(task_id)
    assert sleeper.runs[task_id][1:] == [("proceeded", {"a": 1, "c": 2})]
    database.check_drained()


@pytest.mark.conformance("C55")
async def test_the_whole_replaces_and_what_is_no_patch_is_refused(database: Database) -> None:
    sleeper = Sleeper()
    async with running(database, sleeper.service) as worker:
        task_id = await sleeper.suspended(worker, suspensions=2)
        await proceed(worker, task_id, patch={"a": 1, "b": 2})
        await sleeper.ran(worker, task_id, 2)
        before = await worker.state(task_id, "suspended")
        for arguments in (
            {"patch": {"a": 2}, "execution_metadata": {"a": 2}}, {"patch": [1]}, {"patch": "1"},
            {"patch": "null"}, {"execution_metadata": [1]},
        ):  # fmt: skip
            with pytest.raises(psycopg.Error) as refused:
                await proceed(worker, task_id, **arguments)
            assert refused.value.sqlstate == "PD004"
            assert await worker.task(task_id) == before
        assert await proceed(worker, task_id, execution_metadata={"c": 3}) == "proceeded"
        await worker.ended(task_id)
    assert sleeper.runs[task_id][-1] == ("proceeded", {"a": 0, "c": 3})
    database.check_drained()


@pytest.mark.conformance("C56")
async def test_a_proceed_with_a_time_runs_then_and_a_second_one_changes_the_same_pass(
    database: Database,
) -> None:
    sleeper = Sleeper()
    async with running(database, sleeper.service) as worker:
        task_id = await sleeper.suspended(worker, suspensions=2)
        hour = datetime.now(UTC) + timedelta(hours=1)
        first = {"patch": {"a": 1}, "signal_key": "s1", "run_at": hour}
        assert await proceed(worker, task_id, **first) == "scheduled"
        task = await worker.task(task_id)
        assert (task["state"], task["reason"], task["due_at"]) == ("scheduled", "proceeded", hour)

        due = datetime.now(UTC) + timedelta(seconds=3)
        second = {"patch": {"b": 2}, "signal_key": "s2", "run_at": due}
        assert await proceed(worker, task_id, **second) == "scheduled"
        assert await proceed(worker, task_id, **second) == "repeated"
        assert not database.rows("select from perdure.mail")
        await sleeper.ran(worker, task_id, 2)
        assert due <= sleeper.last_start <= due + timedelta(seconds=1.1)
        before = await worker.state(task_id, "suspended")
        for signal in (first, second):
            assert await proceed(worker, task_id, **signal) == "repeated"
        assert await worker.task(task_id) == before
        assert await proceed(worker, task_id, signal_key="s3") == "proceeded"
        await worker.ended(task_id)
    expected = {"a": 1, "b": 2}
    assert sleeper.runs[task_id][1:] == [("proceeded", expected), ("proceeded", expected)]
    database.check_drained()


@pytest.mark.conformance("C56")
async def test_two_proceeds_before_the_run_are_one_run(database: Database) -> None:
    sleeper = Sleeper()
    async with running(database, sleeper.service) as worker:
        task_id = await sleeper.suspended(worker)
        await worker.pause("default")
        assert await proceed(worker, task_id, patch={"a": 1}) == "proceeded"
        assert await proceed(worker, task_id, patch={"b": 2}) == "proceeded"
        assert not database.rows("select from perdure.mail")
        await worker.ask("select perdure.resume_queue('default')")
        await worker.ended(task_id)
    assert sleeper.runs[task_id][1:] == [("proceeded", {"a": 1, "b": 2})]
    database.check_drained()


@pytest.mark.conformance("C58")
@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
async def test_a_proceed_of_an_ended_task_changes_nothing(database: Database, state: str) -> None:
    async with running(database, Sleeper().service) as worker:
        task_id = await worker.enqueue("end", f'{{"as": "{state}"}}')
        before = await worker.ended(task_id)
        assert before["state"] == state
        assert await proceed(worker, task_id, patch={"a": 1}) == "ended"
        assert await proceed(worker, task_id, execution_metadata={"a": 1}) == "ended"
        assert await worker.task(task_id) == before
    assert not database.rows("select from perdure.mail")
    database.check_drained()


@pytest.mark.conformance("C58")
async def test_a_patch_beyond_the_limit_is_refused(database: Database) -> None:
    sleeper = Sleeper()
    async with running(database, sleeper.service) as worker:
        most = database.value("select perdure.setting('checkpoint_bytes')")
        task_id = await sleeper.suspended(worker, suspensions=2)
        assert await proceed(worker, task_id, patch={"x": "x" * (most // 2)}) == "proceeded"
        await sleeper.ran(worker, task_id, 2)
        before = await worker.state(task_id, "suspended")
        for patch in ({"y": "y" * most}, {"y": "y" * (most // 2)}):
            with pytest.raises(psycopg.Error, match="larger than") as refused:
                await proceed(worker, task_id, patch=patch)
            assert refused.value.sqlstate == "PD002"
            assert await worker.task(task_id) == before
        assert await proceed(worker, task_id, patch={"x": None}) == "proceeded"
        await worker.ended(task_id)
    database.check_drained()


@pytest.mark.conformance("C59")
@pytest.mark.parametrize("before", [False, True])
async def test_ten_suspensions_move_neither_failures_nor_crashes(
    database: Database, before: bool
) -> None:
    """`before`: one crash and one failure come first."""
    sleeper = Sleeper()
    plan = Plan(failures=int(before), suspensions=10)
    task_id = database.value(
        "insert into perdure.tasks (name, metadata) values ('rest', %s) returning id",
        [plan.model_dump_json()],
    )
    if before:
        lose(database, task_id)
    async with running(database, sleeper.service) as worker:
        for turn in range(1, 11):
            await sleeper.ran(worker, task_id, turn + before)
            task = await worker.state(task_id, "suspended")
            assert (task["failures"], task["crashes"]) == (before, before)
            assert await proceed(worker, task_id) == "proceeded"
        ended = await worker.ended(task_id)
    assert (ended["state"], ended["failures"], ended["crashes"]) == ("completed", before, before)
    assert ended["attempt"] == 11 + 2 * before
    database.check_drained()
