"""What callers say, checked and turned into what SQL takes; pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, TypedDict, get_args

from perdure.client.arguments import (
    delays,
    known,
    moment,
    optional_text,
    several,
    span,
    text,
    texts,
    whole,
)
from perdure.declare.kind import (
    Answer,
    Edge,
    Enqueued,
    EnqueueOptions,
    Identified,
    NewTask,
    TaskKind,
)
from perdure.errors import InvalidArgument
from perdure.store.operations import (
    DOCUMENT_BYTES_MAX,
    DOCUMENT_TASKS_MAX,
    Added,
    Change,
    Entry,
    NameKind,
    Signal,
    as_json,
)
from perdure.tasks.codec import encode_json

Task: TypeAlias = TaskKind[Any, Any, Any, Any] | str
"""A kind, or the name of a task, untyped."""
UniqueKeyOf: TypeAlias = Callable[[NewTask[Any, Any]], tuple[str, str] | None]
"""A registry's rule: the unique key and policy of a task that was enqueued without them."""

COPY_BLOCK_SIZE: Final = 128 * 1024
"""Characters of text that one write of COPY carries at least."""
_COPY_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_BY_POSITION: Final = '{"position": '
_COPY_NULL: Final = r"\N"


class CopyOptions(TypedDict, total=False):
    """What may be said about all tasks of a copy, as in `EnqueueOptions`."""

    queue: str | None
    priority: int | None
    run_at: datetime | None
    tags: Collection[str] | None


class SignalOptions(TypedDict, total=False):
    """What a proceed may bring: a merge patch or the whole checkpoint, a time, a key.

    Args:
        patch: a JSON merge patch (RFC 7396) of the execution metadata: null removes a member.
        execution_metadata: all of it anew, instead of a patch.
        run_at: go on then, not now; with a time zone.
        signal_key: makes the signal idempotent: one seen before on the task answers `repeated`.
    """

    patch: Mapping[str, Any] | None
    execution_metadata: Any
    run_at: datetime | None
    signal_key: str | None


class UpdateOptions(TypedDict, total=False):
    """What may be asked anew of a task; None and left out are the same: it stays.

    As in `EnqueueOptions`; `metadata` is a JSON object, or a value that pydantic can make one of.
    `clear` names those whose default is to hold again: queue, priority, tags, requires, headers,
    max_retries, retry_delays, expires_at, deadline_at.
    """

    metadata: Any
    queue: str | None
    priority: int | None
    delay: float | timedelta | None
    run_at: datetime | None
    tags: Sequence[str] | None
    requires: Sequence[str] | None
    headers: Mapping[str, Any] | None
    max_retries: int | None
    retry_delays: Sequence[float | timedelta] | None
    expires_at: datetime | None
    deadline_at: datetime | None
    clear: Collection[str] | None


