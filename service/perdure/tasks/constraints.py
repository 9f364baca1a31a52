"""When a constraint holds: judgements of probes that do not flap, and the words of operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Judgement(NamedTuple):
    """What a worker believes of a constraint.

    `differs_since`: from when on, in seconds of a monotonic clock, its probe has said otherwise
    without a break; None: it agrees.
    """

    holds: bool
    differs_since: float | None = None


def judged(before: Judgement | None, *, said: bool, at: float, debounce: float) -> Judgement:
    """The judgement after a probe has said something at a time.

    It changes only when the probe has said the same for `debounce` seconds, both ways; the first
    (`before` is None) is what the probe says.
    """
    if before is None or said == before.holds:
        return Judgement(said)
    since = at if before.differs_since is None else before.differs_since
    return Judgement(said) if at - since >= debounce else Judgement(before.holds, since)


def next_look(judgement: Judgement, *, at: float, every: float, debounce: float) -> float:
    """In how many seconds to ask the probe again: sooner while it contradicts the judgement."""
    if judgement.differs_since is None:
        return every
    return min(every, max(0.0, judgement.differs_since + debounce - at))


def satisfied(probed: Mapping[str, bool], declared: Mapping[str, bool]) -> frozenset[str]:
    """The constraints that hold: by probes here, as declared for the cluster, or both if both are.

    A name that is in neither does not hold.
    """
    return frozenset(
        name
        for name in probed.keys() | declared.keys()
        if probed.get(name, True) and declared.get(name, True)
    )
