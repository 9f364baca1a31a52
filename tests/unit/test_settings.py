"""Settings: precedence, provenance, bounds, spellings, DSNs, masking and what a reload applies."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from perdure import settings as module
from perdure.errors import ConfigurationError
from perdure.settings import KEYS, RELOADABLE, Settings, load, parse_dsn

REFERENCE = Path(__file__).parents[2] / "config" / "perdure.toml"
SECRET = "h0rse-b@tt'ery %\"staple\\"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(**arguments: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**{"environ": {}} | arguments)
    return str(caught.value).splitlines()[1:]


def concurrency(loaded: module.Loaded) -> tuple[int, str]:
    return loaded.settings.execution.concurrency, loaded.sources["execution.concurrency"]


def test_without_any_source_every_setting_has_its_default() -> None:
    loaded = load(environ={})
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.warnings == ()
    assert loaded.settings.scheduling.oldest_first_every == 8
    assert loaded.settings.execution.child_memory_mb is None


def test_each_source_beats_the_ones_below_it_and_is_named(empty_folder: Path) -> None:
    name = "PERDURE_EXECUTION__CONCURRENCY"
    assert concurrency(load(builder={"execution": {"concurrency": 1}}, environ={})) == (
        1,
        "builder",
    )
    below: dict[str, Any] = {"builder": {"execution.concurrency": 1}}
    (empty_folder / "perdure.toml").write_text("[execution]\nconcurrency = 2\nprocesses = 4\n")
    assert concurrency(load(**below, environ={})) == (2, "perdure.toml")
    (empty_folder / ".env").write_text(f"{name}=3\n")
    assert concurrency(load(**below, environ={})) == (3, ".env")
    (empty_folder / "secret").write_text("4\n")
    assert concurrency(load(**below, environ={f"{name}_FILE": "secret"})) == (
        4,
        f"{name}_FILE=secret",
    )
    assert concurrency(load(**below, environ={name: "5"})) == (5, f"environment {name}")
    below["command_line"] = {"execution.concurrency": 6, "execution.processes": None}
    loaded = load(**below, environ={name: "5"})
    assert concurrency(loaded) == (6, "command line")
    assert loaded.settings.execution.processes == 4


def test_the_toml_file_is_named_by_argument_then_variable_and_must_exist(
    empty_folder: Path,
) -> None:
    (empty_folder / "a.toml").write_text("execution.concurrency = 1")
    (empty_folder / "b.toml").write_text("execution.concurrency = 2")
    environ = {"PERDURE_CONFIG": "a.toml"}
    assert concurrency(load(environ=environ)) == (1, "a.toml")
    assert concurrency(load(environ=environ, toml=Path("b.toml"))) == (2, "b.toml")
    assert problems(toml=Path("c.toml")) == ["  - c.toml: there is no such file"]
    (empty_folder / "d.toml").write_text("execution = [")
    assert "d.toml: is not TOML" in problems(toml=Path("d.toml"))[0]


def test_all_wrong_keys_are_reported_together_one_line_each(empty_folder: Path) -> None:
    (empty_folder / "perdure.toml").write_text(
        "retention = 3\n[execution]\nconcurency = 3\n[limits]\nerror_bytes = '1 parsec'\n"
    )
    lines = problems(
        environ={"PERDURE_SCHEDULING__BATCH_SIZE": "many", "PERDURE_LOGGING__LEVEL": "loud"},
        builder={"persistence.schema_name": "pg_mine", "execution.prefetch": -1},
    )
    assert len(lines) == 7
    for expected in (
        r"retention \(perdure.toml\): is a group",
        r"execution.concurency \(perdure.toml\): .*did you mean execution.concurrency\?",
        r"limits.error_bytes = '1 parsec' \(perdure.toml\): must be a size from 1KiB to 16MiB",
        r"scheduling.batch_size = 'many' \(environment PERDURE_SCHEDULING__BATCH_SIZE\): must be",
        r"must be a whole number from 1 to 10000",
        r"logging.level = 'loud' .*must be debug, info",
        r"persistence.schema_name = 'pg_mine' \(builder\): must be 1 to 40 bytes",
        r"execution.prefetch = -1 \(builder\): must be auto or",
    ):
        assert sum(bool(re.search(expected, line)) for line in lines) == 1, expected


@pytest.mark.parametrize(
    "key, wrong, right",
    [
        ("scheduling.polling_delay", ["19ms", "1d 1s", "soon", True], ["20ms", "1d"]),
        ("scheduling.batch_size", [0, 10_001, True, "x"], [1, 10_000]),
        ("scheduling.scheduler_retry_delays", ["", "1,x", [-1]], ["1, 5m", [1, "5m"], "[0.5]"]),
        ("execution.concurrency", [0, 1.5], [1, "2", 3.0]),
        ("execution.beat_interval", ["3.4s", "10s"], ["3s", "100ms"]),
        ("execution.lease_duration", ["5s"], ["6s", "1m"]),
        ("execution.prefetch", ["some", -1], ["auto", 0, "16"]),
        (
            "persistence.schema_name",
            ["", "x" * 41, "é" * 21, "pg_x", "PG_x", "a\x00b", "\ud800"],
            ["é" * 20],
        ),
        ("persistence.pool_min_size", [9], [8, 0]),
        ("limits.metadata_bytes", [1023, "65MiB", "0.5B", False], [1024, "1MiB", "1.5 KiB", "2MB"]),
        ("logging.level", ["loud"], ["INFO", "debug"]),
        ("persistence.allow_unsafe_durability", ["perhaps"], ["true", "0"]),
    ],
)
def test_values_are_held_to_their_bounds(key: str, wrong: list[Any], right: list[Any]) -> None:
    for value in wrong:
        assert len(problems(builder={key: value})) == 1, value
    for value in right:
        load(builder={key: value}, environ={})


@pytest.mark.parametrize(
    "text, seconds",
    [
        (5, 5),
        (0.5, 0.5),
        ("5", 5),
        ("500ms", 0.5),
        ("5m", 300),
        ("1h 30m", 5400),
        ("7 days", 604_800),
        ("00:00:05", 5),
        ("1.02:00:00.5", 93_600.5),
        ("PT5M", 300),
        ("P1DT0.5S", 86_400.5),
    ],
)
def test_a_duration_may_be_written_in_many_ways(text: object, seconds: float) -> None:
    assert module.parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "5 parsecs", "m5", "5m!", "1:2:3:4", "inf", 1e300, "9" * 400, None, "٣s"],
)
def test_what_is_no_duration_is_a_value_error(text: object) -> None:
    with pytest.raises(ValueError, match="500ms"):
        module.parse_duration(text)


@given(some.integers(0, 10**15))
def test_a_shown_duration_reads_back_as_itself(microseconds: int) -> None:
    value = timedelta(microseconds=microseconds)
    assert abs(module.parse_duration(module.show_duration(value)) - value) < timedelta(
        milliseconds=1
    )


@given(some.integers(0, 2**40))
def test_a_shown_size_reads_back_as_itself(size: int) -> None:
    assert module.parse_bytes(module.show_bytes(size)) == size


def test_settings_are_frozen_and_hide_the_dsn() -> None:
    settings = load(environ={"PERDURE_DSN": "postgresql://u:hunter2@h/d"}).settings
    assert "hunter2" not in repr(settings) + settings.model_dump_json()
    with pytest.raises(ValueError, match="frozen"):
        settings.execution.concurrency = 1  # type: ignore[misc]
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (any text, as long as it is silent)
        Settings.model_validate({"dsn": "postgresql//u:hunter2@h"})
    assert "hunter2" not in str(caught.value)


def test_the_reference_file_holds_every_key_at_its_default_and_no_other() -> None:
    text = REFERENCE.read_text()
    tables = tomllib.loads(text)
    written = {f"{group}.{name}" for group, keys in tables.items() for name in keys}
    unset = {key for key, known in KEYS.items() if known.default is None}
    assert written == set(KEYS) - unset
    assert load(toml=REFERENCE, environ={}).settings == Settings()
    everything = tomllib.loads(re.sub(r"(?m)^# (?=\w+ = )", "", text))
    dsn = everything.pop("dsn")
    assert parse_dsn(dsn)
    assert {f"{g}.{n}" for g, names in everything.items() for n in names} | {"dsn"} == set(KEYS)
    load(builder=everything, environ={})


def test_the_reference_file_says_sentence_bounds_and_unit_of_every_key() -> None:
    text = " ".join(re.sub(r"(?m)^# ?", "", REFERENCE.read_text()).split())
    for key, known in KEYS.items():
        unit = f" Unit: {known.unit}." if known.unit else ""
        name = key.rpartition(".")[2]
        assert f"{known.sentence} Allowed: {known.allowed}.{unit} {name} = " in text, key


def test_unknown_variables_are_one_warning_with_the_nearest_known_name() -> None:
    loaded = load(
        environ={
            "PERDURE_PORT": "tcp://10.0.0.1",
            "PERDURE_EXECUTION__CONCURENCY": "5",
            "PERDURE_TEST_DSN": "x",
            "HOME": "/",
        }
    )
    (warning,) = loaded.warnings
    assert "PERDURE_PORT" in warning
    assert "did you mean PERDURE_EXECUTION__CONCURRENCY?" in warning
    assert "10.0.0.1" not in warning
    assert "PERDURE_TEST_DSN" not in warning


def test_no_setting_bears_a_name_that_kubernetes_injects_or_that_reads_as_a_secret_file() -> None:
    for key in KEYS:
        name = module.variable_of(key)
        assert not re.match(r"PERDURE_(PORT|SERVICE_|CONFIG|TEST_)", name)
        assert not name.endswith("_FILE")


def test_a_variable_and_its_file_together_are_an_error_and_empty_ones_count_as_unset(
    empty_folder: Path,
) -> None:
    (empty_folder / "dsn").write_text("postgresql://u:hunter2@h/d\n")
    both = {"PERDURE_DSN": "postgresql://u:hunter3@h/d", "PERDURE_DSN_FILE": "dsn"}
    (line,) = problems(environ=both)
    assert "both PERDURE_DSN and PERDURE_DSN_FILE are set" in line
    assert "hunter" not in line
    loaded = load(environ=both | {"PERDURE_DSN": ""})
    assert loaded.sources["dsn"] == "PERDURE_DSN_FILE=dsn"
    assert loaded.settings.dsn is not None
    assert loaded.settings.dsn.get_secret_value().endswith("/d")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_dsn_in_a_file_may_end_with_a_line_end(empty_folder: Path, end: str) -> None:
    (empty_folder / "dsn").write_bytes(f"postgresql://u:hunter2@h/d{end}".encode())
    settings = load(environ={"PERDURE_DSN_FILE": "dsn"}).settings
    assert module.connection_parameters(settings)["dbname"] == "d"
    assert settings.dsn is not None
    assert settings.dsn.get_secret_value() == "postgresql://u:hunter2@h/d"


def test_a_file_that_does_not_serve_is_named_with_its_variable(empty_folder: Path) -> None:
    (line,) = problems(environ={"PERDURE_DSN_FILE": "/run/old/dsn"})
    assert "PERDURE_DSN_FILE names /run/old/dsn, which cannot be read: No such file" in line
    (empty_folder / "dsn").write_text("\n")
    (line,) = problems(environ={"PERDURE_DSN_FILE": "dsn"})
    assert "dsn (PERDURE_DSN_FILE=dsn): the DSN is empty" in line
    (line,) = problems(environ={"PERDURE_DSN_FILE": "postgresql://u:hunter2@h/d"})
    assert "hunter2" not in line


def test_database_url_then_libpq_stand_in_only_where_nothing_names_a_dsn() -> None:
    environ = {"PGHOST": "a", "PGPASSWORD": SECRET, "PGUSER": "u"}
    loaded = load(environ=environ)
    assert loaded.sources["dsn"] == "environment PGHOST, PGUSER, PGPASSWORD"
    assert module.connection_parameters(loaded.settings)["password"] == SECRET
    environ["DATABASE_URL"] = "postgres://u@b/d"
    assert load(environ=environ).sources["dsn"] == "environment DATABASE_URL"
    assert load(environ=environ, builder={"dsn": "postgresql://c"}).sources["dsn"] == "builder"
    environ["PERDURE_DSN"] = "postgresql://d"
    assert load(environ=environ).sources["dsn"] == "environment PERDURE_DSN"
    assert load(environ={"PGUSER": "u"}).settings.dsn is None
    service = load(environ={"PGSERVICE": "main", "PGHOST": "a"}).settings
    assert module.connection_parameters(service)["service"] == "main"


def test_config_show_has_every_key_with_its_source_and_no_secret() -> None:
    loaded = load(environ={"PERDURE_DSN": "postgresql://u:hunter2@h:1/d"})
    rows = module.describe(loaded)
    assert [key for key, _, _ in rows] == list(KEYS)
    assert rows[0] == ("dsn", "postgresql://u:***@h:1/d", "environment PERDURE_DSN")
    assert ("scheduling.polling_delay", "500ms", "default") in rows
    assert ("limits.error_bytes", "64KiB", "default") in rows
    assert ("scheduling.scheduler_retry_count", "unset", "default") in rows
    assert "hunter2" not in str(rows)


def test_a_reload_applies_what_it_may_and_names_what_needs_a_restart() -> None:
    old = load(environ={}).settings
    new = load(
        environ={},
        builder={
            "dsn": "postgresql://elsewhere",
            "persistence.pool_max_size": 9,
            "execution.processes": 2,
            "execution.concurrency": 7,
            "logging.level": "debug",
        },
    ).settings
    change = module.reload(old, new)
    assert change.applied == ("execution.concurrency", "logging.level")
    assert change.needs_restart == ("dsn", "persistence.pool_max_size", "execution.processes")
    assert (change.settings.execution.concurrency, change.settings.execution.processes) == (7, 1)
    assert change.settings.logging.level == "debug"
    assert (change.settings.dsn, change.settings.persistence) == (None, old.persistence)
    assert module.reload(old, old) == (old, (), ())


def test_everything_but_connections_and_processes_can_be_reloaded() -> None:
    fixed = {key for key in KEYS if key.startswith("persistence.")} | {"dsn", "execution.processes"}
    assert set(KEYS) - fixed == RELOADABLE


def test_settings_load_neither_a_driver_nor_pydantic_settings() -> None:
    import subprocess
    import sys

    code = "import sys, perdure.settings; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"psycopg", "sqlalchemy", "pydantic_settings"} & set(loaded.stdout.split())
