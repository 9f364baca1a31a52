"""Looks at schedules by hand, as a beat does, and lets time pass by moving what is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

from psycopg.conninfo import conninfo_to_dict
from tests.kit.databases import Database

from perdure.run.bus import Bus
from perdure.run.firing import Looked, fire_due
from perdure.store.database import Database as Store
from perdure.store.database import SyncSession


class Looker:
    """One beat's connection; each answer is in seconds after the anchor of the schedule."""

    def __init__(self, database: Database, session: SyncSession) -> None:
        self.database = database
        self.session = session
        self.bus = Bus()

    def put(self, key: str = "s", name: str = "a", **arguments: object) -> str:
        """Put a schedule, and have it planned."""
        said = {"key": key, "name": name, **arguments}
        call = ", ".join(f"{one} => %({one})s" for one in said)
        answer = self.database.value(f"select perdure.put_schedule({call})", said)
        self.look()
        return str(answer)

    def look(self) -> Looked:
        """What a beat does for schedules."""
        return fire_due(self.session, self.bus)

    def passes(self, span: str) -> None:
        """So much time passes, and then somebody looks: instants, fires and tasks grow older."""
        self.database.execute(
            "update perdure.schedules set anchor = anchor - %(span)s::interval,"
            " next_fire_at = next_fire_at - %(span)s::interval,"
            " look_at = look_at - %(span)s::interval,"
            " override_at = override_at - %(span)s::interval,"
            " plan_from = plan_from - %(span)s::interval,"
            " last_fire_at = last_fire_at - %(span)s::interval",
            {"span": span},
        )
        self.database.execute(
            "update perdure.fires set fire_at = fire_at - %(span)s::interval", {"span": span}
        )
        self.database.execute(
            "update perdure.tasks set fire_at = fire_at - %(span)s::interval", {"span": span}
        )
        self.look()

    def fires(self, key: str = "s") -> list[tuple[float, str, int]]:
        """What became of its instants."""
        rows = self.database.rows(
            "select extract(epoch from f.fire_at - s.anchor)::float, f.fate, f.count"
            " from perdure.fires as f join perdure.schedules as s on s.key = f.schedule_key"
            " where s.key = %s order by f.fire_at",
            [key],
        )
        return [(float(at), str(fate), int(count)) for at, fate, count in rows]

    def next(self, key: str = "s") -> float | None:
        """Its next instant."""
        found: float | None = self.database.value(
            "select extract(epoch from next_fire_at - anchor)::float"
            " from perdure.schedules where key = %s",
            [key],
        )
        return found

    def next_in(self, key: str = "s") -> timedelta:
        """In how long that is."""
        found: timedelta = self.database.value(
            "select next_fire_at - clock_timestamp() from perdure.schedules where key = %s", [key]
        )
        return found

    def state(self, key: str = "s") -> str:
        """Its state."""
        return str(self.database.value("select state from perdure.schedules where key = %s", [key]))

    def tasks(self, key: str = "s") -> int:
        """How many tasks it has made."""
        return int(
            self.database.value("select count(*) from perdure.tasks where schedule_key = %s", [key])
        )


@contextmanager
def looking(database: Database) -> Iterator[Looker]:
    """A connection that looks when it is told to."""
    parameters = cast("dict[str, str]", conninfo_to_dict(database.dsn))
    session = Store(parameters, database.schema).sync_session()
    try:
        yield Looker(database, session)
    finally:
        session.close()
