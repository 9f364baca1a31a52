"""Each limit of a payload: what lies at it is taken, one more is refused, whoever sends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import psycopg
import pytest
from pydantic import BaseModel
from tests.kit.databases import Database
from tests.kit.running import running

from perdure.client.client import TaskClient
from perdure.declare.context import TaskContext
from perdure.errors import InvalidArgument, TooLarge
from perdure.service import TaskService
from perdure.tasks.outcomes import Suspended

pytestmark = pytest.mark.conformance("C103")

MIB = 2**20
TYPES = {"metadata": "jsonb", "headers": "jsonb", "tags": "text[]", "requires": "text[]",
         "run_at": "timestamptz"}  # fmt: skip
UNINDEXABLE = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(5_000))
"""Too long for an index even when compressed."""


def json_of(size: int, letter: str = "x") -> str:
    """A JSON object that jsonb writes with so many bytes."""
    room = size - len('{"x": ""}')
    wide, narrow = divmod(room, len(letter.encode()))
    return '{"x": "' + letter * wide + "y" * narrow + '"}'


def call(database: Database, column: str, value: Any) -> None:
    database.execute(f"select perdure.enqueue('a', {column} => %s::{TYPES[column]})", [value])


def document(database: Database, column: str, value: Any) -> None:
    value = json.loads(value) if TYPES[column] == "jsonb" else value
    tasks = json.dumps([{"name": "a"}, {"name": "a", column: value}])
    database.execute("select perdure.enqueue_many(%s::jsonb)", [tasks])


def insert(database: Database, column: str, value: Any) -> None:
    database.execute(
        f"insert into perdure.tasks (name, {column}) values ('a', %s::{TYPES[column]})", [value]
    )


def copy(database: Database, column: str, value: Any) -> None:
    with database.connection.cursor() as cursor:
        statement = f"copy perdure.tasks (name, {column}) from stdin".encode()
        with cursor.copy(statement) as rows:
            rows.write_row(("a", value))


@pytest.mark.parametrize("enter", [call, document, insert, copy])
@pytest.mark.parametrize(
    "column, most, more, sqlstate",
    [
        ("metadata", json_of(MIB), json_of(MIB + 1), "PD002"),
        ("metadata", json_of(MIB, "日"), json_of(MIB + 1, "日"), "PD002"),
        ("headers", json_of(8192), json_of(8193), "PD004"),
        ("tags", ["x"] * 32, ["x"] * 33, "PD004"),
        ("tags", ["ü" * 128], ["ü" * 129], "PD004"),
        ("requires", ["x"] * 32, ["x"] * 33, "PD004"),
        ("requires", ["x" * 128], ["x" * 129], "PD004"),
        ("run_at", "2000-01-01T00:00:00Z", "1999-12-31T23:59:59.999999Z", "PD004"),
        ("run_at", "9999-12-31T23:59:59.999999Z", "10000-01-01T00:00:00Z", "PD004"),
        ("run_at", "9999-12-31T00:00:00Z", "infinity", "PD004"),
        ("run_at", "2000-01-01T00:00:00Z", "-infinity", "PD004"),
    ],
    ids=["metadata", "wide metadata", "headers", "tags", "tag", "requires", "constraint",
         "earliest", "latest", "infinity", "minus infinity"],
)  # fmt: skip
def test_what_a_task_carries_is_bound_by_every_way_in(
    database: Database,
    enter: Callable[[Database, str, Any], None],
    column: str,
    most: Any,
    more: Any,
    sqlstate: str,
) -> None:
    enter(database, column, most)
    before = database.value("select count(*) from perdure.tasks")
    with pytest.raises(psycopg.Error) as raised:
        enter(database, column, more)
    assert raised.value.sqlstate == sqlstate
    assert raised.value.diag.message_hint
    assert "xxxx" not in str(raised.value)
    assert database.value("select count(*) from perdure.tasks") == before > 0


async def test_keys_and_checkpoints_of_an_enqueue_are_bound(database: Database) -> None:
    async with TaskClient(database.dsn) as client:
        await client.enqueue("a", unique_key="ü" * 250)
        with pytest.raises(InvalidArgument, match="1 to 500 bytes"):
            await client.enqueue("a", unique_key="ü" * 250 + "x")
        await client.enqueue("a", execution_metadata=json.loads(json_of(MIB)))
        with pytest.raises(TooLarge):
            await client.enqueue("a", execution_metadata=json.loads(json_of(MIB + 1)))
        assert await client.proceed_waiting("ü" * 250) == "kept"
        with pytest.raises(InvalidArgument, match="1 to 500 bytes"):
            await client.proceed_waiting("ü" * 250 + "x")
    assert Suspended(wait_key="ü" * 250)
    with pytest.raises(ValueError, match="1 to 500 bytes"):
        Suspended(wait_key="ü" * 250 + "x")
    assert database.value("select count(*) from perdure.tasks") == 2


class Size(BaseModel):
    """Metadata: what is to be as large, and how large its stored text is."""

    of: Literal["checkpoint", "step", "result"]
    size: int
    letter: str = "x"


class Text(BaseModel):
    """A checkpoint."""

    x: str = ""


def storing() -> TaskService:
    """A task that stores what it is told, and says whether that was taken."""
    builder = TaskService.builder()

    @builder.task("store")
    async def store(context: TaskContext[Size, Text]) -> str:
        wanted = context.metadata
        # A step shares the limit with the execution metadata, which is written as {"x": ""}.
        size = wanted.size - len('{"x": ""}') * (wanted.of == "step")
        text = str(json.loads(json_of(size, wanted.letter))["x"])
        if wanted.of == "result":
            return text + "x" * len('{"x": }')
        try:
            if wanted.of == "checkpoint":
                context.execution_metadata.x = text
                await context.checkpoint()
            else:
                async with context.step("x") as step:
                    step.value = text
        except TooLarge:
            context.execution_metadata.x = ""
            return "too large"
        return "taken"

    @builder.task("fail")
    async def fail(context: TaskContext[Size, None]) -> None:
        raise ValueError(context.metadata.letter * context.metadata.size)

    @builder.task("rest")
    async def rest(context: TaskContext[dict[str, Any], Text]) -> Suspended:
        return Suspended()

    return builder.build()


@pytest.mark.parametrize("letter", ["x", "ü", "日", "😀"])
async def test_what_a_run_stores_is_bound(database: Database, letter: str) -> None:
    async with running(database, storing()) as worker, TaskClient(database.dsn) as client:

        async def stored(of: str, size: int) -> dict[str, Any]:
            metadata = {"of": of, "size": size, "letter": letter}
            return await worker.ended((await client.enqueue("store", metadata)).id)

        for of in ("checkpoint", "step"):
            assert (await stored(of, MIB))["result"] == "taken", of
            assert (await stored(of, MIB + 1))["result"] == "too large", of
        taken, refused = await stored("result", MIB), await stored("result", MIB + 1)
    assert taken["state"] == "completed"
    assert len(json.dumps(taken["result"], ensure_ascii=False).encode()) == MIB
    assert (refused["state"], refused["reason"], refused["attempt"]) == ("failed", "bad_result", 1)
    assert str(MIB) in refused["error"]["message"]
    database.check_drained()


async def test_an_error_is_cut_and_never_refused(database: Database) -> None:
    async with running(database, storing()) as worker, TaskClient(database.dsn) as client:
        for size, letter in ((100, "x"), (2**16, "x"), (2**20, "日")):
            metadata = {"of": "result", "size": size, "letter": letter}
            handle = await client.enqueue("fail", metadata, max_retries=0)
            error = (await worker.ended(handle.id))["error"]
            stored = database.value(
                "select octet_length(error::text) from perdure.outcomes where task_id = %s",
                [handle.id],
            )
            assert (error["kind"], error["type"]) == ("exhausted", "ValueError")
            assert error["message"].startswith(letter * 50)
            assert stored <= 2**16
            assert (letter * size in error["message"]) is (size == 100)
            assert ("characters cut" in error["message"] + error["traceback"]) is (size > 100)
            assert "Traceback" in error["traceback"]
    database.check_drained()


async def test_a_signal_is_bound_and_what_is_too_large_changes_nothing(database: Database) -> None:
    async with running(database, storing()) as worker, TaskClient(database.dsn) as client:
        handle = await client.enqueue("rest", {})
        await worker.state(handle.id, "suspended")
        for more in ({"patch": json.loads(json_of(MIB + 1))},
                     {"execution_metadata": json.loads(json_of(MIB + 1))},
                     {"patch": {"y": "y", "x": json.loads(json_of(MIB))["x"]}}):  # fmt: skip
            with pytest.raises(TooLarge):
                await client.proceed(handle.id, **more)
        task = await worker.task(handle.id)
        assert (task["state"], task["execution_metadata"]) == ("suspended", None)
        most = json.loads(json_of(MIB))
        assert await client.proceed(handle.id, patch=most) == "proceeded"
        await worker.until(lambda: database.value("select attempt from perdure.progress") == 2)
        task = await worker.state(handle.id, "suspended")
        assert task["execution_metadata"] == most


def test_what_a_column_or_an_index_could_not_hold_is_an_invalid_argument(
    database: Database,
) -> None:
    for name, value in (("priority", "40000"), ("priority", "-1"), ("tags", [UNINDEXABLE])):
        cast = "integer" if name == "priority" else "text[]"
        with pytest.raises(psycopg.Error) as caught:
            database.execute(f"select perdure.enqueue('a', {name} => %s::{cast})", [value])
        assert caught.value.sqlstate == "PD004", caught.value
