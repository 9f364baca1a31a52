"""What callers say, checked and turned into what SQL takes; pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, TypedDict

from perdure.declare.kind import Answer, Enqueued, EnqueueOptions, NewTask, TaskKind
from perdure.errors import InvalidArgument
from perdure.store.operations import Added, Entry, Signal, as_json
from perdure.tasks.codec import encode_json

Task: TypeAlias = TaskKind[Any, Any, Any, Any] | str
UniqueKeyOf: TypeAlias = Callable[[NewTask[Any, Any]], tuple[str, str] | None]
"""A registry's rule: the unique key and policy of a task that was enqueued without one."""

DELAY_SECONDS_MAX: Final = 100 * 365.25 * 86_400
COPY_BLOCK_SIZE: Final = 128 * 1024
"""Characters of text that one write of COPY carries at least."""
_OPTIONS: Final = frozenset(EnqueueOptions.__annotations__)
_COPY_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_COPY_NULL: Final = r"\N"


class CopyOptions(TypedDict, total=False):
    """What may be said about all tasks of a copy; `run_at` needs a time zone."""

    queue: str | None
    priority: int | None
    run_at: datetime | None
    tags: Collection[str] | None


class SignalOptions(TypedDict, total=False):
    """What a proceed may bring: a merge patch or the whole checkpoint, a time, a key.

    `signal_key` makes the signal idempotent: a key seen before on the task answers `repeated`.
    """

    patch: Mapping[str, Any] | None
    execution_metadata: Any
    run_at: datetime | None
    signal_key: str | None


class SearchOptions(TypedDict, total=False):
    """Filters of a search: ANDed; values inside one are ORed, an empty list matches nothing.

    `state` takes states or `active`. `metadata` and `execution_metadata` (JSON values that must be
    contained) need name, tag, unique_key, wait_key or ids beside them, and a login that may read
    payloads. Newest first, unless `order` is `asc`.
    """

    ids: int | Collection[int] | None
    name: str | Collection[str] | None
    queue: str | Collection[str] | None
    state: str | Collection[str] | None
    tag: str | Collection[str] | None
    unique_key: str | Collection[str] | None
    wait_key: str | Collection[str] | None
    created_after: datetime | None
    created_before: datetime | None
    metadata: Any
    execution_metadata: Any
    order: Literal["asc", "desc"]


def entry_of(task: NewTask[Any, Any], unique_key_of: UniqueKeyOf | None = None) -> Entry:
    """The task as SQL takes it.

    Raises:
        InvalidArgument: an option that does not exist, or a value that cannot be one.
        UnencodableValue: a payload that is not of its type, or not JSON.
    """
    options = task.options
    ruled = unique_key_of(task) if unique_key_of and not options.get("unique_key") else None
    if not options and ruled is None:
        return Entry(_text("name", task.name), task.metadata_json())
    if unknown := sorted(options.keys() - _OPTIONS):
        raise InvalidArgument(
            f"{unknown[0]!r} is no option: there are {', '.join(sorted(_OPTIONS))}"
        )
    key, policy = ruled or (options.get("unique_key"), options.get("unique_policy"))
    headers, delays = options.get("headers"), options.get("retry_delays")
    return Entry(
        name=_text("name", task.name),
        metadata=task.metadata_json(),
        queue=_optional_text("queue", options.get("queue")),
        priority=_whole("priority", options.get("priority")),
        delay=_delay(options.get("delay")),
        run_at=moment("run_at", options.get("run_at")),
        unique_key=_optional_text("unique_key", key),
        unique_policy=_optional_text("unique_policy", policy),
        tags=_texts("tags", options.get("tags")),
        requires=_texts("requires", options.get("requires")),
        headers=None if headers is None else encode_json(headers),
        max_retries=_whole("max_retries", options.get("max_retries")),
        retry_delays=None if delays is None else [seconds("retry_delays", d) for d in delays],
        execution_metadata=task.execution_metadata_json(),
        request_id=None if key is None else str(uuid.uuid4()),
    )


def entry_texts(
    tasks: Iterable[NewTask[Any, Any]], unique_key_of: UniqueKeyOf | None, kinds: list[Task]
) -> Iterator[str]:
    """Each task as a member of a document; what it is a task of goes to `kinds`.

    The tasks themselves are let go: a hundred thousand of them cost the collector of garbage more
    than the rest of an enqueue costs.
    """
    for task in tasks:
        kinds.append(task.task)
        yield as_json(entry_of(task, unique_key_of))


