"""Keyset pages and filters for people: the only dynamic SQL.

SQLAlchemy compiles it, our pool runs it; loaded late, because a process that never searches has no
use for SQLAlchemy.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, psycopg

from perdure.errors import InvalidArgument
from perdure.store.views import ENDED, LIVE, TaskSummary

PAGE_TASKS_MAX: Final = 1_000
ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is searched for: filters are ANDed, values inside one are ORed, None does not filter.

    `created_after`, `created_before` and `due_before` are exclusive and need a zone; what waits for
    no time has none. `metadata` and
    `execution_metadata` are JSON values that must be contained.
    """

    ids: Collection[int] | None = None
    name: Collection[str] | None = None
    queue: Collection[str] | None = None
    state: Collection[str] | None = None
    tag: Collection[str] | None = None
    unique_key: Collection[str] | None = None
    wait_key: Collection[str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    due_before: datetime | None = None
    metadata: Any = None
    execution_metadata: Any = None
    order: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the tasks found, and where the next page begins: None after the last."""

    tasks: tuple[TaskSummary, ...]
    after: int | None


@dataclass(frozen=True, slots=True)
class Query:
    """SQL text with the values for its placeholders."""

    text: str
    params: dict[str, Any]
    limit: int


_COLUMNS = [field.name for field in fields(TaskSummary)]


def _table(name: str, id_: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, sa.MetaData(), sa.Column(id_, sa.BigInteger), *columns)


_states = _table("task_states", "id", *(sa.Column(name) for name in _COLUMNS[1:]))
_tasks = _table("tasks", "id", sa.Column("metadata", JSONB))
_progress = _table("progress", "task_id", sa.Column("execution_metadata", JSONB))
_waiting = _table("waiting", "task_id", sa.Column("wait_key", sa.Text))


def page_query(filters: Filters, schema_name: str, *, after: int | None, limit: int) -> Query:
    """The query for one page: the tasks behind id `after`, one more than `limit` to look ahead.

    Raises:
        InvalidArgument: an unknown state, a page of another size than 1 to 1,000, containment
            without a filter that finds few tasks.
    """
    if type(limit) is not int or not 1 <= limit <= PAGE_TASKS_MAX:
        raise InvalidArgument(f"limit={limit!r}: a page has 1 to {PAGE_TASKS_MAX} tasks")
    if filters.order not in ("asc", "desc"):
        raise InvalidArgument(f"order={filters.order!r}: asc or desc")
    statement = sa.select(*(_states.c[name] for name in _COLUMNS)).where(*_conditions(filters))
    id_ = _states.c.id
    if after is not None:
        statement = statement.where(id_ > after if filters.order == "asc" else id_ < after)
    statement = statement.order_by(id_ if filters.order == "asc" else id_.desc()).limit(limit + 1)
    compiled = statement.compile(
        dialect=cast("Any", psycopg.dialect)(),
        schema_translate_map={None: schema_name},
        compile_kwargs={"render_postcompile": True},
        render_schema_translate=True,
    )
    return Query(str(compiled), dict(compiled.params), limit)


def read_page(query: Query, rows: list[tuple[Any, ...]]) -> Page:
    """The page that the rows of its query are."""
    tasks = tuple(TaskSummary(*row) for row in rows[: query.limit])
    return Page(tasks, tasks[-1].id if len(rows) > query.limit else None)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    states, text = _states.c, sa.Text()
    found: list[sa.ColumnElement[bool]] = []
    for column, values, type_ in (
        (states.id, filters.ids, sa.BigInteger()),
        (states.name, filters.name, text),
        (states.queue, filters.queue, text),
        (states.unique_key, filters.unique_key, text),
        (states.state, _known_states(filters.state), text),
    ):
        if values is not None:
            found.append(column == sa.any_(_array(values, type_)))
    if filters.tag is not None:
        found.append(states.tags.op("&&")(_array(filters.tag, text)))
    if filters.wait_key is not None:
        key = _waiting.c.wait_key == sa.any_(_array(filters.wait_key, text))
        found.append(sa.exists(_waiting.c.task_id).where(_waiting.c.task_id == states.id, key))
    for moment, compare in (
        (filters.created_after, states.created_at.__gt__),
        (filters.created_before, states.created_at.__lt__),
        (filters.due_before, states.due_at.__lt__),
    ):
        if moment is not None:
            found.append(compare(_moment(moment)))
    if filters.metadata is not None or filters.execution_metadata is not None:
        _refuse_containment_alone(filters)
    if filters.metadata is not None:
        holds = _tasks.c.metadata.contains(_json(filters.metadata))
        found.append(sa.exists(_tasks.c.id).where(_tasks.c.id == states.id, holds))
    if filters.execution_metadata is not None:
        holds = _progress.c.execution_metadata.contains(_json(filters.execution_metadata))
        found.append(sa.exists(_progress.c.task_id).where(_progress.c.task_id == states.id, holds))
    return found


def _known_states(given: Collection[str] | None) -> Collection[str] | None:
    if given is None:
        return None
    known = LIVE | ENDED
    wrong = sorted(set(given) - known - {ACTIVE})
    if wrong:
        raise InvalidArgument(f"there is no state {wrong[0]!r}: {', '.join(sorted(known))}, active")
    return sorted(set(given) - {ACTIVE} | (LIVE if ACTIVE in given else set()))


def _refuse_containment_alone(filters: Filters) -> None:
    helpers = (filters.ids, filters.name, filters.tag, filters.unique_key, filters.wait_key)
    if all(values is None for values in helpers):
        raise InvalidArgument(
            "metadata= and execution_metadata= look into every task: "
            "give name, tag, unique_key, wait_key or ids beside them"
        )


def _array(values: Collection[Any], type_: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    return sa.bindparam(None, list(values), type_=ARRAY(type_), unique=True)


def _moment(value: datetime) -> sa.ColumnElement[Any]:
    return sa.bindparam(None, value, type_=sa.DateTime(timezone=True), unique=True)


def _json(value: Any) -> sa.ColumnElement[Any]:
    return sa.cast(sa.bindparam(None, json.dumps(value), type_=sa.Text(), unique=True), JSONB)
