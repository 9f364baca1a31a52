"""JSON bytes <-> types; any exception -> a record that can be stored.

PostgreSQL's jsonb refuses some of what Python writes: NaN and infinities, NUL, lone surrogates,
very deep nesting. All of that is refused here, with the path to it, where it enters. Recording a
failure is the opposite: it never refuses, it cleans and cuts.
"""

from __future__ import annotations

import json
import math
import re
import traceback as tracebacks
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import to_json

from perdure.errors import InvalidPayload, UnencodableValue

T = TypeVar("T")

DEPTH_MAX: Final = 64
ERROR_BYTES_MAX: Final = 65_536
ERROR_BYTES_MIN: Final = 1_024
DIGITS_MAX: Final = 4_300
_BITS_MAX: Final = int(DIGITS_MAX * math.log2(10)) - 1
_PROBLEMS_SHOWN: Final = 10
_ANYTHING: Final = (Any, object)
_EXACT: Final[Mapping[str, type]] = {"bool": bool, "int": int, "str": str}
_LONG_NUMBER = re.compile(rb"[0-9]{4300}")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^][{}"]+')
_LEVEL = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


class Payload(Generic[T]):
    """One type of payload: JSON text to a value of it and back, by pydantic.

    `is_none`: the type is None, so there is no payload. TypeError if pydantic cannot read and
    write the type.
    """

    __slots__ = ("_adapter", "_exact", "_model", "_read", "_write", "is_none", "type_")

    def __init__(self, type_: Any) -> None:
        self.type_ = type_
        self.is_none = type_ is None or type_ is type(None)
        self._model: type[BaseModel] | None = type_ if _is_model(type_) else None
        try:
            self._adapter = _adapter(type_)
            self._read = self._adapter.validator.validate_json
            self._write = self._adapter.serializer.to_json
        except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError) as error:
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TypeError(f"{type_!r} cannot be read from JSON: {line}") from error
        self._exact = _exact_fields(self._adapter.core_schema)

    def load(self, text: str | bytes) -> T:
        """The value that the JSON text stands for; InvalidPayload lists what does not fit."""
        try:
            return cast("T", self._read(text))
        except ValidationError as error:
            if self.is_none and text in {"{}", b"{}"}:
                return cast("T", None)
            raise InvalidPayload(_problems(error)) from error
        except Exception as error:  # a validator of the user's may raise anything
            raise InvalidPayload(f"{type(error).__name__}: {clean_text(error, 2000)}") from error

    def dump(self, value: T) -> str:
        """JSON text that jsonb accepts; UnencodableValue says what does not fit, and where."""
        try:
            if self._exact is not None and type(value) is self._model:
                names, types = self._exact
                if tuple(map(type, map(value.__dict__.get, names))) == types:
                    # Looking for fields that do not fit would take longer than all the rest.
                    data = self._write(value, warnings=False, by_alias=True, round_trip=True)
                    if b"\\u0000" not in data and len(data) <= DIGITS_MAX:
                        return data.decode()
            if self._model is None:
                self._adapter.validator.validate_python(value, strict=True)
            elif not isinstance(value, self._model):
                raise UnencodableValue(f"$: {type(value).__name__} is not a {self._model.__name__}")
            data = self._write(value, warnings="error", by_alias=True, round_trip=True)
            if self.type_ in _ANYTHING or _suspicious(data):
                _check(self._adapter.serializer.to_python(value, warnings=False), data)
            return data.decode()
        except UnencodableValue:
            raise
        except ValidationError as error:
            raise UnencodableValue(_problems(error)) from error
        except Exception as error:  # a serializer of the user's may raise anything
            raise _unencodable(value, error) from error

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what `load` accepts; empty, which is anything, if there is none."""
        try:
            return self._adapter.json_schema()
        except PydanticUserError:
            return {}


def encode_json(value: object) -> str:
    """JSON text of an untyped value, by the same rules; UnencodableValue where it cannot be."""
    try:
        data = to_json(value, bytes_mode="base64", inf_nan_mode="constants")
        _check(value, data)
        return data.decode()
    except UnencodableValue:
        raise
    except Exception as error:  # a conversion of the user's may raise anything
        raise _unencodable(value, error) from error


def merge_patch(target: Any, patch: Any) -> Any:
    """The target changed by an RFC 7396 merge patch; neither argument is altered."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def error_record(
    kind: str,
    *,
    exception: BaseException | None = None,
    type: str | None = None,
    message: str | None = None,
    traceback: str | None = None,
    error_json: str | None = None,
    error_bytes_max: int = ERROR_BYTES_MAX,
) -> str:
    """The JSON text of a stored error: kind, type, message, traceback and the typed error.

    What is not given is taken from the exception. Never raises: text is cleaned and cut, first in
    the middle of the traceback, and what was cut is marked. The text form of the jsonb has at most
    `error_bytes_max` bytes (not less than 1,024).
    """
    try:
        if exception is not None:
            type = type or exception.__class__.__qualname__  # noqa: A001
            message = clean_text(exception, error_bytes_max) if message is None else message
            traceback = _traceback(exception) if traceback is None else traceback
        bound = max(error_bytes_max, ERROR_BYTES_MIN)
        typed, typed_bytes, note = _typed(error_json, bound // 2)
        record: dict[str, str | None] = {
            "kind": clean_text(kind, 64),
            "type": None if type is None else clean_text(type, 256),
            "message": None if message is None else clean_text(message, bound // 4 - len(note)),
        }
        if note:
            record["message"] = (record["message"] or "") + note
        room = bound - _stored(record) - typed_bytes - len(', "traceback": "", "error": ')
        record["traceback"] = None if traceback is None else clean_text(traceback, max(room, 0))
        return f'{json.dumps(record, ensure_ascii=False)[:-1]}, "error": {typed}}}'
    except BaseException:  # noqa: BLE001  (a failure that cannot be recorded would run for ever)
        return (
            '{"kind": "failure", "type": null, "message": "the error could not be recorded",'
            ' "traceback": null, "error": null}'
        )


def clean_text(text: object, bytes_max: int) -> str:
    """Any value as text that jsonb can store in `bytes_max` bytes; never raises.

    NUL is left out, lone surrogates are replaced, and what is too long is cut in the middle, with
    the number of characters cut. A value that cannot be printed becomes a text that says so.
    """
    try:
        whole = str.__str__(text if isinstance(text, str) else str(text))
    except BaseException:  # noqa: BLE001  (`__str__` is the user's and may raise anything)
        whole = "(cannot be printed)"
    if len(whole) <= bytes_max:
        cleaned = _clean(whole)
        if _stored(cleaned) - 2 <= bytes_max:
            return cleaned
    return _cut(whole, max(bytes_max, 0))


def _cut(whole: str, bytes_max: int) -> str:
    """As much of both ends as fits, around a mark."""
    fits, too_much = 0, min(bytes_max, len(whole)) // 2 + 1
    best = _clean(whole[:bytes_max])[: bytes_max // 6]
    while too_much - fits > 1:
        half = (fits + too_much) // 2
        mark = f" ... {len(whole) - 2 * half} characters cut ... "
        text = _clean(whole[:half]) + mark + _clean(whole[len(whole) - half :])
        if _stored(text) - 2 <= bytes_max:
            fits, best = half, text
        else:
            too_much = half
    return best


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text.replace("\0", ""))


def stored_bytes(text: str) -> int:
    """Bytes of a JSON text as jsonb writes it: with a space after each comma and colon."""
    return _stored(json.loads(text))


def excess(bytes_max: int, *texts: str) -> int:
    """The stored bytes of JSON texts together if they are more than `bytes_max`, else 0.

    A character has at most four bytes, a space after it included: most texts are not looked into.
    """
    if sum(map(len, texts)) * 4 <= bytes_max:
        return 0
    size = sum(map(stored_bytes, texts))
    return size if size > bytes_max else 0


def _stored(value: object) -> int:
    """Bytes of the value's jsonb text form."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def _typed(error_json: str | None, bytes_max: int) -> tuple[str, int, str]:
    """The typed error, its size as jsonb (which writes numbers out), and a note if left out."""
    if error_json is None:
        return "null", 4, ""
    try:
        # A float is measured as text: two bytes too many, and no rounding.
        value = json.loads(error_json, parse_float=_digits, parse_constant=_refuse)
        if not _flaws(value):
            size = _stored(value)
            if size <= bytes_max:
                return error_json, size, ""
            return "null", 4, f" (its typed error of {size} bytes was left out)"
    except Exception:  # noqa: BLE001, S110  (whatever is wrong with it, the record must be written)
        pass
    return "null", 4, " (its typed error could not be stored)"


def _digits(number: str) -> str:
    return format(Decimal(number), "f") if abs(float(number)) < math.inf else _refuse(number)


def _refuse(number: str) -> str:
    raise ValueError(f"{number} is no JSON number")


def _traceback(exception: BaseException) -> str:
    try:
        return "".join(tracebacks.format_exception(exception))
    except BaseException:  # noqa: BLE001  (formatting calls the user's code)
        return "(the traceback cannot be printed)"


def _adapter(type_: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(type_, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(type_)  # models and the like bring their own configuration


def _exact_fields(schema: Any) -> tuple[tuple[str, ...], tuple[type, ...]] | None:
    """Names and types of a model's fields, if each is a bool, int or str and written as it is.

    Then a look at the types of the values tells whether they fit; else None. Read from the core
    schema, which shows every validator, serializer and option that a model can have.
    """
    inner = schema.get("schema", {})
    if (
        schema["type"] != "model" or inner.get("type") != "model-fields"
        or "serialization" in schema or "serialization" in inner
        or schema.get("config", {}).get("extra_fields_behavior") == "allow"
        or inner.get("extra_behavior") == "allow"
    ):  # fmt: skip
        return None
    kinds: dict[str, type] = {}
    for name, one in inner["fields"].items():
        plain = one["schema"]["schema"] if one["schema"]["type"] == "default" else one["schema"]
        if (
            plain["type"] not in _EXACT
            or "serialization" in plain
            or "serialization" in one["schema"]
        ):
            return None
        kinds[name] = _EXACT[plain["type"]]
    return tuple(kinds), tuple(kinds.values())


def _is_model(type_: object) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def _problems(error: ValidationError) -> str:
    """Every wrong field with its path, one text; the values are not repeated."""
    try:
        found = error.errors(include_url=False, include_input=False, include_context=False)
    except Exception:  # noqa: BLE001  (messages are made by validators of the user's)
        return "it does not fit its type"
    lines = [
        f"{'.'.join(['$', *map(str, one['loc'])])}: {one['msg']}" for one in found[:_PROBLEMS_SHOWN]
    ]
    more = len(found) - len(lines)
    return clean_text("; ".join(lines) + (f"; and {more} more" if more else ""), 4000)


def _suspicious(data: bytes) -> bool:
    """Whether the bytes hint at something that jsonb refuses; cheap, and rarely wrong."""
    return (
        b"null" in data  # what a model makes of NaN unless told otherwise
        or b"NaN" in data
        or b"Infinity" in data
        or b"\\u0000" in data
        or b"\xef\xbf\xbd" in data  # what becomes of lone surrogates in the keys of a dict
        or (len(data) > DEPTH_MAX and data.count(b"[") + data.count(b"{") > DEPTH_MAX)
        or (len(data) > DIGITS_MAX and _LONG_NUMBER.search(data) is not None)
    )


def _check(value: object, data: bytes) -> None:
    """Raise UnencodableValue if the value, or the JSON made of it, is not fit for jsonb."""
    if data.count(b"[") + data.count(b"{") > DEPTH_MAX:
        levels = accumulate(map(_LEVEL.__getitem__, _NOT_BRACKETS.sub(b"", data)))
        if max(levels, default=0) > DEPTH_MAX:
            raise UnencodableValue(f"$: nested more than {DEPTH_MAX} levels deep")
    # What serializers make of a value is only seen in the text, and what they hide in the value.
    written = b"\\u0000" in data or b"NaN" in data or b"Infinity" in data
    for seen in (value, json.loads(data)) if written else (value,):
        for path, reason in _flaws(seen):
            raise UnencodableValue(f"{path}: {reason}")


def _unencodable(value: object, error: Exception) -> UnencodableValue:
    """Why a value could not be written: its own flaw if it has one, else what was raised."""
    try:
        _check(value, b"")
    except UnencodableValue as flaw:
        return flaw
    except Exception:  # noqa: BLE001, S110  (looking at the value calls the user's code)
        pass
    return UnencodableValue(f"$: {clean_text(error, 2000)}")


def _flaws(value: object) -> list[tuple[str, str]]:
    """The first flaw of a value, with its path, or nothing."""
    return [flaw for flaw, _ in zip(_walk(value, "$", 0), range(1), strict=False)]


def _walk(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > DEPTH_MAX:
        yield "$", f"nested more than {DEPTH_MAX} levels deep"
    elif isinstance(value, Mapping):
        names = set()
        for name, part in value.items():
            text = name if isinstance(name, str) else str(name)
            inner = f"{path}.{clean_text(text, 200)}"
            if text in names:
                yield inner, "two keys are written like this"
            names.add(text)
            yield from _walk(text, inner, depth)
            yield from _walk(part, inner, depth + 1)
    elif isinstance(value, BaseModel):
        yield from _walk(value.__dict__, path, depth)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, part in enumerate(value):
            yield from _walk(part, f"{path}.{index}", depth + 1)
    else:
        flaw = _flaw(value)
        if flaw:
            yield path, flaw


def _flaw(value: object) -> str | None:
    """What is wrong with a value that has no parts."""
    if isinstance(value, str):
        if "\0" in value:
            return "NUL cannot be stored"
        if _SURROGATES.search(value):
            return "a lone surrogate cannot be stored"
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no JSON number"
    elif isinstance(value, int) and value.bit_length() > _BITS_MAX:
        return f"a number of more than {DIGITS_MAX} digits cannot be read back"
    return None
