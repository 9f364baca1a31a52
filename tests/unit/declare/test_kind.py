"""Kinds and new tasks: values that become JSON without handlers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from pydantic import BaseModel

from perdure.declare.kind import NewTask, TaskKind
from perdure.errors import UnencodableValue


class Request(BaseModel):
    url: str


class Progress(BaseModel):
    rows: int = 0


kind = TaskKind("catalogue.import", Request, execution_metadata=Progress)


def test_a_kind_is_a_value() -> None:
    assert kind == TaskKind("catalogue.import", Request, execution_metadata=Progress)
    assert len({kind, TaskKind("other", Request)}) == 2
    with pytest.raises(FrozenInstanceError):
        kind.name = "other"  # type: ignore[misc]


def test_a_kind_makes_its_codecs_once() -> None:
    assert kind.payloads is kind.payloads
    assert kind.payloads.metadata.load('{"url": "a"}') == Request(url="a")
    assert kind.payloads.result.is_none


def test_a_new_task_has_its_name_and_its_values_as_json() -> None:
    task = NewTask(kind, Request(url="a"), execution_metadata=Progress(rows=1), priority=2)
    assert task.name == "catalogue.import"
    assert json.loads(task.metadata_json()) == {"url": "a"}
    assert task.execution_metadata_json() == '{"rows":1}'
    assert task.options["priority"] == 2


def test_a_new_task_by_name_is_untyped() -> None:
    task = NewTask("by.name", {"any": [1, "thing"]}, execution_metadata={"rows": 2})
    assert json.loads(task.metadata_json()) == {"any": [1, "thing"]}
    assert json.loads(task.execution_metadata_json() or "") == {"rows": 2}


def test_a_new_task_without_metadata_has_an_empty_object() -> None:
    assert NewTask("by.name").metadata_json() == "{}"
    assert NewTask(TaskKind("cleanup")).metadata_json() == "{}"
    assert NewTask("by.name").execution_metadata_json() is None


def test_metadata_of_another_type_are_refused() -> None:
    wrong: Any = Progress()
    with pytest.raises(UnencodableValue):
        NewTask(kind, wrong).metadata_json()


def test_what_is_printed_of_a_new_task_has_no_values_in_it() -> None:
    assert "secret" not in repr(NewTask(kind, Request(url="secret"), unique_key="secret"))


def test_producers_import_kinds_without_drivers_and_loggers() -> None:
    heavy = "{'psycopg', 'sqlalchemy', 'structlog', 'rich'}"
    code = f"import sys, perdure.declare.kind; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
