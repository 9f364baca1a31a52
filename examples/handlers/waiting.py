"""A task that waits for people, for days, without holding a worker."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from perdure import Suspended, TaskContext, TaskKind, TaskService


class Invoice(BaseModel):
    number: int


class Approval(BaseModel):
    asked: bool = False
    approved: bool | None = None


invoice_approve = TaskKind("invoice.approve", Invoice, execution_metadata=Approval, result=str)
builder = TaskService.builder()


@builder.task(invoice_approve)
async def approve(context: TaskContext[Invoice, Approval]) -> str | Suspended:
    state = context.execution_metadata
    if not state.asked:
        state.asked = True
        return Suspended(
            until=datetime.now(UTC) + timedelta(days=3),
            wait_key=f"invoice:{context.metadata.number}",
        )
    if state.approved is None:  # context.run_reason is "until": nobody has answered
        return "nobody cared"
    return "paid" if state.approved else "refused"


service = builder.build()
