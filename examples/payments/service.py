"""Tasks that need something of the machine that runs them: a network, disk space, an hour."""

from pathlib import Path
from tempfile import gettempdir

from pydantic import BaseModel

from perdure import DiskFree, Reachable, TaskContext, TaskService, TimeWindow

builder = TaskService.builder()


class Payment(BaseModel):
    cents: int


def licensed() -> bool:
    return Path(gettempdir()).exists()


builder.add_constraint("network:payments", Reachable("127.0.0.1", 5432), every=10, debounce=5)
builder.add_constraint("disk", DiskFree(gettempdir(), 10 * 2**20))
builder.add_constraint("night", TimeWindow("22:00", "06:00", "Europe/Berlin", ("mon", "tue")))
builder.add_constraint("licence", licensed, every=60)


@builder.task("payment.settle", requires=("disk", "licence"))
async def settle(context: TaskContext[Payment]) -> str:
    if context.deadline_passed:  # what it requires may be missing
        return f"{context.metadata.cents} by hand"
    return f"{context.metadata.cents} settled"


service = builder.build()