def enqueued(added: Added) -> Enqueued:
    """The answer of an enqueue."""
    return Enqueued(added[0], Answer(added[1]))


def signal_of(options: SignalOptions) -> Signal:
    """A proceed's arguments as SQL takes them; errors as `entry_of`."""
    patch, whole = options.get("patch"), options.get("execution_metadata")
    return Signal(
        patch=None if patch is None else encode_json(patch),
        execution_metadata=None if whole is None else encode_json(whole),
        run_at=moment("run_at", options.get("run_at")),
        signal_key=_optional_text("signal_key", options.get("signal_key")),
    )


def copy_row(task: Task, options: CopyOptions) -> Callable[[Any], str]:
    """The function that makes one line of COPY of one metadata; errors as `entry_of`."""
    name = _text("name", task if isinstance(task, str) else task.name)
    dump = encode_json if isinstance(task, str) else task.payloads.metadata.dump
    moment_, tags = moment("run_at", options.get("run_at")), _texts("tags", options.get("tags"))
    fields = (
        _optional_text("queue", options.get("queue")),
        _whole("priority", options.get("priority")),
        None if moment_ is None else moment_.isoformat(),
        None if tags is None else _array(tags),
    )
    head = f"{name.translate(_COPY_ESCAPES)}\t"
    tail = "".join(
        f"\t{_COPY_NULL if f is None else str(f).translate(_COPY_ESCAPES)}" for f in fields
    )

    def row(metadata: Any) -> str:
        text = "{}" if metadata is None else dump(metadata)
        # JSON text as it is written holds no raw control characters: only backslashes matter.
        return f"{head}{text.replace(_BACKSLASH, _TWO)}{tail}\n"

    return row


def blocks(rows: Iterable[str]) -> Iterator[bytes]:
    """The lines in blocks that are worth a write."""
    parts: list[str] = []
    size = 0
    for row in rows:
        parts.append(row)
        size += len(row)
        if size >= COPY_BLOCK_SIZE:
            yield "".join(parts).encode()
            parts, size = [], 0
    if parts:
        yield "".join(parts).encode()


def seconds(field: str, value: float | timedelta) -> float:
    """A duration in seconds, whichever way it was said; InvalidArgument if it is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        raise InvalidArgument(f"{field}={value!r}: give seconds or a timedelta")
    return float(value)


def moment(field: str, value: datetime | None) -> datetime | None:
    """A time with a zone, or None; InvalidArgument for anything else."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidArgument(f"{field}={value!r}: give a datetime with a time zone")
    return value


def many(field: str, value: Any, type_: type) -> list[Any] | None:
    """One value or several as a list, None as None; InvalidArgument for other types."""
    if value is None:
        return None
    several = isinstance(value, Collection) and not isinstance(value, str)
    values = list(value) if several else [value]
    for item in values:
        if not isinstance(item, type_):
            raise InvalidArgument(f"{field}={item!r}: give a {type_.__name__}, or several")
        if isinstance(item, str):
            _text(field, item)
    return values


def _delay(value: float | timedelta | None) -> float | None:
    if value is None:
        return None
    delay = seconds("delay", value)
    if not 0 <= delay <= DELAY_SECONDS_MAX:
        raise InvalidArgument(f"delay={value!r}: must lie between 0 and 100 years")
    return delay


def _whole(field: str, value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise InvalidArgument(f"{field}={value!r}: give a whole number of 32 bits")
    return value


def _text(field: str, value: object) -> str:
    """A text that PostgreSQL can hold."""
    if not isinstance(value, str) or "\0" in value or not _encodable(value):
        raise InvalidArgument(f"{field}={value!r}: give a text without NUL and lone surrogates")
    return value


def _optional_text(field: str, value: object) -> str | None:
    return None if value is None else _text(field, value)


def _texts(field: str, value: Collection[str] | None) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        raise InvalidArgument(f"{field}={value!r}: give a list of texts, not one text")
    return [_text(field, item) for item in value]


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _array(texts: Iterable[str]) -> str:
    """An array literal of PostgreSQL."""
    quoted = (text.replace(_BACKSLASH, _TWO).replace('"', r"\"") for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


_BACKSLASH: Final = "\\"
_TWO: Final = r"\\"
