"""Failures and what follows from them: limits, delays, final ones, and what is kept of each run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import Running, running

from perdure.declare.context import TaskContext
from perdure.errors import RegistrationError
from perdure.service import TaskService
from perdure.tasks.outcomes import Failure, Retry
from perdure.tasks.policies import UNLIMITED, Delays, Exponential, RetryPolicy

AT_ONCE = Delays([0])
Context = TaskContext[dict[str, Any], None]


class Script(BaseModel):
    """Metadata: what each run does, the last letter for all that follow.

    t throws ValueError, k KeyError, r returns a Failure, f a final one, o returns a result.
    """

    runs: str = "t"


class Problem(BaseModel):
    """A typed error."""

    run: int


async def act(context: TaskContext[Script, None]) -> int | Failure[Problem]:
    """Do what the script says of this run."""
    letters = context.metadata.runs
    match letters[min(context.attempt, len(letters)) - 1]:
        case "t":
            raise ValueError(f"run {context.attempt}")
        case "k":
            raise KeyError(context.attempt)
        case "o":
            return context.attempt
        case letter:
            return Failure(Problem(run=context.attempt), final=letter == "f")


def service(retry: RetryPolicy | None = None, name: str = "act") -> TaskService:
    """A service whose one task plays scripts; its retries follow at once."""
    builder = TaskService.builder()
    builder.task(name, retry=retry or RetryPolicy(backoff=AT_ONCE))(act)
    return builder.build()


async def play(worker: Running, runs: str, **options: object) -> dict[str, Any]:
    """Enqueue a script; the task when it has ended."""
    task = await worker.enqueue("act", Script(runs=runs).model_dump_json(), **options)
    return await worker.ended(task)


def ends(row: dict[str, Any]) -> tuple[str, str | None, int, int]:
    """State, kind, runs and failures of a task that has ended."""
    return row["state"], row["reason"], row["attempt"], row["failures"]


async def runs_of(worker: Running, task: int) -> list[dict[str, Any]]:
    """The attempts rows of a task, in order."""
    return await worker.ask(
        "select * from perdure.attempts where task_id = %s::bigint order by attempt", task
    )


async def pause(worker: Running, task: int) -> float:
    """Seconds from the end of the last run to the time that a retrying task waits for."""
    rows = await worker.ask(
        "select extract(epoch from w.due_at - a.ended_at)::float8 as seconds"
        " from perdure.waiting as w join perdure.attempts as a using (task_id)"
        " where task_id = %s::bigint order by a.attempt desc limit 1", task,
    )  # fmt: skip
    return float(rows[0]["seconds"])


@pytest.mark.conformance("C15")
async def test_four_failures_exhaust_the_defaults(database: Database) -> None:
    async with running(database, service()) as worker:
        for runs in ("t", "r", "tr"):
            row = await play(worker, runs)
            assert ends(row) == ("failed", "exhausted", 4, 4)
            kinds = [(run["attempt"], run["kind"]) for run in await runs_of(worker, row["id"])]
            assert kinds == [(1, "failure"), (2, "failure"), (3, "failure")]
    database.check_drained()


@pytest.mark.conformance("C15")
async def test_a_limit_for_exceptions_holds_for_exceptions_alone(database: Database) -> None:
    async with running(database, service(), scheduling__scheduler_retry_count=5) as worker:
        assert ends(await play(worker, "t")) == ("failed", "exhausted", 6, 6)
        assert ends(await play(worker, "r")) == ("failed", "exhausted", 4, 4)
    database.check_drained()


@pytest.mark.conformance("C16")
async def test_the_kind_of_the_present_failure_chooses_the_limit(database: Database) -> None:
    async with running(database, service(), scheduling__scheduler_retry_count=5) as worker:
        assert ends(await play(worker, "ttttro")) == ("failed", "exhausted", 5, 5)
        assert ends(await play(worker, "rrrto")) == ("completed", None, 5, 4)
    database.check_drained()


@pytest.mark.conformance("C17")
async def test_the_limit_of_a_task_holds_for_both_kinds(database: Database) -> None:
    once = service(RetryPolicy(max_retries=1, backoff=AT_ONCE))
    async with running(database, once, scheduling__scheduler_retry_count=5) as worker:
        for runs in ("t", "r"):
            assert ends(await play(worker, runs)) == ("failed", "exhausted", 2, 2)
    database.check_drained()


@pytest.mark.conformance("C17")
async def test_an_unlimited_task_is_still_retried_at_failure_50(database: Database) -> None:
    endless = service(RetryPolicy(max_retries=UNLIMITED, backoff=AT_ONCE))
    async with running(database, endless) as worker:
        for letter in "tr":
            assert ends(await play(worker, letter * 50 + "o")) == ("completed", None, 51, 50)
    database.check_drained()


@pytest.mark.conformance("C17")
def test_a_negative_limit_that_is_not_unlimited_is_an_error_at_build() -> None:
    builder = TaskService.builder()
    builder.task("short", retry=-2)(act)
    builder.add_task(lambda task: task.named("long").handled_by(act).with_retry(max_retries=-7))
    with pytest.raises(RegistrationError) as caught:
        builder.build()
    assert "max_retries=-2" in str(caught.value)
    assert "max_retries=-7" in str(caught.value)


@pytest.mark.conformance("C18")
async def test_the_row_beats_the_definition_which_beats_the_settings(database: Database) -> None:
    once = service(RetryPolicy(max_retries=1, backoff=AT_ONCE))
    async with running(database, once, execution__max_retry_count=6) as worker:
        for runs in ("t", "r"):
            assert ends(await play(worker, runs, max_retries=2))[2:] == (3, 3)
            assert ends(await play(worker, runs, max_retries=0))[2:] == (1, 1)
            assert ends(await play(worker, runs))[2:] == (2, 2)
        assert ends(await play(worker, "t" * 9 + "o", max_retries=-1))[2:] == (10, 9)
    async with running(database, service(), execution__max_retry_count=2) as worker:
        assert ends(await play(worker, "r"))[2:] == (3, 3)
    database.check_drained()


@pytest.mark.conformance("C19")
async def test_a_final_failure_ends_the_task_in_its_first_run(database: Database) -> None:
    cases = (
        ("f", RetryPolicy()),
        ("k", RetryPolicy(give_up_on=(KeyError,))),
        ("k", RetryPolicy(give_up_on=(LookupError,))),
        ("t", RetryPolicy(retry_on=(LookupError,))),
        ("k", RetryPolicy(retry_on=(KeyError,), give_up_on=(LookupError,))),
        ("k", RetryPolicy(retry_on=(LookupError,), give_up_on=(KeyError,))),
    )
    builder = TaskService.builder()
    for number, (_, policy) in enumerate(cases):
        builder.task(f"act.{number}", retry=policy)(act)
    async with running(database, builder.build()) as worker:
        for number, (runs, _) in enumerate(cases):
            row = await worker.ended(await worker.enqueue(f"act.{number}", f'{{"runs": "{runs}"}}'))
            assert ends(row) == ("failed", "given_up", 1, 1)
            assert row["error"]["kind"] == "given_up"
            assert await runs_of(worker, row["id"]) == []
    database.check_drained()


@pytest.mark.conformance("C22")
async def test_delays_for_exceptions_are_those_of_the_list(database: Database) -> None:
    builder = TaskService.builder()
    builder.task("act")(act)
    builder.task("own", retry=RetryPolicy(backoff=Delays([40])))(act)
    async with running(
        database, builder.build(), scheduling__scheduler_retry_delays="[0, 7]"
    ) as worker:
        thrown = await worker.enqueue("act", '{"runs": "t"}')
        returned = await worker.enqueue("act", '{"runs": "r"}')
        own = await worker.enqueue("own", '{"runs": "t"}')
        for task in (thrown, returned, own):
            await worker.state(task, "retrying")
        # Delay 0 was no wait: the first failure has been followed by a second run already.
        assert [run["attempt"] for run in await runs_of(worker, thrown)] == [1, 2]
        assert await pause(worker, thrown) == pytest.approx(7, abs=0.2)
        assert 7.8 < await pause(worker, returned) < 10.2
        assert await pause(worker, own) == pytest.approx(40, abs=0.2)


@pytest.mark.conformance("C22")
async def test_a_failure_with_delay_0_is_pending_at_once(database: Database) -> None:
    builder = TaskService.builder()
    paused, loop = asyncio.Event(), asyncio.get_running_loop()
    builder.on("queue.paused", lambda _: loop.call_soon_threadsafe(paused.set))

    @builder.task("stumble")
    async def stumble(_: Context) -> None:
        await paused.wait()
        raise ValueError("no")

    async with running(
        database, builder.build(), scheduling__scheduler_retry_delays="[0, 7]"
    ) as worker:
        task = await worker.enqueue("stumble")
        await worker.state(task, "running")
        # Nobody claims any more, so the task stays where its failure has put it.
        await worker.ask("select perdure.pause_queue('default')")
        row = await worker.state(task, "pending", "retrying")
        assert (row["state"], row["reason"], row["failures"]) == ("pending", "retry", 1)
        assert row["due_at"] is None


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("after", [30, 7200])
async def test_retry_after_waits_exactly_and_counts_one_failure(
    database: Database, after: int
) -> None:
    builder = TaskService.builder()

    @builder.task("limited", retry=RetryPolicy(backoff=Exponential(1, cap=10), jitter=1))
    async def limited(context: Context) -> str | Retry[str]:
        return "done" if context.attempt > 1 else Retry(after=after, error="later")

    async with running(database, builder.build()) as worker:
        task = await worker.enqueue("limited")
        row = await worker.state(task, "retrying")
        assert await pause(worker, task) == pytest.approx(after, abs=0.5)
        assert (row["failures"], row["attempt"]) == (1, 1)
        await worker.past(task)
        assert ends(await worker.ended(task)) == ("completed", None, 2, 1)
    database.check_drained()


@pytest.mark.conformance("C24")
async def test_a_handler_knows_its_last_attempt(database: Database) -> None:
    builder = TaskService.builder()
    last: dict[str, list[bool]] = {"plain": [], "once": [], "endless": []}

    async def look(context: Context) -> None:
        last[context.name].append(context.is_last_attempt)
        if context.failures < 7:
            raise ValueError("again")

    for name, most in (("plain", None), ("once", 0), ("endless", UNLIMITED)):
        builder.task(name, retry=RetryPolicy(max_retries=most, backoff=AT_ONCE))(look)
    service = builder.build()
    async with running(database, service) as worker:
        for name in last:
            await worker.ended(await worker.enqueue(name))
        assert last == {
            "plain": [False, False, False, True],
            "once": [True],
            "endless": [False] * 8,
        }
    async with running(database, service, scheduling__scheduler_retry_count=5) as worker:
        last["plain"].clear()
        await worker.ended(await worker.enqueue("plain"))
        assert last["plain"] == [False] * 5 + [True]
    database.check_drained()


@pytest.mark.conformance("C25")
async def test_every_run_keeps_its_error(database: Database) -> None:
    async with running(database, service(RetryPolicy(max_retries=2, backoff=AT_ONCE))) as worker:
        thrown = await play(worker, "t")
        returned = await play(worker, "r")
        for row in (thrown, returned):
            errors = [run["error"] for run in await runs_of(worker, row["id"])]
            errors.append(row["error"])
            assert [error["kind"] for error in errors] == ["failure", "failure", "exhausted"]
            for number, error in enumerate(errors, 1):
                if row is thrown:
                    assert (error["type"], error["message"]) == ("ValueError", f"run {number}")
                    assert "raise ValueError" in error["traceback"]
                    assert __file__ in error["traceback"]
                else:
                    assert error["error"] == {"run": number}
                    assert error["traceback"] is None
    database.check_drained()
