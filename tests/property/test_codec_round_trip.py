"""The codec: what goes in comes out equal or is refused with its path; records never fail."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from perdure.errors import UnencodableValue
from perdure.tasks.codec import Payload, clean_text, encode_json, error_record, merge_patch


class Page(BaseModel):
    token: str | None = None
    rows: int = 0
    share: float = 0.0
    tags: list[str] = []
    more: dict[str, Any] = {}


clean = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
# Not st.text: it makes one alphabet of the two, in which the few are hardly ever met.
hostile = st.lists(st.characters() | st.sampled_from("\0\ud800\udfff\u2028\\\"'")).map("".join)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | finite | clean
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(clean, inner, max_size=4)
)
pages = st.builds(
    Page,
    token=st.none() | hostile,
    rows=st.integers(),
    share=st.floats(),
    tags=st.lists(hostile, max_size=3),
    more=st.dictionaries(hostile, st.floats() | hostile, max_size=3),
)


def bad_text(text: str) -> bool:
    return "\0" in text or any("\ud800" <= c <= "\udfff" for c in text)


def bad(value: object) -> bool:
    match value:
        case str():
            return bad_text(value)
        case float():
            return not math.isfinite(value)
        case dict():
            return any(bad(k) or bad(v) for k, v in value.items())
        case list():
            return any(map(bad, value))
        case _:
            return False


@given(json_values)
def test_json_values_come_back_equal(value: object) -> None:
    text = encode_json(value)
    assert Payload[Any](Any).load(text) == value
    assert Payload[Any](Any).dump(value) == text


@given(pages)
def test_a_model_comes_back_equal_or_is_refused(page: Page) -> None:
    payload = Payload[Page](Page)
    if bad(page.model_dump()):
        with pytest.raises(UnencodableValue, match=r"^\$") as caught:
            payload.dump(page)
        assert not bad_text(str(caught.value))
    else:
        assert payload.load(payload.dump(page)) == page


class Spiteful(Exception):
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


exceptions = st.one_of(
    hostile.map(ValueError),
    st.just(Spiteful()),
    st.builds(ExceptionGroup, st.just("several"), st.just([Spiteful(), ValueError("\ud800")])),
)


def stored_bytes(text: str) -> int:
    """Bytes of the text that jsonb makes of it: numbers are written out, without quotes."""
    numbers: list[str] = []

    def written_out(number: str) -> str:
        numbers.append(format(Decimal(number), "f"))
        return numbers[-1]

    whole = json.dumps(json.loads(text, parse_float=written_out), ensure_ascii=False)
    return len(whole.encode()) - 2 * len(numbers)


@given(
    hostile,
    st.fixed_dictionaries(
        {
            "exception": st.none() | exceptions,
            "message": st.none() | hostile,
            "traceback": st.none() | hostile,
            "error_json": st.none()
            | json_values.map(json.dumps)
            | hostile
            | st.just("[1e308, 1e-320]"),
        }
    ),
    st.integers(-5, 20_000),
    st.sampled_from([1, 500]),
)
def test_every_failure_gives_a_record_within_its_bound(
    kind: str, given_: dict[str, Any], bound: int, times: int
) -> None:
    for name in ("message", "traceback"):
        given_[name] = given_[name] and given_[name] * times
    text = error_record(kind, error_bytes_max=bound, **given_)
    record = json.loads(text)
    assert set(record) == {"kind", "type", "message", "traceback", "error"}
    assert not bad({key: record[key] for key in ("kind", "type", "message", "traceback")})
    assert stored_bytes(text) <= max(bound, 1024)


@given(hostile, st.integers(0, 300))
def test_cleaned_text_fits_and_keeps_what_was_clean(text: str, bound: int) -> None:
    cleaned = clean_text(text, bound)
    assert not bad_text(cleaned)
    assert len(json.dumps(cleaned, ensure_ascii=False).encode()) - 2 <= bound
    if not bad_text(text) and len(json.dumps(text, ensure_ascii=False).encode()) - 2 <= bound:
        assert cleaned == text


@given(json_values, json_values)
def test_a_merge_patch_leaves_no_null_of_its_own_and_applies_once(
    target: object, patch: object
) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
