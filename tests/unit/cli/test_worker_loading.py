"""-A module:service: how it is found, and what is said when it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.given import Given
from perdure.cli.worker import Wanted, _queue, application_of, load_service
from perdure.errors import ConfigurationError

SERVICE = """
from perdure import TaskService
service = TaskService.builder().build()
builder = TaskService.builder()
class box:
    inner = service
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "shop_jobs.py").write_text(SERVICE)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("shop_"):
            del sys.modules[name]


def test_a_service_is_found_in_the_current_folder_and_overridden() -> None:
    values = {"execution.concurrency": 3}
    service = load_service(Given(schema="jobs"), "shop_jobs:service", values)
    assert service.settings.execution.concurrency == 3
    assert service.settings.persistence.schema_name == "jobs"
    assert load_service(Given(), "shop_jobs:box.inner") is service


@pytest.mark.parametrize(
    ("application", "text"),
    [
        ("shop_jobs", "write module:service"),
        (":service", "write module:service"),
        ("shop_missing:service", "no module 'shop_missing'"),
        ("shop_jobs:app", "no attribute 'app'; it has service"),
        ("shop_jobs:builder", r"a ServiceBuilder, not a TaskService: end it with \.build\(\)"),
        ("shop_jobs:box", "a type, not a TaskService: name the service"),
        ("shop/jobs.py:service", "its module instead of a file: shop.jobs:service$"),
        ("./shop/jobs.py", "its module instead of a file: shop.jobs:service$"),
        ("shop_jobs.py:service", "its module instead of a file: shop_jobs:service$"),
        ("/srv/app/jobs.py:app", "instead of a file: jobs:app, in the folder /srv/app$"),
        ("../jobs.py:app", r"instead of a file: jobs:app, in the folder \.\.$"),
        ("shop-jobs:service", "write module:service"),
        ("..shop:service", "write module:service"),
        ("shop_needs:service", "needs 'shop_driver', which is not installed"),
        ("shop_broken:service", "importing 'shop_broken' failed with ZeroDivisionError"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_the_remedy(
    application: str, text: str, folder: Path
) -> None:
    (folder / "shop_needs.py").write_text("import shop_driver\n")
    (folder / "shop_broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigurationError, match=text):
        load_service(Given(), application)


def test_the_project_names_the_service_where_nobody_else_does(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="-A module:service"):
        application_of(None)
    project = folder / "pyproject.toml"
    project.write_text('[tool.perdure]\napp = "shop_jobs:service"\n')
    assert application_of(None) == "shop_jobs:service"
    assert application_of("other:app") == "other:app"
    project.write_text("[tool.perdure]\napp = 7\n")
    with pytest.raises(ConfigurationError, match="must be a text"):
        application_of(None)
    project.write_text("[tool")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        application_of(None)


def test_a_queue_may_carry_its_slots_and_colons_of_its_own() -> None:
    assert _queue("imports") == ("imports", None)
    assert _queue("imports:8") == ("imports", 8)
    assert _queue("a:b") == ("a:b", None)
    assert _queue("a:b:2") == ("a:b", 2)


def test_children_of_a_supervisor_are_told_the_same() -> None:
    wanted = Wanted("a:b", ("x:2", "y"), 5, 2, burst=True, tasks_most=9, memory_most_mb=64)
    assert wanted.arguments(Given(Path("p.toml"), "jobs")) == [
        "--config=p.toml", "--schema=jobs", "--concurrency=5", "--max-tasks-per-process=9",
        "--max-memory-mb=64", "--queue=x:2", "--queue=y", "--burst",
    ]  # fmt: skip
    assert Wanted("a:b").arguments(Given()) == []
