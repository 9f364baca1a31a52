"""What people and programs say about constraints while workers run."""

import asyncio
from datetime import UTC, datetime, timedelta

from perdure import TaskClient


async def enqueue(client: TaskClient) -> int:
    now = datetime.now(UTC)
    handle = await client.enqueue(
        "payment.settle",
        {"cents": 995},
        requires=["gateway"],  # besides what the task's definition requires
        deadline_at=now + timedelta(hours=1),  # from then on it runs without any of it
        expires_at=now + timedelta(days=1),  # not started by then: failed, expired
    )
    return handle.id


async def declare(client: TaskClient) -> None:
    print(await client.set_constraint("gateway", satisfied=True))  # changed, or unchanged
    for state in await client.constraints():
        print(state.name, state.declared, state.workers, state.ready)


async def main() -> None:
    async with TaskClient() as client:
        print(await enqueue(client))
        await declare(client)


if __name__ == "__main__":
    asyncio.run(main())