class SearchOptions(TypedDict, total=False):
    """Filters of a search: ANDed; values inside one are ORed, an empty list matches nothing.

    Args:
        state: states, or `active` for all that have not ended.
        wait_key: of suspended tasks.
        created_after, created_before, due_before: exclusive, with a time zone; what waits for no
            time is not due.
        metadata, execution_metadata: JSON values that must be contained. They need name, tag,
            unique_key, wait_key or ids beside them, and a login that may read payloads.
        order: by id: `desc`, the newest first, is the default.
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
    due_before: datetime | None
    metadata: Any
    execution_metadata: Any
    order: Literal["asc", "desc"]


def entry_of(
    task: NewTask[Any, Any], unique_key_of: UniqueKeyOf | None = None, many: object = None
) -> Entry:
    """The task as SQL takes it; `many` is the `enqueue_many` that it is of.

    Raises:
        InvalidArgument: an option that does not exist, or a value that cannot be one.
        UnencodableValue: a payload that is not of its type, or not JSON.
    """
    options = task.options
    ruled = unique_key_of(task) if unique_key_of and not options.get("unique_key") else None
    if not options and ruled is None:
        return Entry(text("name", task.name), task.metadata_json())
    known(options, EnqueueOptions)
    key, policy = ruled or (options.get("unique_key"), None)
    policy = options.get("unique_policy") or policy
    headers = options.get("headers")
    return Entry(
        name=text("name", task.name),
        metadata=task.metadata_json(),
        queue=optional_text("queue", options.get("queue")),
        priority=whole("priority", options.get("priority")),
        delay=span("delay", options.get("delay")),
        run_at=moment("run_at", options.get("run_at")),
        unique_key=optional_text("unique_key", key),
        unique_policy=optional_text("unique_policy", policy),
        tags=texts("tags", options.get("tags")),
        requires=texts("requires", options.get("requires")),
        headers=None if headers is None else encode_json(headers),
        max_retries=whole("max_retries", options.get("max_retries")),
        retry_delays=delays(options.get("retry_delays")),
        execution_metadata=task.execution_metadata_json(),
        request_id=None if key is None else str(uuid.uuid4()),
        expires_at=moment("expires_at", options.get("expires_at")),
        deadline_at=moment("deadline_at", options.get("deadline_at")),
        unique_for=span("unique_for", options.get("unique_for")),
        max_delay=span("max_delay", options.get("max_delay")),
        after=_after(options.get("after"), many),
    )


def entry_texts(
    tasks: Iterable[NewTask[Any, Any]], unique_key_of: UniqueKeyOf | None, kinds: list[Task]
) -> Iterator[str]:
    """Each task as a member of a document; what it is a task of goes to `kinds`.

    The tasks themselves are let go: a hundred thousand of them cost the collector of garbage more
    than the rest of an enqueue costs.
    """
    if not isinstance(tasks, Iterable):
        raise InvalidArgument(f"tasks={tasks!r}: give NewTasks")
    many, size = object(), 0
    for position, task in enumerate(tasks):
        if not isinstance(task, NewTask):
            raise InvalidArgument(f"tasks[{position}]={task!r}: give a NewTask")
        kinds.append(task.task)
        task.position = (many, position)
        entry = entry_of(task, unique_key_of, many)
        text = as_json(entry)
        size += len(text)
        # Beyond these it may be of a later document than those that it follows.
        beyond = position >= DOCUMENT_TASKS_MAX or size > DOCUMENT_BYTES_MAX
        if beyond and entry.after is not None and _BY_POSITION in entry.after:
            raise InvalidArgument(
                f"tasks that follow each other: at most {DOCUMENT_TASKS_MAX:,} and 16 MiB of JSON"
                " at once; enqueue them in parts, and give ids of those before"
            )
        yield text


def chained(
    stages: Sequence[NewTask[Any, Any] | Sequence[NewTask[Any, Any]]],
) -> list[NewTask[Any, Any]]:
    """The tasks in order, each set to follow those of the stage before that it does not yet."""
    tasks: list[NewTask[Any, Any]] = []
    before: Sequence[NewTask[Any, Any]] = ()
    for stage in stages:
        now = [stage] if isinstance(stage, NewTask) else several("stages", stage, "NewTasks")
        for task in now:
            if not isinstance(task, NewTask):
                raise InvalidArgument(f"stages={task!r}: give NewTasks, or lists of them")
            own = list(task.options.get("after") or ())
            known = [edge.task if isinstance(edge, Edge) else edge for edge in own]
            new = [one for one in before if not any(one is parent for parent in known)]
            if own or new:
                task.options["after"] = [*own, *new]
        tasks += now
        before = now or before
    return tasks


def enqueued(added: Added) -> Enqueued:
    """The answer of an enqueue."""
    return Enqueued(added[0], Answer(added[1]))


def change_of(options: UpdateOptions) -> Change:
    """An update's arguments as SQL takes them; errors as `entry_of`."""
    known(options, UpdateOptions)
    metadata, headers = options.get("metadata"), options.get("headers")
    return Change(
        metadata=None if metadata is None else encode_json(metadata),
        queue=optional_text("queue", options.get("queue")),
        priority=whole("priority", options.get("priority")),
        delay=span("delay", options.get("delay")),
        run_at=moment("run_at", options.get("run_at")),
        tags=texts("tags", options.get("tags")),
        requires=texts("requires", options.get("requires")),
        headers=None if headers is None else encode_json(headers),
        max_retries=whole("max_retries", options.get("max_retries")),
        retry_delays=delays(options.get("retry_delays")),
        expires_at=moment("expires_at", options.get("expires_at")),
        deadline_at=moment("deadline_at", options.get("deadline_at")),
        clear=texts("clear", options.get("clear")),
    )


def signal_of(options: SignalOptions) -> Signal:
    """A proceed's arguments as SQL takes them; errors as `entry_of`."""
    known(options, SignalOptions)
    patch, checkpoint = options.get("patch"), options.get("execution_metadata")
    return Signal(
        patch=None if patch is None else encode_json(patch),
        execution_metadata=None if checkpoint is None else encode_json(checkpoint),
        run_at=moment("run_at", options.get("run_at")),
        signal_key=optional_text("signal_key", options.get("signal_key")),
    )


def kind_of_names(kind: object) -> None:
    """InvalidArgument for what is no kind of names."""
    if kind not in get_args(NameKind):
        raise InvalidArgument(f"kind={kind!r}: give one of {', '.join(get_args(NameKind))}")


def copy_row(task: Task, options: CopyOptions) -> Callable[[Any], str]:
    """The function that makes one line of COPY of one metadata; errors as `entry_of`."""
    known(options, CopyOptions)
    name = text("name", NewTask(task).name)
    dump = encode_json if isinstance(task, str) else task.payloads.metadata.dump
    moment_, tags = moment("run_at", options.get("run_at")), texts("tags", options.get("tags"))
    fields = (
        optional_text("queue", options.get("queue")),
        whole("priority", options.get("priority")),
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


def _after(
    parents: Sequence[int | Identified | Edge | NewTask[Any, Any]] | None, many: object
) -> str | None:
    """What the task follows as JSON text."""
    if parents is None:
        return None
    if isinstance(parents, str) or not isinstance(parents, Collection):
        raise InvalidArgument(f"after={parents!r}: give a list of ids, handles, edges or tasks")
    edges = [parent if isinstance(parent, Edge) else Edge(parent) for parent in parents]
    return json.dumps(
        [
            {**_parent(edge.task, many), "label": edge.label, "on_failure": edge.on_failure}
            for edge in edges
        ]
    )


def _parent(task: object, many: object) -> dict[str, int]:
    if isinstance(task, NewTask):
        if task.position is None or task.position[0] is not many:
            raise InvalidArgument(
                f"after={task!r}: it must come before in the same enqueue_many; else give its id"
            )
        return {"position": task.position[1]}
    id_ = getattr(task, "id", task)
    if isinstance(id_, bool) or not isinstance(id_, int):
        raise InvalidArgument(f"after={task!r}: give an id, a handle, an edge or a task")
    return {"task": id_}


def _array(texts: Iterable[str]) -> str:
    """An array literal of PostgreSQL."""
    quoted = (text.replace(_BACKSLASH, _TWO).replace('"', r"\"") for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


_BACKSLASH: Final = "\\"
_TWO: Final = r"\\"
