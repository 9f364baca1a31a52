"""Where values come from: command line, environment, `*_FILE`, `.env`, TOML, builder, defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dotenv import dotenv_values
from pydantic import ValidationError

from perdure.errors import ConfigurationError
from perdure.settings.dsn import write_dsn
from perdure.settings.keys import GROUPS, KEYS, Settings, show
from perdure.settings.masking import mask

PREFIX = "PERDURE_"
CONFIG_VARIABLE = "PERDURE_CONFIG"
HEALTH_VARIABLE = "PERDURE_HEALTH_FILE"
"""Read by run/pulse.py; no setting, because a probe must not load the settings."""
OF_TESTS = "PERDURE_TEST_"
"""Variables that begin so are switches of a test suite, such as our own: never a setting."""
CONFIG_FILE = "perdure.toml"
OF_UP = "/.perdure/dsn"
"""A file with this end goes when the `perdure up` that has made it ends."""
NOTHING: Mapping[str, Any] = MappingProxyType({})
_SHOWN_MAX = 60

_LIBPQ = MappingProxyType(
    {
        "PGHOST": "host",
        "PGHOSTADDR": "hostaddr",
        "PGPORT": "port",
        "PGDATABASE": "dbname",
        "PGUSER": "user",
        "PGPASSWORD": "password",
        "PGAPPNAME": "application_name",
        "PGCONNECT_TIMEOUT": "connect_timeout",
        "PGTARGETSESSIONATTRS": "target_session_attrs",
    }
)
_LIBPQ_ENOUGH = ("PGHOST", "PGHOSTADDR", "PGDATABASE")


class Loaded(NamedTuple):
    """Settings, the source of each dotted key, and what was odd but harmless."""

    settings: Settings
    sources: dict[str, str]
    warnings: tuple[str, ...]


class Given(NamedTuple):
    """One value and the words for where it came from."""

    value: object
    source: str


def load(
    *,
    command_line: Mapping[str, Any] = NOTHING,
    builder: Mapping[str, Any] = NOTHING,
    toml: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read all settings; what stands earlier in this file's first line wins.

    Args:
        command_line: values by dotted key or nested by group; None counts as not given.
        builder: the program's own defaults, in the same form.
        toml: file to read; else `PERDURE_CONFIG`, else `perdure.toml` here if there is one.
        environ: variables to read; else those of the process. `.env` is that of this folder.

    Raises:
        ConfigurationError: everything that is wrong, one line per key; secrets are never in it.
    """
    variables = os.environ if environ is None else environ
    dotenv = {name: text for name, text in _dotenv().items() if text}
    problems: list[str] = []
    own, own_unknown = _from_variables(variables, "environment ", problems)
    near, near_unknown = _from_variables(dotenv, ".env ", problems)
    config = toml or variables.get(CONFIG_VARIABLE) or dotenv.get(CONFIG_VARIABLE)
    given: dict[str, Given] = {}
    given |= _checked(_flat(builder), "builder", problems)
    given |= _from_toml(None if config is None else Path(config), problems)
    given |= near
    given |= own
    given |= _checked(_flat(command_line), "command line", problems)
    if "dsn" not in given and (fallback := _fallback_dsn(variables, dotenv)):
        given["dsn"] = fallback
    settings = _validated(given, problems)
    sources = {key: given[key].source if key in given else "default" for key in KEYS}
    return Loaded(settings, sources, _warnings({*own_unknown, *near_unknown}))


def check(builder: Mapping[str, Any]) -> None:
    """Look at a program's own defaults by themselves, whatever will beat them where it runs.

    Raises:
        ConfigurationError: as `load`.
    """
    problems: list[str] = []
    _validated(_checked(_flat(builder), "builder", problems), problems)


