"""Every setting: default, bounds, unit, one sentence; and which of them a reload applies."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from perdure.errors import ConfigurationError
from perdure.settings.dsn import parse_dsn, show_dsn
from perdure.settings.units import parse_bytes, parse_duration, show_bytes, show_duration

DAY = timedelta(days=1)
CENTURY = timedelta(days=36_500)
MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
KIB, MIB = 2**10, 2**20
SCHEMA_NAME_BYTES_MAX = 40
PREFETCH_MAX = 10_000


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")  # noqa: TRY004  (pydantic reads this one)
    return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _items(value: object) -> object:
    return value.strip().strip("[]").split(",") if isinstance(value, str) else value


Count = Annotated[int, BeforeValidator(_no_boolean)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_bytes)]
Pause = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0), le=365 * DAY)]
Pauses = Annotated[tuple[Pause, ...], BeforeValidator(_items), Field(min_length=1, max_length=1000)]
Prefetch = Literal["auto"] | Annotated[Count, Field(ge=0, le=PREFETCH_MAX)]
Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)]


def _plain(default: object, sentence: str, allowed: str) -> Any:
    """A field whose type says what is allowed; `allowed` says it to people."""
    return Field(default, description=sentence, json_schema_extra={"allowed": allowed})


def _number(default: int | None, sentence: str, low: int, high: int, unit: str) -> Any:
    extra = {"allowed": f"a whole number from {low} to {high}", "unit": unit}
    return Field(default, description=sentence, ge=low, le=high, json_schema_extra={**extra})


def _duration(default: timedelta, sentence: str, low: timedelta, high: timedelta) -> Any:
    extra = {
        "allowed": f"a duration from {show_duration(low)} to {show_duration(high)}",
        "unit": "seconds",
    }
    return Field(default, description=sentence, ge=low, le=high, json_schema_extra={**extra})


def _size(default: int, sentence: str, low: int, high: int) -> Any:
    extra = {
        "allowed": f"a size from {show_bytes(low)} to {show_bytes(high)}",
        "unit": "bytes",
    }
    return Field(default, description=sentence, ge=low, le=high, json_schema_extra={**extra})


class _Group(BaseModel):
    """Settings that belong together; a wrong value never appears in pydantic's own texts."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )


