"""Any sequence of calls of the SQL interface: the places, the answers and the invariants hold."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.invariants import ALWAYS
from tests.kit.databases import Database
from tests.property.calls import MINUTE, NAMES, OUTCOMES, PRIORITIES, TYPES, UNKNOWN, Calls, Run
from tests.property.places import Model, Signal, Task

from perdure.tasks.outcomes import Suspended

Entry: TypeAlias = dict[str, Any]

PLACES = """
    select t.id, s.state, s.reason, s.failures, s.interruptions, s.crashes,
        coalesce(o.attempt, p.attempt, 0), p.execution_metadata, w.wait_key,
        coalesce((select array_agg(e.after_id order by e.after_id) from perdure.edges as e
            where e.task_id = t.id), '{}'),
        coalesce((select array_agg(m.kind order by m.id) from perdure.mail as m
            where m.task_id = t.id), '{}'),
        extract(epoch from w.due_at - clock_timestamp())::float8
    from perdure.tasks as t
    join perdure.task_states as s on s.id = t.id
    left join perdure.progress as p on p.task_id = t.id
    left join perdure.waiting as w on w.task_id = t.id
    left join perdure.outcomes as o on o.task_id = t.id
    order by t.id
"""
KEPT = "select wait_key, count(*) from perdure.mail where wait_key is not null group by wait_key"
BROKEN = " union all ".join(
    f"select {n} where exists ({question.sql})" for n, question in enumerate(ALWAYS)
)
priorities = st.sampled_from(PRIORITIES)
names = st.sampled_from((*NAMES, *NAMES, *NAMES, UNKNOWN))
keys = st.sampled_from("vw")
entries = (
    st.fixed_dictionaries(
        {"name": names, "priority": priorities},
        optional={
            "delay": st.just(MINUTE),
            "unique_key": st.sampled_from("kl"),
            "unique_policy": st.sampled_from(("keep", "replace")),
            "max_retries": st.integers(0, 1),
        },
    )
    .map(lambda entry: entry if "unique_key" in entry else {**entry, "unique_policy": None})
    .map(lambda entry: {key: value for key, value in entry.items() if value is not None})
)
signals = st.fixed_dictionaries(
    {},
    optional={
        "patch": st.dictionaries(st.sampled_from("xy"), st.integers(0, 3)),
        "in": st.just(MINUTE),
    },
)


class Machine(RuleBasedStateMachine):
    """Producers, operators, two workers and their upkeep, in any order."""

    database: Database
    calls: Calls

    @property
    def model(self) -> Model:
        return self.calls.model

    @property
    def suspended(self) -> list[Task]:
        return [task for task in self.model.at("waiting") if task.waits == "suspended"]

    def drawn(self, data: st.DataObject, tasks: list[Task]) -> Task:
        return self.model.tasks[data.draw(st.sampled_from([task.id for task in tasks]), "task")]

    def run_drawn(self, data: st.DataObject) -> tuple[Task, Run]:
        """A run; one whose task has mail rather than another, because that is rare."""
        held = self.model.at("running")
        task = self.drawn(data, [task for task in held if task.mail] or held)
        return task, self.calls.runs[task.id]

    @initialize(first=st.lists(entries, min_size=3, max_size=8))
    def begin(self, first: list[Entry]) -> None:
        self.calls = Calls(self.database)
        self.calls.enqueue_many(first)
        self.calls.claim(self.calls.alive[0], 4)

    @rule(
        many=st.lists(entries, min_size=1, max_size=4), way=st.sampled_from(("one", "many", "row"))
    )
    def enqueue(self, many: list[Entry], way: str) -> None:
        if way == "one":
            self.calls.enqueue(many[0])
        elif way == "many":
            self.calls.enqueue_many(many)
        else:
            self.calls.insert(many[0]["name"], many[0]["priority"], many[0].get("delay"), len(many))

    @precondition(lambda self: len(self.model.at("ready", "waiting")) > 1)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.withdraw(self.drawn(data, list(self.model.tasks.values())))

    def withdraw(self, task: Task) -> None:
        assert self.calls.ask("cancel", id=task.id) == [(self.model.withdraw(task),)]

    @precondition(lambda self: bool(self.calls.runs))
    @rule(data=st.data(), signal=signals, kind=st.sampled_from(("cancel", "proceed", "replace")))
    def tell_a_running_task(self, data: st.DataObject, signal: Signal, kind: str) -> None:
        running = self.model.at("running")
        if kind == "proceed":
            self.proceed(self.drawn(data, running), signal)
        elif kind == "replace" and (keyed := [task for task in running if task.key]):
            key = self.drawn(data, keyed).key
            self.calls.enqueue(
                {"name": "a", "priority": 5, "unique_key": key, "unique_policy": "replace"}
            )
        else:
            self.withdraw(self.drawn(data, running))

    @precondition(lambda self: bool(self.model.at("ended")))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        task = self.drawn(data, self.model.at("ended", "waiting"))
        answer = self.calls.ask(
            "retry", id=task.id, patch=None, execution_metadata=None, with_dependents=False
        )
        assert answer == [(self.model.retry(task),)]

    @rule(
        data=st.data(), signal=signals, key=st.none() | keys, keep_for=st.sampled_from((0.0, 90.0))
    )
    def signal(self, data: st.DataObject, signal: Signal, key: str | None, keep_for: float) -> None:
        """By id, those that are suspended rather than others; or by wait key."""
        if key is None:
            self.proceed(
                self.drawn(data, self.suspended or list(self.model.tasks.values())), signal
            )
            return
        values = self.arguments(signal)
        answer = self.calls.ask("proceed_waiting", wait_key=key, keep_for=keep_for, **values)
        assert answer == [(self.model.proceed_waiting(key, signal, keep_for),)]

    def proceed(self, task: Task, signal: Signal) -> None:
        answer = self.calls.ask("proceed", id=task.id, **self.arguments(signal))
        assert answer == [(self.model.proceed(task, signal),)]

    def arguments(self, signal: Signal) -> Signal:
        """A signal as SQL takes it; the model is told at what time."""
        later = datetime.now(UTC) + timedelta(seconds=MINUTE)
        patch = signal.get("patch")
        signal["at"] = self.model.now + MINUTE if "in" in signal else None
        return {
            "patch": None if patch is None else json.dumps(patch), "execution_metadata": None,
            "run_at": later if "in" in signal else None, "signal_key": None,
        }  # fmt: skip

    @precondition(lambda self: len(self.calls.lost) > 1)
    @rule(name=st.sampled_from("q*"), stop=st.booleans())
    def pause_and_resume(self, name: str, stop: bool) -> None:
        ask = self.calls.ask
        assert ask("pause_queue", name=name, stop_running=stop) == [("paused",)]
        assert ask("pause_queue", name=name, stop_running=stop) == [("already_paused",)]
        assert self.calls.beat(self.calls.alive[0])["paused"] == {name: stop}
        assert ask("resume_queue", name=name) == [("resumed",)]
        assert ask("resume_queue", name=name) == [("not_paused",)]

    @precondition(lambda self: bool(self.model.picked(NAMES, PRIORITIES, 1)))
    @rule(first=st.booleans(), at_most=st.integers(1, 6))
    def claim(self, first: bool, at_most: int) -> None:
        self.calls.claim(self.calls.alive[not first], at_most)

    @precondition(lambda self: bool(self.calls.runs))
    @rule(data=st.data(), what=st.sampled_from(("begun", "beat", "started", "saved")))
    def begin_a_run(self, data: st.DataObject, what: str) -> None:
        task, run = self.run_drawn(data)
        run.begun = True
        if what == "beat":
            self.calls.beat(run.worker)
        elif what != "begun":
            self.calls.save(task, run, None if what == "started" else task.id)

    @precondition(lambda self: bool(self.calls.runs))
    @rule(data=st.data(), way=st.sampled_from(sorted(OUTCOMES)))
    def settle(self, data: st.DataObject, way: str) -> None:
        self.calls.settle(*self.run_drawn(data), OUTCOMES[way])

    @precondition(lambda self: bool(self.calls.runs))
    @rule(data=st.data(), timed=st.booleans(), key=st.none() | keys)
    def suspend(self, data: st.DataObject, timed: bool, key: str | None) -> None:
        until = datetime.now(UTC) + timedelta(seconds=MINUTE) if timed else None
        self.calls.settle(*self.run_drawn(data), Suspended(until, key))

    @precondition(lambda self: bool(self.calls.runs))
    @rule(data=st.data(), whole=st.booleans(), checkpoint=st.none() | st.integers(0, 9))
    def finish_plain(self, data: st.DataObject, whole: bool, checkpoint: int | None) -> None:
        task, run = self.run_drawn(data)
        if run.claimed.followed:
            return  # not plain: its followers are released with its end
        lease = run.claimed.lease
        ids = [
            id_ for id_, other in self.calls.runs.items()
            if other.claimed.lease == lease and not other.claimed.followed
        ]  # fmt: skip
        self.calls.finish_plain(run, ids if whole else [task.id], checkpoint)

    @precondition(lambda self: any(not run.begun for run in self.calls.runs.values()))
    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        resting = sorted(id_ for id_, run in self.calls.runs.items() if not run.begun)
        ids = st.lists(st.sampled_from(resting), min_size=1, unique=True)
        self.calls.hand_back(data.draw(ids, "tasks"))

    @precondition(lambda self: bool(self.calls.runs))
    @rule(data=st.data(), reported_only=st.booleans())
    def kill(self, data: st.DataObject, reported_only: bool) -> None:
        """What the dead worker still writes has no effect."""
        _, run = self.run_drawn(data)
        self.calls.kill(run.worker, reported_only=reported_only)
        for id_, lost in self.calls.lost:
            self.calls.refused(id_, lost)
            with pytest.raises(psycopg.Error) as raised:
                self.calls.ask("fence", lease=lost.claimed.lease, task=id_)
            assert raised.value.sqlstate == "PD001"

    @precondition(lambda self: any(task.due for task in self.model.at("waiting")))
    @rule(seconds=st.sampled_from((MINUTE, 2 * MINUTE)))
    def pass_time_and_promote(self, seconds: float) -> None:
        self.calls.pass_time(seconds)
        moved, due_in, rung = self.calls.ask("promote", at_most=100)[0]
        assert rung == 0
        assert moved == self.model.promote()
        assert due_in is None or due_in > 0

    @precondition(
        lambda self: any(t.mail for t in self.model.tasks.values() if t.end or t.stopping)
    )
    @rule()
    def obey(self) -> None:
        self.calls.ask("obey", at_most=100)
        self.model.obey()

    @invariant()
    def places_are_as_the_model_says(self) -> None:
        rows = self.database.rows(PLACES)
        found = {row[0]: row[1:-1] for row in rows}
        assert found == {
            t.id: (t.state, t.reason, t.failures, t.interruptions, t.crashes, t.attempt, t.data,
                   t.wait_key, sorted(t.after), [m.kind for m in t.mail])
            for t in self.model.tasks.values()
        }  # fmt: skip
        for *values, due_in in rows:
            due = self.model.tasks[values[0]].due
            assert (due is None) == (due_in is None)
            assert due is None or abs(due - self.model.now - due_in) < MINUTE / 2
        kept = {key: len(letters) for key, letters in self.model.key_mail.items() if letters}
        assert dict(self.database.rows(KEPT)) == kept

    @invariant()
    def the_invariants_hold(self) -> None:
        broken = [ALWAYS[n].name for (n,) in self.database.rows(BROKEN)]
        assert not broken


def test_any_sequence_of_calls_keeps_every_task_in_its_place(database: Database) -> None:
    database.execute("select perdure.register_types(%s::jsonb)", [TYPES])
    machine = type("OnDatabase", (Machine,), {"database": database})
    many = os.environ.get("PERDURE_TEST_EXAMPLES")
    profile = settings(
        max_examples=int(many or 40), stateful_step_count=30, derandomize=not many,
        deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=profile)
