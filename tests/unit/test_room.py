"""Tests run beside each other, but for those that want the machine."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from tests.kit.room import room

pytestmark = pytest.mark.timeout(30)


def test_as_many_tests_run_at_once_as_there_are_places(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(room(tmp_path, 4, alone=False))


def test_two_others_run_beside_a_test_that_wants_to_be_alone(tmp_path: Path) -> None:
    last = threading.Event()

    def come_last() -> None:
        with room(tmp_path, 4, alone=False):
            last.set()

    with contextlib.ExitStack() as stack:
        stack.enter_context(room(tmp_path, 4, alone=True))
        stack.enter_context(room(tmp_path, 4, alone=False))
        with room(tmp_path, 4, alone=False):
            thread = threading.Thread(target=come_last)
            thread.start()
            assert not last.wait(0.1)
        thread.join()
    assert last.is_set()


def test_those_that_want_to_be_alone_come_one_after_the_other_and_let_others_pass(
    tmp_path: Path,
) -> None:
    second = threading.Event()

    def come_second() -> None:
        with room(tmp_path, 4, alone=True):
            second.set()

    with room(tmp_path, 4, alone=True):
        thread = threading.Thread(target=come_second)
        thread.start()
        with room(tmp_path, 4, alone=False):
            assert not second.wait(0.1)
    thread.join()
    assert second.is_set()