def describe(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Every setting as (dotted key, value for people with secrets masked, source)."""
    return [(key, show(loaded.settings, key), loaded.sources[key]) for key in KEYS]


def variable_of(key: str) -> str:
    """The environment variable of a dotted key: `PERDURE_EXECUTION__CONCURRENCY`."""
    return PREFIX + key.upper().replace(".", "__")


def colors_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Whether people want colours where a terminal can show them: not if `NO_COLOR` is set."""
    return not (os.environ if environ is None else environ).get("NO_COLOR")


def _dotenv() -> dict[str, str | None]:
    """What `.env` in the current folder says; nothing if there is none."""
    try:
        return dotenv_values(".env", interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f".env cannot be read: {reason}") from None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested or dotted values as dotted ones; None is left out."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[prefix + name] = value
    return flat


def _checked(values: dict[str, object], source: str, problems: list[str]) -> dict[str, Given]:
    """The values of known keys; each unknown one is a problem that names the nearest known."""
    for key in values.keys() - KEYS.keys():
        if key in GROUPS:
            problems.append(f"{key} ({source}): is a group of settings, not a setting")
        else:
            problems.append(f"{_cut(key)} ({source}): unknown setting{_nearest(key, KEYS)}")
    return {key: Given(value, source) for key, value in values.items() if key in KEYS}


def _from_toml(path: Path | None, problems: list[str]) -> dict[str, Given]:
    """The values of the TOML file; it may only be missing where nobody asked for it."""
    wanted = path is not None
    path = path or Path(CONFIG_FILE)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if wanted:
            problems.append(f"{path}: there is no such file")
        return {}
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return {}
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: is not TOML: {error}")
        return {}
    except UnicodeDecodeError:
        problems.append(f"{path}: is not UTF-8")
        return {}
    return _checked(_flat(values), str(path), problems)


def _from_variables(
    variables: Mapping[str, str], label: str, problems: list[str]
) -> tuple[dict[str, Given], list[str]]:
    """The values of our variables and of the files they name, and the variables nobody knows.

    An empty variable counts as not set: compose files pass on `${NAME:-}`.
    """
    ours = {name.upper(): text for name, text in variables.items() if text}
    unknown = {name for name in ours if name.startswith(PREFIX) and not name.startswith(OF_TESTS)}
    unknown -= {CONFIG_VARIABLE, HEALTH_VARIABLE}
    given: dict[str, Given] = {}
    for key in KEYS:
        name, file = variable_of(key), f"{variable_of(key)}_FILE"
        unknown -= {name, file}
        if name in ours and file in ours:
            problems.append(f"{key}: both {name} and {file} are set; remove one")
        elif name in ours:
            source = f"{label}{name}" if label.startswith("environment") else label.strip()
            given[key] = Given(ours[name], source)
        elif file in ours:
            path = mask(ours[file])  # somebody may have put the secret itself there
            try:
                text = Path(ours[file]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                remedy = "start `perdure up` again" if path.endswith(OF_UP) else "name another file"
                problems.append(
                    f"{key}: {file} names {path}, which cannot be read: {reason}; {remedy}, or "
                    "unset it"
                )
            else:
                value = text.removesuffix("\n").removesuffix("\r")
                given[key] = Given(value, f"{file}={path}")
    return given, sorted(unknown)


def _fallback_dsn(*layers: Mapping[str, str]) -> Given | None:
    """`DATABASE_URL`, else libpq's variables: only where nothing of ours names a DSN."""
    for variables, label in zip(layers, ("environment ", ".env "), strict=True):
        if url := variables.get("DATABASE_URL"):
            return Given(url, f"{label}DATABASE_URL")
    variables, _ = layers
    if service := variables.get("PGSERVICE"):
        return Given(write_dsn({"service": service}), "environment PGSERVICE")
    if any(variables.get(name) for name in _LIBPQ_ENOUGH):
        found = [name for name in _LIBPQ if variables.get(name)]
        dsn = write_dsn({_LIBPQ[name]: variables[name] for name in found})
        return Given(dsn, f"environment {', '.join(found)}")
    return None


def _validated(given: Mapping[str, Given], problems: list[str]) -> Settings:
    """Settings of the values; all problems, of values and before, in one error."""
    nested: dict[str, Any] = {}
    for key, (value, _) in given.items():
        group, _, name = key.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[name] = value
    settings = None
    try:
        settings = Settings.model_validate(nested)
    except ValidationError as error:
        lines: dict[str, str] = {}
        for fault in error.errors(include_url=False, include_context=False):
            depth = 2 if fault["loc"][0] in GROUPS else 1
            key = ".".join(map(str, fault["loc"][:depth]))
            lines.setdefault(key, _line(key, given.get(key), fault["type"], fault["msg"]))
        problems.extend(lines.values())
    if settings is None or problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise ConfigurationError(f"the configuration cannot be used, {count}:{listed}") from None
    return settings


def _line(key: str, given: Given | None, kind: str, message: str) -> str:
    """One line for one wrong key: its value, its source, and what may be written."""
    source = given.source if given else "default"
    own = message.removeprefix("Value error, ") if kind == "value_error" else ""
    if key == "dsn":
        return f"dsn ({source}): {own or f'must be {KEYS[key].allowed}'}"
    value = _cut(repr(given.value)) if given else show(Settings(), key)
    allowed = f"must be {KEYS[key].allowed}"
    reason = own if own.startswith("must") else f"{allowed}; {own}" if own else allowed
    return f"{key} = {value} ({source}): {reason}"


def _warnings(unknown: Iterable[str]) -> tuple[str, ...]:
    """One warning for all unknown variables: Kubernetes sets some for a Service named perdure."""
    known = [variable_of(key) for key in KEYS]
    named = [f"{_cut(name)}{_nearest(name, known)}" for name in sorted(unknown)]
    return (f"unknown variables are ignored: {', '.join(named)}",) if named else ()


def _nearest(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name, list(known), 1, 0.75)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def _cut(text: str) -> str:
    """A text from outside, fit for one line."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
