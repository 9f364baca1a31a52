"""Which schema revisions this code runs on."""

from __future__ import annotations

import pytest

from perdure.errors import SchemaMismatch
from perdure.store import version


@pytest.fixture(autouse=True)
def code_of_revision_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "REVISION", "0007")


@pytest.mark.parametrize("revision, readable_from", [("0007", "0001"), ("0012", "0007")])
def test_code_runs_on_its_own_revision_and_on_newer_ones_that_it_can_read(
    revision: str, readable_from: str
) -> None:
    version.check_version(revision, readable_from, "perdure")


@pytest.mark.parametrize(
    "revision, readable_from", [(None, None), ("0006", "0001"), ("0012", "0008"), ("0008", None)]
)
def test_code_refuses_a_schema_that_is_missing_older_or_no_longer_readable(
    revision: str | None, readable_from: str | None
) -> None:
    with pytest.raises(SchemaMismatch, match="perdure migrate"):
        version.check_version(revision, readable_from, "perdure")
