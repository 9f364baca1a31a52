"""Tests of handlers, without a database: one run, a restart, a stop, a suspension."""

import pytest
from checkpoints import Cursor, Feed, crawl, feed_import, import_feed
from outcomes import Charge, Declined, NoSuchCard, card_charge, charge
from waiting import Approval, Invoice, approve

from perdure import Failure, Success, Suspended, TaskStopped
from perdure.testing import Rehearsal, run


def test_a_declined_card_fails_for_good() -> None:
    outcome = run(charge, Charge(cents=100, card="declined"), kind=card_charge)
    assert outcome == Failure(Declined(reason="no money"), final=True)


def test_an_unknown_card_raises() -> None:
    with pytest.raises(NoSuchCard):
        run(charge, Charge(cents=100, card="broken"))


def test_a_crawl_goes_on_from_its_checkpoint() -> None:
    rehearsal = Rehearsal(crawl, Feed(pages=25), execution_metadata=Cursor(page=20))
    assert rehearsal.run() == Success(25)
    assert rehearsal.checkpoints == [Cursor(page=n) for n in range(21, 26)]


def test_an_import_that_is_asked_to_stop_stops() -> None:
    with pytest.raises(TaskStopped):
        run(import_feed, Feed(pages=3), kind=feed_import, stop="shutdown")


def test_an_invoice_waits_for_its_approval() -> None:
    rehearsal = Rehearsal(approve, Invoice(number=7))
    outcome = rehearsal.run()
    assert isinstance(outcome, Suspended)
    assert outcome.wait_key == "invoice:7"
    approved = Approval(asked=True, approved=True)
    assert run(approve, Invoice(number=7), execution_metadata=approved) == Success("paid")
