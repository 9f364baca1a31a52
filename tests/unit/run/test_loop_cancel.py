"""A loop that is ended in the middle of connecting lets go of the connection."""

from __future__ import annotations

import asyncio
import random

from perdure.run.bus import Bus
from perdure.run.loop import Loop
from perdure.store.database import Database


async def test_a_loop_that_is_cancelled_while_it_connects_leaves_no_socket_behind() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            asked.set()
        left.set()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database({"host": "127.0.0.1", "port": port, "dbname": "none", "user": "nobody"})

    async def once() -> None:
        await database.session(application="perdure flush")

    async with server:
        loop = Loop("completer", once, bus=Bus(), rng=random.Random(1))
        loop.start()
        await asyncio.wait_for(asked.wait(), 5)
        await loop.cancel()
        await asyncio.wait_for(left.wait(), 5)
