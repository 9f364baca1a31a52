"""The state in which a pair of operations begins: a worker, its lease, and a task in some place."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import uuid4

from tests.kit.databases import Database

from perdure.store.database import statements
from perdure.store.operations import Entry
from perdure.store.queue import Settling, array_literal, move_document
from perdure.tasks.places import Ended, Move, Waiting

Place: TypeAlias = Literal[
    "running", "own", "ready", "withdrawn", "suspended", "told", "retrying", "failed", "blocked",
    "left", "lined", "limited", "opened", "chained", "expired",
]  # fmt: skip
"""Where the subject is. own: in a lease of its own. withdrawn: ready, its cancel not obeyed. told:
suspended, its signal not obeyed. blocked: behind its neighbour, which has been told to stop for it.
left: behind its neighbour, which `finish_plain` has ended. lined: appended behind its neighbour,
with another behind it. limited: it runs, and another waits for its instance. opened: it waits for
an instance that is free, which nobody has looked at. chained: after its neighbour, if that
completes. expired: ready, its alarm not served."""

WORKER, JUDGE = 7, 8
STARTED_AT = 1_700_000_000.0
WAIT_KEY = "k"
SAVED = {"page": 1}
SUSPENDS = Move(to=Waiting(reason="suspended", wait_key=WAIT_KEY), attempt=1, run="suspension",
                wait_key=WAIT_KEY)  # fmt: skip
RETRIES = Move(to=Waiting(reason="retry", delay=0.001), attempt=1, run="failure", failures=1)
FAILS = Move(to=Ended(state="failed", kind="exhausted", error='{"type": "E"}'), attempt=1,
             failures=1)  # fmt: skip
TABLES = (
    "tasks", "outcomes", "ready", "leases", "waiting", "progress", "attempts", "mail", "edges",
    "inputs", "unique_keys", "workers", "queues", "audit", "alarms", "instances", "openings",
    "constraints", "schedules", "fires",
)  # fmt: skip
LIMITED = {"name": "b", "max_instances": 1, "instances_of": "b"}
TYPES = json.dumps([
    {"queue": "default", "priority": 5, "requires": []} | one for one in ({"name": "a"}, LIMITED)
])  # fmt: skip
LATE: frozenset[Place] = frozenset({
    "ready", "withdrawn", "blocked", "left", "lined", "opened", "chained", "expired",
})  # fmt: skip
"""Where the subject has not been claimed with the others."""
# "z" is registered by nobody: its task lies in lane 0.
PREPARED = f"""
    create schema if not exists step;
    create table step.business (side integer);
    create function step.forget(own_ranges boolean) returns void language plpgsql as $$
    declare part text;
    begin
        if own_ranges then
            for part in select i.inhrelid::regclass::text from pg_inherits as i
                where i.inhparent in ('perdure.tasks'::regclass, 'perdure.outcomes'::regclass)
                    and i.inhrelid::regclass::text !~ 'default$'
            loop
                execute 'drop table ' || part;
            end loop;
        end if;
        foreach part in array '{{{",".join(TABLES)}}}'::text[] loop
            execute format('delete from perdure.%I', part);
        end loop;
        delete from step.business;
        delete from perdure.task_types where name = 'z';
        delete from perdure.lanes where name = 'z';
    end $$;
    create function step.keep(setting text) returns void language plpgsql as $$
    declare part text;
    begin
        foreach part in array '{{{",".join(TABLES)}}}'::text[] loop
            execute format('create table step.%I as table perdure.%I', setting || part, part);
        end loop;
    end $$;
    create function step.restore(setting text, alive boolean) returns void language plpgsql as $$
    declare part text;
    begin
        perform step.forget(false);
        set local session_replication_role = replica;
        foreach part in array '{{{",".join(TABLES)}}}'::text[] loop
            execute format('insert into perdure.%I select * from step.%I', part, setting || part);
        end loop;
        update perdure.workers set heartbeat_at = clock_timestamp() where alive or id = 8;
    end $$
"""
DEAD = f"""
    update perdure.workers set heartbeat_at = clock_timestamp() - interval '1 hour'
    where id = {WORKER};
    update perdure.leases set claimed_at = clock_timestamp() - interval '2 hours'
"""
# As if somebody had been in the way of whoever was to look.
OPENED = """
    set session_replication_role = replica;
    with taken as (delete from perdure.instances returning key, task_id),
    gone as (delete from perdure.ready where task_id in (select task_id from taken)),
    opened as (insert into perdure.openings (key) select key from taken)
    insert into perdure.waiting (task_id, reason, instance_key)
    select task_id, 'instances', key from taken;
    reset session_replication_role
