"""The tour: a schedule, a chain, a constraint and a singleton, while workers die."""

from __future__ import annotations

import time
from typing import Any

from perdure.client.sync import SyncTaskClient
from perdure.declare.kind import NewTask
from perdure.demo import handlers, sights
from perdure.demo.stage import Stage, console_of, open_stage, verdict

APPLICATION = "perdure.demo.sights:service"
WORKERS = 3
STEPS = 60
FIRES_LEAST = 8
"""So many seconds of the schedule are shown, however soon the rest is over."""
TICKS_LEAST = 10


def run(*, as_json: bool) -> int:
    """Walk the tour; 0 if everything that it claims is true, else 1.

    With `as_json` the last line is an object and nothing else is printed on standard output.

    Raises:
        PerdureError: the server could not be started, or a step took too long.
    """
    console = console_of(as_json=as_json)
    began = time.monotonic()
    with open_stage(console, APPLICATION) as stage, SyncTaskClient(stage.dsn) as client:
        tour = Tour(stage, client)
        tour.walk()
        report = tour.report(time.monotonic() - began)
    return verdict(console, report, claims_of(report), as_json=as_json)


class Tour:
    """Four sights, one after the other; the schedule and the singleton go on beside all of them."""

    def __init__(self, stage: Stage, client: SyncTaskClient) -> None:
        self._stage = stage
        self._client = client
        self._zones = 0
        self._delivery = 0

    def walk(self) -> None:
        """From the first worker to the last look."""
        self._stage.connection.execute(
            "create table tour_beats (at timestamptz);"
            "create table tour_steps (step int, attempt int);"
            "create table tour_ticks (attempt int, at timestamptz default clock_timestamp())"
        )
        names = [self._stage.fleet.start() for _ in range(WORKERS)]
        self._stage.say(f"{', '.join(names[:-1])} and {names[-1]} have been started.")
        self._schedule()
        self._chain()
        self._constraint()
        self._singleton()
        self._fires()

    def _schedule(self) -> None:
        self._title("A schedule")
        self._stage.until("the schedule has fired", lambda: self._count("tour_beats") > 0)
        late = self._stage.value(
            "select extract(epoch from t.created_at - f.fire_at)::float from perdure.fires as f"
            " join perdure.tasks as t on t.id = f.task_id order by f.fire_at limit 1"
        )
        self._stage.say(
            f"The service declares one of a second: its first task came {late * 1000:.0f} ms after"
            " its instant. It goes on beside all that follows."
        )

    def _chain(self) -> None:
        self._title("A chain")
        regions = sorted({row[2].split("/")[0] for row in handlers.zones()})
        parts = [
            NewTask(sights.count_zones, sights.CountRequest(region=region)) for region in regions
        ]
        began = time.monotonic()
        handles = self._client.enqueue_many([*parts, NewTask(sights.add_up, after=parts)])
        waiting = self._client.get(handles[-1].id)
        self._stage.say(
            f"Enqueued in one call: {len(parts)} tasks that count the time zones of a region, and"
            f" one that follows them all: it is {waiting.state if waiting else 'gone'}."
        )
        self._zones = handles[-1].result(timeout=60).zones
        self._stage.say(
            f"[green]It ran after all of them and read their results[/]: {self._zones} zones,"
            f" {time.monotonic() - began:.2f} s after the call."
        )

    def _constraint(self) -> None:
        self._title("A constraint")
        request = sights.DeliveryRequest(steps=STEPS)
        self._delivery = self._client.enqueue(sights.deliver, request).id
        task = self._client.get(self._delivery)
        self._stage.say(
            f"A delivery requires {sights.ROAD}, which nobody has said yet: it waits"
            f" ({task.waiting_for if task else ''})."
        )
        self._client.set_constraint(sights.ROAD, satisfied=True)
        self._stage.until("a third is driven", lambda: self._count("tour_steps") >= STEPS // 3)
        self._client.set_constraint(sights.ROAD, satisfied=False)
        self._stage.until("the delivery has stopped", lambda: self._state() == "pending")
        self._stage.say(
            f"The road was opened and [yellow]closed again after {self._count('tour_steps')} of"
            f" {STEPS} steps[/]: the run was stopped, its checkpoint is kept."
        )
        self._client.set_constraint(sights.ROAD, satisfied=True)
        self._stage.until("the delivery goes on", lambda: self._state() == "running")
        goes_on = "select min(step) from tour_steps where attempt = 2"
        self._stage.until("its next step", lambda: self._stage.value(goes_on) is not None)
        self._stage.say(f"Open again: [green]it goes on with step {self._stage.value(goes_on)}[/].")
        self._stage.until("it has arrived", lambda: self._state() == "completed")

    def _singleton(self) -> None:
        self._title("A singleton")
        task = self._stage.value(
            "select task_id from perdure.unique_keys where key = %s",
            f"singleton:{sights.LEDGER}",
        )
        self._stage.until("it has ticked", lambda: self._count("tour_ticks") >= TICKS_LEAST)
        pid = self._stage.holder(task)
        name = self._stage.fleet.names[pid]
        self._stage.fleet.kill(pid)
        killed = time.monotonic()
        self._stage.say(
            f"{name} held {sights.LEDGER} and ticked five times a second: [red]SIGKILL[/]."
        )
        heirs = "select count(distinct attempt) from tour_ticks"
        self._stage.until("another ticks", lambda: self._stage.value(heirs) > 1)
        heir = self._stage.fleet.names[self._stage.holder(task)]
        self._stage.say(
            f"[green]{heir} has taken over[/] {time.monotonic() - killed:.2f} s later, when the"
            " lease of two seconds was over."
        )

    def _fires(self) -> None:
        self._stage.until("enough fires", lambda: self._count("tour_beats") >= FIRES_LEAST)
        self._stage.connection.execute("select perdure.pause_schedule(%s)", (sights.HEARTBEAT,))
        self._stage.until("all beats have ended", lambda: self._live() == 0)

    def _title(self, text: str) -> None:
        self._stage.console.print(f"[bold]{text}.[/]")

    def _count(self, table: str) -> int:
        return int(self._stage.value(f"select count(*) from {table}"))

    def _state(self) -> str:
        return str(self._stage.value("select state from perdure.task(%s)", self._delivery))

    def _live(self) -> int:
        return int(
            self._stage.value(
                "select count(*) from perdure.tasks as t left join perdure.outcomes as o"
                " on o.task_id = t.id where o.task_id is null and t.name = %s",
                sights.HEARTBEAT,
            )
        )

    def report(self, seconds: float) -> dict[str, Any]:
        """What the database says about it all."""
        value = self._stage.value
        instants = (
            "select count(*) from (select generate_series(min(fire_at), max(fire_at), '1 s')"
            " from perdure.fires where schedule_key = %s) as each"
        )
        return {
            "instants": value(instants, sights.HEARTBEAT),
            "fired_or_recorded": value(
                "select sum(count)::int from perdure.fires where schedule_key = %s",
                sights.HEARTBEAT,
            ),
            "beats_twice": value("select count(*) - count(distinct at) from tour_beats"),
            "zones": self._zones,
            "zones_counted_alone": len(handlers.zones()),
            "delivery_steps_twice": value("select count(*) - count(distinct step) from tour_steps"),
            "delivery_interruptions": value(
                "select interruptions from perdure.task(%s)", self._delivery
            ),
            "delivery_failures": value("select failures from perdure.task(%s)", self._delivery),
            "singleton_holders": value("select count(distinct attempt) from tour_ticks"),
            "singleton_overlaps": value(
                "select count(*) from (select attempt, lead(attempt) over (order by at) as next"
                " from tour_ticks) as pair where next < attempt"
            ),
            "misplaced": value("select count(*) from perdure.misplaced_tasks"),
            "seconds": round(seconds, 1),
        }


def claims_of(report: dict[str, Any]) -> dict[str, bool]:
    """What the tour claims, and whether it is so."""
    return {
        "every second fired once, or is recorded": (
            report["instants"] == report["fired_or_recorded"] and report["beats_twice"] == 0
        ),
        "the chain's last task read what all before it had come to": (
            report["zones"] == report["zones_counted_alone"]
        ),
        "the delivery went on from its checkpoint": (
            report["delivery_steps_twice"] == 0 and report["delivery_interruptions"] >= 1
        ),
        "a lost constraint is no failure": report["delivery_failures"] == 0,
        "another took over the singleton": report["singleton_holders"] > 1,
        "it never had two holders": report["singleton_overlaps"] == 0,
        "nothing is misplaced": report["misplaced"] == 0,
    }
