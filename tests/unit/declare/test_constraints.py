"""Constraints as a program declares them, and the probes that come with them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import DiskFree, Reachable, TaskService, TimeWindow
from perdure.declare.constraints import Constraint, constraint
from perdure.errors import RegistrationError


def build(*arguments: object, **options: object) -> None:
    TaskService.builder().add_constraint(*arguments, **options).build()  # type: ignore[arg-type]


def test_reachable_is_whether_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert Reachable("127.0.0.1", port)()
    with pytest.raises(OSError, match="refused"):
        Reachable("127.0.0.1", port)()
    with pytest.raises(ValueError, match="1 to 65535"):
        Reachable("127.0.0.1", 65536)


def test_disk_free_is_about_the_volume_of_a_path(tmp_path: Path) -> None:
    assert DiskFree(tmp_path, 1)()
    assert not DiskFree(str(tmp_path), 2**62)()
    with pytest.raises(FileNotFoundError):
        DiskFree(tmp_path / "gone", 1)()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: DiskFree("/", -1), "bytes=-1: give a whole number, 0 or more"),
        (lambda: DiskFree("/", "1GB"), "bytes='1GB': give a whole number"),  # type: ignore[arg-type]
        (lambda: DiskFree("", 1), "path='': give a path"),
        (lambda: DiskFree(None, 1), "path=None: give a path"),  # type: ignore[arg-type]
        (lambda: Reachable("", 80), "host='': give a name or an address"),
        (lambda: Reachable("http://a", 80), "host='http://a': give a name or an address, without"),
        (lambda: Reachable("a:80", 80), "host='a:80'"),
        (lambda: Reachable("a", "80"), "port='80': give a port"),  # type: ignore[arg-type]
        (lambda: Reachable("a", 80, timeout=0), "timeout=0: give more than 0 seconds"),
    ],
)
def test_a_probe_refuses_what_can_never_hold(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_a_host_is_a_name_or_an_address() -> None:
    for host in ("localhost", "pay.example", "127.0.0.1", "::1", "fe80::1%eth0", "2001:db8::1"):
        assert Reachable(host, 80).host == host


MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "hours"),
    [
        (TimeWindow("09:00", time(17)), range(9, 17)),
        (TimeWindow("22:00", "06:00"), [*range(6), 22, 23]),
        (TimeWindow("00:00", "00:00"), range(24)),
        (TimeWindow("09:00", "17:00", "America/New_York"), range(14, 22)),
        (TimeWindow("09:00", "17:00", weekdays=("tue",)), ()),
        # It began on Sunday: those six hours belong to its window, those at night do not.
        (TimeWindow("22:00", "06:00", weekdays=["sun"]), range(6)),
        (TimeWindow("22:00", "06:00", weekdays=["mon"]), (22, 23)),
    ],
)
def test_a_window_is_open_between_two_times_of_day(window: TimeWindow, hours: object) -> None:
    opened = [hour for hour in range(24) if window.holds_at(MONDAY + timedelta(hours=hour))]
    assert opened == list(hours)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("25:00", "06:00"), "'25:00' is no time of day"),
        (("09:00", "17:00", "Mars/Olympus"), "there is no such time zone"),
        (("09:00", "17:00", "UTC", ("monday",)), "give some of mon, tue"),
        (("09:00", "17:00", "UTC", "mon"), "give some of mon, tue"),
        (("09:00", "17:00", "UTC", ()), "give some of mon, tue"),
        ((time(9, tzinfo=UTC), "17:00"), "has a zone of its own"),
        ((9, 17), "9 is no time of day"),
        (("09:00", "17:00", 5), "timezone=5: there is no such time zone"),
        (("09:00", "17:00", "UTC", 5), "weekdays=5: give some of mon, tue"),
    ],
)
def test_a_window_that_cannot_be_is_refused(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TimeWindow(*arguments)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("", lambda: True), {}, "its name has 1 to 128 characters"),
        (("a\n", lambda: True), {}, "its name has 1 to 128 characters"),
        (("net", True), {}, "its probe is not a function"),
        (("net", Reachable), {}, "its probe is not a function"),
        ((["net"], lambda: True), {}, "its name has 1 to 128 characters"),
        (("net", lambda host: True), {}, "its probe is called without arguments, and needs some"),
        (("net", lambda: True), {"every": "5"}, "every: '5' is not a delay"),
        (("net", lambda: True), {"every": -1}, "every: -1 is not a delay"),
        (("net", lambda: True), {"every": 0}, "ask at most every 0.01 s"),
        (("net", lambda: True), {"debounce": "soon"}, "debounce: 'soon' is not a delay"),
    ],
)
def test_what_is_wrong_with_a_constraint_is_said_at_build(
    arguments: tuple[object, ...], options: dict[str, object], says: str
) -> None:
    with pytest.raises(RegistrationError, match=says):
        build(*arguments, **options)


def test_two_constraints_of_one_name_are_refused_at_build() -> None:
    builder = TaskService.builder().add_constraint("net", lambda: True)
    with pytest.raises(RegistrationError, match="constraint 'net' is declared twice"):
        builder.add_constraint("net", lambda: False).build()


def test_a_coroutine_function_and_an_object_with_one_are_asked_on_the_loop() -> None:
    class Gateway:
        async def __call__(self) -> bool:
            return True

    async def gateway() -> bool:
        return True

    def declared(probe: object) -> Constraint:
        return constraint("net", probe, every=timedelta(seconds=1), debounce=0)  # type: ignore[arg-type]

    assert [declared(probe).is_async for probe in (gateway, Gateway(), lambda: True)] == [
        True, True, False,
    ]  # fmt: skip
    assert (declared(gateway).every, declared(gateway).debounce) == (1.0, 0.0)
