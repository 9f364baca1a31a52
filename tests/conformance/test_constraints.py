"""Constraints, deadlines and expiry: what holds a task back, and what lets it go."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.cli.doctor import check_unserved
from perdure.client.opening import open_database
from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.settings import Settings
from perdure.store.inspect import inspecting
from perdure.tasks.policies import Delays

NET = "network"
FAR = 4_102_444_800.0
"""The year 2100, in seconds of the epoch."""


class Line:
    """A service whose tasks require a network; `up` is what its probe says.

    `told` are the changes that its worker has heard of, `asked` counts the questions to the probe.
    """

    def __init__(self, *, up: bool, debounce: float = 0.0, probed: bool = True) -> None:
        self.up = up
        self.asked = 0
        self.told: list[tuple[str, bool]] = []
        self.go = asyncio.Event()
        self.started: list[int] = []
        self.reasons: list[str | None] = []
        self.late: list[bool] = []
        builder = TaskService.builder()
        builder.on("constraint.changed", lambda e: self.told.append((e.name, e.satisfied)))
        if probed:
            builder.add_constraint(NET, self._probe, every=0.02, debounce=debounce)
        builder.add_task(
            lambda task: (
                task.named("pay")
                .handled_by(self._pay)
                .requires(NET)
                .with_retry(max_retries=1, backoff=Delays([0]))
            )
        )
        self.service = builder.build()

    async def _probe(self) -> bool:
        self.asked += 1
        return self.up

    async def _pay(self, context: TaskContext[dict[str, Any]]) -> int:
        self.started.append(context.task_id)
        while not (self.go.is_set() or context.stop.requested):
            if context.metadata.get("until_late") and context.deadline_passed:
                break
            await asyncio.sleep(0.01)
        self.reasons.append(context.stop.reason)
        self.late.append(context.deadline_passed)
        context.stop.check()
        if context.metadata.get("fails", 0) >= context.attempt:
            raise RuntimeError("declined")
        return context.attempt

    async def until_started(self, run: Running, times: int) -> None:
        """Wait until so many runs have begun."""
        await run.until(lambda: len(self.started) == times)

    async def until_asked(self, run: Running, times: int = 3) -> None:
        """Wait for so many more answers of the probe."""
        enough = self.asked + times
        await run.until(lambda: self.asked >= enough)


def counters(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["attempt"], row["failures"], row["interruptions"], row["crashes"]


@pytest.mark.conformance("C67")
async def test_an_unsatisfied_task_is_left_to_the_worker_that_satisfies_it(
    database: Database,
) -> None:
    without, with_it = Line(up=False), Line(up=True)
    with_it.go.set()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(database, without.service))
        tasks = [await first.enqueue("pay") for _ in range(20)]
        enqueuer = first.worker._enqueuer
        sweeps = enqueuer.sweeps
        await first.until(lambda: enqueuer.sweeps >= sweeps + 3)
        row = await first.task(tasks[0])
        assert (row["state"], row["waiting_for"]) == ("pending", "no live worker satisfies network")
        assert await first.ask("select id from perdure.leases") == []

        second = await stack.enter_async_context(running(database, with_it.service))
        ends = [await second.ended(task) for task in tasks]
        assert {end["state"] for end in ends} == {"completed"}
        assert {end["worker_id"] for end in ends} == {second.worker.id}
        assert {end["attempt"] for end in ends} == {1}
    assert not without.started
    database.check_drained()


@pytest.mark.conformance("C68")
async def test_a_loss_stops_what_runs_and_each_waits_longer_than_the_one_before(
    database: Database,
) -> None:
    line = Line(up=True, debounce=0.05)
    waits: list[float] = []
    # Noted when it begins: a wait of a second may be over before anybody asks.
    database.execute("""
        create table noted (n int generated always as identity, due_at timestamptz);
        create function note() returns trigger language plpgsql as $$
            begin insert into public.noted (due_at) values (new.due_at); return null; end $$;
        create trigger noted after insert on perdure.waiting
            for each row execute function note()""")
    async with running(database, line.service) as run:
        task = await run.enqueue("pay")
        for loss in (1, 2, 3):
            await line.until_started(run, loss)
            line.up = False
            row = await run.state(task, "pending", "scheduled")
            assert counters(row) == (loss, 0, loss, 0)
            assert row["reason"] == "interruption"
            waited = await run.ask(
                "select coalesce((select extract(epoch from w.due_at - a.ended_at)"
                " from public.noted as w order by w.n desc limit 1), 0)::float as seconds"
                " from perdure.attempts as a where a.attempt = %s::integer", loss,
            )  # fmt: skip
            waits.append(waited[0]["seconds"])
            line.up = True
            await run.until(lambda: line.told[-1] == (NET, True))
            await run.past(task)
        line.go.set()
        row = await run.ended(task)
        assert (row["state"], row["result"]) == ("completed", 4)
        assert counters(row) == (4, 0, 3, 0)
    assert line.reasons == ["constraint:network"] * 3 + [None]
    assert waits == pytest.approx([0, 1, 3], abs=0.2)
    reasons = database.rows("select distinct kind, reason from perdure.attempts")
    assert reasons == [("interruption", "constraint:network")]
    database.check_drained()


@pytest.mark.conformance("C68")
async def test_a_loss_shorter_than_the_debounce_stops_nothing(database: Database) -> None:
    line = Line(up=True, debounce=60)
    async with running(database, line.service) as run:
        task = await run.enqueue("pay")
        await run.until(lambda: line.started)
        line.up = False
        await line.until_asked(run)
        line.up = True
        await line.until_asked(run)
        line.go.set()
        row = await run.ended(task)
    assert (row["state"], counters(row)) == ("completed", (1, 0, 0, 0))
    assert line.reasons == [None]
    assert line.told == [(NET, True)]


@pytest.mark.conformance("C68")
async def test_other_interruptions_do_not_make_a_loss_wait(database: Database) -> None:
    line = Line(up=True)
    task: int
    for _ in range(2):  # two deploys
        async with running(database, line.service) as run:
            begun = len(line.started)
            if not begun:
                task = await run.enqueue("pay")
            await line.until_started(run, begun + 1)
    async with running(database, line.service) as run:
        await run.until(lambda: len(line.started) == 3)
        line.up = False
        row = await run.state(task, "pending", "scheduled")
        assert (row["state"], counters(row)) == ("pending", (3, 0, 3, 0))
        line.up = True
        line.go.set()
        await run.ended(task)
    assert line.reasons == ["shutdown", "shutdown", "constraint:network", None]


@pytest.mark.conformance("C69")
async def test_from_its_deadline_on_a_task_runs_without_its_constraints(
    database: Database,
) -> None:
    line = Line(up=False)
    line.go.set()
    async with running(database, line.service) as run:
        sql = "clock_timestamp() + interval '300 milliseconds'"
        rows = await run.ask(
            "insert into perdure.tasks (name, metadata, deadline_at, run_at) values"
            f" ('pay', '{{\"fails\": 1}}', {sql}, null),"
            f" ('pay', '{{}}', {sql}, {sql}) returning id"
        )
        ready, waiting = (row["id"] for row in rows)
        row = await run.ended(ready)
        # It has failed once: its retry finds the constraint unsatisfied, and the deadline passed.
        assert (row["state"], counters(row)) == ("completed", (2, 1, 0, 0))
        assert (await run.ended(waiting))["state"] == "completed"
    assert line.late == [True, True, True]
    assert line.told == [(NET, False)]
    database.check_drained()


@pytest.mark.conformance("C69")
async def test_what_runs_is_not_stopped_for_a_constraint_once_its_deadline_has_passed(
    database: Database,
) -> None:
    line = Line(up=True)
    async with running(database, line.service) as run:
        task = await run.enqueue("pay", deadline_at="2100-01-01T00:00:00Z")
        await run.until(lambda: line.started)
        (attempt,) = run.worker._holdings.running.values()
        assert not attempt.deadline_passed
        assert attempt.claimed.deadline_at == FAR
        # A second ago: what the worker takes for now may go back a little with its next beat.
        past = run.worker._holdings.now() - 1.0
        attempt.claimed = attempt.claimed._replace(deadline_at=past)
        assert attempt.deadline_passed
        line.up = False
        await run.until(lambda: (NET, False) in line.told)
        line.go.set()
        row = await run.ended(task)
    assert (row["state"], counters(row)) == ("completed", (1, 0, 0, 0))
    assert (line.reasons, line.late) == ([None], [True])


@pytest.mark.conformance("C69")
async def test_what_was_not_started_by_its_expiry_fails_and_is_never_called(
    database: Database,
) -> None:
    line = Line(up=False)
    insert = (
        "insert into perdure.tasks (name, expires_at, run_at) values"
        " ('pay', clock_timestamp() + {ahead}, null),"
        " ('pay', clock_timestamp() + {ahead}, clock_timestamp() + interval '1 hour') returning id"
    )
    async with running(database, line.service) as run:
        rows = await run.ask(insert.format(ahead="interval '300 milliseconds'"))
        rows += await run.ask(insert.format(ahead="interval '-1 minute'"))
        for row in rows:
            end = await run.ended(row["id"])
            assert (end["state"], end["reason"], end["attempt"]) == ("failed", "expired", 0)
            assert end["error"]["kind"] == "expired"
        with pytest.raises(Exception, match="expires_at has passed"):
            await run.enqueue("pay", expires_at="2020-01-01T00:00:00Z")
        with pytest.raises(Exception, match="expires_at has passed"):
            await run.ask(
                "select perdure.enqueue_many("
                """'[{"name": "pay", "expires_at": "2020-01-01T00:00:00Z"}]')"""
            )
    assert not line.started
    database.check_drained()


@pytest.mark.conformance("C69")
@pytest.mark.parametrize("fails", [0, 9])
async def test_what_runs_at_its_expiry_completes_and_is_not_retried(
    database: Database, fails: int
) -> None:
    line = Line(up=True)
    async with running(database, line.service) as run:

        async def served() -> bool:
            """Whether promotion has looked at the alarm, and put it off."""
            run.worker.beat_now()
            late = "select task_id from perdure.alarms where at <= clock_timestamp()"
            return not await run.ask(late)

        times = {"expires_at": "2100-01-01T00:00:00Z"}
        task = await run.enqueue("pay", f'{{"fails": {fails}}}', **times)
        await run.until(lambda: line.started)
        (attempt,) = run.worker._holdings.running.values()
        assert attempt.claimed.expires_at == FAR
        attempt.claimed = attempt.claimed._replace(expires_at=run.worker._holdings.now())
        await run.ask("update perdure.alarms set at = clock_timestamp()")
        await run.until(served)
        line.go.set()
        row = await run.ended(task)
    assert line.reasons == [None]
    if fails:
        assert (row["state"], row["reason"], counters(row)) == ("failed", "expired", (1, 1, 0, 0))
        assert row["error"]["message"] == "declined"
    else:
        assert (row["state"], counters(row)) == ("completed", (1, 0, 0, 0))


@pytest.mark.conformance("C70")
async def test_what_nobody_serves_is_listed_with_its_reason_until_somebody_does(
    database: Database,
) -> None:
    line, other = Line(up=True), TaskService.builder()
    line.go.set()

    @other.task("unknown")
    async def unknown(context: TaskContext[Any]) -> None:
        """Nobody knows it, at first."""

    listed = "select name, tasks, why from perdure.unserved_tasks order by name"
    news = "select name, tasks, why from perdure.report_unserved() order by name"
    async with running(database, line.service) as run:
        first = await run.enqueue("pay", requires=["gpu"])
        second = await run.enqueue("unknown")
        assert await run.ask(listed) == []
        held = "select id from perdure.workers where 'network' = any (satisfied)"
        await run.until(lambda: run.ask(held))
        await run.ask("update perdure.tasks set created_at = created_at - interval '61 seconds'")
        expected = [
            {"name": "pay", "tasks": 1, "why": "no live worker satisfies gpu"},
            {"name": "unknown", "tasks": 1, "why": "no live worker knows unknown"},
        ]
        assert await run.ask(listed) == expected
        assert (await run.task(first))["waiting_for"] == "no live worker satisfies gpu"
        # One worker tells of it, once.
        assert await run.ask(news) == expected
        assert await run.ask(news) == []
        assert [text in (await doctor(database)) for text in ("gpu", "unknown")] == [True, True]

        await run.ask("select perdure.set_constraint('gpu', true)")
        async with running(database, other.build()) as helper:
            assert (await run.ended(first))["state"] == "completed"
            assert (await helper.ended(second))["state"] == "completed"
            assert await run.ask(listed) == []
            assert await run.ask(news) == []
        assert "takes every ready task" in await doctor(database)
    database.check_drained()


async def doctor(database: Database) -> str:
    """What the doctor says of unserved tasks."""

    def look() -> str:
        with inspecting(open_database(database.dsn)) as inspector:
            finding = check_unserved(inspector, Settings())
            return f"{finding.verdict}: {finding.text}"

    return await asyncio.to_thread(look)


@pytest.mark.conformance("C71")
async def test_a_constraint_that_is_declared_false_holds_in_no_worker(database: Database) -> None:
    probed, unprobed = Line(up=True), Line(up=True, probed=False)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(database, probed.service))
        second = await stack.enter_async_context(running(database, unprobed.service))
        runs, said = (first, second), "select perdure.set_constraint('network', {}) as answer"

        async def all_believe(*believed: int) -> None:
            def agreed() -> bool:
                held = [NET in run.worker._constraints.satisfied for run in runs]
                return held == list(believed)

            await first.until(agreed)
            states = "select workers from perdure.constraint_states where name = 'network'"
            shown = [{"workers": sum(believed)}]

            async def known() -> bool:
                return await first.ask(states) == shown

            await first.until(known)

        await all_believe(1, 0)  # by its own probe
        assert (await first.ask(said.format("true")))[0]["answer"] == "changed"
        assert (await first.ask(said.format("true")))[0]["answer"] == "unchanged"
        await all_believe(1, 1)
        task = await first.enqueue("pay")
        await first.until(lambda: probed.started or unprobed.started)
        assert (await first.ask(said.format("false")))[0]["answer"] == "changed"
        await all_believe(0, 0)
        # Who hears of it later may have begun the run that the other one has given back.
        row = await first.state(task, "pending", "scheduled")
        attempt, failures, interruptions, crashes = counters(row)
        assert (failures, interruptions, crashes) == (0, attempt, 0)
        assert (await first.ask(said.format("null")))[0]["answer"] == "changed"
        await all_believe(1, 0)
        probed.go.set()
        assert (await first.ended(task))["worker_id"] == first.worker.id
    database.check_drained()
