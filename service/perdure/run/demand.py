"""What an enqueuer reads at each of its turns: what its worker needs, and the settings."""

from __future__ import annotations

from typing import NamedTuple

from perdure.settings import Settings


class Demand(NamedTuple):
    """What the enqueuer has to know of its worker at each turn.

    concurrency: slots in all. busy: slots that run a task. backlog: endings not yet durable.
    rate: tasks per second that ended of late. open: whether it may claim at all.
    """

    concurrency: int
    busy: int
    backlog: int
    rate: float
    open: bool


class Tuning(NamedTuple):
    """The settings that it reads at each turn; seconds."""

    batch_size: int
    polling_delay: float
    sweep_interval: float
    oldest_first_every: int
    prefetch: int | None

    @classmethod
    def of(cls, settings: Settings) -> Tuning:
        """Read them from the settings; `prefetch` None: it follows the speed of the tasks."""
        scheduling, prefetch = settings.scheduling, settings.execution.prefetch
        return cls(
            batch_size=scheduling.batch_size,
            polling_delay=scheduling.polling_delay.total_seconds(),
            sweep_interval=scheduling.sweep_interval.total_seconds(),
            oldest_first_every=scheduling.oldest_first_every,
            prefetch=None if prefetch == "auto" else int(prefetch),
        )
