"""A long run that can be stopped, says how far it is, enqueues children, and is listened to."""

import asyncio
import logging
from typing import Any

from pydantic import BaseModel

from perdure import SyncTaskContext, TaskContext, TaskKind, TaskService, TaskStopped


class Album(BaseModel):
    name: str
    pictures: int


class Done(BaseModel):
    pictures: int = 0


class Picture(BaseModel):
    album: str
    number: int


album_scan = TaskKind("album.scan", Album, execution_metadata=Done, result=int)
picture_scan = TaskKind("picture.scan", Picture)


async def scan_album(context: TaskContext[Album, Done]) -> int:
    album, done = context.metadata, context.execution_metadata
    while done.pictures < album.pictures:
        context.stop.check()  # raises TaskStopped once somebody wants this run to end
        await asyncio.sleep(0.02)
        picture = Picture(album=album.name, number=done.pictures)
        async with context.transaction() as connection:
            await context.enqueue(picture_scan, picture, on=connection)
            done.pictures += 1
        context.progress(done.pictures, album.pictures, "pictures")
    return done.pictures


def scan_picture(context: SyncTaskContext[Picture, None]) -> None:
    for _ in range(3):
        if context.stop.wait(0.001):  # sleeps, but not past a stop
            context.logger.info("asked to stop", reason=context.stop.reason)
            raise TaskStopped


def on_failed(event: Any) -> None:
    logging.getLogger("albums").error("%s %d: %s", event.name, event.task_id, event.message)


builder = (
    TaskService.builder()
    .configure_execution(stop_grace="3s")
    .add_task(
        lambda task: (
            task.of(album_scan)
            .handled_by(scan_album)
            .with_unique_key(lambda album: f"album:{album.name}")
            .with_stop_grace(1)
        )
    )
    .add_task(lambda task: task.of(picture_scan).handled_by(scan_picture))
    .on("task.failed", on_failed)
)
service = builder.build()


async def enqueue_and_run(dsn: str) -> int:
    """A producer and a worker inside one program, such as an ASGI application or a test."""
    service.override({"dsn": dsn, "execution.concurrency": 4})
    async with service.worker(), service.client as client:
        first = await client.enqueue(album_scan, Album(name="Oslo", pictures=3))
        again = await client.enqueue(album_scan, Album(name="Oslo", pictures=3))  # the same key
        logging.getLogger("albums").info("%s, then %s", first.answer, again.answer)
        return await first.result(timeout=30)
