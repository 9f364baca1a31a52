"""The codec and checkpoints by example: hostile values, paths, limits, versions."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, field_serializer, field_validator

from perdure.errors import InvalidPayload, NewerCheckpoint, UnencodableValue
from perdure.tasks.checkpoints import (
    dump_steps,
    load_execution_metadata,
    load_steps,
    missing_upgrades,
)
from perdure.tasks.codec import Payload, clean_text, encode_json, error_record, merge_patch


class Report(BaseModel):
    rows: int = 0
    share: float | None = None
    body: bytes = b""
    parts: list[float] = []
    more: dict[str, Any] = {}


class Moody(BaseModel):
    word: str = ""

    @field_validator("word")
    @classmethod
    def refuse(cls, word: str) -> str:
        if word == "bad":
            raise KeyError(word)
        return word

    @field_serializer("word")
    def spoil(self, word: str) -> str:
        if word == "worse":
            raise RuntimeError(word)
        return word


@dataclass
class Point:
    x: int


def repr_of(value: object) -> str:
    return type(value).__name__


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "type_, value, path",
    ids=repr_of,
    argvalues=[
        (Report, Report(share=math.nan), "$.share"),
        (Report, Report(parts=[1, math.inf]), "$.parts.1"),
        (Report, Report(body=b"\0"), "$.body"),
        (Report, Report(more={"a\ud800": 0}), "$.more."),
        (Report, Report(body=b"\xff"), "$"),
        (Report, Report.model_construct(rows="many"), "$"),  # type: ignore[arg-type]
        (Report, {"rows": 1}, "$: dict is not a Report"),
        (Moody, Moody(word="worse"), "$"),
        (Moody, Moody.model_construct(word="\ud800"), "$.word"),
        (int, "5", "$"),
        (str, "a\0b", "$"),
        (list[Report], [Report(), {}], "$"),
        (list[int], [1, "2"], "$.1"),
        (Point, 3, "$"),
        (Any, {"a": ["\udfff"]}, "$.a.0"),
        (Any, {"a": {"\0": 1}}, "$.a."),
        (Any, {1: 1, "1": 2}, "$.1"),
        (Any, 10**5000, "$"),
        (Any, nested(65), "$"),
        (Any, nested(60_000), "$"),
        (Any, object(), "$"),
    ],
)
def test_what_jsonb_refuses_is_refused_with_its_path(type_: Any, value: Any, path: str) -> None:
    with pytest.raises(UnencodableValue) as caught:
        Payload(type_).dump(value)
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize(
    "value", [math.nan, "\0", "\ud800", nested(65), object(), {1: 1, "1": 2}], ids=repr_of
)
def test_untyped_values_follow_the_same_rules(value: object) -> None:
    with pytest.raises(UnencodableValue):
        encode_json(value)


@pytest.mark.parametrize(
    "type_, value",
    ids=repr_of,
    argvalues=[
        (Report, Report(rows=3, share=0.5, body=b"abc", parts=[1e308, 5e-324])),
        (bytes, b"\xff\0"),
        (Decimal, Decimal("1.10")),
        (tuple[int, str], (1, "\\u0000 NaN Infinity null")),
        (Point, Point(1)),
        (Any, nested(64)),
        (Any, [{}] * 100),
        (int, 10**4299),
        (None, None),
    ],
)
def test_what_is_written_is_read_back_equal(type_: Any, value: Any) -> None:
    payload = Payload[Any](type_)
    assert payload.load(payload.dump(value)) == value


def test_what_does_not_fit_is_listed_with_every_path() -> None:
    with pytest.raises(InvalidPayload, match=r"\$\.rows: .*; \$\.parts\.0: "):
        Payload(Report).load('{"rows": "x", "parts": ["y"]}')
    with pytest.raises(InvalidPayload, match="and 5 more"):
        Payload(list[int]).load(json.dumps(["x"] * 15))
    with pytest.raises(InvalidPayload, match="KeyError"):
        Payload(Moody).load('{"word": "bad"}')
    with pytest.raises(InvalidPayload):
        Payload(Report).load("not json")


class Counted(BaseModel):
    rows: int = 0
    full: bool = False
    word: str = ""


def unchecked(**values: Any) -> Counted:
    return Counted.model_construct(**values)


class Extra(Counted):
    model_config = ConfigDict(extra="allow")


@pytest.mark.parametrize(
    "value",
    [
        unchecked(rows="many"),
        unchecked(word=7),
        Counted(rows=10**5000),
        Counted(word="\0"),
        Counted(word="\ud800"),
        Extra.model_validate({"more": math.nan}),
    ],
    ids=repr_of,
)
def test_a_model_of_plain_fields_is_refused_like_any_other(value: Counted) -> None:
    with pytest.raises(UnencodableValue):
        Payload[Counted](type(value)).dump(value)
    changed = Counted(rows=1, full=True, word="\u00e9")
    assert Payload[Counted](Counted).dump(changed) == '{"rows":1,"full":true,"word":"\u00e9"}'


def test_a_type_without_payload_takes_null_and_the_empty_object() -> None:
    payload = Payload[None](None)
    assert payload.is_none
    assert payload.load("null") is payload.load("{}") is payload.load(b"{}") is None
    with pytest.raises(InvalidPayload):
        payload.load("1")


def test_a_type_that_cannot_be_read_from_json_is_named() -> None:
    with pytest.raises(TypeError, match="Nowhere"):
        Payload("Nowhere")
    with pytest.raises(TypeError, match="cannot be read from JSON"):
        Payload(Spiteful)


def test_schemas_are_those_of_pydantic() -> None:
    assert Payload(Report).schema()["properties"]["rows"]["type"] == "integer"
    assert Payload(type[int]).schema() == {}


class Spiteful:
    def __str__(self) -> str:
        raise SystemExit


def test_a_record_of_300_megabytes_is_cut_in_the_middle_of_its_traceback() -> None:
    text = error_record(
        "exhausted",
        type="ValueError",
        message="no",
        traceback="first line\n" + "\u00e4" * 150_000_000 + "\nlast line",
    )
    record = json.loads(text)
    assert len(json.dumps(record, ensure_ascii=False).encode()) <= 65_536
    assert len(json.dumps(record, ensure_ascii=False).encode()) > 65_000
    assert record["traceback"].startswith("first line")
    assert record["traceback"].endswith("last line")
    assert "characters cut" in record["traceback"]
    assert record["message"] == "no"


def test_a_typed_error_is_kept_or_left_out_with_a_word() -> None:
    def record(typed: str) -> dict[str, Any]:
        return dict(json.loads(error_record("given_up", error_json=typed, error_bytes_max=2000)))

    assert record('{"reason": "gone"}')["error"] == {"reason": "gone"}
    for typed, words in [
        (json.dumps("x" * 3000), "left out"),
        (f"[{','.join(['1e300'] * 9)}]", "left out"),
        ("{", "could not be stored"),
        ("NaN", "could not be stored"),
        ("1e999999", "could not be stored"),
        ('"\\u0000"', "could not be stored"),
        ("[" * 60_000, "could not be stored"),
    ]:
        assert record(typed)["error"] is None
        assert words in record(typed)["message"]


def test_what_cannot_be_printed_is_recorded_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

        __repr__ = __str__

    record = json.loads(error_record("failure", exception=Broken()))
    assert record["type"].endswith("Broken")
    assert record["message"] == "(cannot be printed)"
    assert clean_text(Spiteful(), 100) == "(cannot be printed)"
    assert json.loads(error_record(Spiteful()))["kind"] == "(cannot be printed)"  # type: ignore[arg-type]
    assert json.loads(error_record("failure", error_bytes_max="x"))["kind"]  # type: ignore[arg-type]


def test_merge_patches_follow_the_examples_of_the_rfc() -> None:
    for target, patch, result in [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1]}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        (["a"], None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ]:
        assert merge_patch(target, patch) == result


def rename(value: dict[str, Any]) -> dict[str, Any]:
    return {"rows": value["count"]}


def test_execution_metadata_is_upgraded_step_by_step() -> None:
    payload = Payload[Report](Report)
    upgrades = {1: rename, 2: lambda value: {**value, "share": 0.5}}
    loaded = load_execution_metadata(payload, 3, upgrades, '{"count": 4}', 1)
    assert loaded == Report(rows=4, share=0.5)
    assert load_execution_metadata(payload, 1, {}, '{"rows": 4}', 1) == Report(rows=4)
    assert load_execution_metadata(payload, 1, {}, None, 1) == Report()
    assert load_execution_metadata(Payload[None](None), 1, {}, None, 1) is None
    with pytest.raises(NewerCheckpoint, match="version 3"):
        load_execution_metadata(payload, 2, upgrades, "{}", 3)
    with pytest.raises(InvalidPayload, match=r"version 1 failed: KeyError"):
        load_execution_metadata(payload, 2, upgrades, "{}", 1)
    with pytest.raises(InvalidPayload, match=r"version 1 failed: KeyError"):
        load_execution_metadata(payload, 2, {}, "{}", 1)
    assert missing_upgrades(4, {1: rename, 3: rename}) == [2]


def test_steps_are_kept_by_name() -> None:
    assert load_steps(None) == {}
    assert dump_steps({}) is None
    steps = load_steps('{"fetch": {"a": 1}, "pay \\"now\\"": null}')
    assert steps == {"fetch": '{"a":1}', 'pay "now"': "null"}
    assert load_steps(dump_steps(steps)) == steps
