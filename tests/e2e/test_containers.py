"""The image and the compose file, as far as they can be looked at without docker."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.programs import run
from tests.kit.house import ROOT

from perdure.settings import load


def test_hadolint_has_nothing_to_say_of_the_image() -> None:
    run(["hadolint", "Dockerfile"])


def test_the_compose_file_is_one() -> None:
    schema = "vendor.compose-spec"
    run(["check-jsonschema", "--builtin-schema", schema, "docker-compose.yml"])


def test_what_compose_mounts_and_runs_exists() -> None:
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    mounted = re.findall(r"- (\./[^:]+):", compose)
    assert mounted
    assert all((ROOT / path).exists() for path in mounted)
    (grace,) = re.findall(r"stop_grace_period: (\d+)s", compose)
    settings = load(toml=ROOT / "config/container.toml", environ={}).settings
    assert settings.execution.shutdown_grace.total_seconds() < int(grace)


def test_the_settings_of_the_image_are_accepted_and_come_from_their_file() -> None:
    loaded = load(toml=ROOT / "config/container.toml", environ={})
    assert loaded.settings.logging.format == "json"


def test_what_the_image_copies_is_not_ignored() -> None:
    ignored = Path(ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = re.findall(r"(?m)^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text("utf-8"))
    names = {name for line in copied for name in line.split()}
    assert {"service", "migrations", "pyproject.toml"} <= names
    assert not names & {line.strip("/") for line in ignored}
    assert all((ROOT / name).exists() for name in names)
