"""What a handler may return or raise, and what is tried again when and how often."""

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel

from perdure import (
    Cancelled,
    Exponential,
    Failure,
    Retry,
    SyncTaskContext,
    TaskContext,
    TaskKind,
    TaskService,
)


class Charge(BaseModel):
    cents: int
    card: Literal["good", "busy", "declined", "withdrawn", "broken"] = "good"


class Receipt(BaseModel):
    cents: int
    key: str


class Declined(BaseModel):
    reason: str


class NoSuchCard(Exception):
    pass


card_charge = TaskKind("card.charge", Charge, result=Receipt, error=Declined)


async def charge(
    context: TaskContext[Charge, None],
) -> Receipt | Failure[Declined] | Retry[Declined] | Cancelled[Declined]:
    match context.metadata.card:
        case "busy" if not context.is_last_attempt:
            return Retry(after=timedelta(seconds=90))  # exactly; counts as a failure
        case "declined":
            return Failure(Declined(reason="no money"), final=True)  # without `final`: retried
        case "withdrawn":
            return Cancelled(Declined(reason="the customer has cancelled"))
        case "broken":
            raise NoSuchCard(context.metadata.card)
    return Receipt(cents=context.metadata.cents, key=context.idempotency_key)


builder = TaskService.builder().add_task(
    lambda task: (
        task.of(card_charge)
        .handled_by(charge)
        .with_retry(
            max_retries=5,
            backoff=Exponential(base=10, factor=2, cap=timedelta(minutes=30)),
            give_up_on=NoSuchCard,
        )
        .with_timeout(soft=30, hard=60)
        .on_exhausted("card.failed")
    )
)


class Exhausted(BaseModel):
    task_id: int
    name: str
    failures: int


@builder.task("card.failed")
def tell(context: SyncTaskContext[Exhausted, None]) -> str:
    return f"task {context.metadata.task_id} is beyond help"


service = builder.build()
