"""An order as a state machine: it waits for its payment, is packed, and is shipped once."""

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from pydantic import BaseModel

from perdure import (
    Cancelled,
    End,
    Next,
    StateMachine,
    Success,
    Suspended,
    TaskContext,
    TaskKind,
    TaskService,
)


class Order(BaseModel):
    number: int


class Placed(BaseModel):
    kind: Literal["placed"] = "placed"


class AwaitingPayment(BaseModel):
    kind: Literal["awaiting payment"] = "awaiting payment"
    payment: str


class Paid(BaseModel):
    kind: Literal["paid"] = "paid"
    receipt: str


class Packed(BaseModel):
    kind: Literal["packed"] = "packed"
    parcel: str


State: TypeAlias = Placed | AwaitingPayment | Paid | Packed


class Progress(BaseModel):
    state: State = Placed()


order_fulfil = TaskKind("order.fulfil", Order, execution_metadata=Progress, result=str, error=str)
Context: TypeAlias = TaskContext[Order, Progress]
machine = StateMachine[Order, Progress, State, str, str]()


async def ask_for_payment(number: int) -> str:
    return f"payment:{number}"  # a call to somebody else's system, with an id that comes back


@machine.on(Placed)
async def begin(_state: Placed, context: Context) -> End[State]:
    payment = await context.step("payment", ask_for_payment, context.metadata.number)
    until = datetime.now(UTC) + timedelta(days=7)
    return End(AwaitingPayment(payment=payment), Suspended(until=until, wait_key=payment))


@machine.on(AwaitingPayment)
async def give_up(state: AwaitingPayment, _context: Context) -> End[State, str, str]:
    return End(state, Cancelled(f"nobody has paid {state.payment}"))  # its week is over


@machine.on(Paid)
async def pack(state: Paid, context: Context) -> Next[State]:
    context.logger.info("packing", receipt=state.receipt)
    return Next(Packed(parcel=f"parcel {context.metadata.number}"))


@machine.on(Packed)
async def ship(state: Packed, context: Context) -> End[State, str, str]:
    async with context.transaction(result=state.parcel) as connection:
        await connection.execute("create table if not exists shipped (parcel text)")
        await connection.execute("insert into shipped (parcel) values (%s)", (state.parcel,))
    return End(state, Success(state.parcel))


builder = TaskService.builder()
builder.add_task(lambda task: task.of(order_fulfil).handled_by(machine))
service = builder.build()
