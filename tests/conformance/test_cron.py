"""The cron dialect and clock changes, row by row as users are told; without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from perdure.tasks.cron import CronExpression
from perdure.tasks.triggers import Every

pytestmark = pytest.mark.conformance("C93")

YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 13 * 5", "01-02 01-09 01-13 01-16"),
        ("0 0 */2 * 1", "01-05 01-19 02-09 02-23"),
        ("0 0 1-7 * 1", "01-02 01-03 01-04 01-05"),
        ("0 0 * * 0", "01-04 01-11 01-18"),
        ("0 0 * * 7", "01-04 01-11 01-18"),
        ("0 0 * * sun", "01-04 01-11 01-18"),
        ("0 0 * * SUN", "01-04 01-11 01-18"),
        ("0 0 * * sat-sun", "01-03 01-04 01-10 01-11"),
        ("0 0 * * fri-mon", "01-02 01-03 01-04 01-05 01-09"),
        ("0 0 * * 6-1", "01-03 01-04 01-05 01-10"),
        ("0 0 * * fri-mon/2", "01-02 01-04 01-09 01-11"),
        ("0 0 L * *", "01-31 02-28 03-31"),
        ("0 0 LW * *", "01-30 02-27 03-31"),
        ("0 0 * * 5L", "01-30 02-27 03-27"),
        ("0 0 * * 1#1", "01-05 02-02 03-02"),
        ("0 0 1,15 jan-mar *", "01-15 02-01 02-15 03-01"),
        ("@yearly", "01-01"),
        ("@annually", "01-01"),
        ("@monthly", "02-01 03-01"),
        ("@weekly", "01-04 01-11"),
        ("@daily", "01-02 01-03"),
        ("@midnight", "01-02 01-03"),
    ],
)
def test_an_expression_of_days_means_these(text: str, days: str) -> None:
    found = islice(CronExpression(text).after(YEAR), len(days.split()))
    assert [f"{instant:%m-%d}" for instant in found] == days.split()


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("5/15 * * * *", "00:05:00 00:20:00 00:35:00 00:50:00"),
        ("10-30/5 * * * *", "00:10:00 00:15:00 00:20:00 00:25:00 00:30:00 01:10:00"),
        ("*/30 */12 * * *", "00:30:00 12:00:00 12:30:00"),
        ("*/20 * * * * *", "00:00:20 00:00:40 00:01:00"),
        ("30 15 6 * * *", "06:15:30"),
        ("@hourly", "01:00:00 02:00:00"),
    ],
)
def test_an_expression_of_times_means_these(text: str, times: str) -> None:
    found = islice(CronExpression(text).after(YEAR), len(times.split()))
    assert [f"{instant:%H:%M:%S}" for instant in found] == times.split()


def test_a_leap_day_comes_every_four_years() -> None:
    found = islice(CronExpression("0 0 29 2 *").after(YEAR), 2)
    assert [f"{instant:%Y-%m-%d}" for instant in found] == ["2028-02-29", "2032-02-29"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("60 * * * *", "minute '60'"),
        ("60 * * * * *", "second '60'"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day '0'"),
        ("* * 32 * *", "day '32'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "weekday '8'"),
        ("*/0 * * * *", "minute '*/0'"),
        ("30-10 * * * *", "minute '30-10'"),
        ("* 5-1 * * *", "hour '5-1'"),
        ("* * ? * *", "day '?'"),
        ("* * 15W * *", "day '15W'"),
        ("H * * * *", "minute 'H'"),
        ("* * * * xyz", "weekday 'xyz'"),
        ("* * * * mon-xyz", "weekday 'mon-xyz'"),
        ("* * * * 1#6", "weekday '1#6'"),
        ("0 0 31 2 *", "day '31'"),
        ("0 0 31 4,6 *", "day '31'"),
        ("* * * *", "five fields"),
        ("0 0 1 1 * 2026 *", "five fields"),
        ("@reboot", "five fields"),
        ("", "five fields"),
    ],
)
def test_an_error_names_the_field_and_what_stands_there(text: str, field: str) -> None:
    with pytest.raises(ValueError, match="cron") as caught:
        CronExpression(text)
    assert field in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "", "Europe", "../etc/passwd"])
def test_a_zone_that_does_not_exist_is_named(zone: str) -> None:
    with pytest.raises(ValueError, match="no such zone"):
        CronExpression("@daily", zone)


BERLIN, LORD_HOWE, SANTIAGO = "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"
SPRING, AUTUMN = "2027-03-27 12:00+01:00", "2026-10-24 12:00+02:00"


@pytest.mark.parametrize(
    ("zone", "since", "text", "fires"),
    [
        (BERLIN, SPRING, "30 2 * * *", "28 03:00+02, 29 02:30+02"),
        (BERLIN, SPRING, "0 30 2 * * *", "28 03:00+02, 29 02:30+02"),
        (BERLIN, SPRING, "0,30 2 * * *", "28 03:00+02, 29 02:00+02, 29 02:30+02"),
        (BERLIN, SPRING, "0 2,3 * * *", "28 03:00+02, 29 02:00+02, 29 03:00+02"),
        (BERLIN, "2027-03-28 00:59+01:00", "0 * * * *", "28 01:00+01, 28 03:00+02, 28 04:00+02"),
        (BERLIN, "2027-03-27 23:59+01:00", "0 */2 * * *", "28 00:00+01, 28 04:00+02, 28 06:00+02"),
        (BERLIN, SPRING, "*/15 2 * * *", "29 02:00+02, 29 02:15+02"),
        (BERLIN, AUTUMN, "30 2 * * *", "25 02:30+02, 26 02:30+01"),
        (BERLIN, AUTUMN, "0 30 2 * * *", "25 02:30+02, 26 02:30+01"),
        (
            BERLIN, "2026-10-25 00:59+02:00", "0 * * * *",
            "25 01:00+02, 25 02:00+02, 25 02:00+01, 25 03:00+01",
        ),
        (
            BERLIN, AUTUMN, "*/15 2 * * *",
            (
                "25 02:00+02, 25 02:15+02, 25 02:30+02, 25 02:45+02,"
                " 25 02:00+01, 25 02:15+01, 25 02:30+01, 25 02:45+01, 26 02:00+01"
            ),
        ),
        (LORD_HOWE, "2026-10-03 12:00+10:30", "15 2 * * *", "04 02:30+11, 05 02:15+11"),
        (SANTIAGO, "2026-09-05 12:00-04:00", "0 0 * * *", "06 01:00-03, 07 00:00-03"),
    ],
)  # fmt: skip
def test_clock_changes_mean_this(zone: str, since: str, text: str, fires: str) -> None:
    expected = fires.split(", ")
    found = islice(CronExpression(text, zone).after(datetime.fromisoformat(since)), len(expected))
    local = [instant.astimezone(ZoneInfo(zone)) for instant in found]
    assert [f"{at:%d %H:%M%z}".removesuffix("00") for at in local] == expected


def test_an_interval_of_a_day_is_elapsed_time() -> None:
    start = datetime(2027, 3, 27, 9, tzinfo=ZoneInfo(BERLIN))
    grid = Every(timedelta(days=1), start=start).grid(YEAR)
    first = grid.after(start - timedelta(seconds=1))
    assert first == start
    following = grid.after(start)
    assert following is not None
    assert f"{following.astimezone(ZoneInfo(BERLIN)):%d %H:%M}" == "28 10:00"
