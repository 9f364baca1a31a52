"""What people and programs do with schedules while workers run."""

import asyncio
from datetime import UTC, datetime, timedelta

from reports import Report, report_build

from perdure import Cron, TaskClient


async def put(client: TaskClient) -> None:
    answer = await client.put_schedule(
        "reports.south",
        report_build,
        Cron("0 6 * * *", "Europe/Madrid"),
        Report(region="south"),
        overlap="queue",
    )
    print(answer)  # created; and updated, or unchanged, when it is there


async def look(client: TaskClient) -> None:
    for state in await client.schedules():
        print(state.key, state.state, state.next_fire_at, state.missed)
    for fire in await client.schedule_fires("reports.south"):
        print(fire.fire_at, fire.fate, fire.task_id)
    for instant in await client.preview_schedule("reports.south", 5):
        print(instant)
    print(await client.preview_schedule(Cron("0 9 * * 1#1", "Europe/Rome"), 3))


async def change(client: TaskClient) -> None:
    await client.pause_schedule("reports.south")
    await client.run_schedule("reports.south")  # one extra task, also while it is paused
    await client.resume_schedule("reports.south")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await client.override_next("reports.south", tomorrow)  # once; None takes it back
    await client.delete_schedule("reports.south")


async def main() -> None:
    async with TaskClient() as client:
        await put(client)
        await look(client)
        await change(client)


asyncio.run(main())
