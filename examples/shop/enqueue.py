"""What a shop enqueues under keys, and how it changes its mind."""

import asyncio
from datetime import timedelta

from shop import Product, index, price, service, welcome

from perdure import KeyTaken, TaskClient


async def changed(client: TaskClient, number: int) -> None:
    # However many while it waits: it runs once, a second after the last, a minute after the first.
    handle = await client.enqueue(
        index,
        Product(number=number),
        unique_key=f"index:{number}",
        unique_policy="update",
        delay=timedelta(seconds=1),
        max_delay=timedelta(minutes=1),
    )
    print(handle.id, handle.answer)  # created, then updated


async def priced(client: TaskClient, number: int, new: int) -> None:
    # Each is done, one after the other, in the order of the enqueues.
    task = Product(number=number, price=new)
    await client.enqueue(price, task, unique_key=f"price:{number}", unique_policy="append")


async def once_a_day(client: TaskClient, number: int) -> None:
    # Kept while it lives and for a day after its end.
    day = timedelta(days=1)
    await client.enqueue("mail.digest", unique_key=f"digest:{number}", unique_for=day)


async def welcomed(number: int) -> bool:
    try:
        await service.client.enqueue(welcome, Product(number=number))  # the key of its definition
    except KeyTaken:
        return False
    return True


async def change_of_mind(client: TaskClient, id: int) -> None:
    print(await client.update(id, priority=0, tags=["sale"], clear=["queue"]))
    print(await client.run_now(id))
    print(await client.reschedule_where(tag="sale", delay=timedelta(hours=1), dry_run=True))
    print(await client.cancel_where(unique_key="price:7", dry_run=True))


async def main() -> None:
    async with TaskClient() as client:
        for _ in range(3):
            await changed(client, 7)
        for new in (100, 90, 80):
            await priced(client, 7, new)
        for _ in range(2):
            await once_a_day(client, 7)
            print(await welcomed(7))
        await change_of_mind(client, 1)
    await service.client.close()


asyncio.run(main())
