"""Schedules from both clients: what is put, changed, shown and refused, without a worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from tests.integration.client.conftest import IMPORT, Request
from tests.kit.databases import Database

from perdure import Cron, Every, InvalidArgument, KeyTaken, Once, ScheduleNotFound
from perdure.client.client import TaskClient
from perdure.client.sync import SyncTaskClient
from perdure.declare.new_schedule import NewSchedule
from perdure.errors import UnencodableValue

HOUR = Every(3600)
LATER = datetime(2031, 1, 1, tzinfo=UTC)


async def test_a_schedule_is_put_shown_changed_and_deleted(client: TaskClient) -> None:
    put = await client.put_schedule(
        "nightly",
        IMPORT,
        Cron("0 3 * * *", "Europe/Berlin", end=LATER),
        Request(url="u"),
        jitter=timedelta(minutes=5),
        expires_after=600,
        overlap="queue",
        catch_up="all",
        queue="imports",
        priority=2,
        tags=["night"],
        requires=["vpn"],
        headers={"a": "b"},
        max_retries=1,
    )
    assert put == "created"
    view = await client.get_schedule("nightly")
    assert view is not None
    assert (view.key, view.name, view.state) == ("nightly", "catalogue.import", "active")
    assert view.trigger == Cron("0 3 * * *", "Europe/Berlin", end=LATER)
    assert (view.jitter, view.expires_after) == (timedelta(minutes=5), timedelta(minutes=10))
    assert (view.metadata, view.headers) == ({"url": "u"}, {"a": "b"})
    assert (view.queue, view.priority, view.tags, view.requires, view.max_retries) == (
        "imports",
        2,
        ["night"],
        ["vpn"],
        1,
    )
    assert (view.next_fire_at, view.last_fire_at, view.live, view.generation) == (None, None, 0, 1)
    assert (view.fired, view.missed, view.declared) == (0, 0, False)

    assert await client.put_schedule("nightly", "catalogue.import", HOUR) == "updated"
    assert await client.put_schedule("nightly", "catalogue.import", HOUR) == "unchanged"
    (state,) = await client.schedules()
    assert (state.trigger, state.generation, state.tags) == (HOUR, 2, None)
    assert await client.put_schedule("nightly", "x", HOUR, policy="keep") == "kept"
    with pytest.raises(KeyTaken):
        await client.put_schedule("nightly", "x", HOUR, policy="reject")
    assert await client.put_schedule("nightly", "x", HOUR, policy="replace") == "replaced"
    assert await client.delete_schedule("nightly") == "deleted"
    assert await client.delete_schedule("nightly") == "not_found"
    assert await client.get_schedule("nightly") is None
    assert await client.schedules() == []


def test_the_synchronous_client_does_the_same(
    sync_client: SyncTaskClient, database: Database
) -> None:
    client = sync_client
    assert client.put_schedule("s", IMPORT, HOUR, Request(url="u")) == "created"
    assert client.pause_schedule("s") == "paused"
    assert client.pause_schedule("s") == "already_paused"
    assert client.resume_schedule("s", catch_up=True) == "resumed"
    assert client.resume_schedule("s") == "not_paused"
    assert client.override_next("s", LATER) == "set"
    (state,) = client.schedules()
    assert (state.next_fire_at, state.override_at) == (LATER, LATER)
    assert client.override_next("s", None) == "set"
    ran = client.run_schedule("s")
    assert (ran.answer, ran.task_id is None) == ("fired", False)
    assert client.run_schedule("s") == ("skipped", None)
    assert client.run_schedule("s", force=True).answer == "fired"
    newest, *_, oldest = client.schedule_fires("s")
    assert (newest.fate, oldest.fate, oldest.task_id) == ("manual", "manual", ran.task_id)
    assert client.schedule_fires("s", before=oldest.fire_at) == []
    assert len(client.schedule_fires("s", limit=1)) == 1
    view = client.get_schedule("s")
    assert view is not None
    assert (view.live, view.manual, view.metadata) == (2, 2, {"url": "u"})
    assert len(client.preview_schedule("s", 3)) == 3
    assert client.delete_schedule("s") == "deleted"
    for ask in (client.pause_schedule, client.resume_schedule, client.delete_schedule):
        assert ask("s") == "not_found"
    assert client.run_schedule("s") == ("not_found", None)
    assert client.override_next("s", LATER) == "not_found"
    with pytest.raises(ScheduleNotFound, match="'s'"):
        client.preview_schedule("s")


def test_a_schedule_is_part_of_the_callers_transaction(
    sync_client: SyncTaskClient, database: Database
) -> None:
    with psycopg.connect(database.dsn) as connection:
        put = sync_client.put_schedule("s", "x", HOUR, on=connection)
        assert put == "created"
        assert sync_client.get_schedule("s") is None
        connection.rollback()
    assert sync_client.schedules() == []


@pytest.mark.parametrize("trigger", [Once(LATER), Every(3600, start=LATER, end=LATER)])
def test_the_same_moment_from_another_zone_is_the_same_trigger(
    database: Database, trigger: Any
) -> None:
    answers = []
    for zone in ("UTC", "Asia/Tokyo", "America/Santiago"):
        at_home = psycopg.connect(database.dsn, options=f"-c TimeZone={zone}")
        with at_home as connection, SyncTaskClient(database.dsn) as client:
            answers.append(client.put_schedule("s", "x", trigger, on=connection))
    assert answers == ["created", "unchanged", "unchanged"]


BAD: list[tuple[Any, dict[str, Any]]] = [
    (HOUR, {"jitter": 3600}),
    (HOUR, {"jitter": timedelta(hours=1, microseconds=1)}),
    (HOUR, {"jitter": -1}),
    (HOUR, {"flex": -0.5}),
    (HOUR, {"flex": 3601}),
    (HOUR, {"flex": 10, "jitter": 10.25}),
    (HOUR, {"misfire_grace": -100_000_000}),
    (HOUR, {"expires_after": -3}),
    (HOUR, {"catch_up": "none"}),
    (HOUR, {"overlap": "both"}),
    (HOUR, {"catch_up": "all"}),
    (HOUR, {"catch_up": "all", "overlap": "cancel_previous"}),
    (HOUR, {"max_catch_up": 0}),
    (HOUR, {"max_catch_up": 10_001}),
    (Cron("@daily"), {"flex": 1, "jitter": 2}),
]


@pytest.mark.parametrize(("trigger", "options"), BAD, ids=[str(options) for _, options in BAD])
def test_sql_and_python_say_the_same_of_what_cannot_be_meant(
    sync_client: SyncTaskClient, database: Database, trigger: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        sync_client.put_schedule("s", "x", trigger, **options)
    values: dict[str, Any] = {"every": "1 hour"} if trigger is HOUR else {"cron": "@daily"}
    values |= options
    for name in {"jitter", "flex", "misfire_grace", "expires_after"} & options.keys():
        said = options[name]
        values[name] = said if isinstance(said, timedelta) else timedelta(seconds=said)
    arguments = ", ".join(f"{name} => %({name})s" for name in values)
    with pytest.raises(psycopg.Error) as raised:
        database.execute(f"select perdure.put_schedule('s', 'x', {arguments})", values)
    said = raised.value.diag
    assert (said.sqlstate, str(refused.value)) == (
        "PD004",
        f"{said.message_primary} (hint: {said.message_hint})",
    )
    assert [*NewSchedule("s", "x", trigger, None, options).problems()] == [str(refused.value)]  # type: ignore[arg-type]


def test_values_are_refused_with_field_value_and_remedy(sync_client: SyncTaskClient) -> None:
    put: Any = sync_client.put_schedule
    for options, text in (
        ({"jitter": "5m"}, "jitter '5m' must be seconds or a timedelta"),
        ({"jitter": float("nan")}, "jitter nan must be seconds or a timedelta"),
        ({"flex": 1e12}, "flex 1000000000000.0 must lie between 0 and 100 years"),
        ({"max_catch_up": "3"}, "max_catch_up '3' must be a whole number"),
        ({"run_at": LATER}, "'run_at' is no option: there are catch_up, expires_after,"),
        ({"priority": 10}, "priority must be 0 to 9"),
        ({"policy": "drop"}, "policy drop must be update, keep, replace or reject"),
        ({"tags": "a"}, "tags='a': give a list"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            put("s", "x", HOUR, **options)
        assert str(refused.value).startswith(text)
    with pytest.raises(InvalidArgument, match="trigger 60 must be Every, Cron or Once"):
        put("s", "x", 60)
    with pytest.raises(InvalidArgument, match="key must have 1 to 500 bytes"):
        put("", "x", HOUR)
    with pytest.raises(InvalidArgument, match="name is not valid"):
        put("s", "a b", HOUR)
    with pytest.raises(UnencodableValue):
        put("s", IMPORT, HOUR, {"url": 1})
    with pytest.raises(InvalidArgument, match="datetime with a time zone"):
        sync_client.override_next("s", datetime(2030, 1, 1))  # noqa: DTZ001
    for count in (0, 1001, 1.5, True):
        with pytest.raises(InvalidArgument, match="give 1 to 1,000"):
            sync_client.preview_schedule(HOUR, count)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="trigger 60"):
        sync_client.preview_schedule(60)  # type: ignore[arg-type]
    assert sync_client.schedules() == []


def test_a_trigger_that_nobody_can_read_is_shown_as_it_is(
    sync_client: SyncTaskClient, database: Database
) -> None:
    database.execute("select perdure.put_schedule('s', 'x', cron => '61 * * * *')")
    (state,) = sync_client.schedules()
    assert state.trigger == {"cron": "61 * * * *", "timezone": "UTC"}
    assert sync_client.preview_schedule("s") == []


def test_a_trigger_is_previewed_by_the_clock_of_the_database(sync_client: SyncTaskClient) -> None:
    (at,) = sync_client.preview_schedule(Once(LATER))
    assert at == LATER
    assert len(sync_client.preview_schedule(Every(99 * 366 * 86_400), 1000)) == 80
    hours = sync_client.preview_schedule(Every(3600), 1000)
    assert len(hours) == 1000
    assert {b - a for a, b in pairwise(hours)} == {timedelta(hours=1)}
