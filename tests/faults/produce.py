"""A client that enqueues until SIGTERM: `python -m tests.faults.produce python|sql CLIENT SEED`.

The environment says where the database is, in which folder the histories lie, and how many
operations are made in a second.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
from tests.faults.chance import Chance
from tests.faults.history import History
from tests.faults.policies import FOLLOWS, chain, chain_entries, lifetime
from tests.faults.service import wait_key
from tests.faults.telling import Order

from perdure.client.client import TaskClient
from perdure.declare.kind import EnqueueOptions, NewTask, TaskKind
from perdure.errors import DatabaseUnavailable, PerdureError, UnknownOutcome
from perdure.tasks.policies import UniquePolicy

FOLDER: Final = "PERDURE_TEST_HISTORY"
RATE: Final = "PERDURE_TEST_RATE"
KINDS: Final = {
    "short": 30, "effect": 20, "pages": 10, "durable": 8, "steps": 8, "thread": 6, "isolated": 2,
    "retrying": 8, "suspending": 8, "limited": 10, "lined": 6,
}  # fmt: skip
"""How often each kind is asked for; others have an operation of their own."""
BY_PYTHON: Final = {
    "enqueue": 40, "many": 8, "copy": 4, "own": 6, "keyed": 12, "updated": 6, "chain": 5,
    "timed": 6,
}  # fmt: skip
BY_SQL: Final = {"insert": 40, "function": 20, "copy": 4, "own": 8, "chain": 5}
KEYS: Final = 6
POLICIES: Final[tuple[UniquePolicy, ...]] = ("keep", "replace", "append", "reject")
"""One that updates has keys of its own: what it has changed does not show who made the task."""
ABORTED: Final = 0.3
"""The share of a client's own transactions that it rolls back."""
PROCEED_AFTER: Final = 25
"""Operations between an enqueue of what will suspend and its signal."""
LOST: Final = (psycopg.OperationalError, psycopg.InterfaceError)
INSERT: Final = b"insert into perdure.tasks (name, metadata) values (%s, %s) returning id"

Answers: TypeAlias = list[tuple[int, str]] | str
"""The tasks that the client was told of, or the answer to a signal."""


class AbortedError(Exception):
    """A transaction that the client itself rolls back."""


@dataclass(frozen=True)
class Asked:
    """One operation under way: its id, what it is to make, and how many."""

    id: str
    name: str
    kind: str
    count: int
    key: str | None
    policy: UniquePolicy
    chance: Chance
    fails: int = -1

    def order(self, number: int = 0) -> Order:
        """The metadata of one of its tasks."""
        return Order(op=self.id, i=number, fails=self.fails)

    def orders(self) -> list[dict[str, Any]]:
        """The metadata of all of them, as plain JSON."""
        return [self.order(number).model_dump() for number in range(self.count)]

    def options(self) -> EnqueueOptions[None]:
        """What is said of its task besides the metadata."""
        options: EnqueueOptions[None] = {}
        if self.key:
            options = {"unique_key": self.key, "unique_policy": self.policy}
        if self.name == "updated":
            options |= {"delay": 0.5, "max_delay": 2}
        if self.name == "timed":
            options = lifetime(self.kind, self.chance.between(0, 2, "delay"))
        return options

    def may_abort(self) -> None:
        """Raise AbortedError, now and then."""
        if self.chance.real("abort") < ABORTED:
            raise AbortedError


class Producer:
    """One client: what it does next is decided by the seed and the number of the operation."""

    def __init__(self, client: str, seed: int) -> None:
        self._chance = Chance(seed, "producer", client)
        self._history = History(Path(os.environ[FOLDER]) / f"{client}.jsonl", client)
        self._signals: list[tuple[int, str]] = []

    async def run(
        self, do: Callable[[Asked], Awaitable[Answers]], names: Mapping[str, int],
        ended: asyncio.Event,
    ) -> None:  # fmt: skip
        """One operation after the other, at the given rate."""
        pause = 1 / float(os.environ[RATE])
        for number in itertools.count():
            chance = self._chance.of(number)
            await self._carry_out(do, self._asked(chance.weighed(dict(names), "name"), chance))
            for key in self._due(number):
                id_ = self._history.invoke("proceed", key=key)
                await self._carry_out(do, Asked(id_, "proceed", "", 0, key, "keep", chance))
            self._expect(number)
            try:
                await asyncio.wait_for(ended.wait(), pause)
            except TimeoutError:
                continue
            return

    def _asked(self, name: str, chance: Chance) -> Asked:
        kind, key, count, fails = chance.weighed(dict(KINDS), "kind"), None, 1, -1
        policy: UniquePolicy = chance.one(POLICIES, "policy")
        match name:
            case "keyed":
                kind, key = "keyed", f"key-{chance.whole(1, KEYS, 'key')}"
            case "updated":
                kind, key, policy = "keyed", f"last-{chance.whole(1, KEYS, 'key')}", "update"
            case "timed":
                kind = chance.one(("expiring", "overdue"), "lifetime")
            case "chain":
                kind, count, fails = "link", len(FOLLOWS), chance.whole(-3, 3, "fails")
            case "many" | "copy" | "own":
                count = chance.whole(2, 3 if name == "own" else 30, "count")
        id_ = self._history.invoke(
            name, kind=kind, tasks=count, key=key, policy=policy if key else None, fails=fails
        )
        self._last = Asked(id_, name, kind, count, key, policy, chance, fails)
        return self._last

    async def _carry_out(self, do: Callable[[Asked], Awaitable[Answers]], asked: Asked) -> None:
        try:
            answers = await do(asked)
        except (UnknownOutcome, *LOST) as error:
            self._history.answer(asked.id, "unknown", error=f"{type(error).__name__}: {error}")
        except (PerdureError, psycopg.Error, AbortedError) as error:
            self._history.answer(asked.id, "fail", error=f"{type(error).__name__}: {error}")
        else:
            told = {"answer": answers} if isinstance(answers, str) else {"answers": answers}
            self._history.answer(asked.id, "ok", **told)

    def _expect(self, number: int) -> None:
        """Remember to signal what is going to suspend, whatever was told of its enqueue."""
        if self._last.kind == "suspending":
            due = number + PROCEED_AFTER
            keys = (wait_key(self._last.id, n) for n in range(self._last.count))
            self._signals += [(due, key) for key in keys]

    def _due(self, number: int) -> list[str]:
        due = [key for at, key in self._signals if at <= number]
        self._signals = [each for each in self._signals if each[0] > number]
        return due