class Persistence(_Group):
    """Where tasks are kept, and the connections to it."""

    schema_name: str = _plain(
        "perdure",
        "Schema that holds everything of one installation.",
        "1 to 40 bytes of UTF-8, without control characters, not beginning with pg_",
    )
    pool_max_size: Count = _number(
        8, "Most connections of the pool; three fixed ones come on top.", 1, 1_000, "connections"
    )
    pool_min_size: Count = _number(
        1, "Connections that the pool keeps open when idle.", 0, 1_000, "connections"
    )
    statement_timeout: Duration = _duration(
        timedelta(seconds=30), "Longest time for one statement of ours.", 100 * MILLISECOND, DAY
    )
    prepared_statements: Literal["auto", "on", "off"] = _plain(
        "auto", "Prepared statements; auto is off behind a transaction pooler.", "auto, on or off"
    )
    allow_unsafe_durability: bool = _plain(
        default=False,
        sentence="Run although the server may lose commits (fsync off and the like).",
        allowed="true or false",
    )

    @field_validator("schema_name")
    @classmethod
    def _is_a_schema_name(cls, value: str) -> str:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            size = 0
        reserved = value.lower().startswith("pg_") or value.lower() == "information_schema"
        if not 1 <= size <= SCHEMA_NAME_BYTES_MAX or not value.isprintable() or reserved:
            raise ValueError
        return value

    @field_validator("pool_min_size")
    @classmethod
    def _fits_the_pool(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("pool_max_size", value)
        if value > most:
            raise ValueError(f"must not be above persistence.pool_max_size ({most})")
        return value


class Scheduling(_Group):
    """How tasks are looked for and taken."""

    batch_size: Count = _number(500, "Most tasks that one claim takes.", 1, 10_000, "tasks")
    polling_delay: Duration = _duration(
        timedelta(milliseconds=500),
        "Pause between two looks for tasks; a healthy LISTEN stretches it to 5 s when idle.",
        20 * MILLISECOND,
        DAY,
    )
    sweep_interval: Duration = _duration(
        timedelta(seconds=3),
        "Longest time until a claim starts again from the oldest task.",
        250 * MILLISECOND,
        DAY,
    )
    oldest_first_every: Count = _number(
        8,
        "Every such claim ignores priorities, so that none starves; 0: never.",
        0,
        10_000,
        "claims",
    )
    wakeups: Literal["auto", "off"] = _plain(
        "auto", "LISTEN for new tasks, or only look for them.", "auto or off"
    )
    scheduler_retry_count: Count | None = _number(
        None,
        "Instead of max_retry_count for failures that were thrown; -1: without end.",
        -1,
        1_000_000,
        "retries",
    )
    scheduler_retry_delays: Pauses | None = _plain(
        None,
        "Pauses before the retries of thrown failures, in seconds; the last one repeats.",
        "a list of 1 to 1000 durations from 0s to 365d",
    )


class Execution(_Group):
    """How tasks are run, kept and stopped."""

    max_retry_count: Count = _number(
        3, "Retries of a failed task; -1: without end.", -1, 1_000_000, "retries"
    )
    concurrency: Count = _number(
        64, "Tasks that one process runs at the same time.", 1, 10_000, "tasks"
    )
    processes: Count = _number(1, "Worker processes under one supervisor.", 1, 1_000, "processes")
    lease_duration: Duration = _duration(
        timedelta(seconds=10),
        "Time without a beat after which a worker counts as dead.",
        300 * MILLISECOND,
        DAY,
    )
    beat_interval: Duration = _duration(
        timedelta(seconds=2),
        "Pause between two beats; at most a third of lease_duration.",
        100 * MILLISECOND,
        DAY / 3,
    )
    stop_grace: Duration = _duration(
        timedelta(seconds=5),
        "Time from asking a handler to stop until it is cancelled.",
        timedelta(0),
        DAY,
    )
    shutdown_grace: Duration = _duration(
        timedelta(seconds=8), "Time from SIGTERM to the end of the process.", timedelta(0), DAY
    )
    isolate_after: Count = _number(
        2, "Crashes after which a task runs in a child process of its own.", 1, 1_000, "crashes"
    )
    max_crashes: Count = _number(
        10, "Crashes at which a task ends as failed.", 1, 1_000_000, "crashes"
    )
    child_memory_mb: Count | None = _number(
        None, "Address space that a child process may use; unset: no limit.", 64, 16 * MIB, "MiB"
    )
    prefetch: Prefetch = _plain(
        "auto",
        "Tasks taken beyond what runs; auto: only while tasks are short.",
        f"auto or a whole number from 0 to {PREFETCH_MAX}",
    )

    @field_validator("beat_interval")
    @classmethod
    def _beats_often_enough(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        lease = info.data.get("lease_duration")
        if lease is not None and value * 3 > lease:
            raise ValueError(
                "must be at most a third of execution.lease_duration"
                f" ({show_duration(lease)}): lower this or raise that"
            )
        return value


class Retention(_Group):
    """How long ended tasks are kept, counted from their end."""

    completed: Duration = _duration(7 * DAY, "For completed tasks.", SECOND, CENTURY)
    failed: Duration = _duration(30 * DAY, "For failed tasks.", SECOND, CENTURY)
    cancelled: Duration = _duration(7 * DAY, "For cancelled tasks.", SECOND, CENTURY)


class Limits(_Group):
    """Largest payloads, as JSON text."""

    metadata_bytes: Size = _size(MIB, "Largest metadata of a task.", KIB, 64 * MIB)
    result_bytes: Size = _size(MIB, "Largest result; beyond it the task fails.", KIB, 64 * MIB)
    checkpoint_bytes: Size = _size(
        MIB, "Largest execution metadata, its steps included.", KIB, 64 * MIB
    )
    error_bytes: Size = _size(64 * KIB, "Largest error; beyond it it is cut.", KIB, 16 * MIB)


class Logging(_Group):
    """What is logged, and in which form."""

    level: Level = _plain(
        "info", "Least level that is logged.", "debug, info, warning, error or critical"
    )
    format: Literal["auto", "json", "console"] = _plain(
        "auto", "Form of a line; auto: console on a terminal, else JSON.", "auto, json or console"
    )


class Settings(_Group):
    """All settings, frozen; `load` reads them. Durations are timedeltas, sizes are bytes."""

    dsn: SecretStr | None = _plain(
        None,
        "PostgreSQL to use; better in PERDURE_DSN or PERDURE_DSN_FILE than in a file.",
        "postgresql://user:password@host:port/dbname or host=... dbname=...",
    )
    persistence: Persistence = Persistence()
    scheduling: Scheduling = Scheduling()
    execution: Execution = Execution()
    retention: Retention = Retention()
    limits: Limits = Limits()
    logging: Logging = Logging()

    @field_validator("dsn")
    @classmethod
    def _can_be_taken_apart(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parse_dsn(value.get_secret_value())
            except ConfigurationError as error:
                raise ValueError(str(error)) from None
        return value


class Key(NamedTuple):
    """What people need to know of one setting; `unit` is None where it has none."""

    default: object
    allowed: str
    unit: str | None
    sentence: str


class Reload(NamedTuple):
    """What a reload does: the settings from now on, and the dotted keys that differ."""

    settings: Settings
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


GROUPS: dict[str, type[_Group]] = {
    "persistence": Persistence,
    "scheduling": Scheduling,
    "execution": Execution,
    "retention": Retention,
    "limits": Limits,
    "logging": Logging,
}


def _keys() -> dict[str, Key]:
    homes: list[tuple[str, type[_Group]]] = [("", Settings)]
    homes += [(f"{name}.", group) for name, group in GROUPS.items()]
    keys: dict[str, Key] = {}
    for prefix, home in homes:
        for name, field in home.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict):
                unit = extra.get("unit")
                keys[prefix + name] = Key(
                    default=field.default,
                    allowed=str(extra["allowed"]),
                    unit=None if unit is None else str(unit),
                    sentence=field.description or "",
                )
    return keys


KEYS = _keys()
RELOADABLE = frozenset(
    key
    for key in KEYS
    if key != "execution.processes" and key.partition(".")[0] not in ("dsn", "persistence")
)


def value_of(settings: Settings, key: str) -> object:
    """The value of a dotted key, such as `execution.concurrency`."""
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def show(settings: Settings, key: str) -> str:
    """The value of a dotted key for people; the DSN without its secrets, None as `unset`."""
    value = value_of(settings, key)
    if isinstance(value, SecretStr):
        return show_dsn(value.get_secret_value())
    return show_value(key, value)


def show_value(key: str, value: object) -> str:
    """A value of a dotted key for people: `500ms`, `1MiB`, `true`, `1s, 5m`, `unset`."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return show_duration(value)
    if isinstance(value, tuple):
        return ", ".join(show_value(key, item) for item in value)
    return show_bytes(value) if key.startswith("limits.") and isinstance(value, int) else str(value)


def reload(old: Settings, new: Settings) -> Reload:
    """Sort what differs between two settings into what holds at once and what needs a restart."""
    changed = [key for key in KEYS if value_of(old, key) != value_of(new, key)]
    execution = new.execution.model_copy(update={"processes": old.execution.processes})
    kept = {"dsn": old.dsn, "persistence": old.persistence, "execution": execution}
    return Reload(
        settings=new.model_copy(update=kept),
        applied=tuple(key for key in changed if key in RELOADABLE),
        needs_restart=tuple(key for key in changed if key not in RELOADABLE),
    )


def differences(old: Settings, new: Settings, keys: Iterable[str]) -> tuple[str, ...]:
    """What differs in each key, for people, `key: old -> new`; the DSN without its secrets."""
    return tuple(f"{key}: {show(old, key)} -> {show(new, key)}" for key in keys)
