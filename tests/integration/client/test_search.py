"""Search: pages by key, filters, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.client.conftest import End
from tests.kit.databases import Database, Server, new_database

from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.errors import InvalidArgument
from perdure.store.migrate import migrate


@pytest.mark.conformance("C106")
async def test_pages_and_iteration_meet_each_task_once(
    client: TaskClient, database: Database
) -> None:
    database.execute("insert into perdure.tasks (name) select 'a' from generate_series(1, 10000)")
    ids = [row[0] for row in database.rows("select id from perdure.tasks order by id desc")]

    assert [task.id async for task in client.search(name="a")] == ids
    assert [task.id async for task in client.search(name="a", order="asc")] == ids[::-1]
    paged: list[int] = []
    search, after = client.search(), ids[700]
    while len(paged) < 70:
        page = await search.page(after=after, limit=7)
        paged += [task.id for task in page.tasks]
        assert page.after == paged[-1]
        after = page.after
    assert paged == ids[701:771]
    assert (await search.page(after=ids[-8], limit=7)).after is None
    assert len((await search.page()).tasks) == 100


@pytest.mark.conformance("C106")
async def test_filters_are_anded_and_their_values_ored(
    client: TaskClient, database: Database, end: End
) -> None:
    one = await client.enqueue("a", {"n": 1}, tags=["x", "y"], queue="q")
    two = await client.enqueue("a", {"n": 2}, tags=["y"], unique_key="k", delay=60)
    three = await client.enqueue("b", {"n": 1}, tags=["z"], execution_metadata={"p": {"q": 1}})
    end(one.id)
    now = datetime.now(UTC)

    async def found(**filters: Any) -> list[int]:
        return [task.id async for task in client.search(order="asc", **filters)]

    assert await found() == [one.id, two.id, three.id]
    assert await found(name=["a", "b"], tag=["x", "z"]) == [one.id, three.id]
    assert await found(name="a", state="active") == [two.id]
    assert await found(state=["completed", "pending"]) == [one.id, three.id]
    assert await found(unique_key="k", queue="default") == [two.id]
    assert await found(queue="q") == [one.id]
    assert await found(tag=[]) == []
    assert await found(ids=[two.id, 10**12]) == [two.id]
    assert await found(name=["a", "b"], metadata={"n": 1}) == [one.id, three.id]
    assert await found(name="b", execution_metadata={"p": {}}) == [three.id]
    assert await found(wait_key="w") == []
    hour = timedelta(hours=1)
    assert await found(created_after=now - hour, created_before=now + hour, name="b") == [three.id]
    assert await found(created_after=now + hour) == []
    assert await found(due_before=now + hour) == [two.id]
    assert await found(due_before=now) == []


@pytest.mark.conformance("C106")
@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"state": "done"}, "no state 'done'"),
        ({"metadata": {"n": 1}}, "look into every task"),
        ({"execution_metadata": {}, "state": "active"}, "look into every task"),
        ({"name": 7}, "name"),
        ({"tag": [None]}, "tag=None"),
        ({"created_after": datetime(2050, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"due_before": datetime(2050, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"order": "up"}, "asc or desc"),
    ],
)
async def test_a_bad_filter_is_an_error(
    client: TaskClient, filters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await client.search(**filters).page()


@pytest.mark.parametrize("limit", [0, 1001])
async def test_a_page_has_one_to_a_thousand_tasks(client: TaskClient, limit: int) -> None:
    with pytest.raises(InvalidArgument, match="1 to 1000"):
        await client.search().page(limit=limit)


@pytest.mark.parametrize("schema", ["Other Schema", "100%", 'we"ird', "a:b"])
async def test_any_schema_can_be_searched_and_written(server: Server, schema: str) -> None:
    with new_database(server) as database:
        migrate(database.dsn, schema_name=schema)
        async with TaskClient(database.dsn, schema_name=schema) as client:
            handle = await client.enqueue("a", tags=["t"])
            assert [task.id async for task in client.search(tag="t", name="a")] == [handle.id]
        with SyncTaskClient(database.dsn, schema_name=schema) as client:
            assert [task.id for task in client.search(ids=handle.id)] == [handle.id]
