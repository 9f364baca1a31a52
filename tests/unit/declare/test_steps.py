"""Steps: done once, typed, durable when they return, whatever transaction is open."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from tests.unit.declare.runs import AsyncPort, Report, begin

from perdure.errors import InvalidArgument, InvalidPayload, LeaseLost, UnencodableValue


@pytest.fixture
def port() -> AsyncPort:
    return AsyncPort()


async def count(rows: int) -> Report:
    return Report(rows=rows)


def never(*_: object) -> Report:
    raise AssertionError("a step that is done is not called")


async def test_a_step_is_saved_before_its_value_comes_back(port: AsyncPort) -> None:
    value = await begin(port).step("count", count, 3)
    assert value == Report(rows=3)
    assert port.written == [("save", 0, {"count": {"rows": 3}}, False)]


async def test_a_step_that_is_done_comes_back_typed_and_is_not_called(port: AsyncPort) -> None:
    context = begin(port, steps='{"count": {"rows": 3}}')
    assert await context.step("count", never) == Report(rows=3)
    assert port.written == []


async def test_plain_functions_partials_and_types_are_steps_as_well(port: AsyncPort) -> None:
    context = begin(port)

    def double(number: int) -> int:
        return 2 * number

    assert await context.step("double", double, 4) == 8
    assert await context.step("partial", partial(count, 5)) == Report(rows=5)
    assert await context.step("given", lambda: Report(rows=6), returns=Report) == Report(rows=6)
    untyped: object = await context.step("untyped", lambda: Report(rows=7))
    assert untyped == {"rows": 7}


async def test_a_step_keeps_the_steps_before_it(port: AsyncPort) -> None:
    context = begin(port, steps='{"old": 1}')
    await context.step("a", count, 1)
    await context.step("b", count, 2)
    assert port.written[-1][2] == {"old": 1, "a": {"rows": 1}, "b": {"rows": 2}}


async def test_one_name_twice_in_a_run_is_an_error(port: AsyncPort) -> None:
    context = begin(port, steps='{"a": {"rows": 1}}')
    await context.step("a", count, 1)
    with pytest.raises(InvalidArgument, match="used before"):
        await context.step("a", count, 1)
    with pytest.raises(InvalidArgument, match="used before"):
        async with context.step("a"):
            pass


@pytest.mark.parametrize("name", ["", "x" * 201])
async def test_a_steps_name_has_bounds(port: AsyncPort, name: str) -> None:
    with pytest.raises(InvalidArgument, match="1 to 200"):
        await begin(port).step(name, count, 1)


async def test_a_step_that_could_not_be_saved_is_not_done(port: AsyncPort) -> None:
    context = begin(port)
    port.fault = LeaseLost()
    with pytest.raises(LeaseLost):
        await context.step("a", count, 1)
    port.fault = None
    await context.step("b", count, 2)
    assert port.written[-1][2] == {"b": {"rows": 2}}


async def test_a_value_that_is_no_json_is_an_error_and_saves_nothing(port: AsyncPort) -> None:
    with pytest.raises(UnencodableValue):
        await begin(port).step("a", object)
    assert port.written == []


async def test_a_saved_value_that_no_longer_fits_is_an_error(port: AsyncPort) -> None:
    with pytest.raises(InvalidPayload):
        await begin(port, steps='{"a": "text"}').step("a", count, 1)


async def test_a_block_is_done_with_the_value_it_set(port: AsyncPort) -> None:
    context = begin(port)
    async with context.step("charge", returns=Report) as step:
        assert not step.done
        assert step.key == context.step_key("charge")
        step.value = Report(rows=1)
    assert step.done
    assert port.written == [("save", 0, {"charge": {"rows": 1}}, False)]


async def test_a_block_that_is_done_has_its_value_and_saves_nothing(port: AsyncPort) -> None:
    async with begin(port, steps='{"charge": {"rows": 2}}').step("charge", returns=Report) as step:
        assert step.done
    assert step.value == Report(rows=2)
    assert port.written == []


async def test_a_block_that_sets_no_value_is_done_with_none(port: AsyncPort) -> None:
    async with begin(port).step("mail") as step:
        with pytest.raises(InvalidArgument, match="no value yet"):
            _ = step.value
    assert port.written == [("save", 0, {"mail": None}, False)]


async def test_a_block_that_raises_is_not_done(port: AsyncPort) -> None:
    with pytest.raises(ValueError, match="declined"):
        async with begin(port).step("charge") as step:
            raise ValueError("declined")
    assert not step.done
    assert port.written == []


async def test_a_step_inside_a_transaction_does_not_save_its_uncommitted_work(
    port: AsyncPort,
) -> None:
    context = begin(port)
    with pytest.raises(ValueError, match="no"):  # noqa: PT012  (a block is what is tested)
        async with context.transaction():
            context.execution_metadata.rows = 100
            await context.step("a", count, 1)
            raise ValueError("no")
    assert port.written == [("save", 0, {"a": {"rows": 1}}, True)]
    await context.step("b", count, 2)
    assert port.written[-1] == ("save", 0, {"a": {"rows": 1}, "b": {"rows": 2}}, True)


async def test_steps_side_by_side_are_all_kept(port: AsyncPort) -> None:
    context = begin(port)
    await asyncio.gather(*(context.step(f"s{n}", count, n) for n in range(20)))
    assert port.written[-1][2] == {f"s{n}": {"rows": n} for n in range(20)}


async def test_an_annotation_that_cannot_be_resolved_asks_for_returns(port: AsyncPort) -> None:
    def broken() -> Missing:  # type: ignore[name-defined]  # noqa: F821
        return 1

    context = begin(port)
    with pytest.raises(InvalidArgument, match="returns="):
        await context.step("a", broken)
    assert await context.step("a", broken, returns=int) == 1
