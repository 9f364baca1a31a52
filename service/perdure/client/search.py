"""What a search gives: iteration and pages, for both clients; loads SQLAlchemy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import cast

from perdure.client.arguments import known, many, moment, text, whole
from perdure.client.requests import SearchOptions
from perdure.store.database import Database
from perdure.store.perform import read_rows, read_rows_sync
from perdure.store.search import PAGE_TASKS_MAX, Filters, Page, Query, page_query, read_page
from perdure.store.views import TaskSummary

PAGE_TASKS = 100
_STEP_TASKS = 500


class TaskSearch:
    """A search that has not been asked yet; each iteration and each page asks anew."""

    def __init__(self, database: Database, filters: Filters) -> None:
        self._database = database
        self._filters = filters

    async def page(self, after: int | None = None, limit: int = PAGE_TASKS) -> Page:
        """The tasks behind id `after` (the `after` of the page before), 1 to 1,000 of them.

        Raises:
            InvalidArgument: a limit outside of that, an unknown state, containment alone.
            NotPermitted: the login may not read what the filters look into.
        """
        query = _query(self._filters, self._database, after, limit)
        return read_page(query, await read_rows(self._database, query.text, query.params))

    async def __aiter__(self) -> AsyncIterator[TaskSummary]:
        after: int | None = None
        while True:
            page = await self.page(after, _STEP_TASKS)
            for task in page.tasks:
                yield task
            if (after := page.after) is None:
                return


class SyncTaskSearch:
    """The same for synchronous programs."""

    def __init__(self, database: Database, filters: Filters) -> None:
        self._database = database
        self._filters = filters

    def page(self, after: int | None = None, limit: int = PAGE_TASKS) -> Page:
        """As `TaskSearch.page`."""
        query = _query(self._filters, self._database, after, limit)
        return read_page(query, read_rows_sync(self._database, query.text, query.params))

    def __iter__(self) -> Iterator[TaskSummary]:
        after: int | None = None
        while True:
            page = self.page(after, _STEP_TASKS)
            yield from page.tasks
            if (after := page.after) is None:
                return


def _query(filters: Filters, database: Database, after: int | None, limit: int) -> Query:
    behind = whole("after", after, bits=64)
    return page_query(filters, database.schema_name, after=behind, limit=limit)


def _id(_: str, value: object) -> int:
    return cast("int", whole("id", value, bits=64))  # None is no id


def filters_of(options: SearchOptions) -> Filters:
    """The filters as `store/search.py` takes them; InvalidArgument for a value of a wrong type."""
    known(options, SearchOptions)
    return Filters(
        ids=many("ids", options.get("ids"), _id),
        name=many("name", options.get("name"), text),
        queue=many("queue", options.get("queue"), text),
        state=many("state", options.get("state"), text),
        tag=many("tag", options.get("tag"), text),
        unique_key=many("unique_key", options.get("unique_key"), text),
        wait_key=many("wait_key", options.get("wait_key"), text),
        created_after=moment("created_after", options.get("created_after")),
        created_before=moment("created_before", options.get("created_before")),
        due_before=moment("due_before", options.get("due_before")),
        metadata=options.get("metadata"),
        execution_metadata=options.get("execution_metadata"),
        order=options.get("order", "desc"),
    )


__all__ = ["PAGE_TASKS", "PAGE_TASKS_MAX", "Page", "SyncTaskSearch", "TaskSearch", "filters_of"]
