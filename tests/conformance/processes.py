"""Tasks for worker processes: one that needs a signal to end, and one that must not overlap."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from pydantic import BaseModel
from tests.kit.ledger import note

from perdure.declare.context import TaskContext
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended
from perdure.tasks.policies import Delays, RetryPolicy

BEAT_SECONDS = 0.01
"""How often a running task notes that it still runs."""


class Token(BaseModel):
    """What a signal brings."""

    token: str | None = None


class Turn(BaseModel):
    """Metadata of what must not overlap: the last one ends by itself."""

    last: bool = False


builder = TaskService.builder()


@builder.task("endure", retry=RetryPolicy(backoff=Delays([0])))
async def endure(context: TaskContext[dict[str, Any], Token]) -> dict[str, Any] | Suspended:
    """Stopped, failing, killed, suspended: the fifth run tells what it woke up to."""
    note("start", context.task_id)
    match context.attempt:
        case 1 | 3:
            await asyncio.Event().wait()
        case 2:
            raise ValueError
        case 4:
            return Suspended()
    return {"reason": context.run_reason, "token": context.execution_metadata.token}


@builder.task("everything", isolated=True, retry=RetryPolicy(backoff=Delays([0])))
async def everything(context: TaskContext[dict[str, Any], Token]) -> str | Suspended:
    """Failing, suspended, stopped, killed, cancelled, and at last done."""
    match context.attempt:
        case 1:
            raise ValueError
        case 2:
            return Suspended()
        case 4:
            os.kill(os.getpid(), signal.SIGKILL)
        case 6:
            return "done"
    note("waits", context.task_id, attempt=context.attempt)
    await asyncio.Event().wait()
    return "never"


@builder.task("alone")
async def alone(context: TaskContext[Turn, None]) -> None:
    """Note all the time that it runs, until it is stopped, or at once if it is the last."""
    note("start", context.task_id)
    try:
        while not context.metadata.last:
            note("runs", context.task_id)
            await asyncio.sleep(BEAT_SECONDS)
    finally:
        note("end", context.task_id)


service: Any = builder.build()
