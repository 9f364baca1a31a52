"""The worker process of the benchmarks: a no-op task as a user would write it."""

from __future__ import annotations

import json
import resource
import time

from pydantic import BaseModel

from perdure.declare.context import TaskContext
from perdure.declare.kind import TaskKind
from perdure.run.worker import Options
from perdure.service import TaskService


class Request(BaseModel):
    """Typed metadata."""

    n: int
    data: str


class Report(BaseModel):
    """A typed result, which is stored."""

    ok: bool


noop = TaskKind("noop", Request, result=Report)
builder = TaskService.builder().configure_logging(level="warning")


@builder.task(noop)
async def run_noop(context: TaskContext[Request, None]) -> Report:
    """Nothing but what the engine itself costs."""
    return Report(ok=context.metadata.n >= 0)


service = builder.build()

if __name__ == "__main__":
    before = time.process_time()
    service.run(Options(burst=True))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu": time.process_time() - before, "rss_mb": usage.ru_maxrss >> 10}))
