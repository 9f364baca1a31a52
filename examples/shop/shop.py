"""A shop whose index, prices and mails have keys: what runs once, and what runs one by one."""

from typing import Any

from pydantic import BaseModel

from perdure import TaskContext, TaskKind, TaskService


class Product(BaseModel):
    number: int
    price: int = 0


index = TaskKind("product.index", Product)
price = TaskKind("product.price", Product)
welcome = TaskKind("mail.welcome", Product)

builder = TaskService.builder()


@builder.task(index)
async def index_product(context: TaskContext[Product, None]) -> None:
    context.logger.info("indexed", number=context.metadata.number)


@builder.task(price)
async def set_price(context: TaskContext[Product, None]) -> None:
    context.logger.info("priced", price=context.metadata.price)


@builder.task("mail.digest")
async def send_digest(context: TaskContext[None, None]) -> None:
    context.logger.info("digested")


@builder.task("order.confirm")
async def confirm_order(context: TaskContext[dict[str, Any], None]) -> None:
    context.logger.info("confirmed", order=context.metadata.get("order"))


async def send_welcome(context: TaskContext[Product, None]) -> None:
    context.logger.info("welcomed", number=context.metadata.number)


builder.add_task(
    lambda task: (
        task.of(welcome)
        .handled_by(send_welcome)
        .with_unique_key(lambda product: f"welcome:{product.number}", policy="reject")
    )
)
service = builder.build()
