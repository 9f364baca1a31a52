"""State machines in workers: killed after each step, looping, waiting, ending in every way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import machines
from tests.kit.databases import Database
from tests.kit.ledger import VARIABLE, Ledger
from tests.kit.running import Running, running

from perdure.run.options import Options
from perdure.tasks.checkpoints import STATES_PASSED

APPLICATION = Options(application="tests.conformance.machines:service")


async def asked(worker: Running, name: str, **metadata: object) -> int:
    """Enqueue a machine's task."""
    return await worker.enqueue(name, json.dumps(metadata))


def state_of(row: dict[str, Any]) -> Any:
    return row["execution_metadata"]["state"]


@pytest.mark.conformance("C111")
async def test_a_machine_that_is_killed_after_each_step_goes_on_in_the_saved_state(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ledger"))
    async with running(database, machines.service, options=APPLICATION) as worker:
        task = await asked(worker, "mortal", steps=2, how="success")
        row = await worker.ended(task, timeout=60)
        assert (row["state"], row["result"], row["failures"]) == ("completed", "done", 0)
        assert row["attempt"] == 4
    met = Ledger(tmp_path / "ledger").records("met", task)
    states = [machines.First(), machines.Counted(steps=1), machines.Counted(steps=2)]
    assert [record["state"] for record in met] == [
        state.model_dump() for state in states for _ in range(2)
    ]
    assert len({record["pid"] for record in met}) == 4
    database.check_drained()


@pytest.mark.conformance("C111")
async def test_a_machine_may_loop_but_not_for_ever(database: Database) -> None:
    async with running(database, machines.service) as worker:
        passes = await asked(worker, "loop", steps=500, how="success")
        loops = await asked(worker, "loop", steps=1_000, how="success")
        row = await worker.ended(passes, timeout=60)
        assert (row["state"], state_of(row)["steps"]) == ("completed", -1)
        row = await worker.ended(loops, timeout=60)
        assert (row["state"], row["error"]["kind"]) == ("failed", "exhausted")
        assert row["error"]["type"] == "StateMachineLoop"
        assert state_of(row) == {"kind": "counted", "steps": 1_000}
    database.check_drained()


@pytest.mark.conformance("C111")
@pytest.mark.parametrize("name", ["loop", "thread"])
async def test_a_machine_waits_in_a_state_is_proceeded_into_another_and_reaches_the_end(
    database: Database, name: str
) -> None:
    async with running(database, machines.service) as worker:
        task = await asked(worker, name, steps=1)
        row = await worker.state(task, "suspended")
        assert state_of(row) == {"kind": "waiting", "order": task}
        paid = {"state": {"kind": "paid", "receipt": "r-7"}}
        (proceeded,) = await worker.ask(
            "select perdure.proceed_waiting('payment', patch => %s::jsonb) as answer",
            json.dumps(paid),
        )
        assert proceeded["answer"] == "proceeded"
        row = await worker.ended(task)
        assert (row["state"], row["result"]) == ("completed", "r-7")
        assert row["steps"][STATES_PASSED] == [
            [1, "First"], [1, "Counted"], [1, "Waiting"], [2, "Paid"],
        ]  # fmt: skip
    database.check_drained()


async def test_every_outcome_ends_a_machine_with_its_last_state_saved(database: Database) -> None:
    states = {
        "success": "completed", "failure": "failed", "retry": "retrying",
        "cancelled": "cancelled", "suspended": "suspended",
    }  # fmt: skip
    async with running(database, machines.service, execution__max_retry_count=1) as worker:
        for name in ("loop", "thread"):
            for how, state in states.items():
                task = await asked(worker, name, how=how)
                row = await worker.state(task, state)
                assert state_of(row) == {"kind": "counted", "steps": -1}, (name, how)