"""
EXPIRED = """
    update perdure.tasks set expires_at = clock_timestamp() - interval '1 minute' where id = {0};
    insert into perdure.alarms (task_id, at, kind) values ({0}, clock_timestamp(), 'expire')
"""
SCHEDULE = "select perdure.put_schedule('s', 'a', every => '1 minute')"


class Setting(NamedTuple):
    """`ranged`: the tasks lie in a range of ids that can be dropped, else in the default one."""

    place: Place
    alive: bool = True
    ranged: bool = False


@cache
def text(verb: str) -> str:
    """A shipped statement."""
    return statements("perdure")[verb].decode()


class World:
    """Three tasks in a lease of a worker, of which `idle` has not been started; `subject` is in the
    place that the setting says, `neighbour` runs; one more is ready, one is of an unknown name."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.subject = self.neighbour = self.idle = 0
        self.lease, self.claims = str(uuid4()), (str(uuid4()), str(uuid4()))
        self.own: dict[int, str] = {}
        self.key = "u"
        self.place: Place = "running"
        self.ranged = False
        self._kept: dict[Setting, tuple[int, int, int]] = {}
        self._range = 0
        self._made = 0
        database.execute("set jit = off")  # views of empty tables look expensive
        database.execute(PREPARED)
        database.execute("select step.forget(true)")
        self.ask("register_types", types=TYPES)

    def ask(self, verb: str, /, **values: Any) -> list[tuple[Any, ...]]:
        """Run a shipped statement beside the pair; its rows, or how many it changed."""
        cursor = self.database.connection.execute(statements("perdure")[verb], values)
        return cursor.fetchall() if cursor.description else [(cursor.rowcount,)]

    def make(self, setting: Setting) -> None:
        """Forget the last order; the same rows again, but for ranges, which are dropped."""
        self._made += 1
        if self._made % 500 == 0:
            self.database.execute("vacuum")
        self.place, self.ranged = setting.place, setting.ranged
        self.key = "v" if setting.place in {"blocked", "left", "lined"} else "u"
        stash = f"{setting.place}_{'alive' if setting.alive else 'dead'}_"
        if setting in self._kept:
            self.database.execute("select step.restore(%s, %s)", [stash, setting.alive])
            self.subject, self.neighbour, self.idle = self._kept[setting]
        else:
            self._build(setting)
            if not setting.ranged:
                self.database.execute("select step.keep(%s)", [stash])
                self._kept[setting] = self.subject, self.neighbour, self.idle
        own = {self.subject: self.own_lease(0), self.neighbour: self.own_lease(1)}
        self.own = own if setting.place == "own" else {}

    def own_lease(self, number: int) -> str:
        """The lease that the subject (0) or its neighbour (1) moves to."""
        return self.lease[:-1] + f"{(int(self.lease[-1], 16) + number + 1) % 16:x}"

    @property
    def first_leases(self) -> set[str]:
        """Those that hold what runs at the beginning, or may come to."""
        return {self.lease, self.own_lease(0), self.own_lease(1)}

    def lease_of(self, task: int) -> str:
        """The lease under which a worker holds the task at the beginning."""
        return self.own.get(task, self.lease)

    def held_at_first(self, task: int) -> bool:
        """Whether the task ran at the beginning, under `lease_of`."""
        if task == self.neighbour:
            return self.place != "left"
        return self.place in {"running", "own", "limited"}

    @property
    def name(self) -> str:
        """The subject's."""
        return "b" if self.place in {"limited", "opened"} else "a"

    def holds(self, lease: str, task: int) -> bool:
        """Whether that lease holds the task now."""
        text = "select exists (select from perdure.leases where id = %s and %s = any (task_ids))"
        return bool(self.database.value(text, [lease, task]))

    def enqueue(self, key: str | None, policy: str = "keep", **more: object) -> int:
        """A task, as a rule with a unique key."""
        values = enqueue_values(key, policy) | more
        return int(self.ask("enqueue", **values)[0][0])

    def settle(self, task: int, move: Move) -> tuple[str, str | None]:
        """Settle as the worker, under the lease that holds the task; answer and letters."""
        document = move_document(Settling(self.lease_of(task), task, STARTED_AT, move))
        ((_, answer, letters),) = self.ask("settle", moves=f"[{document}]", worker=WORKER)
        return answer, letters

    def finish(self, worker: int, runs: list[tuple[str, int, int]]) -> int:
        """End plain successes of (lease, task, attempt); how many were accepted."""
        return int(self.ask("finish_plain", **finish_values(worker, runs))[0][0])

    def _build(self, setting: Setting) -> None:
        database, place = self.database, setting.place
        database.execute("select step.forget(%s)", [setting.ranged or self._range > 0])
        if setting.ranged:
            last = database.value("select last_value from perdure.tasks_id_seq")
            self._range = last // 10**8 + 1
            database.value("select setval('perdure.tasks_id_seq', %s)", [self._range * 10**8])
            database.value("select perdure.make_range(%s)", [self._range])
        for worker in (WORKER, JUDGE):
            self.ask("register", id=worker, name="w", host="h", pid=worker, version="0",
                     lease_seconds=600, queues=["default"], names=["a"], slots=9, draining=False,
                     schedules=[])  # fmt: skip
        late = place in LATE
        self.neighbour = self.enqueue("v")
        self.idle = database.value("insert into perdure.tasks (name) values ('a') returning id")
        self.subject = 0 if late else self.enqueue("u", name=self.name)
        self.own = {}
        assert len(self.ask("claim", **self.claim_values(WORKER, self.lease))) == 3 - late
        self._enqueue_subject(place)
        self._move_subject(place)
        database.execute("insert into perdure.tasks (name) values ('a'), ('z')")
        database.execute("select perdure.pause_queue('default')")
        database.execute(SCHEDULE)
        running = [self.subject, self.neighbour]
        self.ask(
            "beat",
            worker=WORKER,
            running=running,
            lease_seconds=600,
            held=[],
            problem=None,
            looks_in=None,
            satisfied=[],
        )
        database.execute(
            "insert into perdure.leases (id, worker_id, task_ids)"
            f" values (gen_random_uuid(), {WORKER}, '{{}}')"
        )
        if not setting.alive:
            database.execute(DEAD)
        if setting.ranged:
            after = (self._range + 1) * 10**8
            database.value("select setval('perdure.tasks_id_seq', %s)", [after])

    def _enqueue_subject(self, place: Place) -> None:
        """Behind what has been claimed; `limited`: another behind the subject."""
        if place in {"ready", "withdrawn", "expired", "opened"}:
            self.subject = self.enqueue("u", name=self.name)
        elif place == "limited":
            self.enqueue(None, name=self.name)
        elif place == "chained":
            self.subject = self.enqueue("u", after=f'[{{"task": {self.neighbour}}}]')
        elif place in {"blocked", "left"}:
            self.subject = self.enqueue("v", "replace")
        elif place == "lined":
            self.subject = self.enqueue("v", "append")
            self.enqueue("v", "append")

    def _move_subject(self, place: Place) -> None:
        letter = "insert into perdure.mail (task_id, kind, body) values (%s, %s, %s::jsonb)"
        moves = {"suspended": SUSPENDS, "told": SUSPENDS, "retrying": RETRIES, "failed": FAILS}
        if place in moves:
            assert self.settle(self.subject, moves[place])[0] == "settled"
        if place == "withdrawn":
            self.database.execute(letter, [self.subject, "cancel", None])
        elif place == "opened":
            self.database.execute(OPENED)
        elif place == "expired":
            self.database.execute(EXPIRED.format(self.subject))
        elif place == "told":
            body = json.dumps({"patch": SAVED})
            self.database.execute(letter, [self.subject, "proceed", body])
        elif place == "left":
            assert self.finish(WORKER, [(self.lease, self.neighbour, 1)]) == 1
        elif place == "own":
            for number, task in enumerate((self.subject, self.neighbour)):
                self.ask("separate", lease=self.lease, task=task, own=self.own_lease(number))

    def claim_values(self, worker: int, lease: str, at_most: int = 64) -> dict[str, Any]:
        """For the claim's statement: from every lane."""
        lanes = [lane for (lane,) in self.database.rows(
            "select id from perdure.lanes where id > 0 order by id")]  # fmt: skip
        return {
            "worker": worker, "lanes": lanes, "priorities": [5] * len(lanes),
            "after": [0] * len(lanes), "shares": [at_most] * len(lanes), "at_most": at_most,
            "leases": [lease], "body_bytes": 2048,
        }  # fmt: skip


def enqueue_values(key: str | None, policy: str, name: str = "a") -> dict[str, Any]:
    """For the statement that enqueues one task."""
    return Entry(name, unique_key=key, unique_policy=policy)._asdict()


def finish_values(worker: int, runs: list[tuple[str, int, int]]) -> dict[str, Any]:
    """For the statement that ends plain successes of (lease, task, attempt)."""
    leases = sorted({lease for lease, _, _ in runs})
    return {
        "worker": worker, "leases": array_literal(leases),
        "lease": [leases.index(lease) + 1 for lease, _, _ in runs],
        "task": [task for _, task, _ in runs], "attempt": [attempt for _, _, attempt in runs],
        "started": [int(STARTED_AT * 1e6)] * len(runs),
        "result": json.dumps([task for _, task, _ in runs]), "saved": "[]",
    }  # fmt: skip
