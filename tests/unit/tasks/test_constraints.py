"""When a constraint holds: judgements that do not flap, and several who say it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perdure.tasks.constraints import Judgement, judged, next_look, satisfied

ANSWERS = st.lists(st.tuples(st.booleans(), st.floats(0.01, 10)), min_size=1, max_size=40)


def test_the_first_answer_is_believed_at_once() -> None:
    assert judged(None, said=True, at=9, debounce=60) == Judgement(holds=True)
    assert judged(None, said=False, at=9, debounce=60) == Judgement(holds=False)


def test_both_ways_a_judgement_changes_when_the_probe_has_said_so_for_long_enough() -> None:
    for holds in (True, False):
        first = judged(Judgement(holds), said=not holds, at=10, debounce=5)
        assert first == Judgement(holds, 10)
        assert judged(first, said=not holds, at=14.9, debounce=5) == first
        assert judged(first, said=not holds, at=15, debounce=5) == Judgement(not holds)
        # One answer that agrees begins it anew.
        assert judged(first, said=holds, at=14, debounce=5) == Judgement(holds)


def test_without_a_debounce_every_answer_is_believed() -> None:
    assert judged(Judgement(holds=True), said=False, at=1, debounce=0) == Judgement(holds=False)


@given(ANSWERS, st.floats(0, 20))
def test_a_judgement_is_what_was_said_last_without_a_break_of_the_debounce(
    answers: list[tuple[bool, float]], debounce: float
) -> None:
    judgement, at = None, 0.0
    said: list[tuple[float, bool]] = []
    for answer, pause in answers:
        at += pause
        said.append((at, answer))
        before, judgement = judgement, judged(judgement, said=answer, at=at, debounce=debounce)
        if before is not None and before.holds != judgement.holds:
            # The oracle: since when it has said this, by looking back over all that was said.
            since = min(t for n, (t, _) in enumerate(said) if all(a == answer for _, a in said[n:]))
            assert at - since >= debounce
            assert judgement.holds == answer
    assert judgement is not None


@given(st.booleans(), st.floats(0, 100), st.floats(0.01, 50), st.floats(0, 50))
def test_a_probe_that_contradicts_is_asked_again_when_its_debounce_is_over(
    holds: bool,
    since: float,
    every: float,
    debounce: float,
) -> None:
    assert next_look(Judgement(holds), at=since, every=every, debounce=debounce) == every
    look = next_look(Judgement(holds, since), at=since, every=every, debounce=debounce)
    assert look == min(every, debounce) or abs(look - debounce) < 1e-9


def test_who_says_anything_of_a_constraint_must_say_that_it_holds() -> None:
    probed = {"both": True, "refused": True, "down": False, "own": True}
    declared = {"both": True, "refused": False, "down": True, "ours": True, "off": False}
    assert satisfied(probed, declared) == {"both", "own", "ours"}
    assert satisfied({}, {}) == frozenset()
