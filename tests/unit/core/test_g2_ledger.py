"""The ledger: what was served, and until when it binds (G2, G8; RFC 7469 §2.3)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_pinkeep.core.errors import BadPolicy
from certbot_pinkeep.core.ledger import Ledger
from certbot_pinkeep.core.policy import Policy
from certbot_pinkeep.storage import keyring_file
from simulated.values import DAY, NOW, fake_pin, file_sections

POOL = [fake_pin(letter) for letter in "abcd"]
POLICIES = st.builds(
    Policy,
    pins=st.lists(st.sampled_from(POOL), min_size=2, max_size=4, unique=True).map(tuple),
    max_age=st.integers(0, 90).map(lambda days: days * 86400),
    include_subdomains=st.booleans(),
    report_uri=st.none() | st.just("https://r.test/%20#x,y"),
    report_only=st.booleans(),
)
#: What happens in a life: days that pass (also backwards), and a policy recorded or one confirmed.
EVENTS = st.lists(st.tuples(st.integers(-3, 40), st.none() | POLICIES), max_size=25)


def policy(*letters: str, days: int = 60, report_only: bool = False) -> Policy:
    """A policy with a pin per letter."""
    return Policy(tuple(map(fake_pin, letters)), days * 86400, report_only=report_only)


def lived(events: list[tuple[int, Policy | None]]) -> tuple[Ledger, datetime]:
    """A ledger after these events, and the time then."""
    book, now = Ledger(), NOW
    for days, recorded in events:
        now += days * DAY
        book = book.record(recorded, now) if recorded else book.confirm(now)
    return book, now


def test_g2_a_policy_binds_by_its_own_max_age() -> None:
    """Lowering max-age does not shorten what clients hold already."""
    book = Ledger().record(policy("a", "b", days=60), NOW).confirm(NOW)
    book = book.record(policy("a", "c", days=1), NOW + DAY).confirm(NOW + DAY)
    later = NOW + 30 * DAY
    longer, shorter = (entry.policy for entry in book.entries)
    assert [one.pins for one in book.binding(later)] == [longer.pins, shorter.pins]
    end = NOW + 61 * DAY
    assert [one.pins for one in book.binding(end)] == [shorter.pins]


def test_g2_a_pending_policy_and_the_one_before_both_count() -> None:
    """Until Apache is known to have loaded the new one, either may be served."""
    book = Ledger().record(policy("a", "b"), NOW).confirm(NOW)
    book = book.record(policy("a", "c"), NOW + DAY)
    later = NOW + 1000 * DAY
    assert len(book.binding(later)) == 2
    assert book.pending


def test_report_only_binds_nobody() -> None:
    """No client notes a report-only header (RFC 7469 §2.3.2)."""
    book = Ledger().record(policy("a", "b", report_only=True), NOW).confirm(NOW)
    assert book.binding(NOW) == ()


def test_recording_the_same_policy_again_changes_nothing() -> None:
    """A second run leaves the ledger as it is."""
    book = Ledger().record(policy("a", "b"), NOW).confirm(NOW)
    assert book.record(policy("a", "b"), NOW + DAY) == book


def test_g4_a_policy_with_one_pin_is_refused() -> None:
    """Neither one pin nor the same pin twice makes a policy (RFC 7469 §4.3)."""
    for letters in ("a", "aa"):
        with pytest.raises(BadPolicy):
            policy(*letters)


@given(EVENTS)
def test_g8_time_in_the_ledger_never_runs_backwards(
    events: list[tuple[int, Policy | None]],
) -> None:
    """Whatever the clock does, nothing is dated before what was recorded earlier."""
    book, _ = lived(events)
    recorded = [entry.recorded for entry in book.entries]
    assert recorded == sorted(recorded)
    for entry in book.entries:
        assert entry.replaced is None or entry.replaced >= entry.recorded
        assert entry.confirmed is None or entry.confirmed >= entry.recorded


@given(EVENTS, POLICIES)
def test_g2_nothing_that_happens_later_shortens_a_binding(
    events: list[tuple[int, Policy | None]], new: Policy
) -> None:
    """Recording, confirming and pruning at a moment keep everything that binds then."""
    book, now = lived(events)
    now = max(now, book.latest() or now)
    bound = {one.pins for one in book.binding(now)}
    for changed in (book.record(new, now), book.confirm(now), book.prune(now)):
        assert bound <= {one.pins for one in changed.binding(now)}


@given(EVENTS)
def test_pruning_keeps_the_ledger_small(events: list[tuple[int, Policy | None]]) -> None:
    """A year after the last change was confirmed, one entry is left."""
    book, now = lived(events)
    now = max(now, book.latest() or now)
    later = now + timedelta(days=365)
    assert len(book.confirm(now).prune(later).entries) == min(1, len(book.entries))


@given(EVENTS)
def test_a_ledger_is_read_as_it_was_written(events: list[tuple[int, Policy | None]]) -> None:
    """Writing and reading are inverse."""
    book, _ = lived(events)
    assert keyring_file.read_holdings(file_sections(book.entries)) == book.entries


@pytest.mark.parametrize(
    "damage",
    [
        {"confirmed": "2020-01-01T00:00:00Z"},
        {"replaced": "2020-01-01T00:00:00Z"},
        {"recorded": "yesterday"},
        {"max_age": "-5"},
        {"pins": [fake_pin("a")]},
        {"report_only": "perhaps"},
    ],
)
def test_g8_a_contradictory_ledger_is_refused(damage: dict[str, str]) -> None:
    """A ledger that cannot be true is not guessed at."""
    sections = file_sections(Ledger().record(policy("a", "b"), NOW).entries)
    sections["1"].update(damage)
    with pytest.raises((ValueError, BadPolicy)):
        keyring_file.read_holdings(sections)
