"""The ledger of a keyring to which lineages have come from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_pinkeep.core import rollover
from certbot_pinkeep.core.ledger import Ledger, Uncertainty
from certbot_pinkeep.workflow import requests
from simulated.machine import Machine
from simulated.values import DAY, NOW, A, B, C, D, policy, ring_key

WWW, API, BARE = ("www.pin.test",), ("api.pin.test",), ("pin.test",)
OLD = Ledger().record(policy(A, B), NOW, WWW).confirm(NOW)
NEW = Ledger().record(policy(A, C), NOW, API).confirm(NOW)
DURING = NOW + DAY


def safe_from(ledger: Ledger, hosts: tuple[str, ...] | None = None) -> object:
    """From when the key C is safe."""
    return rollover.safety(ring_key(C), ledger, NOW + 2 * DAY, hosts).since


def test_what_is_imported_binds_at_its_hosts_only() -> None:
    """The lineages that were here before are not bound by it."""
    found = NEW.with_imported(OLD, WWW)
    assert safe_from(found, API) is not None
    assert safe_from(found, WWW) is None and safe_from(found) is None


def test_what_is_imported_ends_when_that_is_known() -> None:
    """Not with a reload: Apache may go on sending the other header."""
    found = NEW.with_imported(OLD, WWW).record(policy(A, C, D), DURING, API).confirm(DURING)
    assert safe_from(found, WWW) is None
    assert safe_from(found.transferred(DURING), WWW) == DURING + 60 * DAY


def test_g8_time_that_is_too_early_ends_nothing() -> None:
    """How long it was served cannot be told from a clock that was set back."""
    found = NEW.with_imported(OLD, WWW).with_latest_known(NOW + 9 * DAY)
    assert found.transferred(DURING) == found


def test_each_lineage_imports_for_itself() -> None:
    """That one lineage comes later does not end what the first one brought along."""
    both = Ledger().record(policy(A, B), NOW, (*WWW, *API))
    found = Ledger().with_imported(both, WWW).with_imported(both, API)
    assert [entry.hosts for entry in found.imported] == [WWW, API]


def test_what_does_not_bind_is_left_out() -> None:
    """Neither what was served at other hosts, nor what clients did not note; subdomains count."""
    mute = Ledger().record(policy(A, B, report_only=True), NOW, WWW).confirm(NOW)
    replaced = mute.record(policy(A, B, max_age=0), NOW, WWW).confirm(NOW)
    assert [entry.policy.max_age for entry in Ledger().with_imported(replaced, WWW).imported] == [0]
    above = Ledger().record(policy(A, B), NOW, BARE)
    assert Ledger().with_imported(above, WWW).imported == ()
    above = Ledger().record(policy(A, B, include_subdomains=True), NOW, BARE)
    assert len(Ledger().with_imported(above, WWW).imported) == 1


def test_what_may_be_served_is_noted_though_it_binds_nobody_yet() -> None:
    """What follows it may: then it is looked at again. It holds nothing up, and ends with the move."""
    mute = Ledger().record(policy(A, B, report_only=True), NOW, WWW).confirm(NOW)
    found = NEW.with_imported(mute, WWW)
    assert len(found.imported) == 1 and safe_from(found, WWW) == safe_from(NEW, WWW)
    assert found.transferred(DURING).prune(DURING).imported == ()


def test_g8_uncertainty_is_imported() -> None:
    """So is any other uncertainty of that ledger."""
    found = NEW.with_imported(OLD.contradicted("a file was lost", []), WWW)
    assert found.in_doubt and found.uncertain == Uncertainty("a file was lost", cause="doubt")
    lost = OLD.with_uncertainty("it was lost", NOW + DAY)
    assert NEW.with_imported(lost, WWW).uncertain == Uncertainty("it was lost", NOW + DAY)


def test_imported_history_is_pruned_when_it_binds_nobody() -> None:
    """Sixty days after its end."""
    found = NEW.with_imported(OLD, WWW).transferred(DURING)
    assert len(found.prune(DURING + 59 * DAY).imported) == 1
    assert found.prune(DURING + 61 * DAY).imported == ()


def test_hosts_of_what_is_current_grow() -> None:
    """A lineage that joins without a change of the pins is served the same policy."""
    found = NEW.record(policy(A, C), DURING, (*API, *WWW))
    assert [entry.hosts for entry in found.entries] == [(*API, *WWW)]
    assert found.entries[0].confirmed == NOW


@pytest.mark.parametrize(("option", "value"), [("report_only", True), ("max_age", 0)])
def test_g2_keyring_that_was_left_and_binds_only_later_counts(
    tmp_path: Path, option: str, value: object
) -> None:
    """Apache still sends its header for the lineage that has moved, until that is confirmed."""
    machine, later = Machine(tmp_path), NOW + 70 * DAY
    machine.issue("a.test")
    machine.keep("a.test", "old", NOW, False, **{option: value})
    machine.new("b.test", "old", NOW)
    machine.keep("b.test", "old", NOW, True, **{option: value})
    machine.keep("a.test", "new", later, pinned=True)
    machine.keep("b.test", "old", later + DAY, pinned=True)
    requests.ask(machine.workflow, "new", later + DAY, when_safe=True)
    handed = machine.handed("a.test", "new", later + 2 * DAY)
    assert handed.pin in machine.published("old").pins
    requests.confirm(machine.workflow, "new", later + 3 * DAY)
    assert machine.handed("a.test", "new", later + 62 * DAY).pin == handed.pin
    assert machine.handed("a.test", "new", later + 64 * DAY).pin != handed.pin
