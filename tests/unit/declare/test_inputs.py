"""What a handler reads of the tasks that its own follows, and how a test gives it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from perdure import Input, Inputs, InvalidPayload, SyncTaskContext, TaskContext
from perdure.tasks.outcomes import Success
from perdure.testing import run


class Rows(BaseModel):
    rows: int


def test_an_input_is_found_by_its_label_or_by_a_name_that_it_alone_has() -> None:
    inputs = Inputs([
        Input("extract", 1), Input("chunk", 2), Input("chunk", 3, label="last"),
        Input("load", 4, label="loaded"),
    ])  # fmt: skip
    assert {key: one.result for key, one in inputs.items()} == {
        "extract": 1,
        "last": 3,
        "loaded": 4,
    }
    assert [one.result for one in inputs.all("chunk")] == [2, 3]
    assert [one.result for one in inputs.all()] == [1, 2, 3, 4]
    assert "chunk" not in inputs
    assert inputs.get("load") is None
    with pytest.raises(KeyError, match=r"'chunk', there are 'extract', 'last', 'loaded'"):
        inputs["chunk"]


def test_results_that_are_objects_are_merged_or_collected() -> None:
    inputs = Inputs(
        [Input("a", {"n": 1, "x": 1}), Input("b", [5]), Input("c", {"n": 2}), Input("d")]
    )
    assert inputs.merged() == {"n": 2, "x": 1}
    assert inputs.collected() == {"n": [1, 2], "x": [1]}


def test_a_handler_reads_inputs_without_a_database() -> None:
    async def add(context: TaskContext[dict[str, Any], None]) -> int:
        inputs = await context.inputs()
        assert inputs["b"].error == {"kind": "exhausted"}
        with pytest.raises(InvalidPayload):
            inputs["b"].result_as(Rows)
        return inputs["a"].result_as(Rows).rows

    def first(context: SyncTaskContext[dict[str, Any], None]) -> Any:
        return next(iter(context.inputs().all())).result

    given = [Input("a", Rows(rows=3)), Input("b", state="failed", error={"kind": "exhausted"})]
    assert run(add, {}, inputs=given) == Success(3)
    assert run(first, {}, inputs=given) == Success({"rows": 3})
    assert run(first, {}, inputs=[Input("a", [1])]) == Success([1])
