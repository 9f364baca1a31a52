"""Shifts the wall clock of the process that finds this on its path, as a wrong one would be."""

import os
import time

_seconds = int(os.environ["PERDURE_TEST_CLOCK_SHIFT"])
_time, _time_ns, _gettime = time.time, time.time_ns, time.clock_gettime


def _shifted_time() -> float:
    return _time() + _seconds


def _shifted_time_ns() -> int:
    return _time_ns() + _seconds * 10**9


def _shifted_gettime(clock: int) -> float:
    return _gettime(clock) + (_seconds if clock == time.CLOCK_REALTIME else 0)


time.time, time.time_ns, time.clock_gettime = _shifted_time, _shifted_time_ns, _shifted_gettime