async def by_python(producer: Producer, ended: asyncio.Event) -> None:
    """Through the asynchronous client."""
    dsn = os.environ["PERDURE_DSN"]

    async def do(asked: Asked) -> Answers:
        kind = TaskKind(asked.kind, Order)
        match asked.name:
            case "enqueue" | "keyed" | "updated" | "timed":
                handles = [await client.enqueue(kind, asked.order(), **asked.options())]
            case "many" | "chain":
                orders = [asked.order(number) for number in range(asked.count)]
                is_chain = asked.name == "chain"
                tasks = chain(orders) if is_chain else [NewTask(kind, order) for order in orders]
                handles = await client.enqueue_many(tasks)
            case "copy":
                await client.copy(asked.kind, asked.orders())
                return []
            case "own":
                async with await psycopg.AsyncConnection.connect(dsn) as own:
                    for number in range(asked.count):
                        await client.enqueue(kind, asked.order(number), on=own)
                    asked.may_abort()
                return []
            case _:
                return await client.proceed_waiting(asked.key or "", keep_for=3_600)
        return [(handle.id, handle.answer.value) for handle in handles]

    while not ended.is_set():
        # The server may be away: then it is asked again, as a service that starts would.
        with suppress(DatabaseUnavailable):
            async with TaskClient(dsn) as client:
                await producer.run(do, BY_PYTHON, ended)
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.1)


class BySql:
    """As a service in another language would: plain SQL, by one connection."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection[Any] | None = None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """The connection, made anew after it was lost."""
        if self._connection is None:
            dsn = os.environ["PERDURE_DSN"]
            self._connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        try:
            yield self._connection
        except LOST:
            await self._connection.close()
            self._connection = None
            raise

    async def do(self, asked: Asked) -> Answers:
        """Carry it out; what was made and is known by id."""
        values = (asked.kind, json.dumps(asked.order().model_dump()))
        async with self._connected() as own:
            match asked.name:
                case "insert":
                    rows = await (await own.execute(INSERT, values)).fetchall()
                    return [(id_, "created") for (id_,) in rows]
                case "function":
                    call = b"select task_id, answer from perdure.enqueue(%s, %s)"
                    return await (await own.execute(call, values)).fetchall()
                case "chain":
                    call = b"select task_id, answer from perdure.enqueue_many(%s)"
                    entries = json.dumps(chain_entries(asked.orders()))
                    return await (await own.execute(call, (entries,))).fetchall()
                case "proceed":
                    call = b"select perdure.proceed_waiting(%s)"
                    ((answer,),) = await (await own.execute(call, (asked.key,))).fetchall()
                    return str(answer)
                case _:
                    await self._several(own, asked)
        return []

    async def _several(self, own: psycopg.AsyncConnection[Any], asked: Asked) -> None:
        rows = [(asked.kind, json.dumps(order)) for order in asked.orders()]
        if asked.name == "copy":
            text = "copy perdure.tasks (name, metadata) from stdin"
            async with own.cursor() as cursor, cursor.copy(text) as copy:
                for row in rows:
                    await copy.write_row(row)
            return
        async with own.transaction():
            for row in rows:
                await own.execute(INSERT, row)
            asked.may_abort()


async def by_sql(producer: Producer, ended: asyncio.Event) -> None:
    """Through SQL alone."""
    await producer.run(BySql().do, BY_SQL, ended)


async def main() -> None:
    """Until SIGTERM."""
    how, client, seed = sys.argv[1:]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await {"python": by_python, "sql": by_sql}[how](Producer(client, int(seed)), ended)


if __name__ == "__main__":
    asyncio.run(main())
