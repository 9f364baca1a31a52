"""Every setting that a reload applies, key by key: what it changes in a worker that runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.kit.databases import Database
from tests.kit.hot import Hot

from perdure.settings import RELOADABLE
from perdure.tasks.plan import plan

Check = Callable[[Hot], Awaitable[None]]
# Where a worker that had not heard of the new value would wait for ever, or do something else.
AT_FIRST: dict[str, object] = {
    "scheduling.polling_delay": "1d",
    "scheduling.sweep_interval": "1d",
    "execution.lease_duration": "1d",
    "execution.beat_interval": "7h",
    "execution.stop_grace": "1d",
    "execution.shutdown_grace": "1d",
    "execution.max_retry_count": 0,
    "execution.isolate_after": 1000,
    "execution.max_crashes": 1000,
    "execution.concurrency": 8,
    "execution.prefetch": "0",
}
ASKED = "insert into perdure.tasks (id, name) values (%s::bigint, 'past')"
ENDED = """
    with ready as (delete from perdure.ready where task_id = %s::bigint returning task_id)
    insert into perdure.outcomes (task_id, attempt, state, finished_at)
    select task_id, 1, %s::text, now() - interval '2 days' from ready
"""
CHECKS: dict[str, Check] = {}


def of(*keys: str) -> Callable[[Check], Check]:
    """What shows that these keys hold, one after the other in this order."""

    def keep(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(keys, check))
        return check

    return keep


async def ended(hot: Hot, task: int) -> dict[str, Any]:
    return await hot.running.ended(task)


async def crashed(hot: Hot, name: str, crashes: int) -> int:
    """A task that is due now and has crashed so often."""
    task = await hot.running.enqueue(name, delay="1 hour")
    text = "insert into perdure.progress (task_id, crashes) values (%s::bigint, %s::integer)"
    await hot.running.ask(text, task, crashes)
    await hot.running.past(task)
    return task


async def value(hot: Hot, text: str, *parameters: object) -> Any:
    rows = await hot.running.ask(text, *parameters)
    return next(iter(rows[0].values()))


async def count(hot: Hot, text: str) -> int:
    return len(await hot.running.ask(text))


@of("execution.beat_interval")
async def beats(hot: Hot) -> None:
    seen: set[object] = set()

    async def beat_often() -> bool:
        seen.add(await value(hot, "select heartbeat_at from perdure.workers"))
        return len(seen) > 4

    hot.set(execution__beat_interval="100ms")
    await hot.running.until(beat_often)


@of("execution.lease_duration")
async def lives_as_long_as_its_new_lease(hot: Hot) -> None:
    hot.set(execution__lease_duration="30s")
    await hot.running.until(
        lambda: count(hot, "select from perdure.workers where lease_seconds = 30")
    )
    # What a frozen worker has locked is not hidden for longer.
    assert "= 30000" in hot.worker._database.begin


@of("scheduling.wakeups")
async def listens_no_more(hot: Hot) -> None:
    await ended(hot, await hot.running.enqueue("where"))
    await hot.running.until(lambda: hot.worker._enqueuer.listening)
    hot.set(scheduling__wakeups="off")
    await hot.running.until(lambda: not hot.worker._enqueuer.listening)


@of("scheduling.polling_delay")
async def looks_by_itself(hot: Hot) -> None:
    hot.set(scheduling__polling_delay="20ms")
    for _ in range(3):
        await ended(hot, await hot.running.enqueue("where"))


@of("scheduling.batch_size")
async def claims_a_few_at_a_time(hot: Hot) -> None:
    loop = hot.worker._enqueuer.loop
    turned = loop.turned_at
    hot.set(scheduling__batch_size=2)
    # A claim by the old number may be on its way.
    await hot.running.until(lambda: loop.turned_at != turned)
    hot.claims.clear()
    await hot.running.ask(
        "insert into perdure.tasks (name) select 'where' from generate_series(1, 6)"
    )
    await hot.running.until(lambda: sum(hot.claims) == 6)
    assert max(hot.claims) <= 2


@of("scheduling.sweep_interval", "scheduling.oldest_first_every")
async def plans_with_the_new_numbers(hot: Hot) -> None:
    plans: list[dict[str, Any]] = []

    def seen(*args: Any, **named: Any) -> Any:
        plans.append(named)
        return plan(*args, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("perdure.run.enqueuer.plan", seen)
        hot.set(scheduling__sweep_interval="7s", scheduling__oldest_first_every=3)
        await hot.running.until(lambda: plans)
    assert (plans[-1]["sweep_interval"], plans[-1]["oldest_first_every"]) == (7, 3)


@of("execution.max_retry_count", "scheduling.scheduler_retry_count")
async def runs_are_judged_by_the_new_limits(hot: Hot) -> None:
    returned, thrown = [(await hot.hold(how))[0] for how in ("return", "raise")]
    hot.set(execution__max_retry_count=1, scheduling__scheduler_retry_count=0)
    hot.let_go()
    await hot.running.state(returned, "retrying")
    assert (await ended(hot, thrown))["state"] == "failed"
    await hot.running.ask("select perdure.cancel(%s::bigint)", returned)


@of("scheduling.scheduler_retry_delays")
async def thrown_failures_wait_as_long_as_is_said_now(hot: Hot) -> None:
    (task,) = await hot.hold("raise")
    hot.set(scheduling__scheduler_retry_count=9, scheduling__scheduler_retry_delays=[7200])
    hot.let_go()
    await hot.running.state(task, "retrying")
    later = (
        "select due_at > now() + interval '1 hour' from perdure.waiting where task_id = %s::bigint"
    )
    assert await value(hot, later, task)
    await hot.running.ask("select perdure.cancel(%s::bigint)", task)


@of("execution.concurrency")
async def fewer_slots_stop_nothing(hot: Hot) -> None:
    tasks = await hot.hold(count=3)
    hot.set(execution__concurrency=1)
    await hot.running.until(lambda: count(hot, "select from perdure.workers where slots = 1"))
    later = await hot.running.enqueue("where")
    assert hot.worker._slots.busy == 3
    hot.let_go()
    for task in (*tasks, later):
        row = await ended(hot, task)
        assert (row["state"], row["attempt"], row["interruptions"]) == ("completed", 1, 0)


@of("execution.prefetch")
async def claims_ahead(hot: Hot) -> None:
    (task,) = await hot.hold()
    hot.set(execution__prefetch=2, scheduling__batch_size=100)
    await hot.running.ask(
        "insert into perdure.tasks (name) select 'where' from generate_series(1, 9)"
    )
    held = "select from perdure.leases having sum(cardinality(task_ids)) = 3"
    await hot.running.until(lambda: count(hot, held))
    hot.let_go()
    await ended(hot, task)
    hot.set(execution__concurrency=8)


@of("execution.isolate_after", "execution.child_memory_mb")
async def runs_apart_with_less_memory(hot: Hot) -> None:
    here = (await ended(hot, await crashed(hot, "where", 1)))["result"]
    hot.set(execution__isolate_after=1, execution__child_memory_mb=8192)
    apart = (await ended(hot, await crashed(hot, "where", 1)))["result"]
    assert here["process"] != apart["process"]
    assert apart["space"] == 8192 * 2**20


@of("execution.max_crashes")
async def crashes_are_too_many_now(hot: Hot) -> None:
    hot.set(execution__max_crashes=5)
    row = await ended(hot, await crashed(hot, "where", 5))
    assert (row["state"], row["error"]["kind"], row["attempt"]) == ("failed", "crash", 0)


@of("execution.stop_grace")
async def is_cancelled_at_once(hot: Hot) -> None:
    (task,) = await hot.hold()
    hot.set(execution__stop_grace="0s")
    await hot.running.ask("select perdure.cancel(%s::bigint)", task)
    assert (await ended(hot, task))["state"] == "cancelled"


@of("limits.result_bytes", "limits.checkpoint_bytes", "limits.error_bytes")
async def what_runs_is_held_to_the_new_limits(hot: Hot) -> None:
    hot.set(scheduling__scheduler_retry_count=0)
    result, checkpoint, error = [(await hot.hold(how))[0] for how in ("", "checkpoint", "raise")]
    hot.set(
        limits__result_bytes="2KiB", limits__checkpoint_bytes="2KiB", limits__error_bytes="1KiB"
    )
    hot.let_go()
    assert (await ended(hot, result))["error"]["kind"] == "bad_result"
    assert (await ended(hot, checkpoint))["error"]["type"] == "TooLarge"
    stored = (await ended(hot, error))["error"]
    assert stored["type"] == "ArithmeticError"
    assert len(str(stored)) < 2_000


@of("limits.metadata_bytes")
async def metadata_is_the_databases_affair(hot: Hot) -> None:
    """Only `perdure migrate` changes it, for producers everywhere: a worker refuses none."""
    hot.set(limits__metadata_bytes="1KiB")
    row = await ended(hot, await hot.running.enqueue("where", f'{{"how": "{"x" * 2000}"}}'))
    assert row["state"] == "completed"


@of("retention.completed", "retention.failed", "retention.cancelled")
async def what_is_older_goes(hot: Hot) -> None:
    """In the default partition, where what is removed is chosen task by task."""
    states = ("completed", "failed", "cancelled")
    for number, state in enumerate(states, 5_000_000_000):
        await hot.running.ask(ASKED, number)
        await hot.running.ask(ENDED, number, state)
    for state in states:
        left = f"select from perdure.outcomes_default where state = '{state}'"
        assert await count(hot, left)
        hot.set(**{f"retention__{state}": "1h"})

        async def gone(left: str = left) -> bool:
            await hot.running.ask("delete from perdure.settings where key = 'upkeep_at'")
            hot.worker.beat_now()
            return not await count(hot, left)

        await hot.running.until(gone)


@of("execution.shutdown_grace")
async def ends_in_the_new_time(hot: Hot) -> None:
    (task,) = await hot.hold("stubborn")
    hot.set(execution__shutdown_grace="300ms")
    assert await hot.worker.stop() == 1
    assert (await hot.running.task(task))["state"] == "scheduled"


@pytest.mark.conformance("C110")
@pytest.mark.usefixtures("stays_prefetched")
async def test_each_setting_holds_from_the_next_turn_on(database: Database) -> None:
    hot = Hot(dict(AT_FIRST))
    async with hot.started(database):
        for check in dict.fromkeys(CHECKS.values()):
            try:
                await check(hot)
            except BaseException as error:
                error.add_note(f"while {check.__name__.replace('_', ' ')}")
                raise


def test_no_setting_that_a_reload_applies_is_left_out() -> None:
    shown_by_their_process = {"logging.level", "logging.format"}  # test_reload.py
    assert CHECKS.keys() | shown_by_their_process == RELOADABLE
